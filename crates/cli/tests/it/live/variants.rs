//! Other suites, keying, layouts, address families and numbers of workers: the same page comes through.

use ringmail_node::layout::Layout;
use ringmail_node::topology::Privilege;

use crate::live::capture::Capture;
use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Setting, World, live};

const WWW: &str = "10.79.0.10:80";

/// Bytes of the page; some hundred packets.
const PAGE_BYTES: usize = 2_000_000;

fn campus(privilege: Privilege) -> Setting {
    Setting::new(privilege, "campus.yaml")
}

/// The page comes to these clients by both versions of HTTP, sealed at every element, with nothing dropped as broken.
pub(crate) fn serves(world: &World, address: &str, clients: &[&str]) {
    let nginx = Nginx::start(world, "www", address);
    let content: Vec<u8> = (0..PAGE_BYTES).map(|n| (n * 31 / 7) as u8).collect();
    nginx.put("/page", &content);
    for client in clients {
        for (option, verdict) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
            let got = Curl::new(world, client).get("/page", &[option]);
            assert_eq!(got.verdict, verdict, "{client}: {}", got.said);
            assert!(got.body == content, "{client}");
        }
    }
    for element in world.elements() {
        for reason in ["bad_icv", "replayed", "too_old", "malformed", "unknown_spi", "too_big"] {
            assert_eq!(world.drops(&element, reason), 0, "{element}: {reason}");
        }
    }
    let full_packets = (clients.len() * 2 * PAGE_BYTES / 1500) as u64;
    assert!(world.counter("egress", "sealed_packets") > full_packets);
    assert!(world.counter("gateway", "opened_packets") > full_packets);
}

#[test]
fn aes_256_gcm() {
    live(|privilege| {
        let world = campus(privilege).with("suite: aes-128-gcm", "suite: aes-256-gcm").up();
        serves(&world, WWW, &["client1", "client2"]);
        assert!(world.keys().iter().all(|key| key.key_and_salt.danger_bytes().len() == 36));
    });
}

#[test]
fn chacha20_poly1305() {
    live(|privilege| {
        let world = campus(privilege).with("suite: aes-128-gcm", "suite: chacha20-poly1305").up();
        serves(&world, WWW, &["client1", "client2"]);
        assert!(world.keys().iter().all(|key| key.suite == "chacha20-poly1305"));
    });
}

#[test]
fn static_keys_in_tunnel_mode_and_every_element_warns() {
    live(|privilege| {
        let world = campus(privilege).with("keying: sap", "profile: mpls\nkeying: psk").up();
        let capture = Capture::fabric(&world);
        serves(&world, WWW, &["client1", "client2"]);
        warns(&world);
        let captured = capture.stop();
        let all = captured.tshark(&["-Y", "esp"]).len();
        assert!(all > 1000, "{all} frames");
        // Nothing but elements' addresses is in the clear.
        let elements = "esp && !(ip.src == 10.77.0.0/24 && ip.dst == 10.77.0.0/24)";
        assert_eq!(captured.tshark(&["-Y", elements]).len(), 0);
    });
}

#[test]
fn static_keys_in_transport_mode_and_every_element_warns() {
    live(|privilege| {
        let psk = "profile: mpls\nkeying: psk\npsk: {mode: transport}";
        let world = campus(privilege).with("keying: sap", psk).up();
        let capture = Capture::fabric(&world);
        serves(&world, WWW, &["client1", "client2"]);
        warns(&world);
        let captured = capture.stop();
        let all = captured.tshark(&["-Y", "esp"]).len();
        assert!(all > 1000, "{all} frames");
        // The packet's own header stands in front of ESP, as in the paper.
        let own = "esp && ip.addr == 10.78.0.1 && ip.addr == 10.79.0.10";
        assert_eq!(captured.tshark(&["-Y", own]).len(), all);
    });
}

fn warns(world: &World) {
    let log = world.log().text();
    for element in world.elements() {
        let mut lines = log.lines().filter(|line| line.starts_with(&format!("[{element}] ")));
        assert!(
            lines.any(|line| line.contains("WARN") && line.contains("psk")),
            "{element}: {log}"
        );
    }
}

#[test]
fn all_elements_in_one_process() {
    live(|privilege| {
        let world = campus(privilege).layout(Layout::Single).up();
        let capture = Capture::fabric(&world);
        serves(&world, WWW, &["client1", "client2"]);
        // Frames stay in the process; only key agreement uses the links.
        assert_eq!(capture.stop().tshark(&["-Y", "udp || mpls"]), Vec::<String>::new());
    });
}

#[test]
fn two_workers_an_element() {
    live(|privilege| {
        let world = campus(privilege).with("suite: aes-128-gcm", "workers: 2").up();
        serves(&world, WWW, &["client1", "client2"]);
        // Six segments, in each an association a worker of the sender.
        assert_eq!(world.keys().len(), 2 * 6);
    });
}

#[test]
fn ipv6_outside_and_inside() {
    live(|privilege| {
        let world = Setting::new(privilege, "ipv6.yaml").up();
        serves(&world, "[fd00:79::10]:80", &["client1"]);
    });
}
