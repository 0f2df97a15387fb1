//! What a packet costs on the links alone, without functions or crypto: `cargo run --release --example linkbench`.
//!
//! Needs root, or `unshare -Urn`. Topologies, each in network namespaces of its own:
//!
//! ```text
//!   udp:  link 127.0.0.1 ── lo ── link 127.0.0.2            one thread sends 64 packets, then receives them
//!   veth: link 10.8.0.1 ── veth ── link 10.8.0.2            likewise, across two namespaces
//!   ether: link left ── veth ── link right                  likewise, frames of Ethernet by packet sockets
//!   xdp:  link left ── veth ── link right                   likewise, by AF_XDP, its program in the driver (root)
//!   skb:  link left ── veth ── link right                   likewise, its program in the kernel's receive path
//!   tun:  TCP sender ── tun ── this thread ── tun ── TCP receiver       one thread each
//! ```
#![allow(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ringmail_dataplane::{Batch, Neighbour, Verdict};
use ringmail_dataplane_io::ethernet::{EthernetConfig, EthernetLink};
use ringmail_dataplane_io::tun::coalesce::{Coalesce, Coalescer};
use ringmail_dataplane_io::tun::split::SuperPacket;
use ringmail_dataplane_io::tun::virtio::{Gso, VirtioHeader};
use ringmail_dataplane_io::tun::{TunConfig, TunLink};
use ringmail_dataplane_io::udp::{UdpConfig, UdpLink};
use ringmail_dataplane_io::xdp::{Mode, XdpConfig, XdpLink};
use ringmail_dataplane_io::{Link, LinkCounter as C};
use ringmail_packet::ethernet::Address;
use rustix::event::{PollFd, PollFlags, poll};

const PACKETS: usize = 2_000_000;
const TUN_SECONDS: u64 = 4;

fn main() {
    cut_and_coalesce();
    in_namespace(|| {
        let [a, b] = ["127.0.0.1:6635", "127.0.0.2:6635"].map(|text| text.parse().unwrap());
        let (mut a, mut b) = (udp_link(a, b), udp_link(b, a));
        for len in [64, 1400, 8900] {
            exchange("lo", &mut a, &mut b, len);
        }
    });
    let (mut a, mut b) = veth_links();
    for len in [64, 1400] {
        exchange("veth", &mut a, &mut b, len);
    }
    in_namespace(|| {
        let (mut a, mut b) = ethernet_links();
        for len in [64, 1400] {
            exchange("ether", &mut a, &mut b, len);
        }
    });
    for (name, mode) in [("xdp", Mode::Native), ("skb", Mode::Generic)] {
        in_namespace(move || {
            let Some((mut a, mut b)) = xdp_links(mode) else { return };
            for len in [64, 1400] {
                exchange(name, &mut a, &mut b, len);
            }
        });
    }
    for mtu_bytes in [1400, 8900] {
        tun(mtu_bytes);
    }
}

/// The work of a TUN link without its system calls: 47 TCP packets of 1400 B cut from a super-packet, and joined again. The best
/// of many rounds.
fn cut_and_coalesce() {
    const ROUNDS: u32 = 20_000;
    let (mut batch, mut coalescer) = (Batch::default(), Coalescer::default());
    let mut packet = vec![7u8; 52 + 47 * 1348];
    let headers = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2];
    packet[..20].copy_from_slice(&headers);
    packet[32..34].copy_from_slice(&[0x80, 0x10]);
    let header = VirtioHeader {
        needs_checksum: Some((20, 16)),
        gso: Gso::TcpV4,
        gso_size: 1348,
        ..VirtioHeader::default()
    };
    let (mut cutting, mut joining) = (Duration::MAX, [Duration::MAX; 2]);
    for _ in 0..ROUNDS {
        batch.clear();
        let start = Instant::now();
        let mut whole = SuperPacket::parse(&header, &packet).unwrap();
        while let Some(len) = whole.next_len() {
            let slot = batch.push(64, len, 32).unwrap();
            whole.cut_next(&packet, batch.packet_mut(slot));
        }
        cutting = cutting.min(start.elapsed());
        (0..batch.len()).for_each(|slot| batch.set_verdict(slot, Verdict::Deliver));
        for (verify, time) in [true, false].into_iter().zip(&mut joining) {
            let start = Instant::now();
            coalescer.build(&batch, Verdict::Deliver, Coalesce { tcp: true, udp: true, verify });
            *time = start.elapsed().min(*time);
            assert_eq!(coalescer.supers().len(), 1);
        }
    }
    let each = |time: Duration| time.as_nanos() as f64 / batch.len() as f64;
    println!(
        "cut   1400 B  {:.1} ns a packet; coalesce {:.1} ns, {:.1} without verifying checksums",
        each(cutting),
        each(joining[0]),
        each(joining[1])
    );
}

fn exchange(name: &str, a: &mut impl Link, b: &mut impl Link, len: usize) {
    let (mut to, mut from) = (Batch::default(), Batch::with_capacity_bytes(1 << 18));
    let per_batch = 64.min(to.buffer().len() / len);
    let (mut sending, mut receiving, mut packets) = (Duration::ZERO, Duration::ZERO, 0);
    while packets < PACKETS {
        to.clear();
        for _ in 0..per_batch {
            let slot = to.push(0, len, 0).unwrap();
            to.set_verdict(slot, Verdict::Send(Neighbour(0)));
        }
        let start = Instant::now();
        let sent = a.send(&mut to).unwrap();
        let middle = Instant::now();
        let mut received = 0;
        while received < sent.packets {
            received += b.recv(&mut from).unwrap();
        }
        sending += middle - start;
        receiving += middle.elapsed();
        packets += sent.packets;
    }
    let each = |time: Duration| time.as_nanos() as f64 / packets as f64;
    println!(
        "{name:5} {len:5} B  send {:6.1} ns  recv {:6.1} ns  both {:6.1} ns a packet",
        each(sending),
        each(receiving),
        each(sending + receiving)
    );
}

fn tun(mtu_bytes: u32) {
    let stop = Arc::new(AtomicBool::new(false));
    let (links, tuns) = mpsc::channel();
    let (ready, listening) = mpsc::channel();
    let server_links = links.clone();
    let server = thread::spawn(move || {
        in_namespace(move || {
            tun_side(2, mtu_bytes, &server_links);
            let listener = TcpListener::bind("10.9.0.2:4000").unwrap();
            ready.send(()).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; 1 << 18];
            let mut total = 0u64;
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                total += len as u64;
            }
            total
        })
    });
    let mut b = tuns.recv().unwrap();
    listening.recv().unwrap();
    let client_stop = Arc::clone(&stop);
    let client = thread::spawn(move || {
        in_namespace(move || {
            tun_side(1, mtu_bytes, &links);
            let mut stream = TcpStream::connect("10.9.0.2:4000").unwrap();
            let bytes = vec![7; 1 << 18];
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(TUN_SECONDS) {
                stream.write_all(&bytes).unwrap();
            }
            drop(stream);
            client_stop.store(true, Ordering::Release);
            start.elapsed()
        })
    });
    let mut a = tuns.recv().unwrap();
    let mut batch = Batch::default();
    let (mut receiving, mut sending) = (Duration::ZERO, Duration::ZERO);
    let (mut idle, mut batches) = (0, 0u64);
    while !stop.load(Ordering::Acquire) || idle < 100 {
        let start = Instant::now();
        let count = a.recv(&mut batch).unwrap();
        let middle = Instant::now();
        for index in 0..count {
            batch.set_verdict(index, Verdict::Deliver);
        }
        let _ = b.send(&mut batch).unwrap();
        if count > 0 {
            receiving += middle - start;
            sending += middle.elapsed();
            batches += 1;
        }
        let back = b.recv(&mut batch).unwrap();
        for index in 0..back {
            batch.set_verdict(index, Verdict::Deliver);
        }
        let _ = a.send(&mut batch).unwrap();
        idle = if count + back == 0 { idle + 1 } else { 0 };
        if idle > 0 {
            let (one, two) = (a.fd().unwrap(), b.fd().unwrap());
            let mut fds = [PollFd::new(&one, PollFlags::IN), PollFd::new(&two, PollFlags::IN)];
            let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            poll(&mut fds, Some(&timeout)).unwrap();
        }
    }
    let (bytes, time) = (server.join().unwrap(), client.join().unwrap());
    let packets = a.counters().get(C::ReceivedPackets);
    let each = |time: Duration| time.as_nanos() as f64 / packets as f64;
    println!(
        "tun   mtu {mtu_bytes}  {:.1} Gb/s  recv {:.1} ns  send {:.1} ns a packet, {:.1} packets a batch, {:.1} a super-packet sent",
        bytes as f64 * 8.0 / time.as_nanos() as f64,
        each(receiving),
        each(sending),
        packets as f64 / batches as f64,
        b.counters().get(C::SentInSupers) as f64 / b.counters().get(C::SentSupers) as f64,
    );
}

fn tun_side(host: u8, mtu_bytes: u32, links: &mpsc::Sender<TunLink>) {
    let link = TunLink::create(&TunConfig::new("inner", mtu_bytes, 64, 32)).unwrap().remove(0);
    ip(&format!("address add 10.9.0.{host}/24 dev inner"));
    links.send(link).unwrap();
}

fn udp_link(local: SocketAddr, peer: SocketAddr) -> UdpLink {
    UdpLink::open(&UdpConfig::new(local, vec![(Neighbour(0), peer)])).unwrap()
}

/// Both ends of a veth pair in this thread's namespace.
fn ethernet_links() -> (EthernetLink, EthernetLink) {
    let [a, b] = cable();
    let open = |name, peer| {
        EthernetLink::open(&EthernetConfig::new(name, vec![(Neighbour(0), peer)])).unwrap()
    };
    (open("left", b), open("right", a))
}

/// Likewise; `None`, and a word why, where this machine has none.
fn xdp_links(mode: Mode) -> Option<(XdpLink, XdpLink)> {
    let [a, b] = cable();
    let open = |name, peer| {
        let config = XdpConfig::new(name, vec![(Neighbour(0), peer)]);
        XdpLink::open(&XdpConfig { mode: Some(mode), ..config })
    };
    match (open("left", b), open("right", a)) {
        (Ok(left), Ok(right)) => Some((left, right)),
        (Err(error), _) | (_, Err(error)) => {
            println!("{mode:?}: {error}");
            None
        }
    }
}

fn cable() -> [Address; 2] {
    let [a, b] = [1, 2].map(|last| Address([2, 0, 0, 0, 0, last]));
    ip(&format!("link add name left address {a} up type veth peer name right address {b}"));
    ip("link set right up");
    // What is sent before the interfaces are up is lost.
    thread::sleep(Duration::from_secs(1));
    [a, b]
}

/// Sockets keep the namespace that they were made in.
fn veth_links() -> (UdpLink, UdpLink) {
    let [a, b] = ["10.8.0.1:6635", "10.8.0.2:6635"].map(|text| text.parse().unwrap());
    in_namespace(move || {
        let (to, thread_id) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            in_namespace(move || {
                to.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
                wait.recv().unwrap();
                ip("address add 10.8.0.2/24 dev right");
                ip("link set right up");
                udp_link(b, a)
            })
        });
        let id = thread_id.recv().unwrap();
        ip(&format!("link add left type veth peer name right netns /proc/{id}/ns/net"));
        ip("address add 10.8.0.1/24 dev left");
        ip("link set left up");
        go.send(()).unwrap();
        let right = other.join().unwrap();
        (udp_link(a, b), right)
    })
}

fn in_namespace<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let result = thread::spawn(|| {
        // SAFETY: only this thread changes its namespace.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "needs root: {}", std::io::Error::last_os_error());
        ip("link set lo up");
        body()
    });
    result.join().unwrap()
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}
