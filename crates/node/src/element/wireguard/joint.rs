//! A gateway worker's inner side as one link: its TUN, and a link in memory to the WireGuard end. What goes to an address
//! of a WireGuard client takes the latter.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ringmail_dataplane::{Batch, Neighbour, Verdict};
use ringmail_dataplane_io::memory::{self, MemoryLink};
use ringmail_dataplane_io::poll::{Poller, Waker};
use ringmail_dataplane_io::{Link, LinkCounters, Sent};
use ringmail_packet::{ipv4, ipv6};

use crate::element::worker::BATCH_BYTES;

/// The two ends of a link in memory; elements never have these numbers.
const WORKER: Neighbour = Neighbour(u16::MAX);
const FRONT: Neighbour = Neighbour(u16::MAX - 1);

/// What the WireGuard end holds of the joints.
pub(in crate::element) struct Joints {
    /// One for each worker.
    pub(super) links: Vec<MemoryLink>,
    /// Its own poller; the workers' ends wake it.
    pub(super) poller: Poller,
    pub(super) shared: Arc<Shared>,
}

/// What both sides look at.
pub(super) struct Shared {
    open: AtomicBool,
    addresses: ArcSwap<HashSet<IpAddr>>,
    waker: Waker,
}

/// One worker's inner side.
struct Joint {
    tun: Box<dyn Link>,
    front: MemoryLink,
    shared: Arc<Shared>,
    /// Which side was asked last.
    front_last: bool,
}

/// Joins each of these with a link to the WireGuard end.
///
/// # Errors
/// When the system has no poller.
pub(in crate::element) fn join(
    inner: Vec<Box<dyn Link>>,
) -> io::Result<(Vec<Box<dyn Link>>, Joints)> {
    let poller = Poller::new()?;
    let shared = Arc::new(Shared {
        open: AtomicBool::new(false),
        addresses: ArcSwap::default(),
        waker: poller.waker(),
    });
    let (mut joined, mut links): (Vec<Box<dyn Link>>, _) = (Vec::new(), Vec::new());
    for tun in inner {
        let (front, link) = memory::pair(WORKER, FRONT, BATCH_BYTES);
        let shared = Arc::clone(&shared);
        joined.push(Box::new(Joint { tun, front, shared, front_last: false }));
        links.push(link);
    }
    Ok((joined, Joints { links, poller, shared }))
}

impl Joints {
    pub(super) fn waker(&self) -> Waker {
        self.poller.waker()
    }
}

impl Shared {
    /// From now on what goes to these addresses goes to the WireGuard end.
    pub(super) fn set_addresses(&self, addresses: HashSet<IpAddr>) {
        let open = !addresses.is_empty();
        self.addresses.store(Arc::new(addresses));
        self.open.store(open, Ordering::Release);
    }
}

/// Marks a batch as going to the worker.
pub(super) fn to_worker(batch: &mut Batch) {
    for slot in 0..batch.len() {
        batch.set_verdict(slot, Verdict::Send(WORKER));
    }
}

impl Joint {
    /// Whether there was a batch of the WireGuard end's.
    fn recv_front(&mut self, batch: &mut Batch) -> io::Result<usize> {
        let count = self.front.recv(batch)?;
        batch.set_source(None);
        Ok(count)
    }
}

impl Link for Joint {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        if !self.shared.open.load(Ordering::Acquire) {
            return self.tun.recv(batch);
        }
        self.front_last = !self.front_last;
        if self.front_last {
            match self.recv_front(batch)? {
                0 => self.tun.recv(batch),
                count => Ok(count),
            }
        } else {
            match self.tun.recv(batch)? {
                0 => self.recv_front(batch),
                count => Ok(count),
            }
        }
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        if !self.shared.open.load(Ordering::Acquire) {
            return self.tun.send(batch);
        }
        let mut any = false;
        {
            let addresses = self.shared.addresses.load();
            for slot in 0..batch.len() {
                if batch.verdict(slot) == Verdict::Deliver
                    && destination(batch.packet(slot)).is_some_and(|to| addresses.contains(&to))
                {
                    batch.set_verdict(slot, Verdict::Send(FRONT));
                    any = true;
                }
            }
        }
        // Before the bytes of what goes to the other side may have changed hands.
        let mut sent = self.tun.send(batch)?;
        if any {
            let also = self.front.send(batch)?;
            sent.packets += also.packets;
            sent.refused += also.refused;
            for slot in 0..batch.len() {
                if batch.verdict(slot) == Verdict::Send(FRONT) {
                    batch.set_verdict(slot, Verdict::Deliver);
                }
            }
            self.shared.waker.wake();
        }
        Ok(sent)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        self.tun.carries(verdict)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.tun.fd()
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        self.tun.counters()
    }

    fn count_kernel_drops(&mut self) {
        self.tun.count_kernel_drops();
    }

    fn set_peers(&mut self, peers: &[(Neighbour, SocketAddr)]) -> bool {
        self.tun.set_peers(peers)
    }

    fn due_in(&self) -> Option<Duration> {
        self.tun.due_in()
    }
}

/// Where an IP packet goes.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(ipv4::Packet::new_checked(packet).ok()?.dst_addr().into()),
        6 => Some(ipv6::Packet::new_checked(packet).ok()?.dst_addr().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ringmail_dataplane::DropReason;

    use super::*;

    /// A TUN that notes what it is given.
    struct Noting(Arc<Mutex<Vec<Vec<u8>>>>, Arc<LinkCounters>);

    impl Link for Noting {
        fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
            batch.clear();
            Ok(0)
        }

        fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
            let mut packets = 0;
            for slot in 0..batch.len() {
                if batch.verdict(slot) == Verdict::Deliver {
                    self.0.lock().unwrap().push(batch.packet(slot).to_vec());
                    packets += 1;
                }
            }
            Ok(Sent { packets, refused: 0 })
        }

        fn carries(&self, verdict: Verdict) -> bool {
            verdict == Verdict::Deliver
        }

        fn fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        fn counters(&self) -> &Arc<LinkCounters> {
            &self.1
        }
    }

    fn packet_to(last: u8) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 79, 0, 10];
        bytes.extend([10, 78, 0, last]);
        bytes
    }

    #[test]
    fn what_goes_to_a_client_takes_the_link_and_the_rest_the_tun() {
        let to_tun = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let tun = Noting(Arc::clone(&to_tun), Arc::default());
        let (mut inner, mut joints) = join(vec![Box::new(tun)]).unwrap();
        joints.shared.set_addresses([IpAddr::from([10, 78, 0, 7])].into());
        for wanted in [&[7u8, 1][..], &[7]] {
            let mut batch = Batch::with_capacity_bytes(BATCH_BYTES);
            for last in wanted {
                let slot = batch.push_copy(64, &packet_to(*last), 24).unwrap();
                batch.set_verdict(slot, Verdict::Deliver);
            }
            batch.push_copy(64, &packet_to(7), 24).unwrap();
            let dropped = wanted.len();
            batch.drop_packet(dropped, DropReason::NoPath);
            assert_eq!(inner[0].send(&mut batch).unwrap().packets, wanted.len());
            assert_eq!(batch.verdict(0), Verdict::Deliver);
            assert_eq!(batch.verdict(dropped), Verdict::Drop(DropReason::NoPath));
            let mut got = Batch::with_capacity_bytes(BATCH_BYTES);
            assert!(joints.links[0].recv(&mut got).unwrap() >= 1);
            assert_eq!(got.packet(0), packet_to(7));
        }
        assert_eq!(*to_tun.lock().unwrap(), [packet_to(1)]);
        // The other way, in turn with the TUN.
        let mut batch = Batch::with_capacity_bytes(BATCH_BYTES);
        batch.push_copy(64, &packet_to(9), 24).unwrap();
        to_worker(&mut batch);
        assert_eq!(joints.links[0].send(&mut batch).unwrap().packets, 1);
        let mut got = Batch::with_capacity_bytes(BATCH_BYTES);
        assert_eq!(inner[0].recv(&mut got).unwrap(), 1);
        assert_eq!((got.packet(0), got.source()), (&packet_to(9)[..], None));
    }
}
