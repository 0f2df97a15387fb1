//! Links of Ethernet: label stacks in frames of 0x8847, over a bridge and over a switch that forwards by label.
//!
//! ```text
//!   gateway ─┐  ┌─ sf1
//!            br0 or Open vSwitch ── tshark on br0, or at the egress's end
//!   egress ──┘  └─ sf2
//! ```

use std::collections::BTreeSet;
use std::process::Command;

use ringmail_node::topology::Privilege;

use crate::live::capture::{Capture, Captured};
use crate::live::switch::Switch;
use crate::live::variants::serves;
use crate::live::world::{Setting, live};

const WWW: &str = "10.79.0.10:80";

/// The campus on links of Ethernet, with these keys more.
fn campus(privilege: Privilege, more: &str) -> Setting {
    let links = "  network: 10.77.0.0/24\n";
    let setting = Setting::new(privilege, "campus.yaml");
    // A switch that forwards by label sees what it knows; `headers` has NSH on links of Ethernet.
    let setting = setting.with("keying: sap\n", "keying: sap\nprofile: mpls\n");
    setting.with(links, &format!("{links}  kind: ethernet\n{more}"))
}

/// What is on the links: label stacks with ESP below, whole, and as long as the MTU allows.
fn check(captured: &Captured, protocols: &str, frame_bytes_max: usize) {
    assert!(captured.frames > 500, "only {} frames", captured.frames);
    let others = "!(tcp.port == 6637) && !arp && !icmpv6 && eth.type != 0x88b5";
    let seen = captured.tshark(&["-Y", others, "-T", "fields", "-e", "frame.protocols"]);
    let seen: BTreeSet<_> = seen.into_iter().collect();
    assert_eq!(seen, BTreeSet::from([protocols.to_owned()]));
    let bad = ["-o", "ip.check_checksum:TRUE", "-Y"];
    let error = "mpls && (_ws.malformed || _ws.short || _ws.expert.severity==error)";
    assert_eq!(captured.tshark(&[&bad[..], &[error]].concat()), Vec::<String>::new());
    let longer = format!("mpls && frame.len > {frame_bytes_max}");
    assert_eq!(captured.tshark(&["-Y", &longer]), Vec::<String>::new());
    // Inner packets are a multiple of four with their trailer: the longest frame is at most three bytes shorter.
    let full = format!("mpls && frame.len > {}", frame_bytes_max - 4);
    assert!(captured.tshark(&["-Y", &full]).len() > 100, "the links are used to the full");
}

#[test]
fn a_chain_over_a_bridge() {
    live(|privilege| {
        let world = campus(privilege, "").up();
        let capture = Capture::fabric(&world);
        serves(&world, WWW, &["client1", "client2"]);
        let captured = capture.stop();
        check(&captured, "eth:ethertype:mpls:ip:esp", 1514);
        // The file's addresses are those of the links.
        let sources = captured.tshark(&["-Y", "mpls", "-T", "fields", "-e", "eth.src"]);
        let sources: BTreeSet<_> = sources.into_iter().collect();
        let elements = (1..=4).map(|last| format!("02:00:0a:4d:00:{last:02x}"));
        assert_eq!(sources, elements.collect());
    });
}

#[test]
fn a_chain_by_af_xdp() {
    live(|privilege| {
        let setting = campus(privilege, "  driver: xdp\n");
        if privilege != Privilege::Root {
            let said = setting.fails();
            assert!(said.contains("AF_XDP needs root of the machine"), "{said}");
            assert!(said.contains("`driver: packet`"), "{said}");
            return;
        }
        let world = setting.up();
        let capture = Capture::fabric(&world);
        serves(&world, WWW, &["client1", "client2"]);
        // On the bridge between them, they are the frames that packet sockets send.
        check(&capture.stop(), "eth:ethertype:mpls:ip:esp", 1514);
        for element in ["gateway", "sf1", "sf2", "egress"] {
            let mut ip = Command::new("ip");
            let shown = world.run(element, ip.args(["link", "show", "link0"]));
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            assert!(
                shown.contains(" xdp ") && shown.contains("name ringmail"),
                "{element}: {shown}"
            );
        }
    });
}

#[test]
fn a_vlan_two_workers_and_an_address_of_its_own() {
    live(|privilege| {
        let more = "  vlan: 77\n  macs: {sf2: '52:54:00:12:34:56'}\n";
        let setting = campus(privilege, more).with("keying: sap", "workers: 2");
        let world = setting.up();
        let capture = Capture::fabric(&world);
        serves(&world, WWW, &["client1", "client2"]);
        let captured = capture.stop();
        check(&captured, "eth:ethertype:vlan:ethertype:mpls:ip:esp", 1518);
        let other = "mpls && !(vlan.id == 77)";
        assert_eq!(captured.tshark(&["-Y", other]), Vec::<String>::new());
        let sf2 = captured.tshark(&["-Y", "mpls && eth.dst == 52:54:00:12:34:56"]);
        assert!(sf2.len() > 100, "{} frames to sf2", sf2.len());
    });
}

#[test]
fn a_chain_across_open_vswitch_that_forwards_by_label() {
    live(|privilege| {
        let world = campus(privilege, "").up();
        let ports = [("e0", 1000), ("e1", 1001), ("e2", 1002), ("e3", 1003)];
        let switch = Switch::start(&world);
        let by_label = |(port, label): &(&str, u32)| {
            format!("priority=100,mpls,mpls_label={label},actions=output:{port}")
        };
        let flows: Vec<String> = ports.iter().map(by_label).collect();
        switch.bridge("sw", ports.map(|(port, _)| port), &flows);
        let capture = Capture::start(&world, "egress", "link0");
        serves(&world, WWW, &["client1", "client2"]);
        let captured = capture.stop();
        check(&captured, "eth:ethertype:mpls:ip:esp", 1514);
        // Up to three labels: as many as such a switch looks at.
        let stacks = captured.tshark(&["-Y", "mpls", "-T", "fields", "-e", "mpls.label"]);
        let stacks: BTreeSet<_> = stacks.into_iter().collect();
        assert!(stacks.contains("1002,1001,1000"), "{stacks:?}");
        for (_, label) in ports {
            let packets = switch.packets("sw", &format!("mpls_label={label} "));
            assert!(packets > 100, "label {label}: {packets} packets");
        }
    });
}
