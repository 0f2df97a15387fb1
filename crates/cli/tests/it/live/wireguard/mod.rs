//! Any IP protocol through a chain, from a foreign WireGuard: what rules allow comes through and back, everything else
//! nowhere, and the counters say why.
//!
//! ```text
//!   laptop: wireguard-go, ping, curl ─┐
//!   phone: wireguard-go (over IPv6) ──┴─ gateway ═ sf1 ═ sf2 ═ egress ─ www: nginx, echoes
//! ```

mod echo;
mod peer;
mod replicas;
mod sizes;

use std::net::UdpSocket;

use self::echo::{Echo, exchange, sctp};
use self::peer::{GATEWAY, LAPTOP, PHONE, Peer, setting};
use crate::live::programs::Nginx;
use crate::live::reload::{reload, with};
use crate::live::world::{World, eventually, live};

const WWW: &str = "10.79.0.10";
const WWW6: &str = "fd00:79::10";

#[test]
fn every_protocol_comes_through_its_chain_and_back_in_both_ip_versions() {
    live(|privilege| {
        let world = setting(privilege).up();
        let (laptop, phone) = (Peer::start(&world, &LAPTOP), Peer::start(&world, &PHONE));
        // ICMP, of two clients that come over IPv4 and IPv6.
        for peer in [&laptop, &phone] {
            for to in [WWW, WWW6] {
                let said = peer.run("ping", &["-c", "3", "-i", "0.2", "-W", "5", to]);
                assert!(said.contains(" 0% packet loss"), "{said}");
            }
        }
        assert_eq!(world.counter("sf2", "opened_packets"), 0, "pings take the plain path");
        // TCP, of a program that knows nothing of certificates.
        let page: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
        for (address, url) in [("10.79.0.10:80", WWW), ("[fd00:79::10]:80", "[fd00:79::10]")] {
            let nginx = Nginx::start(&world, "www", address);
            nginx.put("/page", &page);
            let url = format!("http://{url}/page");
            let file = world.folder().join("page");
            let to = file.to_str().expect("UTF-8");
            laptop.run("curl", &["-sS", "--max-time", "30", "--noproxy", "*", "-o", to, &url]);
            assert!(std::fs::read(&file).expect("a file") == page, "{url}");
        }
        let inspected = world.counter("sf2", "opened_packets");
        assert!(inspected > 2 * 3_000_000 / 1500, "{inspected} packets were inspected");
        for (at, service, from) in [(0, WWW, 4), (1, WWW6, 6)] {
            // UDP, in sizes up to what the path carries.
            let mtu = world.inner_mtu();
            let head = if from == 4 { 28 } else { 48 };
            let to = match from {
                4 => format!("{service}:5353"),
                _ => format!("[{service}]:5353"),
            };
            let echo = Echo::udp(&world, "www", &to);
            let local = if from == 4 { "0.0.0.0:0" } else { "[::]:0" };
            let socket = world.inside("laptop", || UdpSocket::bind(local)).expect("a socket");
            for len in [1, 100, usize::from(mtu) - head] {
                let sent: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
                assert_eq!(exchange(&socket, &to, &sent), sent, "{len} bytes over IPv{from}");
            }
            assert_eq!(echo.end().len(), 3, "each of them came once");
            // SCTP's INIT, by its ports; this kernel need not know SCTP.
            let echo = Echo::sctp(&world, "www", service);
            let answer = sctp(&world, "laptop", LAPTOP.addresses[at], service, 2905);
            assert_eq!(answer.expect("an answer")[..4], [0x0b, 0x59, 0x0b, 0x58]);
            assert!(!echo.end().is_empty());
        }
        assert_eq!(world.counter("gateway", "wireguard_spoofed"), 0);
        assert_eq!(world.counter("gateway", "wireguard_refused_by_rules"), 0);
        // Every flow is a line when it is over; these are when their clients go.
        reload(&world, &without_peers(&world));
        let log = eventually("the flows are in the log", || {
            let log = std::fs::read_to_string(world.folder().join("access.log")).ok()?;
            (log.lines().count() >= 10).then_some(log)
        });
        let name = format!("\"client\":\"spiffe://{}/client/laptop\"", world.domain);
        for line in [
            r#""kind":"flow""#,
            &name,
            r#""listener":"wg6""#,
            r#""protocol":"sctp""#,
            r#""to":"[fd00:79::10]:5353""#,
            r#""rule":"pages","path":"inspected""#,
        ] {
            assert!(log.contains(line), "{line} is not in {log}");
        }
    });
}

#[test]
fn what_no_rule_allows_or_comes_from_elsewhere_reaches_nobody() {
    live(|privilege| {
        let world = setting(privilege).up();
        let (laptop, phone) = (Peer::start(&world, &LAPTOP), Peer::start(&world, &PHONE));
        assert!(laptop.pings(WWW) && phone.pings(WWW));
        let gateway = |counter: &str| world.counter("gateway", counter);
        // The phone may ping, and nothing else: the same packet of the laptop comes through.
        let echo = Echo::udp(&world, "www", "10.79.0.10:5353");
        let bind = |client: &str, at: &str| {
            world.inside(client, || UdpSocket::bind(at)).expect("a socket")
        };
        let refused = bind("phone", "10.78.0.12:0");
        refused.send_to(b"phone", "10.79.0.10:5353").expect("it is sent");
        eventually("no rule allows it", || {
            (gateway("wireguard_refused_by_rules") == 1).then_some(())
        });
        // Another port of the laptop's.
        let other = Echo::udp(&world, "www", "10.79.0.10:6000");
        let socket = bind("laptop", "10.78.0.11:0");
        socket.send_to(b"laptop", "10.79.0.10:6000").expect("it is sent");
        eventually("no rule allows it", || {
            (gateway("wireguard_refused_by_rules") == 2).then_some(())
        });
        // The laptop's address, used by the phone.
        phone.run("ip", &["address", "add", "10.78.0.11/32", "dev", &phone.interface]);
        let stolen = bind("phone", "10.78.0.11:0");
        stolen.send_to(b"stolen", "10.79.0.10:5353").expect("it is sent");
        eventually("it is not the phone's", || (gateway("wireguard_spoofed") == 1).then_some(()));
        assert_eq!(exchange(&socket, "10.79.0.10:5353", b"mine"), b"mine");
        assert_eq!(echo.end(), [b"mine"]);
        assert_eq!(other.end(), Vec::<Vec<u8>>::new());
        // A function on the way sees what passes.
        let echo = Echo::udp(&world, "www", "10.79.0.10:5353");
        socket.send_to(b"some contraband", "10.79.0.10:5353").expect("it is sent");
        eventually("it is found", || (!world.status("sf2").drops.is_empty()).then_some(()));
        // But by a rule that looks at the DS field, which takes another path.
        rustix::net::sockopt::set_ip_tos(&socket, 46 << 2).expect("a socket option");
        let sent = b"urgent contraband";
        assert_eq!(exchange(&socket, "10.79.0.10:5353", sent), sent);
        assert_eq!(echo.end(), [sent]);
    });
}

#[test]
fn a_client_that_is_taken_out_is_cut_off_at_once_and_may_come_back() {
    live(|privilege| {
        let world = setting(privilege).up();
        let (laptop, phone) = (Peer::start(&world, &LAPTOP), Peer::start(&world, &PHONE));
        assert!(laptop.pings(WWW) && phone.pings(WWW));
        let before = world.text.clone();
        reload(&world, &without_laptop(&world));
        let (cut, said) = laptop.tries("ping", &["-c", "3", "-i", "0.2", "-W", "1", WWW]);
        assert!(!cut, "{said}");
        assert!(world.counter("gateway", "wireguard_unknown_peer") > 0);
        assert!(phone.pings(WWW6), "others go on");
        reload(&world, &before);
        // It does not know that the gateway forgot its session; beginning anew is quicker than finding out.
        drop(laptop);
        let laptop = Peer::start(&world, &LAPTOP);
        assert!(laptop.pings(WWW), "it comes back");
        // Rules that allow less count for what is under way.
        reload(&world, &with(&before, ("[icmp, icmpv6]", "[icmpv6]")));
        let (cut, said) = laptop.tries("ping", &["-c", "2", "-i", "0.2", "-W", "1", WWW]);
        assert!(!cut, "{said}");
        assert!(laptop.pings(WWW6));
    });
}

#[test]
fn a_packet_that_is_too_large_is_answered_with_what_fits() {
    live(|privilege| {
        let world = setting(privilege).up();
        let laptop = Peer::start(&world, &LAPTOP);
        assert!(laptop.pings(WWW) && laptop.pings(WWW6));
        let mtu = world.inner_mtu();
        for (to, says) in [(WWW, format!("mtu = {mtu}")), (WWW6, format!("mtu={mtu}"))] {
            let large = ["-M", "do", "-s", "1440", "-c", "1", "-W", "5", to];
            let (_, said) = laptop.tries("ping", &large);
            assert!(said.replace("mtu: ", "mtu=").contains(&says), "{says} is not in {said}");
        }
        assert!(world.counter("gateway", "wireguard_too_big") >= 2);
        // What was learned is kept to: the same ping in parts that fit is put together again and still too large.
        let fits = (usize::from(mtu) - 28).to_string();
        laptop.run("ping", &["-M", "do", "-s", &fits, "-c", "1", "-W", "5", WWW]);
    });
}

#[test]
fn a_client_comes_by_the_file_that_it_is_given() {
    live(|privilege| {
        let world = setting(privilege).up();
        let laptop = Peer::start(&world, &LAPTOP);
        // It forgets what the test told it.
        laptop.run("wg", &["set", &laptop.interface, "peer", GATEWAY.1, "remove"]);
        assert!(!laptop.tries("ping", &["-c", "1", "-W", "1", WWW]).0);
        let domain = world.folder().join("domain.yaml");
        std::fs::write(&domain, &world.text).expect("a file");
        let (domain, folder) = (domain.to_str().expect("UTF-8"), world.folder());
        let key = folder.join("laptop.key").display().to_string();
        let conf = |args: &[&str]| {
            let mut ringmail = std::process::Command::new(env!("CARGO_BIN_EXE_ringmail"));
            ringmail
                .args(["wireguard", "conf", domain, "laptop"])
                .args(args)
                .output()
                .expect("it runs")
        };
        let output = conf(&["--private-key", &key]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains(&format!("MTU = {}\n", world.inner_mtu())), "{text}");
        assert!(
            text.contains(
                "AllowedIPs = 10.78.0.1/32, 10.79.0.10/32, fd00:78::1/128, fd00:79::10/128\n"
            ),
            "{text}"
        );
        let file = folder.join("laptop.conf").display().to_string();
        std::fs::write(&file, &text).expect("a file");
        laptop.run("chmod", &["600", &file]);
        let stripped = laptop.run("wg-quick", &["strip", &file]);
        std::fs::write(&file, stripped).expect("a file");
        laptop.run("wg", &["setconf", &laptop.interface, &file]);
        assert!(laptop.pings(WWW) && laptop.pings(WWW6));
        // Another's key is noticed.
        let output = conf(&["--private-key", &folder.join("gateway.key").display().to_string()]);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    });
}

/// The domain without anybody who comes by WireGuard.
fn without_peers(world: &World) -> String {
    let text = without_laptop(world);
    let begin = text.find("    wireguard:\n").expect("the phone's");
    let end = text.find("\nservices:").expect("services");
    [&text[..begin], &text[end..]].concat()
}

fn without_laptop(world: &World) -> String {
    let text = &world.text;
    let begin = text.find("    wireguard:\n").expect("the laptop's");
    let end = text.find("  - name: phone").expect("the phone");
    [&text[..begin], &text[end..]].concat()
}
