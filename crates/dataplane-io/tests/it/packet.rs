//! Packet sockets on a veth pair: frames whole and in order, what is not theirs left out, super-packets uncut, losses counted.
//!
//! ```text
//!   this test ── left ═══ right ── this test
//! ```

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;

use ringmail_dataplane::Batch;
use ringmail_dataplane_io::LinkCounter as C;
use ringmail_dataplane_io::packet::{Destination, Inbox, PacketConfig, PacketSocket, Room};
use ringmail_dataplane_io::tun::virtio::{self, Gso, VirtioHeader};
use ringmail_packet::ethernet::{Address, EtherType};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::netns::{self, ip, isolated};

const LEFT: Address = Address([2, 0, 0, 0, 0, 1]);
const RIGHT: Address = Address([2, 0, 0, 0, 0, 2]);
const ROOM: Room = Room { head_bytes: 32, tail_bytes: 16 };

/// A veth pair in this thread's namespace, up and without IPv6.
fn pair(mtu: u32) {
    std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    ip(&format!(
        "link add left mtu {mtu} address {LEFT} up type veth peer name right mtu {mtu} address {RIGHT}"
    ));
    ip("link set right up");
    ["left", "right"].into_iter().for_each(netns::await_up);
}

fn frame(to: Address, ethertype: u16, number: usize, len: usize) -> Vec<u8> {
    let mut frame = [&to.0[..], &LEFT.0, &ethertype.to_be_bytes()].concat();
    frame.extend((0..len - 14).map(|at| (number * 131 + at * 7) as u8));
    frame
}

fn send(socket: &mut PacketSocket, frames: &[Vec<u8>]) {
    for some in frames.chunks(64) {
        let parts: Vec<_> = some.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let parts: Vec<&[IoSlice<'_>]> = parts.iter().map(|parts| &parts[..]).collect();
        let mut refused = [false; 64];
        socket.send(&parts, &mut refused);
        assert_eq!(refused, [false; 64], "{:?}", socket.counters());
    }
}

/// The next frames, until there are `count`.
fn receive(socket: &mut PacketSocket, count: usize) -> Vec<Vec<u8>> {
    let (mut batch, mut frames) = (Batch::default(), Vec::new());
    while frames.len() < count {
        batch.clear();
        if socket.receive(&mut batch, ROOM).unwrap() == 0 {
            wait(socket);
        }
        for index in 0..batch.len() {
            let (head, tail) = batch.room(index);
            assert!(head == ROOM.head_bytes && tail >= ROOM.tail_bytes);
            frames.push(batch.packet(index).to_vec());
        }
    }
    frames
}

fn wait(fd: &impl AsFd) {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).unwrap();
    assert_eq!(ready, 1, "frames are missing after five seconds");
}

#[test]
fn every_size_arrives_whole_and_in_order() {
    isolated("packet::every_size_arrives_whole_and_in_order", || {
        for (mtu, sizes) in [(1500, &[60, 61, 576, 1514][..]), (9000, &[1514, 4096, 9014])] {
            pair(mtu);
            let mut left = PacketSocket::open(&PacketConfig::new("left", EtherType::MPLS)).unwrap();
            let mut right =
                PacketSocket::open(&PacketConfig::new("right", EtherType::MPLS)).unwrap();
            assert_eq!((left.address(), right.address()), (LEFT, RIGHT));
            assert_eq!(right.mtu_bytes(), mtu as usize);
            for len in sizes {
                let frames: Vec<_> = (0..100).map(|i| frame(RIGHT, 0x8847, i, *len)).collect();
                send(&mut left, &frames);
                assert!(receive(&mut right, 100) == frames, "frames differ at {len} bytes");
            }
            let calls = right.counters().get(C::ReceiveCalls);
            assert!(calls < 50 * sizes.len() as u64, "{:?}", right.counters());
            let mut batch = Batch::default();
            assert_eq!(left.receive(&mut batch, ROOM).unwrap(), 0, "nothing of its own comes back");
            ip("link delete left");
        }
    });
}

#[test]
fn a_batch_is_filled_behind_what_it_holds_and_never_beyond_its_end() {
    isolated("packet::a_batch_is_filled_behind_what_it_holds_and_never_beyond_its_end", || {
        pair(1500);
        let mut left = PacketSocket::open(&PacketConfig::new("left", EtherType::MPLS)).unwrap();
        let mut right = PacketSocket::open(&PacketConfig::new("right", EtherType::MPLS)).unwrap();
        let frames: Vec<_> = (0..20).map(|i| frame(RIGHT, 0x8847, i, 1000)).collect();
        send(&mut left, &frames);
        // Room for six frames of the MTU behind the first packet.
        let mut batch = Batch::with_capacity_bytes(6 * 1566 + 100);
        batch.push_copy(8, b"before", 40).unwrap();
        assert_eq!(right.receive(&mut batch, ROOM).unwrap(), 6);
        assert_eq!(right.receive(&mut batch, ROOM).unwrap(), 0, "it is full");
        assert_eq!(batch.packet(0), b"before");
        for (index, frame) in frames[..6].iter().enumerate() {
            assert_eq!(batch.packet(index + 1), frame);
        }
        assert!(receive(&mut right, 14) == frames[6..], "the rest waited");
    });
}

#[test]
fn frames_for_others_of_other_types_and_with_other_tags_are_left_out() {
    isolated("packet::frames_for_others_of_other_types_and_with_other_tags_are_left_out", || {
        pair(1500);
        let mut left = PacketSocket::open(&PacketConfig::new("left", EtherType::MPLS)).unwrap();
        let untagged = PacketConfig::new("right", EtherType::MPLS);
        let destination = Destination::Own { vlan: Some(77) };
        let tagged = PacketConfig { destination, ..untagged.clone() };
        let mut untagged = PacketSocket::open(&untagged).unwrap();
        let mut tagged = PacketSocket::open(&tagged).unwrap();
        let tag = |id: u16, mut frame: Vec<u8>| {
            frame.splice(12..12, [0x81, 0x00].into_iter().chain(id.to_be_bytes()));
            frame
        };
        let mine = |number| frame(RIGHT, 0x8847, number, 100);
        let sent = [
            frame(Address([2, 0, 0, 0, 0, 9]), 0x8847, 0, 100),
            frame(Address([2, 0, 9, 0, 0, 2]), 0x8847, 1, 100),
            frame(Address::BROADCAST, 0x8847, 2, 100),
            frame(RIGHT, 0x0800, 3, 100),
            frame(RIGHT, 0x8848, 4, 100),
            tag(76, mine(5)),
            tag(77, mine(6)),
            // A priority does not make another VLAN.
            tag(77 | 5 << 13, mine(7)),
            mine(8),
        ];
        send(&mut left, &sent);
        assert!(receive(&mut tagged, 2) == [mine(6), mine(7)]);
        assert!(receive(&mut untagged, 1) == [mine(8)]);
        let mut batch = Batch::default();
        assert_eq!(untagged.receive(&mut batch, ROOM).unwrap(), 0);
        assert_eq!(tagged.receive(&mut batch, ROOM).unwrap(), 0);
    });
}

#[test]
fn packets_of_one_association_go_to_one_socket_of_a_fanout() {
    isolated("packet::packets_of_one_association_go_to_one_socket_of_a_fanout", || {
        pair(1500);
        let mut left = PacketSocket::open(&PacketConfig::new("left", EtherType::MPLS)).unwrap();
        let shared =
            PacketConfig { fanout: Some(7), ..PacketConfig::new("right", EtherType::MPLS) };
        let mut workers = [(); 2].map(|()| PacketSocket::open(&shared).unwrap());
        let frames: Vec<_> = (0..120_u32)
            .map(|number| {
                let labels = number as usize / 2 % 16 + 1;
                let mut frame = frame(RIGHT, 0x8847, 0, 14);
                (1..=labels).for_each(|n| frame.extend([0, 0, u8::from(n == labels), 64]));
                frame.extend([0x45; 20]);
                frame.extend((number % 2).to_be_bytes());
                frame.extend(number.to_be_bytes());
                frame.resize(200, 0);
                frame
            })
            .collect();
        send(&mut left, &frames);
        for (spi, worker) in workers.iter_mut().enumerate() {
            let wanted: Vec<_> = frames.iter().skip(spi).step_by(2).cloned().collect();
            assert!(receive(worker, 60) == wanted, "packets of SPI {spi}");
        }
    });
}

#[test]
fn super_packets_of_tcp_come_and_go_uncut() {
    isolated("packet::super_packets_of_tcp_come_and_go_uncut", || {
        // Two kernels that know each other only by what this test carries from one packet socket to the other.
        pair(1500);
        let far = netns::spawn(|| std::fs::File::open("/proc/thread-self/ns/net").unwrap());
        let far = far.join().unwrap();
        ip("link add near mtu 1500 address 02:00:00:00:00:03 up type veth peer name near-end");
        ip("link set near-end up");
        ["near", "near-end"].into_iter().for_each(netns::await_up);
        ip("address add 10.5.0.1/24 dev near");
        ip("neighbour add 10.5.0.2 lladdr 02:00:00:00:00:04 dev near");
        let peer = thread::spawn(move || {
            // SAFETY: only this thread changes its namespace.
            let moved =
                unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&far), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0);
            ip("link add far mtu 1500 address 02:00:00:00:00:04 up type veth peer name far-end");
            ip("link set far-end up");
            ["far", "far-end"].into_iter().for_each(netns::await_up);
            ip("address add 10.5.0.2/24 dev far");
            ip("neighbour add 10.5.0.1 lladdr 02:00:00:00:00:03 dev far");
            let socket = PacketSocket::open(&PacketConfig::supers("far-end")).unwrap();
            (socket, TcpListener::bind("10.5.0.2:80").unwrap(), far)
        });
        let (mut far_end, listener, _far) = peer.join().unwrap();
        let mut near_end = PacketSocket::open(&PacketConfig::supers("near-end")).unwrap();
        let content: Vec<u8> = (0..2_000_000_u32).map(|n| (n / 7) as u8).collect();
        let expected = content.clone();
        let server = thread::spawn(move || {
            let mut received = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
            assert!(received == expected, "the content came whole");
        });
        let client = thread::spawn(move || {
            TcpStream::connect("10.5.0.2:80").unwrap().write_all(&content).unwrap();
        });
        let (mut inbox, mut supers, mut largest) = (Inbox::default(), 0, 0);
        while !server.is_finished() {
            for outward in [true, false] {
                let (from, to) = match outward {
                    true => (&mut near_end, &mut far_end),
                    false => (&mut far_end, &mut near_end),
                };
                from.receive_supers(&mut inbox).unwrap();
                while let Some(frame) = inbox.take() {
                    assert!(!frame.outgoing && !frame.truncated);
                    if frame.header.gso == Gso::TcpV4 {
                        supers += 1;
                        largest = largest.max(frame.bytes.len());
                        let inner = frame.header.behind(14).unwrap();
                        assert_eq!(inner.needs_checksum.map(|(start, _)| start), Some(20));
                    }
                    let header: [u8; virtio::HEADER_BYTES] = frame.header.emit();
                    let parts = [IoSlice::new(&header), IoSlice::new(frame.bytes)];
                    let mut refused = [false];
                    to.send(&[&parts], &mut refused);
                    assert!(!refused[0], "{:?}", to.counters());
                }
            }
        }
        client.join().unwrap();
        server.join().unwrap();
        assert!(
            supers > 20 && largest > 20_000,
            "{supers} super-packets of at most {largest} bytes"
        );
        assert_eq!(VirtioHeader::parse(&[0; virtio::HEADER_BYTES]).gso, Gso::None);
    });
}

#[test]
fn what_the_kernel_drops_and_what_does_not_fit_is_counted() {
    isolated("packet::what_the_kernel_drops_and_what_does_not_fit_is_counted", || {
        pair(1500);
        let mut left = PacketSocket::open(&PacketConfig::new("left", EtherType::MPLS)).unwrap();
        let small = PacketConfig {
            receive_buffer_bytes: 4096,
            ..PacketConfig::new("right", EtherType::MPLS)
        };
        let mut right = PacketSocket::open(&small).unwrap();
        let frames: Vec<_> = (0..100).map(|i| frame(RIGHT, 0x8847, i, 1000)).collect();
        send(&mut left, &frames);
        let mut batch = Batch::default();
        let mut received = 0;
        while {
            batch.clear();
            right.receive(&mut batch, ROOM).unwrap() > 0
        } {
            received += batch.len() as u64;
        }
        let drops = right.counters().get(C::ReceivedKernelDrops);
        assert!(received > 0 && drops > 0 && received + drops == 100, "{:?}", right.counters());
        // Longer than the interface takes.
        let long = frame(RIGHT, 0x8847, 0, 1600);
        let mut refused = [false; 2];
        left.send(&[&[IoSlice::new(&long)], &[IoSlice::new(&frames[0])]], &mut refused);
        assert_eq!(refused, [true, false], "{:?}", left.counters());
        // An interface that goes down is nothing to stop for, and works again when it is up.
        receive(&mut right, 1);
        ip("link set right down");
        batch.clear();
        assert_eq!(right.receive(&mut batch, ROOM).unwrap(), 0);
        ip("link set right up");
        ["left", "right"].into_iter().for_each(netns::await_up);
        send(&mut left, &frames[..1]);
        assert!(receive(&mut right, 1) == frames[..1]);
    });
}
