//! The Ethernet link by AF_XDP, on the bridge of [`crate::ethernet`]: as the one by packet sockets, and a good guest on its
//! interface.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringmail_dataplane::{Batch, DropReason, Neighbour, Verdict};
use ringmail_dataplane_io::ethernet::EthernetLink;
use ringmail_dataplane_io::packet::{Destination, PacketConfig, PacketSocket};
use ringmail_dataplane_io::xdp::{self, Mode, XdpConfig, XdpError, XdpLink};
use ringmail_dataplane_io::{Link, LinkCounter as C, limits};
use ringmail_packet::ethernet::{Address, EtherType};

use crate::ethernet::{STATIONS, bridge, config, packet, recv_all, send_all};
use crate::netns::{self, ip, isolated};

/// Set for a process that a test starts of itself.
const CHILD: &str = "RINGMAIL_TEST_XDP_CHILD";

/// As [`isolated`], for root alone.
fn isolated_as_root(test: &str, body: impl FnOnce() + Send + 'static) {
    if rustix::process::geteuid().is_root() {
        isolated(test, body);
    } else {
        eprintln!("SKIPPED {test}: AF_XDP needs root of the machine");
    }
}

/// A link on the interface of station `own`; the others are neighbours by their index.
fn open(own: usize, mode: Option<Mode>) -> XdpLink {
    XdpLink::open(&XdpConfig { mode, ..xdp_config(own) }).unwrap()
}

pub(crate) fn xdp_config(own: usize) -> XdpConfig {
    XdpConfig::new(STATIONS[own].0, config(own).peers)
}

fn frame(to: Address, ethertype: u16, byte: u8) -> Vec<u8> {
    let mut frame = [&to.0[..], &STATIONS[2].1.0, &ethertype.to_be_bytes()].concat();
    frame.extend([byte; 60]);
    frame
}

/// Test `name` again as a process of its own, in this thread's namespace, with the role of the child.
fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(CHILD, "1");
    command
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn every_size_arrives_whole_and_in_order() {
    for mode in [Mode::Native, Mode::Generic] {
        isolated_as_root("xdp::every_size_arrives_whole_and_in_order", move || {
            bridge(1500);
            let (mut a, mut b) = (open(0, Some(mode)), open(1, Some(mode)));
            assert_eq!((a.address(), a.mtu_bytes()), (STATIONS[0].1, 1500));
            for len in [46, 47, 64, 576, 1023, 1400, 1500] {
                let packets: Vec<_> = (0..200).map(|i| (1, packet(i, len))).collect();
                send_all(&mut a, &packets);
                let received = recv_all(&mut b, packets.len());
                for (got, sent) in received.iter().zip(&packets) {
                    assert_eq!(got.0, Some(Neighbour(0)));
                    assert!(got.1 == sent.1, "bytes differ at {len}");
                }
            }
            let (sent, received) = (a.counters(), b.counters());
            assert_eq!((sent.get(C::SentPackets), received.get(C::ReceivedPackets)), (1400, 1400));
            assert_eq!(sent.get(C::SentBytes), received.get(C::ReceivedBytes));
            assert!(sent.get(C::SendCalls) < 200, "{sent:?}");
        });
    }
}

#[test]
fn it_understands_a_packet_socket_both_ways() {
    isolated_as_root("xdp::it_understands_a_packet_socket_both_ways", || {
        bridge(1500);
        let (mut a, mut b) = (open(0, None), EthernetLink::open(&config(1)).unwrap());
        assert_eq!(a.mode(), Mode::Native);
        send_all(&mut a, &[(1, packet(1, 1500)), (1, packet(2, 64))]);
        send_all(&mut b, &[(0, packet(3, 1500)), (0, packet(4, 64))]);
        let came =
            |from| [(from, 1500), (from, 64)].map(|(from, len)| (Some(Neighbour(from)), len));
        let of = |received: Vec<(Option<Neighbour>, Vec<u8>)>| {
            <[_; 2]>::try_from(received).unwrap().map(|(from, bytes)| (from, bytes.len()))
        };
        assert_eq!(of(recv_all(&mut b, 2)), came(0));
        assert_eq!(of(recv_all(&mut a, 2)), came(1));
    });
}

#[test]
fn packets_of_several_neighbours_never_share_a_batch() {
    isolated_as_root("xdp::packets_of_several_neighbours_never_share_a_batch", || {
        bridge(1500);
        let (mut a, mut b, mut c) = (open(0, None), open(1, None), open(2, None));
        let mut expected = [Vec::new(), Vec::new()];
        for index in 0..300 {
            let sent = (2, packet(index, 100 + index));
            let from = usize::from(index % 3 == 0);
            expected[from].push(sent.1.clone());
            send_all(if from == 0 { &mut a } else { &mut b }, &[sent]);
        }
        let received = recv_all(&mut c, 300);
        for (sender, expected) in expected.iter().enumerate() {
            let source = Some(Neighbour(sender as u16));
            let got = received.iter().filter(|(from, _)| *from == source);
            assert!(got.map(|(_, bytes)| bytes).eq(expected), "from {sender}");
        }
    });
}

#[test]
fn the_kernel_gets_all_that_is_not_for_the_link() {
    isolated_as_root("xdp::the_kernel_gets_all_that_is_not_for_the_link", || {
        bridge(1500);
        let mut b = open(1, None);
        b.set_peers(&[(Neighbour(0), STATIONS[0].1)]);
        let mut stranger = PacketSocket::open(&PacketConfig::new("c", EtherType::MPLS)).unwrap();
        let everything = PacketConfig {
            ethertype: None,
            destination: Destination::Any,
            ..PacketConfig::new("b", EtherType::MPLS)
        };
        let mut kernel = PacketSocket::open(&everything).unwrap();
        let (own, other) = (STATIONS[1].1, Address([2, 0, 0, 0, 0, 9]));
        for frame in [
            frame(own, 0x8847, 1),
            frame(own, 0x8848, 2),
            frame(own, 0x88b5, 3),
            frame(other, 0x8847, 4),
            frame(Address::BROADCAST, 0x8847, 5),
            frame(own, 0x8100, 6),
            frame(Address([6, 0, 0, 0, 0, 2]), 0x8847, 8),
            frame(Address([2, 0, 0, 0, 0, 6]), 0x8847, 9),
            frame(own, 0x8847, 7),
        ] {
            stranger.send(&[&[IoSlice::new(&frame)]], &mut []);
        }
        let received = recv_all(&mut b, 2);
        assert_eq!(received, [(None, vec![1; 60]), (None, vec![7; 60])]);
        assert_eq!(b.counters().get(C::ReceivedFromUnknown), 2);
        let mut batch = Batch::default();
        let _some = kernel.receive(&mut batch, Default::default()).unwrap();
        let last: Vec<u8> =
            (0..batch.len()).filter_map(|i| batch.packet(i).last().copied()).collect();
        assert_eq!(last, [2, 3, 4, 5, 6, 8, 9]);
    });
}

#[test]
fn a_packet_over_the_mtu_is_refused_and_the_others_go() {
    isolated_as_root("xdp::a_packet_over_the_mtu_is_refused_and_the_others_go", || {
        bridge(1500);
        let (mut a, mut b) = (open(0, None), open(1, None));
        let mut batch = Batch::default();
        for (len, to) in [(1500, 1), (1501, 1), (1600, 1), (100, 7), (1500, 1)] {
            let slot = batch.push_copy(0, &packet(0, len), 0).unwrap();
            batch.set_verdict(slot, Verdict::Send(Neighbour(to)));
        }
        let sent = a.send(&mut batch).unwrap();
        assert_eq!((sent.packets, sent.refused), (2, 2));
        let refused = Verdict::Drop(DropReason::LinkRefused);
        let verdicts: Vec<_> = (0..5).map(|index| batch.verdict(index) == refused).collect();
        assert_eq!(verdicts, [false, true, true, false, false]);
        assert_eq!(batch.verdict(3), Verdict::Send(Neighbour(7)), "no neighbour of this link");
        let lens: Vec<_> = recv_all(&mut b, 2).iter().map(|(_, packet)| packet.len()).collect();
        assert_eq!(lens, [1500, 1500]);
        assert_eq!(a.counters().get(C::SendRefused), 2);
    });
}

#[test]
fn what_nobody_reads_in_time_is_dropped_and_counted() {
    isolated_as_root("xdp::what_nobody_reads_in_time_is_dropped_and_counted", || {
        bridge(1500);
        let (mut a, mut b) = (open(0, None), open(1, None));
        let sent = limits::XDP_RECEIVE_FRAMES + 64;
        send_all(&mut a, &(0..sent).map(|i| (1, packet(i, 64))).collect::<Vec<_>>());
        let received = recv_all(&mut b, limits::XDP_RECEIVE_FRAMES);
        assert!((0..).zip(&received).all(|(i, (_, bytes))| *bytes == packet(i, 64)));
        let counted = |counter| b.counters().get(counter);
        assert_eq!(counted(C::ReceivedKernelDrops), 64);
        assert_eq!(counted(C::ReceivedPackets), limits::XDP_RECEIVE_FRAMES as u64);
        // There is room again, and again.
        for round in 0..3 {
            send_all(&mut a, &(0..3000).map(|i| (1, packet(i, 80))).collect::<Vec<_>>());
            assert_eq!(recv_all(&mut b, 3000).len(), 3000, "round {round}");
        }
    });
}

#[test]
fn an_interface_that_sends_nothing_refuses_what_its_ring_does_not_hold() {
    isolated_as_root(
        "xdp::an_interface_that_sends_nothing_refuses_what_its_ring_does_not_hold",
        || {
            bridge(1500);
            let (mut a, mut b) = (open(0, None), open(1, None));
            ip("link set dev a down");
            let (mut batch, mut sent, mut refused) = (Batch::default(), 0, 0);
            for _ in 0..limits::XDP_SEND_FRAMES / 64 + 2 {
                batch.clear();
                for _ in 0..64 {
                    let slot = batch.push_copy(0, &packet(1, 64), 0).unwrap();
                    batch.set_verdict(slot, Verdict::Send(Neighbour(1)));
                }
                let did = a.send(&mut batch).unwrap();
                (sent, refused) = (sent + did.packets, refused + did.refused);
            }
            assert_eq!((sent, refused), (limits::XDP_SEND_FRAMES, 128));
            assert_eq!(a.counters().get(C::SendRefused), 128);
            // What waits goes when the interface is back.
            ip("link set dev a up");
            netns::await_up("a");
            while !ip("-d link show a-port").contains("state forwarding") {
                std::thread::yield_now();
            }
            assert_eq!(a.recv(&mut batch).unwrap(), 0);
            assert_eq!(recv_all(&mut b, sent).len(), sent);
        },
    );
}

#[test]
fn a_killed_process_leaves_the_interface_as_it_was() {
    let name = "xdp::a_killed_process_leaves_the_interface_as_it_was";
    if is_child() {
        let _link = open(0, None);
        std::io::stdout().write_all(b"open\n").unwrap();
        // Until it is killed.
        let mut line = String::new();
        let _end = std::io::stdin().read_line(&mut line);
        return;
    }
    isolated_as_root(name, move || {
        bridge(1500);
        let mut process = child(name).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().ends_with("open")), "the child opens the link");
        assert!(ip("link show a").contains("xdp"));
        process.kill().unwrap();
        process.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while ip("link show a").contains("xdp") {
            assert!(Instant::now() < deadline, "the program is still there");
            std::thread::yield_now();
        }
        // Who starts again at once does not fail.
        let (mut a, mut b) = (open(0, None), open(1, None));
        send_all(&mut a, &[(1, packet(1, 64))]);
        assert_eq!(recv_all(&mut b, 1).len(), 1);
    });
}

#[test]
fn who_comes_while_another_is_leaving_waits_for_the_interface() {
    isolated_as_root("xdp::who_comes_while_another_is_leaving_waits_for_the_interface", || {
        bridge(1500);
        let leaving = open(0, None);
        let left = std::thread::spawn(move || {
            // Nothing says that the other waits by now; if it comes later, it need not wait.
            std::thread::sleep(Duration::from_millis(200));
            drop(leaving);
        });
        let (mut a, mut b) = (open(0, None), open(1, None));
        left.join().unwrap();
        send_all(&mut a, &[(1, packet(1, 64))]);
        assert_eq!(recv_all(&mut b, 1).len(), 1);
    });
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    isolated_as_root("xdp::what_cannot_work_is_refused_with_what_to_do", || {
        bridge(1500);
        let _held = open(0, None);
        let refused = |config: &XdpConfig| XdpLink::open(config).unwrap_err();
        assert!(matches!(refused(&xdp_config(0)), XdpError::Busy { .. }));
        let config = |interface| XdpConfig::new(interface, Vec::new());
        assert!(matches!(refused(&config("nowhere")), XdpError::Interface { .. }));
        ip("link add name many numrxqueues 2 numtxqueues 2 type veth peer name other");
        assert!(matches!(refused(&config("many")), XdpError::Queues { queues: 2, .. }));
        ip("link add name wide mtu 9000 type veth peer name wide-port mtu 9000");
        assert!(matches!(refused(&config("wide")), XdpError::Mtu { mtu_bytes: 9000, .. }));
        // Wider than veth's own receive path takes: the kernel's takes it.
        let mtu = xdp::mtu_max_bytes();
        ip(&format!("link set dev wide mtu {mtu}"));
        assert_eq!(XdpLink::open(&config("wide")).unwrap().mode(), Mode::Generic);
    });
}

#[test]
fn root_of_a_user_namespace_is_told_what_is_missing() {
    let name = "xdp::root_of_a_user_namespace_is_told_what_is_missing";
    if is_child() {
        ip("link add name a type veth peer name b");
        let error = XdpLink::open(&XdpConfig::new("a", Vec::new())).unwrap_err();
        assert!(matches!(error, XdpError::NotRoot(_)), "{error:?}");
        assert!(error.to_string().contains("`driver: packet`"));
        return;
    }
    let inner = child(name);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net"]).arg(inner.get_program());
    let output = command.args(inner.get_args()).env(CHILD, "1").output().expect("unshare(1)");
    let mut said = std::io::stderr();
    said.write_all(&[output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success());
}
