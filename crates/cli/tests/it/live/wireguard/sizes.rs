//! Packets in parts: nothing slips past a function in pieces.

use std::net::UdpSocket;

use super::WWW;
use super::echo::{Echo, exchange};
use super::peer::{LAPTOP, Peer, setting};
use crate::live::world::{eventually, live};

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
