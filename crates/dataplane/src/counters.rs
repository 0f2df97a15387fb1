//! Counters of an element and of its paths: written by the one worker that owns them, read by anyone.
//!
//! The writer uses plain loads and stores of atomics (one writer each, so nothing is lost and no bus lock is taken);
//! a reader sees each counter whole, though not all of them at one instant.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::verdict::DropReason;

/// A count that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the owning worker calls this.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Packets and their bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: Counter,
    /// Bytes of those packets.
    pub bytes: Counter,
}

impl Traffic {
    /// Counts one packet.
    pub fn count(&self, bytes: usize) {
        self.packets.add(1);
        self.bytes.add(bytes as u64);
    }
}

/// What one worker of an element counted since it started. Packets are MPLS frames on the link side and IP packets on
/// the inner side; bytes are theirs, without UDP and below.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that came from the link.
    pub link_in: Traffic,
    /// Frames handed to the link.
    pub link_out: Traffic,
    /// Plain packets that came from the inner side.
    pub inner_in: Traffic,
    /// Plain packets handed to the inner side.
    pub inner_out: Traffic,
    /// Packets that the element made itself (TCP resets).
    pub originated: Traffic,
    /// Packets opened and found authentic.
    pub opened: Traffic,
    /// Packets sealed.
    pub sealed: Traffic,
    drops: Drops,
}

/// One counter a reason. Arrays this long have no default of their own.
#[derive(Debug)]
struct Drops([Counter; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Drops {
        Drops(std::array::from_fn(|_| Counter::default()))
    }
}

impl Counters {
    /// Every kind of traffic: its name, a sentence for people, and the counts.
    pub fn traffic(&self) -> [(&'static str, &'static str, &Traffic); 7] {
        [
            ("link_in", "MPLS frames that came from the link.", &self.link_in),
            ("link_out", "MPLS frames handed to the link.", &self.link_out),
            ("inner_in", "Plain packets that came from the inner side.", &self.inner_in),
            ("inner_out", "Plain packets handed to the inner side.", &self.inner_out),
            ("opened", "Packets opened and found authentic.", &self.opened),
            ("sealed", "Packets sealed.", &self.sealed),
            ("originated", "Packets that the element made itself.", &self.originated),
        ]
    }

    /// Counts one dropped packet.
    pub fn count_drop(&self, reason: DropReason) {
        self.drops.0[reason as usize].add(1);
    }

    /// Packets dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.0[reason as usize].get()
    }

    /// Every reason with its count, those with none left out.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|r| (*r, self.dropped(*r))).filter(|(_, count)| *count > 0)
    }

    /// All drops together.
    pub fn dropped_total(&self) -> u64 {
        self.drops.0.iter().map(Counter::get).sum()
    }
}
