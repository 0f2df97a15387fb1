//! The UDP link over loopback: every byte, in order, at every size, with GSO and GRO at work.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use ringmail_dataplane::{Batch, DropReason, Neighbour, Verdict};
use ringmail_dataplane_io::udp::{UdpConfig, UdpLink};
use ringmail_dataplane_io::{Link, LinkCounter as C};
use ringmail_packet::ip::Ecn;
use ringmail_packet::ipv4;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::netns::{add_address, isolated};

const A: &str = "127.0.0.1:6635";
const B: &str = "127.0.0.2:6635";
const D: &str = "127.0.0.3:6635";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn open(local: &str, peers: &[(u16, &str)]) -> UdpLink {
    let peers = peers.iter().map(|(n, peer)| (Neighbour(*n), address(peer))).collect();
    UdpLink::open(&UdpConfig::new(address(local), peers)).unwrap()
}

/// Packet number `index`: its bytes say so.
fn packet(index: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (index * 131 + at * 7) as u8).collect()
}

/// Sends packets in batches as large as they fit.
fn send_all(link: &mut UdpLink, batch: &mut Batch, packets: &[(u16, Vec<u8>)]) {
    batch.clear();
    for (index, (neighbour, bytes)) in packets.iter().enumerate() {
        let slot = batch.push_copy(3, bytes, 5).unwrap();
        batch.set_verdict(slot, Verdict::Send(Neighbour(*neighbour)));
        let next = packets.get(index + 1).map_or(usize::MAX, |(_, bytes)| bytes.len() + 8);
        if batch.is_full() || batch.range(slot).end + 5 + next.min(1 << 20) > batch.buffer().len() {
            let sent = link.send(batch).unwrap();
            assert_eq!((sent.packets, sent.refused), (batch.len(), 0));
            batch.clear();
        }
    }
    assert!(batch.is_empty(), "the last batch was sent");
}

/// Receives until `count` packets are there.
fn recv_all(
    link: &mut UdpLink,
    batch: &mut Batch,
    count: usize,
) -> Vec<(Option<Neighbour>, Vec<u8>)> {
    let mut received = Vec::new();
    while received.len() < count {
        if link.recv(batch).unwrap() == 0 {
            wait(link);
        }
        for index in 0..batch.len() {
            assert_eq!(batch.verdict(index), Verdict::Pending);
            received.push((batch.source(), batch.packet(index).to_vec()));
        }
    }
    assert_eq!(link.recv(batch).unwrap(), 0, "nothing comes twice");
    received
}

fn wait(link: &UdpLink) {
    let fd = link.fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).unwrap();
    assert_eq!(ready, 1, "packets are missing after five seconds");
}

#[test]
fn every_size_arrives_whole_and_in_order() {
    isolated("udp::every_size_arrives_whole_and_in_order", || {
        let (mut a, mut b) = (open(A, &[(1, B)]), open(B, &[(0, A)]));
        let (mut to, mut from) = (Batch::default(), Batch::default());
        for len in [1, 2, 63, 64, 65, 576, 1023, 1400, 1472, 1500, 4096, 8900, 9000] {
            let packets: Vec<_> = (0..200).map(|i| (1, packet(i, len))).collect();
            send_all(&mut a, &mut to, &packets);
            let received = recv_all(&mut b, &mut from, packets.len());
            for (got, sent) in received.iter().zip(&packets) {
                assert_eq!(got.0, Some(Neighbour(0)));
                assert!(got.1 == sent.1, "bytes differ at {len}");
            }
        }
        let (sent, received) = (a.counters(), b.counters());
        let packets = 13 * 200;
        assert_eq!(
            (sent.get(C::SentPackets), received.get(C::ReceivedPackets)),
            (packets, packets)
        );
        assert_eq!(sent.get(C::SentBytes), received.get(C::ReceivedBytes));
        assert!(sent.get(C::SentInSupers) > packets * 9 / 10, "{sent:?}");
        assert!(received.get(C::ReceivedInSupers) > packets * 9 / 10, "{received:?}");
        assert!(sent.get(C::SendCalls) < packets / 4, "{sent:?}");
        assert_eq!(sent.get(C::GsoRefused), 0);
    });
}

#[test]
fn random_sizes_and_several_neighbours_keep_their_order() {
    isolated("udp::random_sizes_and_several_neighbours_keep_their_order", || {
        let mut a = open(A, &[(1, B), (2, D)]);
        let (mut b, mut d) = (open(B, &[(7, A)]), open(D, &[(9, A)]));
        let (mut to, mut from) = (Batch::default(), Batch::default());
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) % below
        };
        let packets: Vec<_> = (0..600)
            .map(|i| {
                let len = match random(4) {
                    0 => 1 + random(9000),
                    _ => 1400,
                };
                (1 + random(2) as u16, packet(i, len as usize))
            })
            .collect();
        send_all(&mut a, &mut to, &packets);
        for (neighbour, link, source) in [(1, &mut b, 7), (2, &mut d, 9)] {
            let expected: Vec<_> = packets.iter().filter(|(to, _)| *to == neighbour).collect();
            let received = recv_all(link, &mut from, expected.len());
            for (got, sent) in received.iter().zip(expected) {
                assert_eq!(got.0, Some(Neighbour(source)));
                assert!(got.1 == sent.1, "bytes or order differ");
            }
        }
        assert!(a.counters().get(C::SentInSupers) > 100, "{:?}", a.counters());
    });
}

#[test]
fn more_packets_than_a_batch_holds_in_one_datagram_are_all_handed_over() {
    isolated("udp::more_packets_than_a_batch_holds_in_one_datagram_are_all_handed_over", || {
        let mut b = open(B, &[(3, A)]);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_segment(&socket, 500);
        let bytes = packet(5, 500 * 127 + 77);
        if let Err(error) = socket.send_to(&bytes, B) {
            panic!("this kernel takes fewer than 128 segments ({error}): the test shows nothing");
        }
        let mut from = Batch::default();
        let received = recv_all(&mut b, &mut from, 128);
        let lens: Vec<_> = received.iter().map(|(_, packet)| packet.len()).collect();
        assert_eq!(lens, [vec![500; 127], vec![77]].concat());
        assert!(received.iter().all(|(source, _)| *source == Some(Neighbour(3))));
        let joined: Vec<u8> = received.into_iter().flat_map(|(_, packet)| packet).collect();
        assert!(joined == bytes, "bytes differ");
        assert_eq!(b.counters().get(C::ReceivedSpilled), 64);
    });
}

#[test]
fn strangers_and_neighbours_never_share_a_batch() {
    isolated("udp::strangers_and_neighbours_never_share_a_batch", || {
        let mut b = open(B, &[(3, A)]);
        let senders = ["127.0.0.1:0", "127.0.0.9:0"].map(|local| UdpSocket::bind(local).unwrap());
        for turn in 0..20u8 {
            senders[usize::from(turn) % 2].send_to(&[turn, 1, 2], B).unwrap();
        }
        let received = recv_all(&mut b, &mut Batch::default(), 20);
        for (turn, (source, packet)) in received.iter().enumerate() {
            assert_eq!(*packet, [turn as u8, 1, 2]);
            assert_eq!(*source, [Some(Neighbour(3)), None][turn % 2]);
        }
        assert_eq!(b.counters().get(C::ReceivedFromUnknown), 10);
    });
}

#[test]
fn a_packet_over_the_mtu_is_refused_and_the_others_go() {
    isolated("udp::a_packet_over_the_mtu_is_refused_and_the_others_go", || {
        crate::netns::ip("link set lo mtu 1500");
        let (mut a, mut b) = (open(A, &[(1, B)]), open(B, &[(0, A)]));
        let mut batch = Batch::default();
        for len in [1472, 1473, 1473, 100, 1472] {
            let slot = batch.push_copy(0, &packet(0, len), 0).unwrap();
            batch.set_verdict(slot, Verdict::Send(Neighbour(1)));
        }
        let sent = a.send(&mut batch).unwrap();
        assert_eq!((sent.packets, sent.refused), (3, 2));
        let refused = Verdict::Drop(DropReason::LinkRefused);
        let verdicts: Vec<_> = (0..5).map(|index| batch.verdict(index) == refused).collect();
        assert_eq!(verdicts, [false, true, true, false, false]);
        let received = recv_all(&mut b, &mut batch, 3);
        let lens: Vec<_> = received.iter().map(|(_, packet)| packet.len()).collect();
        assert_eq!(lens, [1472, 100, 1472]);
        assert!(a.uses_gso(), "a packet that is too large is no reason to give GSO up");
    });
}

#[test]
fn packets_of_other_links_are_left_alone() {
    isolated("udp::packets_of_other_links_are_left_alone", || {
        let mut a = open(A, &[(1, B)]);
        let mut batch = Batch::default();
        let verdicts = [
            Verdict::Pending,
            Verdict::Deliver,
            Verdict::Send(Neighbour(5)),
            Verdict::Drop(DropReason::TooOld),
        ];
        for verdict in verdicts {
            let slot = batch.push_copy(0, b"packet", 0).unwrap();
            batch.set_verdict(slot, verdict);
        }
        let sent = a.send(&mut batch).unwrap();
        assert_eq!((sent.packets, sent.refused), (0, 0));
        assert_eq!([0, 1, 2, 3].map(|index| batch.verdict(index)), verdicts);
        assert_eq!(a.counters().get(C::SendCalls), 0);
    });
}

#[test]
fn ipv6_neighbours_work_as_well() {
    isolated("udp::ipv6_neighbours_work_as_well", || {
        add_address("fd00::2", 128, "lo");
        let (one, two) = ("[::1]:6635", "[fd00::2]:6635");
        let (mut a, mut b) = (open(one, &[(1, two)]), open(two, &[(0, one)]));
        let packets: Vec<_> = (0..64).map(|i| (1, packet(i, 1400))).collect();
        send_all(&mut a, &mut Batch::default(), &packets);
        let received = recv_all(&mut b, &mut Batch::default(), 64);
        assert!(received.iter().zip(&packets).all(|(got, sent)| got.1 == sent.1));
        assert!(received.iter().all(|(source, _)| *source == Some(Neighbour(0))));
        assert!(a.counters().get(C::SentInSupers) > 0);
    });
}

#[test]
fn workers_share_an_address_and_a_sender_stays_with_one_of_them() {
    isolated("udp::workers_share_an_address_and_a_sender_stays_with_one_of_them", || {
        let mut a = open(A, &[(1, B)]);
        let mut workers = [(); 4].map(|()| open(B, &[(0, A)]));
        let mut batch = Batch::default();
        for round in 0..10 {
            let packets: Vec<_> = (0..64).map(|i| (1, packet(round * 64 + i, 100))).collect();
            send_all(&mut a, &mut batch, &packets);
        }
        let mut received: Vec<u64> = workers
            .iter_mut()
            .map(|worker| {
                while worker.recv(&mut batch).unwrap() > 0 {}
                worker.counters().get(C::ReceivedPackets)
            })
            .collect();
        received.sort_unstable();
        assert_eq!(received, [0, 0, 0, 640]);
    });
}

#[test]
fn the_kernel_says_what_buffers_it_gave() {
    isolated("udp::the_kernel_says_what_buffers_it_gave", || {
        let mut config = UdpConfig::new(address(A), Vec::new());
        config.receive_buffer_bytes = 100_000;
        config.send_buffer_bytes = 50_000;
        config.source_port = 7007;
        let link = UdpLink::open(&config).unwrap();
        assert_eq!(link.receive_buffer_bytes(), 200_000);
        assert_eq!(link.send_buffer_bytes(), 100_000);
        assert_eq!(link.source_addr().unwrap(), address("127.0.0.1:7007"));
        assert_eq!(link.local_addr().unwrap(), address(A));
    });
}

#[test]
fn what_finds_no_room_in_the_socket_is_counted() {
    isolated("udp::what_finds_no_room_in_the_socket_is_counted", || {
        let mut config = UdpConfig::new(address(B), vec![(Neighbour(0), address(A))]);
        config.receive_buffer_bytes = 20_000;
        let mut b = UdpLink::open(&config).unwrap();
        let mut config = UdpConfig::new(address(A), vec![(Neighbour(1), address(B))]);
        config.gso = false;
        let mut a = UdpLink::open(&config).unwrap();
        let mut batch = Batch::default();
        for round in 1..=2 {
            let packets: Vec<_> = (0..100).map(|i| (1, packet(i, 1000))).collect();
            send_all(&mut a, &mut batch, &packets);
            while b.recv(&mut batch).unwrap() > 0 {}
            b.count_kernel_drops();
            let counted = |counter| b.counters().get(counter);
            let (received, dropped) =
                (counted(C::ReceivedPackets), counted(C::ReceivedKernelDrops));
            assert!(dropped > 0, "{:?}", b.counters());
            assert_eq!(received + dropped, round * 100, "each of them once");
        }
    });
}

fn set_segment(socket: &UdpSocket, bytes: libc::c_int) {
    // SAFETY: the option's value is an int, and its length says so.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// A frame whose outer IPv4 header, behind two labels, has this ECN field.
fn marked(number: usize, ecn: Ecn) -> Vec<u8> {
    let mut frame = vec![0, 6, 0x40, 64, 0, 6, 0x51, 64];
    frame.extend([0x45, ecn.bits(), 0, 120, 0, 0, 0x40, 0, 64, 50, 0, 0]);
    frame.extend([10, 77, 0, 1, 10, 77, 0, 4]);
    frame.extend(packet(number, 100));
    ipv4::Packet::new_unchecked(&mut frame[8..]).fill_checksum();
    frame
}

/// A router that marks what says that it may be marked, as nft does it: it sees the field of each frame on the datagram,
/// and its mark comes back in the frame.
#[test]
fn congestion_that_a_router_marks_on_a_datagram_is_marked_in_its_frames() {
    isolated("udp::congestion_that_a_router_marks_on_a_datagram_is_marked_in_its_frames", || {
        let rules = "table inet t { chain arriving { type filter hook input priority 0; \
             ip ecn ect0 ip ecn set ce; ip6 ecn ect0 ip6 ecn set ce; }; }";
        let nft = std::process::Command::new("nft").arg(rules).output().expect("nft is installed");
        assert!(nft.status.success(), "{}", String::from_utf8_lossy(&nft.stderr));
        for local in ["fd00::1", "fd00::2"] {
            add_address(local, 128, "lo");
        }
        for (here, there) in [(A, B), ("[fd00::1]:6635", "[fd00::2]:6635")] {
            let (mut a, mut b) = (open(here, &[(1, there)]), open(there, &[(0, here)]));
            let (mut to, mut from) = (Batch::default(), Batch::default());
            let fields = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];
            let all = || (0..200).map(|n| (n, fields[n / 3 % fields.len()]));
            let packets: Vec<_> = all().map(|(n, ecn)| (1, marked(n, ecn))).collect();
            send_all(&mut a, &mut to, &packets);
            let received = recv_all(&mut b, &mut from, packets.len());
            for ((number, ecn), (_, got)) in all().zip(&received) {
                let expected = if ecn == Ecn::Ect0 { Ecn::Ce } else { ecn };
                assert!(*got == marked(number, expected), "{number}, {ecn:?}: {got:02x?}");
            }
            // Frames of one field still share datagrams.
            assert!(a.counters().get(C::SentInSupers) > 150, "{:?}", a.counters());
        }
    });
}
