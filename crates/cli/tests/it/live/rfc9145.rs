//! `integrity: rfc9145` on links that carry traffic: its codes as a program reads them that nobody made for them, and a
//! forwarder on the way that has no keys.

use std::path::PathBuf;
use std::process::Command;

use ringmail_node::topology::Privilege;
use serde_json::Value;

use crate::live::capture::{Capture, Captured};
use crate::live::forwarders::{places, seen};
use crate::live::switch::Switch;
use crate::live::variants::serves;
use crate::live::world::{Setting, World, live};

const WWW: &str = "10.79.0.10:80";

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop/rfc9145/check.py");

fn campus(privilege: Privilege, profile: &str, links: &str, settings: &str) -> Setting {
    let network = "  network: 10.77.0.0/24\n";
    let setting = Setting::new(privilege, "campus.yaml");
    let setting = setting.with(network, &format!("{network}{links}"));
    let integrity = format!("\nprofile: {profile}\nintegrity: rfc9145\n{settings}links:\n");
    setting.with("\nlinks:\n", &integrity)
}

/// What the checker counts in a capture, and whether it is content.
fn checked(world: &World, capture: &[u8]) -> (Value, bool) {
    let (keys, file) = (world.folder().join("keys.json"), world.folder().join("checked.pcap"));
    let exported = world.ringmail(&["keys", "export", "--danger-export-keys", "--output", "json"]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    std::fs::write(&keys, exported.stdout).expect("a file");
    std::fs::write(&file, capture).expect("a file");
    let mut python = Command::new("python3");
    let said = python.arg(CHECK).args([file, keys] as [PathBuf; 2]).output();
    let said = said.expect("python3 is installed");
    let counts = serde_json::from_slice(&said.stdout);
    let counts = counts.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)));
    (counts, said.status.success())
}

/// Every frame's code is right, of this kind; with one bit changed the checker says so.
fn all_right(world: &World, captured: &Captured, kind: &str) {
    let mut bytes = captured.bytes();
    let (counts, content) = checked(world, &bytes);
    let right = counts["right"].as_u64().expect("a number");
    assert!(content && right > 500, "{counts}");
    assert_eq!(counts[kind], right, "{counts}");
    // Some packet's ESP, at its end: the last frame before the mark is key agreement or a packet.
    let esp = b"\x40\x32";
    let at = bytes.windows(2).position(|part| part == esp).expect("IPv4 with ESP below");
    bytes[at + 30] ^= 1;
    let (counts, content) = checked(world, &bytes);
    assert!(!content && counts["wrong"] == 1, "{counts}");
}

fn a_chain(profile: &str, links: &str, settings: &str, kind: &str) {
    live(|privilege| {
        let world = campus(privilege, profile, links, settings).up();
        let capture = Capture::fabric(&world);
        serves(&world, WWW, &["client1", "client2"]);
        let captured = capture.stop();
        all_right(&world, &captured, kind);
        let bad = "nsh && (_ws.malformed || _ws.short)";
        assert_eq!(seen(&captured, bad, &["frame.number"]).len(), 0);
        for element in world.elements() {
            for reason in ["bad_mac", "stale_timestamp", "unknown_link_key", "wrong_nsh"] {
                assert_eq!(world.drops(&element, reason), 0, "{element}: {reason}");
            }
        }
    });
}

#[test]
fn codes_over_all_of_the_header_under_labels_in_udp() {
    a_chain("mpls-nsh", "", "", "mac_2");
}

#[test]
fn codes_without_the_base_header_over_ethernet() {
    let foreign = "rfc9145: {foreign_forwarders: true, window_ms: 1500}\n";
    a_chain("nsh", "  kind: ethernet\n", foreign, "mac_1");
}

/// Open vSwitch as a forwarder of RFC 8300: it looks at path and service index and lessens the TTL, and knows no key.
#[test]
fn a_forwarder_without_keys_lessens_the_ttl() {
    live(|privilege| {
        let foreign = "rfc9145: {foreign_forwarders: true}\n";
        let world = campus(privilege, "nsh", "  kind: ethernet\n", foreign).up();
        let places = places(&world);
        let by_header = |(path, si, port): &(u32, u8, String)| {
            let header = format!("dl_type=0x894f,nsh_mdtype=2,nsh_spi={path},nsh_si={si}");
            format!("priority=100,{header},actions=dec_nsh_ttl,output:{port}")
        };
        let flows: Vec<String> = places.iter().map(by_header).collect();
        let switch = Switch::start(&world);
        switch.bridge("sw", ["e0", "e1", "e2", "e3"], &flows);
        let capture = Capture::start(&world, "egress", "link0");
        serves(&world, WWW, &["client1", "client2"]);
        let captured = capture.stop();
        // Two elements and the switch three times, or one and the switch twice: 63 − 5 and 63 − 3.
        let ends = "nsh && eth.dst == 02:00:0a:4d:00:04";
        let ttls: Vec<String> = seen(&captured, ends, &["nsh.ttl"]).into_iter().collect();
        assert_eq!(ttls, ["0x003a", "0x003c"]);
        all_right(&world, &captured, "mac_1");
    });
}
