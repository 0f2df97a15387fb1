//! Several links in memory as one: what an element has that hands over to more than one neighbour of its process.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ringmail_dataplane::{Batch, DropReason, Verdict};

use crate::counters::{LinkCounter as C, LinkCounters};
use crate::link::{Link, Sent};
use crate::memory::MemoryLink;

/// The links of one element to its neighbours in the same process.
#[derive(Debug)]
pub struct Fan {
    links: Vec<MemoryLink>,
    /// The link that is looked at first by the next receive, so that none starves the others.
    next: usize,
    counters: Arc<LinkCounters>,
}

impl Fan {
    /// The links of one element, each to another neighbour.
    pub fn new(links: Vec<MemoryLink>) -> Fan {
        Fan { links, next: 0, counters: Arc::default() }
    }
}

impl Link for Fan {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        batch.clear();
        for _ in 0..self.links.len() {
            let at = self.next;
            self.next = (at + 1) % self.links.len();
            let received = self.links[at].recv(batch)?;
            if received > 0 {
                let bytes: usize = (0..received).map(|slot| batch.packet(slot).len()).sum();
                self.counters.add(C::ReceivedPackets, received as u64);
                self.counters.add(C::ReceivedBytes, bytes as u64);
                return Ok(received);
            }
        }
        Ok(0)
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        let (mut total, mut bytes) = (Sent::default(), 0);
        for slot in 0..batch.len() {
            if let Verdict::Send(to) = batch.verdict(slot)
                && !self.links.iter().any(|link| link.peer() == to)
            {
                batch.drop_packet(slot, DropReason::LinkRefused);
                total.refused += 1;
            }
        }
        for link in &mut self.links {
            let sent = link.send(batch)?;
            total.packets += sent.packets;
            total.refused += sent.refused;
        }
        for slot in 0..batch.len() {
            // What a link refused is a drop by now.
            if matches!(batch.verdict(slot), Verdict::Send(_)) {
                bytes += batch.packet(slot).len();
            }
        }
        self.counters.add(C::SentPackets, total.packets as u64);
        self.counters.add(C::SentBytes, bytes as u64);
        self.counters.add(C::SendRefused, total.refused as u64);
        Ok(total)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        self.links.iter().any(|link| link.carries(verdict))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use ringmail_dataplane::Neighbour;
    use ringmail_dataplane::batch::BATCH_BYTES;

    use super::*;
    use crate::memory;

    #[test]
    fn each_packet_goes_to_its_neighbour_and_one_for_nobody_is_refused() {
        let (hub, left, right) = (Neighbour(0), Neighbour(1), Neighbour(2));
        let (to_left, mut at_left) = memory::pair(hub, left, BATCH_BYTES);
        let (to_right, mut at_right) = memory::pair(hub, right, BATCH_BYTES);
        let mut fan = Fan::new(vec![to_left, to_right]);
        let mut batch = Batch::default();
        for (to, byte) in [(left, 1), (right, 2), (Neighbour(9), 3), (left, 4)] {
            let slot = batch.push_copy(0, &[byte; 100], 0).unwrap();
            batch.set_verdict(slot, Verdict::Send(to));
        }
        assert_eq!(fan.send(&mut batch).unwrap(), Sent { packets: 3, refused: 1 });
        assert_eq!(batch.verdict(2), Verdict::Drop(DropReason::LinkRefused));
        let counted = |counter| fan.counters().get(counter);
        assert_eq!(counted(C::SentPackets), 3);
        assert_eq!(counted(C::SentBytes), 300, "of those that went, whatever was refused beside");
        assert_eq!(counted(C::SendRefused), 1);
        let mut received = Batch::default();
        assert_eq!(at_left.recv(&mut received).unwrap(), 2);
        assert_eq!((received.packet(0)[0], received.packet(1)[0]), (1, 4));
        assert_eq!((at_right.recv(&mut received).unwrap(), received.packet(0)[0]), (1, 2));
        received.set_verdict(0, Verdict::Send(hub));
        assert_eq!(at_right.send(&mut received).unwrap().packets, 1);
        assert_eq!((fan.recv(&mut batch).unwrap(), batch.source()), (1, Some(right)));
    }

    #[test]
    fn what_a_full_link_refuses_is_not_counted_as_sent() {
        let (hub, left, right) = (Neighbour(0), Neighbour(1), Neighbour(2));
        let (to_left, _nobody_reads) = memory::pair(hub, left, BATCH_BYTES);
        let (to_right, mut at_right) = memory::pair(hub, right, BATCH_BYTES);
        let mut fan = Fan::new(vec![to_left, to_right]);
        let rounds = crate::limits::MEMORY_QUEUE_BATCHES as u64 + 5;
        for _ in 0..rounds {
            let mut batch = Batch::default();
            for (to, len) in [(left, 7), (right, 100)] {
                let slot = batch.push_copy(0, &vec![0; len], 0).unwrap();
                batch.set_verdict(slot, Verdict::Send(to));
            }
            let _sent = fan.send(&mut batch).unwrap();
            assert_eq!(at_right.recv(&mut batch).unwrap(), 1);
        }
        let counted = |counter| fan.counters().get(counter);
        assert_eq!(counted(C::SendRefused), 5);
        assert_eq!(counted(C::SentPackets), 2 * rounds - 5);
        assert_eq!(counted(C::SentBytes), 100 * rounds + 7 * (rounds - 5));
    }
}
