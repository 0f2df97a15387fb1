//! A link made worse on purpose: loss, duplication, reordering, corruption and delay, the same ones for the same seed.
//!
//! Every packet of a direction with faults is copied and held until it is due, by a clock that the test or the driver
//! moves; with no clock moving, packets without delay pass at once. For tests and demonstrations: it costs copies.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringmail_dataplane::{Batch, DropReason, Neighbour, Verdict};
use ringmail_model::SplitMix64;

use crate::counters::LinkCounters;
use crate::limits;
use crate::link::{Link, Sent};

/// What happens to the packets of one direction; each in packets of a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Lost.
    pub loss_ppm: u32,
    /// Sent twice.
    pub duplicate_ppm: u32,
    /// Held back by [`Faults::reorder_us`], so that later ones overtake.
    pub reorder_ppm: u32,
    /// One bit turned.
    pub corrupt_ppm: u32,
    /// How long a reordered packet is held back.
    pub reorder_us: u64,
    /// Every packet is late by this at least.
    pub delay_us: u64,
    /// And by a random time below this on top; packets may overtake each other by it.
    pub jitter_us: u64,
}

/// How many packets met which fate, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// All packets that came.
    pub packets: u64,
    /// Lost on purpose.
    pub lost: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// With one bit turned.
    pub corrupted: u64,
    /// Lost because too many are held back already.
    pub overflowed: u64,
    /// Held back now, copies included.
    pub held: u64,
}

/// The time that faults go by, in microseconds; it stands still unless somebody moves it.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    /// What time it is.
    pub fn now_us(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Moves it, forward only.
    pub fn advance_to_us(&self, now_us: u64) {
        self.0.fetch_max(now_us, Ordering::Relaxed);
    }
}

/// A link with faults.
#[derive(Debug)]
pub struct Faulty<L> {
    inner: L,
    clock: VirtualClock,
    receiving: Option<Direction<Option<Neighbour>>>,
    sending: Option<Direction<Verdict>>,
    scratch: Batch,
}

/// Packets held back, each with what it is to be sent with.
#[derive(Debug)]
struct Direction<M> {
    faults: Faults,
    counts: FaultCounts,
    random: SplitMix64,
    /// By the time when they are due, then by arrival.
    held: BTreeMap<(u64, u64), (M, Vec<u8>)>,
    arrivals: u64,
}

impl<L: Link> Faulty<L> {
    /// Faults on what comes in and on what goes out; `None` leaves a direction as it is.
    pub fn new(
        inner: L,
        seed: u64,
        receiving: Option<Faults>,
        sending: Option<Faults>,
        clock: VirtualClock,
    ) -> Faulty<L> {
        Faulty {
            inner,
            clock,
            receiving: receiving.map(|faults| Direction::new(faults, seed)),
            sending: sending.map(|faults| Direction::new(faults, !seed)),
            scratch: Batch::default(),
        }
    }

    /// What happened to packets that came in.
    pub fn received(&self) -> FaultCounts {
        self.receiving.as_ref().map_or_else(FaultCounts::default, Direction::counts)
    }

    /// What happened to packets that went out.
    pub fn sent(&self) -> FaultCounts {
        self.sending.as_ref().map_or_else(FaultCounts::default, Direction::counts)
    }

    /// When the next packet that is held back is due: do not wait for the file descriptor any longer than that.
    pub fn next_due_us(&self) -> Option<u64> {
        let receiving = self.receiving.as_ref().and_then(Direction::next_due_us);
        let sending = self.sending.as_ref().and_then(Direction::next_due_us);
        receiving.into_iter().chain(sending).min()
    }

    /// Sends what is due.
    fn release(&mut self) -> io::Result<()> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let now_us = self.clock.now_us();
        loop {
            self.scratch.clear();
            while let Some(verdict) = sending.release(now_us, &mut self.scratch, |_| true) {
                let slot = self.scratch.len() - 1;
                self.scratch.set_verdict(slot, verdict);
            }
            if self.scratch.is_empty() {
                return Ok(());
            }
            // What the link refuses is lost, as on a real one, and counted there.
            let _ = self.inner.send(&mut self.scratch)?;
        }
    }
}

impl<L: Link> Link for Faulty<L> {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        self.release()?;
        let Some(receiving) = &mut self.receiving else { return self.inner.recv(batch) };
        let now_us = self.clock.now_us();
        for _ in 0..limits::RECEIVE_CALLS_MAX {
            if self.inner.recv(batch)? == 0 {
                break;
            }
            for index in 0..batch.len() {
                receiving.take(now_us, batch.source(), batch.packet(index));
            }
        }
        batch.clear();
        let mut source = None;
        while let Some(from) =
            receiving.release(now_us, batch, |from| source.is_none_or(|source| source == *from))
        {
            source = Some(from);
        }
        batch.set_source(source.flatten());
        Ok(batch.len())
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        let Some(sending) = &mut self.sending else { return self.inner.send(batch) };
        let now_us = self.clock.now_us();
        let mut sent = Sent::default();
        for index in 0..batch.len() {
            let verdict = batch.verdict(index);
            if !self.inner.carries(verdict) {
                continue;
            }
            if sending.take(now_us, verdict, batch.packet(index)) {
                sent.packets += 1;
            } else {
                sent.refused += 1;
                batch.drop_packet(index, DropReason::LinkRefused);
            }
        }
        self.release()?;
        Ok(sent)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        self.inner.carries(verdict)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        self.inner.counters()
    }

    fn count_kernel_drops(&mut self) {
        self.inner.count_kernel_drops();
    }

    fn set_peers(&mut self, peers: &[(Neighbour, SocketAddr)]) -> bool {
        self.inner.set_peers(peers)
    }
}

impl<M: Copy> Direction<M> {
    fn new(faults: Faults, seed: u64) -> Direction<M> {
        Direction {
            faults,
            counts: FaultCounts::default(),
            random: SplitMix64(seed),
            held: BTreeMap::new(),
            arrivals: 0,
        }
    }

    fn counts(&self) -> FaultCounts {
        FaultCounts { held: self.held.len() as u64, ..self.counts }
    }

    fn next_due_us(&self) -> Option<u64> {
        self.held.keys().next().map(|(due_us, _)| *due_us)
    }

    /// Decides about one packet. Draws the same number of times whatever comes out, so that one fault more or less leaves
    /// the others as they are. `false` if there was no room.
    fn take(&mut self, now_us: u64, with: M, packet: &[u8]) -> bool {
        let Faults { loss_ppm, duplicate_ppm, reorder_ppm, corrupt_ppm, .. } = self.faults;
        let [lost, duplicated, reordered, corrupted] =
            [loss_ppm, duplicate_ppm, reorder_ppm, corrupt_ppm]
                .map(|ppm| self.random.below(1_000_000) < u64::from(ppm));
        let (jitter, bit) = (self.random.draw(), self.random.draw());
        self.counts.packets += 1;
        if lost {
            self.counts.lost += 1;
            return true;
        }
        let copies = if duplicated { 2 } else { 1 };
        if self.held.len() + copies > limits::FAULT_HELD_PACKETS_MAX {
            self.counts.overflowed += 1;
            return false;
        }
        let mut due_us = now_us + self.faults.delay_us;
        if self.faults.jitter_us > 0 {
            due_us += jitter % self.faults.jitter_us;
        }
        if reordered {
            self.counts.reordered += 1;
            due_us += self.faults.reorder_us;
        }
        let mut packet = packet.to_vec();
        if corrupted && !packet.is_empty() {
            self.counts.corrupted += 1;
            let bit = bit % (packet.len() as u64 * 8);
            packet[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        if duplicated {
            self.counts.duplicated += 1;
            self.hold(due_us, with, packet.clone());
        }
        self.hold(due_us, with, packet);
        true
    }

    fn hold(&mut self, due_us: u64, with: M, packet: Vec<u8>) {
        self.arrivals += 1;
        self.held.insert((due_us, self.arrivals), (with, packet));
    }

    /// Lays the next packet that is due, if it may go with those, into the batch.
    fn release(&mut self, now_us: u64, batch: &mut Batch, fits: impl Fn(&M) -> bool) -> Option<M> {
        let entry = self.held.first_entry()?;
        let (due_us, _) = *entry.key();
        if due_us > now_us || !fits(&entry.get().0) {
            return None;
        }
        batch.push_copy(0, &entry.get().1, 0).ok()?;
        Some(entry.remove().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{self, MemoryLink};
    use ringmail_dataplane::batch::BATCH_BYTES;

    const PACKETS: u16 = 2_000;

    fn links(faults: Faults, seed: u64, clock: &VirtualClock) -> (Faulty<MemoryLink>, MemoryLink) {
        let (one, two) = memory::pair(Neighbour(0), Neighbour(1), BATCH_BYTES);
        (Faulty::new(one, seed, None, Some(faults), clock.clone()), two)
    }

    /// Sends numbered packets, moving the clock by 10 µs each, and returns what arrived.
    fn run(faults: Faults, seed: u64) -> (Vec<u16>, FaultCounts) {
        let clock = VirtualClock::default();
        let (mut one, mut two) = links(faults, seed, &clock);
        let (mut batch, mut arrived) = (Batch::default(), Vec::new());
        for number in 0..PACKETS {
            batch.clear();
            let slot = batch.push_copy(0, &number.to_be_bytes(), 0).unwrap();
            batch.set_verdict(slot, Verdict::Send(Neighbour(1)));
            assert_eq!(one.send(&mut batch).unwrap(), Sent { packets: 1, refused: 0 });
            collect(&mut two, &mut arrived);
            clock.advance_to_us(u64::from(number) * 10);
        }
        clock.advance_to_us(u64::MAX / 2);
        while one.next_due_us().is_some() {
            assert_eq!(one.recv(&mut batch).unwrap(), 0);
            collect(&mut two, &mut arrived);
        }
        (arrived, one.sent())
    }

    fn collect(link: &mut MemoryLink, arrived: &mut Vec<u16>) {
        let mut batch = Batch::default();
        while link.recv(&mut batch).unwrap() > 0 {
            for index in 0..batch.len() {
                let packet = batch.packet(index);
                arrived.push(u16::from_be_bytes([packet[0], packet[1]]));
            }
        }
    }

    #[test]
    fn without_faults_everything_passes_in_order() {
        let (arrived, counts) = run(Faults::default(), 1);
        assert_eq!(arrived, (0..PACKETS).collect::<Vec<_>>());
        assert_eq!(counts, FaultCounts { packets: u64::from(PACKETS), ..FaultCounts::default() });
    }

    #[test]
    fn the_same_seed_makes_the_same_faults() {
        let faults = Faults {
            loss_ppm: 50_000,
            duplicate_ppm: 50_000,
            reorder_ppm: 50_000,
            corrupt_ppm: 50_000,
            reorder_us: 100,
            delay_us: 20,
            jitter_us: 30,
        };
        let (arrived, counts) = run(faults, 7);
        assert_eq!((arrived.clone(), counts), run(faults, 7));
        assert_ne!(arrived, run(faults, 8).0);
        let FaultCounts { lost, duplicated, reordered, corrupted, overflowed, .. } = counts;
        for count in [lost, duplicated, reordered, corrupted] {
            assert!((50..200).contains(&count), "{counts:?}");
        }
        assert_eq!(overflowed, 0);
        assert_eq!(arrived.len() as u64, u64::from(PACKETS) - lost + duplicated);
    }

    #[test]
    fn each_fault_does_what_it_says() {
        let all: Vec<_> = (0..PACKETS).collect();
        let (arrived, counts) = run(Faults { loss_ppm: 1_000_000, ..Faults::default() }, 1);
        assert_eq!((arrived.len(), counts.lost), (0, u64::from(PACKETS)));

        let (arrived, _) = run(Faults { duplicate_ppm: 1_000_000, ..Faults::default() }, 1);
        assert_eq!(arrived, all.iter().flat_map(|n| [*n, *n]).collect::<Vec<_>>());

        let (arrived, _) = run(Faults { corrupt_ppm: 1_000_000, ..Faults::default() }, 1);
        assert!(arrived.iter().zip(&all).all(|(got, sent)| (got ^ sent).count_ones() == 1));

        let reorder = Faults { reorder_ppm: 100_000, reorder_us: 35, ..Faults::default() };
        let (mut arrived, counts) = run(reorder, 1);
        let late = arrived.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!(late > 50 && late as u64 <= counts.reordered, "{late} of {counts:?}");
        arrived.sort_unstable();
        assert_eq!(arrived, all);
    }

    #[test]
    fn a_delayed_packet_waits_for_the_clock() {
        let clock = VirtualClock::default();
        let (mut one, mut two) = links(Faults { delay_us: 500, ..Faults::default() }, 1, &clock);
        let (mut batch, mut arrived) = (Batch::default(), Vec::new());
        let slot = batch.push_copy(0, &[0, 9], 0).unwrap();
        batch.set_verdict(slot, Verdict::Send(Neighbour(1)));
        let _ = one.send(&mut batch).unwrap();
        clock.advance_to_us(499);
        assert_eq!(one.recv(&mut batch).unwrap(), 0);
        collect(&mut two, &mut arrived);
        assert_eq!((arrived.len(), one.next_due_us()), (0, Some(500)));
        clock.advance_to_us(500);
        assert_eq!(one.recv(&mut batch).unwrap(), 0);
        collect(&mut two, &mut arrived);
        assert_eq!((arrived, one.next_due_us()), (vec![9], None));
    }

    #[test]
    fn what_comes_in_keeps_its_source() {
        let (mut one, two) = memory::pair(Neighbour(0), Neighbour(1), BATCH_BYTES);
        let lossless = Some(Faults::default());
        let mut two = Faulty::new(two, 3, lossless, None, VirtualClock::default());
        let mut batch = Batch::default();
        let slot = batch.push_copy(0, b"packet", 0).unwrap();
        batch.set_verdict(slot, Verdict::Send(Neighbour(1)));
        let _ = one.send(&mut batch).unwrap();
        assert_eq!(two.recv(&mut batch).unwrap(), 1);
        assert_eq!((batch.packet(0), batch.source()), (&b"packet"[..], Some(Neighbour(0))));
        assert_eq!(two.recv(&mut batch).unwrap(), 0);
    }
}
