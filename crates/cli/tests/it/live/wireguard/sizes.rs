//! Path MTU discovery through a chain, and parts of packets: what is too large is told to who sent it, and nothing slips past
//! a function in pieces.

use std::net::UdpSocket;
use std::process::Command;

use super::echo::{Echo, exchange};
use super::peer::{LAPTOP, Peer, setting};
use super::{WWW, WWW6};
use crate::live::programs::Nginx;
use crate::live::world::{World, eventually, live};

/// The MTU of the network behind the egress: IPv6's least.
const NARROW: &str = "1280";

/// Makes the egress's cable to the service narrow, at its own end alone.
fn narrow(world: &World) {
    let output = world.run("egress", Command::new("ip").args(["-o", "route", "get", WWW]));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let device = said.split_whitespace().skip_while(|word| *word != "dev").nth(1);
    let device = device.expect("a device").to_owned();
    let set = ["link", "set", &device, "mtu", NARROW];
    assert!(world.run("egress", Command::new("ip").args(set)).status.success());
}

#[test]
fn a_router_behind_the_chain_is_heard_by_the_sender_in_both_ip_versions() {
    live(|privilege| {
        let world = setting(privilege).up();
        let laptop = Peer::start(&world, &LAPTOP);
        assert!(laptop.pings(WWW) && laptop.pings(WWW6));
        narrow(&world);
        // Packets of 1298 bytes: the chain takes them, the network behind it does not.
        assert!(world.inner_mtu() >= 1298);
        for (to, bytes) in [(WWW, "1270"), (WWW6, "1250")] {
            let large = ["-M", "do", "-s", bytes, "-c", "1", "-W", "5", to];
            let (_, said) = laptop.tries("ping", &large);
            let said = said.replace("mtu = ", "mtu=").replace("mtu: ", "mtu=");
            assert!(said.contains(&format!("mtu={NARROW}")), "{said}");
            // Nobody outside hears of the links' own addresses.
            assert!(!said.contains("10.77.0."), "{said}");
            let fits = ["-M", "do", "-s", "1200", "-c", "1", "-W", "5", to];
            laptop.run("ping", &fits);
        }
        // TCP finds the size by itself: what goes to the service is larger than its network takes.
        let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
        let upload = world.folder().join("upload");
        std::fs::write(&upload, vec![b'u'; 400_000]).expect("a file");
        let file = upload.to_str().expect("UTF-8");
        let curl = ["-sS", "--max-time", "30", "--noproxy", "*", "-T", file];
        laptop.run("curl", &[&curl[..], &["http://10.79.0.10/up/file"]].concat());
        assert_eq!(std::fs::read(nginx.file("/up/file")).expect("a file").len(), 400_000);
        assert_eq!(world.drops("gateway", "too_big"), 0);
    });
}

#[test]
fn a_pattern_that_is_cut_in_two_is_found_by_the_function() {
    live(|privilege| {
        let world = setting(privilege).up();
        let laptop = Peer::start(&world, &LAPTOP);
        assert!(laptop.pings(WWW));
        // The client's own system cuts datagrams from now on.
        laptop.run("ip", &["link", "set", &laptop.interface, "mtu", "600"]);
        let echo = Echo::udp(&world, "www", "10.79.0.10:5353");
        let socket = world.inside("laptop", || UdpSocket::bind("10.78.0.11:0")).expect("a socket");
        // Answers are in one piece: the client takes what is larger than it sends itself.
        let harmless = vec![b'.'; 1200];
        assert_eq!(exchange(&socket, "10.79.0.10:5353", &harmless), harmless);
        assert_eq!(world.counter("gateway", "wireguard_reassembled"), 1);
        // The first part ends in the middle of the word: 600 bytes less both headers, in steps of 8.
        let mut cut = harmless.clone();
        cut[563..573].copy_from_slice(b"contraband");
        socket.send_to(&cut, "10.79.0.10:5353").expect("it is sent");
        eventually("it is found", || {
            (world.counter("gateway", "wireguard_reassembled") == 2
                && !world.status("sf2").drops.is_empty())
            .then_some(())
        });
        assert_eq!(echo.end(), [harmless]);
        assert_eq!(world.drops("gateway", "fragment"), 0, "they were put together before");
    });
}
