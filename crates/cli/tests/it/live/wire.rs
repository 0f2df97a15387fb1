//! What the links between elements carry, as tshark sees it.

use std::collections::BTreeSet;
use std::process::Command;

use crate::live::capture::{Capture, Captured};
use crate::live::headers::SCRIPT;
use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Setting, World, live};

const WWW: &str = "10.79.0.10:80";

/// In a request's path, header and body, and in an answer.
const SECRET: &str = "f64b1c2e-the-secret-of-this-test";

/// Frames of key agreement; all others are to be MPLS over UDP.
const AGREEMENT: &str = "tcp.port==6637";

/// Requests that hold the secret, through both chains.
fn talk(world: &World, nginx: &Nginx) {
    let page = format!("/{SECRET}.html");
    let content: String = (0..3000).map(|line| format!("{line} {SECRET}\n")).collect();
    nginx.put(&page, content.as_bytes());
    for client in ["client1", "client2"] {
        let curl = Curl::new(world, client);
        let secret = format!("x-secret: {SECRET}");
        let got = curl.get(&page, &["--header", &secret]);
        assert_eq!(got.verdict, "2 200", "{}", got.said);
        assert!(got.body == content.as_bytes());
        let from = nginx.file(&page);
        let put = curl.get(
            &format!("/up/{client}"),
            &["--http1.1", "--upload-file", &from.to_string_lossy()],
        );
        assert_eq!(put.verdict, "1.1 201", "{}", put.said);
    }
}

/// Names and counts of what tshark thinks the frames are.
fn protocols(captured: &Captured, filter: &str) -> BTreeSet<String> {
    let stacks = captured.tshark(&["-Y", filter, "-T", "fields", "-e", "frame.protocols"]);
    stacks.into_iter().collect()
}

#[test]
fn with_labels_alone_every_frame_is_mpls_ip_esp_and_none_is_malformed_or_too_long() {
    live(|privilege| {
        let setting = Setting::new(privilege, "campus.yaml");
        let world = setting.with("keying: sap\n", "keying: sap\nprofile: mpls\n").up();
        let nginx = Nginx::start(&world, "www", WWW);
        let capture = Capture::fabric(&world);
        talk(&world, &nginx);
        let captured = capture.stop();
        assert!(captured.frames > 500, "only {} frames", captured.frames);
        let expected = BTreeSet::from(["eth:ethertype:ip:udp:mpls:ip:esp".to_owned()]);
        let not_agreement = format!("!({AGREEMENT}) && !arp && !icmpv6 && eth.type != 0x88b5");
        assert_eq!(protocols(&captured, &not_agreement), expected);
        let bad =
            captured.tshark(&["-Y", "_ws.malformed || _ws.short || _ws.expert.severity==error"]);
        assert_eq!(bad, Vec::<String>::new());
        let long =
            captured.tshark(&["-Y", "ip.len > 1500 || ip.flags.mf == 1 || ip.frag_offset > 0"]);
        assert_eq!(long, Vec::<String>::new());
        // The links are used to the full all the same.
        let full = captured.tshark(&["-Y", "ip.len == 1500"]);
        assert!(full.len() > 100, "{} full frames", full.len());
        // A label a hop still to visit, the last one at the bottom.
        let stacks = captured.tshark(&["-Y", "mpls", "-T", "fields", "-e", "mpls.bottom"]);
        let stacks: BTreeSet<_> = stacks.into_iter().collect();
        assert_eq!(stacks, ["1", "0,1", "0,0,1"].map(str::to_owned).into());
    });
}

#[test]
fn no_link_between_elements_carries_plaintext() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        let inside = Capture::start(&world, "www", "eth0");
        let outside = Capture::start(&world, "outside", "br0");
        let fabric = Capture::fabric(&world);
        talk(&world, &nginx);
        let times = |captured: Captured| {
            let (bytes, secret) = (captured.bytes(), SECRET.as_bytes());
            bytes.windows(secret.len()).filter(|part| *part == secret).count()
        };
        assert_eq!(times(fabric.stop()), 0, "on the links between elements");
        assert_eq!(times(outside.stop()), 0, "between clients and gateway");
        // The search finds what is there: plain HTTP at the service.
        assert!(times(inside.stop()) > 6000, "at the service");
    });
}

/// With the file that `ringmail keys export` writes tshark reads every packet on every link, and nothing without it.
fn decrypts(world: &World) {
    let nginx = Nginx::start(world, "www", WWW);
    let capture = Capture::fabric(world);
    talk(world, &nginx);
    let captured = capture.stop();
    let spis = |options: &[&str], filter: &str| {
        let mut args = vec!["-X", SCRIPT, "-o", "esp.enable_encryption_decode:TRUE"];
        args.extend(options.iter().flat_map(|option| ["-o", option]));
        args.extend(["-Y", filter, "-T", "fields", "-e", "esp.spi"]);
        captured.tshark(&args)
    };
    // The same packet on the next link is no retransmission, and no other part of a stream.
    let each_link = ["tcp.analyze_sequence_numbers:FALSE"];
    let each_packet = ["tcp.desegment_tcp_streams:FALSE"];
    let get = format!("http.request.uri == \"/{SECRET}.html\" && http contains \"x-secret\"");
    assert_eq!(spis(&each_link, &get), Vec::<String>::new(), "without keys");

    let exported = world.ringmail(&["keys", "export", "--danger-export-keys"]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    captured.give_keys(&exported.stdout);
    // One segment of the plain path, two of the inspected one.
    let seen: BTreeSet<_> = spis(&each_link, &get).into_iter().collect();
    assert_eq!(seen.len(), 3, "requests under {seen:?}");
    let all = spis(&[], "esp").len();
    let read = spis(&[], "tcp.port == 80 && ip.addr == 10.78.0.1 && ip.addr == 10.79.0.10").len();
    assert_eq!((read, all > 500), (all, true), "packets that were decrypted, of all");
    assert_eq!(spis(&each_packet, "_ws.malformed || _ws.short").len(), 0);
}

#[test]
fn tshark_decrypts_aes_128_gcm_with_exported_keys() {
    live(|privilege| decrypts(&World::new(privilege, "campus.yaml")));
}

#[test]
fn tshark_decrypts_aes_256_gcm_with_exported_keys() {
    live(|privilege| {
        let setting = Setting::new(privilege, "campus.yaml");
        decrypts(&setting.with("suite: aes-128-gcm", "suite: aes-256-gcm").up());
    });
}

#[test]
fn a_smaller_link_mtu_bounds_every_frame() {
    live(|privilege| {
        let setting = Setting::new(privilege, "campus.yaml");
        let world = setting.with("mtu: 1500", "mtu: 1000").up();
        let nginx = Nginx::start(&world, "www", WWW);
        let capture = Capture::fabric(&world);
        talk(&world, &nginx);
        // What a client and a service send in full packets of their own is cut to fit.
        let mut show = Command::new("ip");
        let shown = world.run("gateway", show.args(["-o", "link", "show", "link0"]));
        assert!(String::from_utf8_lossy(&shown.stdout).contains("mtu 1000"));
        let captured = capture.stop();
        let long = captured.tshark(&["-Y", "ip.len > 1000"]);
        assert_eq!(long, Vec::<String>::new());
        assert!(captured.tshark(&["-Y", "ip.len > 990"]).len() > 100);
    });
}
