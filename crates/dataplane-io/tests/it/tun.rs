//! Two TUNs in two namespaces with this test between them: the kernel's TCP and UDP judge what is split and coalesced.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use ringmail_dataplane::{Batch, Verdict};
use ringmail_dataplane_io::tun::{TunConfig, TunLink};
use ringmail_dataplane_io::{Link, LinkCounter as C};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{netns, packets};

const MTU_BYTES: u32 = 1400;
const HEADROOM_BYTES: usize = 64;
const TAILROOM_BYTES: usize = 32;
const TRANSFER_BYTES: usize = 50_000_000;

/// A namespace with a TUN whose two addresses end in `host`, and what runs in it.
fn side<T: Send + 'static>(
    host: u8,
    links: mpsc::Sender<TunLink>,
    body: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    netns::spawn(move || {
        let config = TunConfig::new("inner", MTU_BYTES, HEADROOM_BYTES, TAILROOM_BYTES);
        let link = TunLink::create(&config).unwrap().remove(0);
        assert_eq!(link.name(), "inner");
        netns::add_address(&format!("10.9.0.{host}"), 24, "inner");
        netns::add_address(&format!("fd09::{host}"), 64, "inner");
        links.send(link).unwrap();
        body()
    })
}

/// Carries packets between both until `done`, and looks at each of them.
fn carry(a: &mut TunLink, b: &mut TunLink, done: &AtomicBool) {
    let mut batch = Batch::default();
    while !done.load(Ordering::Acquire) {
        let carried = carry_one_way(a, b, &mut batch) + carry_one_way(b, a, &mut batch);
        if carried == 0 {
            let (one, two) = (a.fd().unwrap(), b.fd().unwrap());
            let mut fds = [PollFd::new(&one, PollFlags::IN), PollFd::new(&two, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).unwrap();
        }
    }
}

fn carry_one_way(from: &mut TunLink, to: &mut TunLink, batch: &mut Batch) -> usize {
    let count = from.recv(batch).unwrap();
    for index in 0..count {
        assert_eq!(batch.room(index), (HEADROOM_BYTES, TAILROOM_BYTES));
        assert!(batch.packet(index).len() <= MTU_BYTES as usize);
        packets::check(batch.packet(index));
        batch.set_verdict(index, Verdict::Deliver);
    }
    let sent = to.send(batch).unwrap();
    assert_eq!(sent.packets + sent.refused, count);
    count
}

fn pattern(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

/// Sends 50 MB one way by TCP to `target`, and 1 MB back.
fn transfer(target: &'static str) -> (TunLink, TunLink) {
    let (links, tun) = mpsc::channel();
    let (listening, ready) = mpsc::channel();
    let done = Arc::new(AtomicBool::new(false));
    let server = side(2, links, move || {
        let listener = TcpListener::bind(target).unwrap();
        listening.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let (mut at, mut buffer) = (0, vec![0; 1 << 17]);
        while at < TRANSFER_BYTES {
            let len = stream.read(&mut buffer).unwrap();
            assert!(len > 0, "the stream ended after {at} bytes");
            let wrong =
                buffer[..len].iter().enumerate().find(|(i, byte)| **byte != pattern(at + i));
            assert_eq!(wrong, None, "after {at} bytes");
            at += len;
        }
        let back: Vec<u8> = (0..1_000_000).map(pattern).collect();
        stream.write_all(&back).unwrap();
    });
    let mut b = tun.recv().unwrap();
    ready.recv().unwrap();
    let (links, tun) = mpsc::channel();
    let client_done = Arc::clone(&done);
    let client = side(1, links, move || {
        let guard = SetOnDrop(client_done);
        let mut stream = TcpStream::connect(target).unwrap();
        let bytes: Vec<u8> = (0..TRANSFER_BYTES).map(pattern).collect();
        stream.write_all(&bytes).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), 1_000_000);
        assert!(back.iter().enumerate().all(|(at, byte)| *byte == pattern(at)));
        drop(guard);
    });
    let mut a = tun.recv().unwrap();
    carry(&mut a, &mut b, &done);
    client.join().unwrap();
    server.join().unwrap();
    (a, b)
}

/// Ends the loop of the test even where a thread panics.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn both_ways_were_used(a: &TunLink, b: &TunLink) {
    let (split, coalesced) = (a.counters(), b.counters());
    assert!(split.get(C::ReceivedSupers) > 100, "{split:?}");
    assert!(split.get(C::ReceivedInSupers) > 30_000, "{split:?}");
    assert!(coalesced.get(C::SentSupers) > 100, "{coalesced:?}");
    assert!(coalesced.get(C::SentInSupers) > 30_000, "{coalesced:?}");
    for counters in [split, coalesced] {
        assert_eq!(counters.get(C::ReceivedBad), 0, "{counters:?}");
        assert_eq!(counters.get(C::SendErrors), 0, "{counters:?}");
    }
}

#[test]
fn tcp_over_ipv4_is_split_and_coalesced() {
    netns::isolated("tun::tcp_over_ipv4_is_split_and_coalesced", || {
        let (a, b) = transfer("10.9.0.2:4000");
        both_ways_were_used(&a, &b);
    });
}

#[test]
fn tcp_over_ipv6_is_split_and_coalesced() {
    netns::isolated("tun::tcp_over_ipv6_is_split_and_coalesced", || {
        let (a, b) = transfer("[fd09::2]:4000");
        both_ways_were_used(&a, &b);
    });
}

#[test]
fn udp_super_packets_are_split_and_coalesced() {
    netns::isolated("tun::udp_super_packets_are_split_and_coalesced", || {
        for (target, source) in [("10.9.0.2:4000", "10.9.0.1:0"), ("[fd09::2]:4000", "[fd09::1]:0")]
        {
            udp_super_packets(target, source);
        }
    });
}

#[test]
fn workers_share_a_tun_and_a_flow_stays_with_one_of_them() {
    netns::isolated("tun::workers_share_a_tun_and_a_flow_stays_with_one_of_them", || {
        let mut config = TunConfig::new("inner%d", MTU_BYTES, HEADROOM_BYTES, TAILROOM_BYTES);
        config.queues = 2;
        let mut workers = TunLink::create(&config).unwrap();
        assert_eq!([0, 1].map(|worker| workers[worker].name().to_owned()), ["inner0", "inner0"]);
        netns::add_address("10.9.0.1", 24, "inner0");
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        for _ in 0..50 {
            socket.send_to(&[0; 100], "10.9.0.2:9").unwrap();
        }
        let mut batch = Batch::default();
        let mut flow = |worker: &mut TunLink| {
            let mut count = 0;
            while worker.recv(&mut batch).unwrap() > 0 {
                // The kernel sends IPv6 neighbour discovery of its own.
                count += (0..batch.len()).filter(|slot| batch.packet(*slot)[0] == 0x45).count();
            }
            count
        };
        let mut received = [flow(&mut workers[0]), flow(&mut workers[1])];
        received.sort_unstable();
        assert_eq!(received, [0, 50]);
        config.name = "far too long for an interface".into();
        assert!(TunLink::create(&config).is_err());
        config.queues = 0;
        assert!(TunLink::create(&config).is_err());
    });
}

fn udp_super_packets(target: &'static str, source: &'static str) {
    const SEGMENT_BYTES: usize = 1200;
    const DATAGRAMS: usize = 45;
    let (links, tun) = mpsc::channel();
    let (listening, ready) = mpsc::channel();
    let done = Arc::new(AtomicBool::new(false));
    let server_done = Arc::clone(&done);
    let server = side(2, links, move || {
        let _guard = SetOnDrop(server_done);
        let socket = UdpSocket::bind(target).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        listening.send(()).unwrap();
        let mut buffer = [0; 2000];
        for index in 0..DATAGRAMS {
            let len = socket.recv(&mut buffer).unwrap();
            let expected = if index == DATAGRAMS - 1 { 700 } else { SEGMENT_BYTES };
            assert_eq!(len, expected, "datagram {index}");
            let at = index * SEGMENT_BYTES;
            assert!(buffer[..len].iter().enumerate().all(|(i, byte)| *byte == pattern(at + i)));
        }
    });
    let mut b = tun.recv().unwrap();
    ready.recv().unwrap();
    let (links, tun) = mpsc::channel();
    let client = side(1, links, move || {
        let socket = UdpSocket::bind(source).unwrap();
        let segment = SEGMENT_BYTES as libc::c_int;
        // SAFETY: the option's value is an int, and its length says so.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                (&raw const segment).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0);
        let bytes: Vec<u8> = (0..SEGMENT_BYTES * (DATAGRAMS - 1) + 700).map(pattern).collect();
        assert_eq!(socket.send_to(&bytes, target).unwrap(), bytes.len());
    });
    let mut a = tun.recv().unwrap();
    carry(&mut a, &mut b, &done);
    client.join().unwrap();
    server.join().unwrap();
    assert!(a.uses_uso(), "this kernel knows no USO: the test shows nothing");
    assert_eq!(a.counters().get(C::ReceivedInSupers), DATAGRAMS as u64, "{:?}", a.counters());
    assert_eq!(b.counters().get(C::SentInSupers), DATAGRAMS as u64, "{:?}", b.counters());
}

/// Whoever is root of the machine may do more than a user namespace allows, and would not notice.
#[test]
fn root_of_a_user_namespace_makes_a_tun_with_its_queue() {
    const INSIDE: &str = "RINGMAIL_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let config = TunConfig::new("inner", MTU_BYTES, HEADROOM_BYTES, TAILROOM_BYTES);
        let _links = TunLink::create(&config).unwrap();
        let shown = netns::ip("link show inner");
        assert!(shown.contains("qlen 1000"), "{shown}");
        return;
    }
    let status = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tun::root_of_a_user_namespace_makes_a_tun_with_its_queue"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare(1) is there");
    assert!(status.success(), "inside a user namespace: {status}");
}
