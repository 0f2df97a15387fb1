//! A link with faults ([`Faulty`]) that goes by the system's clock: for elements of a soak, never for traffic that matters.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmail_dataplane::{Batch, Neighbour, Verdict};

use crate::counters::LinkCounters;
use crate::fault::{FaultCounts, Faults, Faulty, VirtualClock};
use crate::link::{Link, Sent};

/// A link whose packets meet faults on their way out.
#[derive(Debug)]
pub struct Troubled<L> {
    link: Faulty<L>,
    clock: VirtualClock,
    began: Instant,
}

impl<L: Link> Troubled<L> {
    /// Faults on what goes out of `inner`.
    pub fn new(inner: L, seed: u64, faults: Faults) -> Troubled<L> {
        let clock = VirtualClock::default();
        let link = Faulty::new(inner, seed, None, Some(faults), clock.clone());
        Troubled { link, clock, began: Instant::now() }
    }

    fn tick(&self) -> u64 {
        let now_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.clock.advance_to_us(now_us);
        now_us
    }
}

impl<L: Link> Link for Troubled<L> {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        self.tick();
        self.link.recv(batch)
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        self.tick();
        self.link.send(batch)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        self.link.carries(verdict)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.link.fd()
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        self.link.counters()
    }

    fn count_kernel_drops(&mut self) {
        self.link.count_kernel_drops();
    }

    fn set_peers(&mut self, peers: &[(Neighbour, SocketAddr)]) -> bool {
        self.link.set_peers(peers)
    }

    fn due_in(&self) -> Option<Duration> {
        let now_us = self.tick();
        self.link.next_due_us().map(|due_us| Duration::from_micros(due_us.saturating_sub(now_us)))
    }

    fn faults(&self) -> Option<FaultCounts> {
        Some(self.link.sent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;
    use ringmail_dataplane::batch::BATCH_BYTES;

    #[test]
    fn what_is_held_back_goes_when_its_time_has_come() {
        let (one, mut two) = memory::pair(Neighbour(0), Neighbour(1), BATCH_BYTES);
        let faults = Faults { delay_us: 20_000, ..Faults::default() };
        let mut troubled = Troubled::new(one, 1, faults);
        let mut batch = Batch::default();
        let slot = batch.push_copy(0, b"packet", 0).expect("room");
        batch.set_verdict(slot, Verdict::Send(Neighbour(1)));
        assert_eq!(troubled.send(&mut batch).expect("a link"), Sent { packets: 1, refused: 0 });
        let held = |link: &Troubled<_>| link.faults().map(|counts: FaultCounts| counts.held);
        assert_eq!((two.recv(&mut batch).expect("a link"), held(&troubled)), (0, Some(1)));
        while let Some(wait) = troubled.due_in() {
            assert!(wait <= Duration::from_millis(20));
            std::thread::sleep(wait);
            assert_eq!(troubled.recv(&mut batch).expect("a link"), 0);
        }
        assert_eq!((two.recv(&mut batch).expect("a link"), held(&troubled)), (1, Some(0)));
    }
}
