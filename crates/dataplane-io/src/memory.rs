//! A link in memory between two elements of one process: whole batches change hands, without a copy where every packet
//! of a batch goes the same way (DESIGN: "neighbouring hops in one process hand batches over without crossing a link").
//!
//! Each direction is a bounded queue of batches and a list of free ones. Handing over swaps the sender's batch with a
//! free one; receiving swaps it with the receiver's, which becomes free. Nothing is allocated after the first rounds.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringmail_dataplane::{BATCH_PACKETS, Batch, DropReason, Neighbour, Verdict};

use crate::counters::{LinkCounter as C, LinkCounters};
use crate::limits;
use crate::link::{Link, Sent};

/// One end of a link in memory.
#[derive(Debug)]
pub struct MemoryLink {
    peer: Neighbour,
    batch_bytes: usize,
    incoming: Arc<Mutex<Queue>>,
    outgoing: Arc<Mutex<Queue>>,
    counters: Arc<LinkCounters>,
}

/// One direction.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "a batch is 1.6 KB; pointers move between the lists")]
struct Queue {
    full: VecDeque<Box<Batch>>,
    free: Vec<Box<Batch>>,
    made: usize,
}

/// A link between two elements. The first knows the second as `second`, the second knows the first as `first`. Both use
/// batches of `batch_bytes`, usually [`ringmail_dataplane::batch::BATCH_BYTES`].
pub fn pair(first: Neighbour, second: Neighbour, batch_bytes: usize) -> (MemoryLink, MemoryLink) {
    let (forth, back) = (Arc::<Mutex<Queue>>::default(), Arc::<Mutex<Queue>>::default());
    let end = |peer, incoming: &Arc<_>, outgoing: &Arc<_>| MemoryLink {
        peer,
        batch_bytes,
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        counters: Arc::default(),
    };
    (end(second, &back, &forth), end(first, &forth, &back))
}

impl MemoryLink {
    /// The neighbour at the other end.
    pub fn peer(&self) -> Neighbour {
        self.peer
    }

    fn is_mine(&self, batch: &Batch, slot: usize) -> bool {
        batch.verdict(slot) == Verdict::Send(self.peer)
    }

    /// Both ends agree on one size of batch, so that they can be swapped.
    fn check(&self, batch: &Batch) -> io::Result<()> {
        if batch.buffer().len() == self.batch_bytes {
            Ok(())
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// Swaps the batch with a free one, which looks the same from outside afterwards but for its bytes.
    fn hand_over(&self, batch: &mut Batch, free: &mut Batch) {
        mem::swap(batch, free);
        let taken = free;
        batch.clear();
        batch.set_source(taken.source());
        let mut mine = [(0, 0, 0, 0); BATCH_PACKETS];
        let mut count = 0;
        for slot in 0..taken.len() {
            let (range, (headroom, tailroom)) = (taken.range(slot), taken.room(slot));
            let place = (range.start, range.len(), headroom, tailroom);
            if self.is_mine(taken, slot) {
                mine[count] = place;
                count += 1;
            }
            declare(batch, place, taken.verdict(slot));
        }
        taken.clear();
        for place in &mine[..count] {
            declare(taken, *place, Verdict::Pending);
        }
    }

    /// Copies this link's packets to the free batch, because others are still needed where they are.
    fn copy(&self, batch: &Batch, free: &mut Batch) {
        free.clear();
        for slot in (0..batch.len()).filter(|slot| self.is_mine(batch, *slot)) {
            let (headroom, tailroom) = batch.room(slot);
            let copied = free.push_copy(headroom, batch.packet(slot), tailroom);
            debug_assert!(copied.is_ok(), "part of a batch fits into one of the same size");
        }
    }
}

impl Link for MemoryLink {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        batch.clear();
        self.check(batch)?;
        {
            let mut queue = lock(&self.incoming);
            let Some(mut received) = queue.full.pop_front() else { return Ok(0) };
            mem::swap(batch, &mut received);
            queue.free.push(received);
        }
        batch.set_source(Some(self.peer));
        self.counters.add(C::ReceivedPackets, batch.len() as u64);
        self.counters.add(C::ReceivedBytes, bytes(batch, |_| true) as u64);
        Ok(batch.len())
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        self.check(batch)?;
        let (mut mine, mut others) = (0, 0);
        for slot in 0..batch.len() {
            match batch.verdict(slot) {
                Verdict::Send(to) if to == self.peer => mine += 1,
                Verdict::Send(_) | Verdict::Deliver | Verdict::Function(_) => others += 1,
                Verdict::Pending | Verdict::Drop(_) => {}
            }
        }
        if mine == 0 {
            return Ok(Sent::default());
        }
        let mut queue = lock(&self.outgoing);
        let Some(mut free) = queue.take_free(self.batch_bytes) else {
            drop(queue);
            for slot in 0..batch.len() {
                if self.is_mine(batch, slot) {
                    batch.drop_packet(slot, DropReason::LinkRefused);
                }
            }
            self.counters.add(C::SendRefused, mine as u64);
            return Ok(Sent { packets: 0, refused: mine });
        };
        let bytes = bytes(batch, |slot| self.is_mine(batch, slot));
        if others == 0 {
            self.hand_over(batch, &mut free);
        } else {
            self.copy(batch, &mut free);
        }
        queue.full.push_back(free);
        drop(queue);
        self.counters.add(C::SentPackets, mine as u64);
        self.counters.add(C::SentBytes, bytes as u64);
        Ok(Sent { packets: mine, refused: 0 })
    }

    fn carries(&self, verdict: Verdict) -> bool {
        verdict == Verdict::Send(self.peer)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }
}

impl Queue {
    /// `None` when the other end has as many batches waiting as it may.
    fn take_free(&mut self, batch_bytes: usize) -> Option<Box<Batch>> {
        if let Some(batch) = self.free.pop() {
            return Some(batch);
        }
        if self.made == limits::MEMORY_QUEUE_BATCHES {
            return None;
        }
        self.made += 1;
        // Room for all that can come back: neither list grows again.
        self.full.reserve(limits::MEMORY_QUEUE_BATCHES);
        self.free.reserve(limits::MEMORY_QUEUE_BATCHES);
        Some(Box::new(Batch::with_capacity_bytes(batch_bytes)))
    }
}

fn declare(batch: &mut Batch, place: (usize, usize, usize, usize), verdict: Verdict) {
    let (start, len, headroom, tailroom) = place;
    if let Ok(slot) = batch.declare(start, len, headroom, tailroom) {
        batch.set_verdict(slot, verdict);
    }
}

fn bytes(batch: &Batch, counts: impl Fn(usize) -> bool) -> usize {
    (0..batch.len()).filter(|slot| counts(*slot)).map(|slot| batch.range(slot).len()).sum()
}

/// A panic elsewhere leaves the queue as it was: there is nothing half done in it.
fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH_BYTES: usize = 4096;
    const FIRST: Neighbour = Neighbour(3);
    const SECOND: Neighbour = Neighbour(8);

    fn batch_of(packets: &[(&[u8], Verdict)]) -> Batch {
        let mut batch = Batch::with_capacity_bytes(BATCH_BYTES);
        for (bytes, verdict) in packets {
            let slot = batch.push_copy(4, bytes, 6).unwrap();
            batch.set_verdict(slot, *verdict);
        }
        batch
    }

    fn packets(batch: &Batch) -> Vec<&[u8]> {
        (0..batch.len()).map(|slot| batch.packet(slot)).collect()
    }

    #[test]
    fn a_batch_that_goes_one_way_is_handed_over_where_it_lies() {
        let (mut one, mut two) = pair(FIRST, SECOND, BATCH_BYTES);
        let dropped = Verdict::Drop(DropReason::TooOld);
        let mut batch = batch_of(&[
            (b"one", Verdict::Send(SECOND)),
            (b"old", dropped),
            (b"three", Verdict::Send(SECOND)),
        ]);
        let at = batch.buffer().as_ptr();
        assert_eq!(one.send(&mut batch).unwrap(), Sent { packets: 2, refused: 0 });
        assert_eq!((batch.len(), batch.verdict(1), batch.range(2).len()), (3, dropped, 5));

        let mut received = Batch::with_capacity_bytes(BATCH_BYTES);
        assert_eq!(two.recv(&mut received).unwrap(), 2);
        assert_eq!(received.buffer().as_ptr(), at, "nothing was copied");
        assert_eq!(packets(&received), [&b"one"[..], b"three"]);
        assert_eq!((received.source(), received.verdict(1)), (Some(FIRST), Verdict::Pending));
        assert_eq!(received.room(1), (4, 6));
        assert_eq!(two.recv(&mut received).unwrap(), 0);
    }

    #[test]
    fn packets_for_others_stay_where_they_are() {
        let (mut one, mut two) = pair(FIRST, SECOND, BATCH_BYTES);
        let other = Verdict::Send(Neighbour(1));
        let mut batch = batch_of(&[
            (b"in", Verdict::Deliver),
            (b"two", Verdict::Send(SECOND)),
            (b"else", other),
        ]);
        assert_eq!(one.send(&mut batch).unwrap(), Sent { packets: 1, refused: 0 });
        assert_eq!(packets(&batch), [&b"in"[..], b"two", b"else"]);
        assert_eq!(batch.verdict(2), other);
        let mut received = Batch::with_capacity_bytes(BATCH_BYTES);
        assert_eq!(two.recv(&mut received).unwrap(), 1);
        assert_eq!(packets(&received), [b"two"]);
    }

    #[test]
    fn a_full_queue_refuses_and_order_is_kept() {
        let (mut one, mut two) = pair(FIRST, SECOND, BATCH_BYTES);
        for turn in 0..limits::MEMORY_QUEUE_BATCHES {
            let mut batch = batch_of(&[(&[turn as u8], Verdict::Send(SECOND))]);
            assert_eq!(one.send(&mut batch).unwrap().packets, 1);
        }
        let mut batch = batch_of(&[(b"late", Verdict::Send(SECOND)), (b"in", Verdict::Deliver)]);
        assert_eq!(one.send(&mut batch).unwrap(), Sent { packets: 0, refused: 1 });
        assert_eq!(batch.verdict(0), Verdict::Drop(DropReason::LinkRefused));
        assert_eq!(batch.verdict(1), Verdict::Deliver);
        for turn in 0..limits::MEMORY_QUEUE_BATCHES {
            assert_eq!(two.recv(&mut batch).unwrap(), 1);
            assert_eq!(packets(&batch), [[turn as u8]]);
        }
        let mut batch = batch_of(&[(b"again", Verdict::Send(SECOND))]);
        assert_eq!(one.send(&mut batch).unwrap().packets, 1);
        assert_eq!(one.counters().get(C::SendRefused), 1);
    }

    #[test]
    fn a_batch_of_another_size_is_the_callers_mistake() {
        let (mut one, _two) = pair(FIRST, SECOND, BATCH_BYTES);
        let mut batch = Batch::with_capacity_bytes(BATCH_BYTES * 2);
        assert_eq!(one.recv(&mut batch).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(one.send(&mut batch).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
