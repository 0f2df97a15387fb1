//! Network Service Headers on the links between elements, as tshark reads them.

use std::collections::BTreeSet;

use ringmail_node::topology::Privilege;

use crate::live::capture::{Capture, Captured};
use crate::live::variants::serves;
use crate::live::world::{Setting, live};

const WWW: &str = "10.79.0.10:80";

/// Where tshark learns of headers under labels.
pub(super) const SCRIPT: &str = concat!(
    "lua_script:",
    env!("CARGO_MANIFEST_DIR"),
    "/../../interop/wireshark/nsh-under-mpls.lua"
);

fn campus(privilege: Privilege, profile: &str, links: &str) -> Setting {
    let network = "  network: 10.77.0.0/24\n";
    let setting = Setting::new(privilege, "campus.yaml");
    let setting = setting.with(network, &format!("{network}{links}"));
    setting.with("\nlinks:\n", &format!("\nprofile: {profile}\nlinks:\n"))
}

fn fields(captured: &Captured, filter: &str, fields: &[&str]) -> BTreeSet<String> {
    let mut args = vec!["-X", SCRIPT, "-Y", filter, "-T", "fields"];
    fields.iter().for_each(|field| args.extend(["-e", field]));
    captured.tshark(&args).into_iter().collect()
}

/// Every frame between elements is labels, header and ESP, whole, and says where on its path it is.
fn check(captured: &Captured, protocols: &str, frame_bytes_max: usize) {
    assert!(captured.frames > 500, "only {} frames", captured.frames);
    let others = "!(tcp.port == 6637) && !arp && !icmpv6 && eth.type != 0x88b5";
    assert_eq!(fields(captured, others, &["frame.protocols"]), BTreeSet::from([protocols.into()]));
    let bad = "nsh && (_ws.malformed || _ws.short || _ws.expert.severity==error)";
    assert_eq!(fields(captured, bad, &["frame.number"]), BTreeSet::new());
    let longer = format!("nsh && frame.len > {frame_bytes_max}");
    assert_eq!(fields(captured, &longer, &["frame.number"]), BTreeSet::new());
    let full = format!("nsh && frame.len > {}", frame_bytes_max - 4);
    assert!(fields(captured, &full, &["frame.number"]).len() > 100, "links are used to the full");
    // `plain` is over sf1, `inspected` over sf1 and sf2; each has a way back.
    let places = |hops: u8| (0..=hops).map(move |at| (255 - at, 63 - at));
    let mut expected = BTreeSet::new();
    for (path, hops) in [(1, 2), (2, 1), (3, 2), (4, 1)] {
        expected.extend(places(hops).map(|(si, ttl)| format!("{path}\t{si}\t0x{ttl:04x}\t2\t1")));
    }
    let place = ["nsh.spi", "nsh.si", "nsh.ttl", "nsh.mdtype", "nsh.nextproto"];
    assert_eq!(fields(captured, "nsh", &place), expected);
}

fn a_chain(profile: &str, links: &str, protocols: &str) {
    live(|privilege| {
        let world = campus(privilege, profile, links).up();
        let capture = Capture::fabric(&world);
        serves(&world, WWW, &["client1", "client2"]);
        check(&capture.stop(), protocols, 1514);
    });
}

#[test]
fn labels_and_nsh_over_udp() {
    a_chain("mpls-nsh", "", "eth:ethertype:ip:udp:mpls:ip:esp");
}

#[test]
fn labels_and_nsh_over_ethernet() {
    a_chain("mpls-nsh", "  kind: ethernet\n", "eth:ethertype:mpls:ip:esp");
}

#[test]
fn nsh_over_udp() {
    a_chain("nsh", "", "eth:ethertype:ip:udp:mpls:ip:esp");
}

#[test]
fn nsh_over_ethernet() {
    a_chain("nsh", "  kind: ethernet\n", "eth:ethertype:nsh:ip:esp");
}

/// Nothing of the profile is lost where the links are faster.
#[test]
fn nsh_over_ethernet_by_af_xdp() {
    live(|privilege| {
        if privilege != Privilege::Root {
            let setting = campus(privilege, "nsh", "  kind: ethernet\n  driver: xdp\n");
            let said = setting.fails();
            assert!(said.contains("AF_XDP needs root of the machine"), "{said}");
            return;
        }
        let world = campus(privilege, "nsh", "  kind: ethernet\n  driver: xdp\n").up();
        let capture = Capture::fabric(&world);
        serves(&world, WWW, &["client1", "client2"]);
        check(&capture.stop(), "eth:ethertype:nsh:ip:esp", 1514);
    });
}
