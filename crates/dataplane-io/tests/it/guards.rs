//! What a UDP link refuses: frames that come by another interface than its own, and what ICMP says of its MTU.
//!
//! ```text
//!   v1 ═══ v0 198.18.0.1, the link address
//!   w1 ═══ w0 192.0.2.1, outside
//! ```

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ringmail_dataplane::{Batch, Neighbour, Verdict};
use ringmail_dataplane_io::udp::{UdpConfig, UdpLink};
use ringmail_dataplane_io::{Link, LinkCounter as C};
use ringmail_packet::ip::protocol;
use ringmail_packet::ipv4;
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::{add_address, await_up, ip, isolated};

const LOCAL: &str = "198.18.0.1:6635";
const PEER: &str = "198.18.0.2:6635";
/// Of v0 and of w0.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// The two cables, and the link; the neighbour is not there but for its address.
fn cables() -> UdpLink {
    for (near, far, mac, address) in [("v0", "v1", 1, "198.18.0.1"), ("w0", "w1", 2, "192.0.2.1")] {
        ip(&format!("link add {near} address 02:00:00:00:00:0{mac} type veth peer name {far}"));
        for end in [near, far] {
            ip(&format!("link set {end} up"));
            fs::write(format!("/proc/sys/net/ipv4/conf/{end}/rp_filter"), "0").unwrap();
        }
        add_address(address, 24, near);
        await_up(near);
    }
    fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").unwrap();
    ip("neighbour add 198.18.0.2 lladdr 02:00:00:00:00:09 dev v0");
    let peers = vec![(Neighbour(1), PEER.parse().unwrap())];
    let mut config = UdpConfig::new(LOCAL.parse().unwrap(), peers);
    config.source_port = 50_000;
    UdpLink::open(&config).unwrap()
}

/// Sends a frame from the far end of a cable.
fn inject(far: &str, frame: &[u8]) {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).unwrap();
    let name = std::ffi::CString::new(far).unwrap();
    // SAFETY: a terminated string; all zeros is a valid address, and its length is given.
    let sent = unsafe {
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    assert_eq!(usize::try_from(sent), Ok(frame.len()), "{}", std::io::Error::last_os_error());
}

/// An Ethernet frame with an IPv4 packet from the neighbour.
fn frame(to: [u8; 6], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend([198, 18, 0, 2, 198, 18, 0, 1]);
    packet.extend(payload);
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    ipv4::Packet::new_unchecked(&mut packet[..]).fill_checksum();
    [&to[..], &PEER_MAC, &[8, 0], &packet].concat()
}

/// A datagram from the neighbour to the link's port.
fn datagram(to: [u8; 6], words: &[u8]) -> Vec<u8> {
    let (from, port, len) = (50_000_u16, 6635_u16, 8 + words.len() as u16);
    let header = [from.to_be_bytes(), port.to_be_bytes(), len.to_be_bytes(), [0, 0]].concat();
    frame(to, protocol::UDP, &[&header, words].concat())
}

/// Receives until a frame with these words is there, and says which came.
fn received(link: &mut UdpLink, last: &[u8]) -> Vec<Vec<u8>> {
    let until = Instant::now() + Duration::from_secs(10);
    let (mut batch, mut all) = (Batch::default(), Vec::new());
    while !all.iter().any(|frame| frame == last) {
        assert!(Instant::now() < until, "only {all:?}");
        link.recv(&mut batch).unwrap();
        all.extend((0..batch.len()).map(|index| batch.packet(index).to_vec()));
    }
    all
}

#[test]
fn frames_come_by_the_links_own_interface_alone() {
    isolated("guards::frames_come_by_the_links_own_interface_alone", || {
        let mut link = cables();
        inject("v1", &datagram(MACS[0], b"honest 1"));
        assert_eq!(received(&mut link, b"honest 1"), [b"honest 1"]);
        for _ in 0..3 {
            inject("w1", &datagram(MACS[1], b"from outside"));
        }
        inject("v1", &datagram(MACS[0], b"honest 2"));
        assert_eq!(received(&mut link, b"honest 2"), [b"honest 2"]);
        assert_eq!(link.counters().get(C::ReceivedElsewhere), 3, "{:?}", link.counters());
        // What this machine sends comes by no cable.
        let own = std::net::UdpSocket::bind("198.18.0.1:0").unwrap();
        own.send_to(b"from here", LOCAL.parse::<SocketAddr>().unwrap()).unwrap();
        assert_eq!(received(&mut link, b"from here"), [b"from here"]);
        // An interface that was made anew is the link's as the old one was.
        ip("link del v0");
        let made = ["link add v0 address 02:00:00:00:00:01 type veth peer name v1"];
        made.iter().for_each(|made| drop(ip(made)));
        ip("link set v0 up");
        ip("link set v1 up");
        add_address("198.18.0.1", 24, "v0");
        await_up("v0");
        let until = Instant::now() + Duration::from_secs(10);
        let mut batch = Batch::default();
        loop {
            assert!(Instant::now() < until, "{:?}", link.counters());
            inject("v1", &datagram(MACS[0], b"honest 3"));
            link.recv(&mut batch).unwrap();
            if !batch.is_empty() {
                break;
            }
        }
    });
}

#[test]
fn what_icmp_says_of_the_mtu_closes_no_link() {
    isolated("guards::what_icmp_says_of_the_mtu_closes_no_link", || {
        let mut link = cables();
        let mut sends = |words: &[u8]| {
            let mut batch = Batch::default();
            let slot = batch.push_copy(0, words, 0).unwrap();
            batch.set_verdict(slot, Verdict::Send(Neighbour(1)));
            let sent = link.send(&mut batch).unwrap();
            (sent.packets, sent.refused)
        };
        let long = [7; 1400];
        assert_eq!(sends(&long), (1, 0));
        // "Fragmentation needed" (RFC 1191), about a packet of the link.
        let mut quoted = vec![0x45, 0, 5, 0xdc, 0, 0, 0x40, 0, 63, protocol::UDP, 0, 0];
        quoted.extend([198, 18, 0, 1, 198, 18, 0, 2]);
        ipv4::Packet::new_unchecked(&mut quoted[..]).fill_checksum();
        quoted.extend([50_000_u16, 6635, 1480, 0].map(u16::to_be_bytes).concat());
        let mut message = [&[3, 4, 0, 0, 0, 0][..], &600_u16.to_be_bytes(), &quoted].concat();
        let sum =
            message.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum::<u32>();
        let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        inject("v1", &frame(MACS[0], protocol::ICMP, &message));
        // The kernel has heard and believes it, for whoever asks.
        let until = Instant::now() + Duration::from_secs(10);
        while !ip("route get 198.18.0.2").contains("mtu 600") {
            assert!(Instant::now() < until, "{}", ip("route get 198.18.0.2"));
        }
        assert_eq!(sends(&long), (1, 0));
    });
}
