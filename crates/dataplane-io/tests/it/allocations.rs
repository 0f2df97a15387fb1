//! Links allocate nothing once they run: counted by the allocator, for this thread alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use ringmail_dataplane::batch::BATCH_BYTES;
use ringmail_dataplane::{Batch, Neighbour, Verdict};
use ringmail_dataplane_io::ethernet::EthernetLink;
use ringmail_dataplane_io::pcapng::{Capture, CaptureLimits, Framing, Tapped};
use ringmail_dataplane_io::tun::{TunConfig, TunLink};
use ringmail_dataplane_io::udp::{UdpConfig, UdpLink};
use ringmail_dataplane_io::xdp::XdpLink;
use ringmail_dataplane_io::{Link, LinkCounter as C, memory};

use crate::netns::{self, isolated};
use crate::{ethernet, xdp};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocated in its second hundred rounds.
fn allocations(mut work: impl FnMut()) -> u64 {
    (0..100).for_each(|_| work());
    let before = ALLOCATIONS.with(Cell::get);
    (0..100).for_each(|_| work());
    ALLOCATIONS.with(Cell::get) - before
}

/// Sends 64 packets of mixed lengths from one link to the other.
fn exchange(from: &mut impl Link, to: &mut impl Link, batch: &mut Batch) {
    batch.clear();
    for index in 0..64 {
        let slot = batch.push(8, if index % 10 == 9 { 60 } else { 1400 }, 8).unwrap();
        batch.set_verdict(slot, Verdict::Send(Neighbour(0)));
    }
    assert_eq!(from.send(batch).unwrap().packets, 64);
    let mut received = 0;
    while received < 64 {
        received += to.recv(batch).unwrap();
    }
}

#[test]
fn the_test_itself_sees_allocations() {
    assert!(allocations(|| drop(Box::new([0u8; 100]))) >= 100);
}

#[test]
fn udp_allocates_nothing() {
    isolated("allocations::udp_allocates_nothing", || {
        let [mut a, mut b] = udp_links();
        let mut batch = Batch::default();
        assert_eq!(allocations(|| exchange(&mut a, &mut b, &mut batch)), 0);
    });
}

#[test]
fn ethernet_allocates_nothing() {
    isolated("allocations::ethernet_allocates_nothing", || {
        ethernet::bridge(1500);
        let [mut a, mut b] = [0, 1].map(|own| {
            let mut config = ethernet::config(own);
            // The neighbour that `exchange` sends to.
            let address = config.peers[0].1;
            config.peers = vec![(Neighbour(0), address)];
            EthernetLink::open(&config).unwrap()
        });
        let mut batch = Batch::default();
        assert_eq!(allocations(|| exchange(&mut a, &mut b, &mut batch)), 0);
    });
}

#[test]
fn xdp_allocates_nothing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED allocations::xdp_allocates_nothing: AF_XDP needs root of the machine");
        return;
    }
    isolated("allocations::xdp_allocates_nothing", || {
        ethernet::bridge(1500);
        let [mut a, mut b] = [0, 1].map(|own| {
            let mut config = xdp::xdp_config(own);
            config.peers = vec![(Neighbour(0), config.peers[0].1)];
            XdpLink::open(&config).unwrap()
        });
        let mut batch = Batch::default();
        assert_eq!(allocations(|| exchange(&mut a, &mut b, &mut batch)), 0);
    });
}

#[test]
fn memory_allocates_nothing() {
    let (mut a, mut b) = memory::pair(Neighbour(1), Neighbour(0), BATCH_BYTES);
    let mut batch = Batch::default();
    assert_eq!(allocations(|| exchange(&mut a, &mut b, &mut batch)), 0);
}

#[test]
fn a_tap_allocates_nothing() {
    isolated("allocations::a_tap_allocates_nothing", || {
        let path = std::env::temp_dir().join(format!("tap-{}.pcapng", std::process::id()));
        let capture = Capture::create(&path, CaptureLimits::default()).unwrap();
        let [a, mut b] = udp_links();
        let mut a = Tapped::new(a, capture.tap("a", Framing::Ip));
        let mut batch = Batch::default();
        assert_eq!(allocations(|| exchange(&mut a, &mut b, &mut batch)), 0);
        drop(a);
        let report = capture.finish().unwrap();
        assert_eq!((report.captured, report.missed), (200 * 64, 0));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn tun_allocates_nothing() {
    isolated("allocations::tun_allocates_nothing", || {
        let mut link = TunLink::create(&TunConfig::new("inner", 1400, 64, 32)).unwrap().remove(0);
        netns::add_address("10.9.0.1", 24, "inner");
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        let segment: libc::c_int = 1000;
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
        let (mut batch, payload) = (Batch::default(), [7; 30_500]);
        let target: SocketAddr = "10.9.0.2:9".parse().unwrap();
        let rounds = allocations(|| {
            socket.send_to(&payload, target).unwrap();
            let mut received = 0;
            while received < 31 {
                let count = link.recv(&mut batch).unwrap();
                for slot in 0..count {
                    batch.set_verdict(slot, Verdict::Deliver);
                }
                // The kernel takes what it is given, and has no use for it.
                assert_eq!(link.send(&mut batch).unwrap().packets, count);
                received += count;
            }
        });
        assert_eq!(rounds, 0);
        assert!(link.counters().get(C::SentInSupers) > 5000, "{:?}", link.counters());
    });
}

fn udp_links() -> [UdpLink; 2] {
    let [a, b] = ["127.0.0.1:6635", "127.0.0.2:6635"].map(|text| text.parse().unwrap());
    [(a, b), (b, a)].map(|(local, peer)| {
        UdpLink::open(&UdpConfig::new(local, vec![(Neighbour(0), peer)])).unwrap()
    })
}
