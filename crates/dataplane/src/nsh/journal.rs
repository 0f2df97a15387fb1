//! What the end of a path said last: findings in two rings of a fixed size, so that a flood of good packets does not push out
//! what failed (`docs/nsh.md`, "Proof of transit").

use std::collections::BTreeMap;
use std::time::Instant;

use ringmail_model::defence::{Defence, off};
use ringmail_model::nsh::WORD_BYTES;
use ringmail_model::{ElementId, WorkerId};

use super::verify::Verdict;
use crate::limits::{PROOFS_KEPT, PROOFS_KEPT_FAILED};

/// What the end of a path found of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it says.
    pub verdict: Verdict,
    /// Who began the proof, as the packet claims: element, worker and life. True only where it was proved.
    pub origin: [u8; WORD_BYTES],
    /// The origin's count, as the packet claims.
    pub sequence: u64,
    /// The position from which on it is proved: 0 is where the path begins.
    pub from: u8,
}

impl Finding {
    /// Of a packet of which nothing is known.
    pub(crate) const NONE: Finding =
        Finding { verdict: Verdict::UnknownOrigin, origin: [0; WORD_BYTES], sequence: 0, from: 0 };

    /// The element that began the packet, as it claims.
    pub fn element(&self) -> ElementId {
        ElementId(u16::from_be_bytes([self.origin[0], self.origin[1]]))
    }

    /// The worker of that element.
    pub fn worker(&self) -> WorkerId {
        WorkerId(u16::from_be_bytes([self.origin[2], self.origin[3]]))
    }
}

/// The last findings of one path, of one worker at its end.
#[derive(Debug)]
pub struct Journal {
    noted: u64,
    all: Ring,
    failed: Ring,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal { noted: 0, all: Ring::new(PROOFS_KEPT), failed: Ring::new(PROOFS_KEPT_FAILED) }
    }
}

impl Journal {
    /// Notes one.
    #[inline]
    pub(crate) fn note(&mut self, at: Instant, finding: Finding) {
        if finding.verdict != Verdict::Proved && off(Defence::ProofRecord) {
            return;
        }
        self.noted += 1;
        let entry = Entry { nth: self.noted, at, finding };
        self.all.push(entry);
        if finding.verdict != Verdict::Proved {
            self.failed.push(entry);
        }
    }

    /// The last findings and the last that failed, up to so many of each, in the order in which they were noted.
    pub fn read(&self, last: usize) -> Vec<(Instant, Finding)> {
        let both = self.all.last(last).chain(self.failed.last(last));
        let ordered: BTreeMap<u64, _> =
            both.map(|entry| (entry.nth, (entry.at, entry.finding))).collect();
        ordered.into_values().collect()
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    nth: u64,
    at: Instant,
    finding: Finding,
}

/// Its room is taken at the start: noting allocates nothing.
#[derive(Debug)]
struct Ring {
    entries: Vec<Entry>,
    next: usize,
    limit: usize,
}

impl Ring {
    fn new(limit: usize) -> Ring {
        Ring { entries: Vec::with_capacity(limit), next: 0, limit }
    }

    #[inline]
    fn push(&mut self, entry: Entry) {
        match self.entries.get_mut(self.next) {
            Some(eldest) => *eldest = entry,
            None => self.entries.push(entry),
        }
        self.next = (self.next + 1) % self.limit;
    }

    fn last(&self, last: usize) -> impl Iterator<Item = &Entry> {
        let (newer, older) = self.entries.split_at(self.next.min(self.entries.len()));
        let skipped = self.entries.len().saturating_sub(last);
        older.iter().chain(newer).skip(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(sequence: u64, verdict: Verdict) -> Finding {
        Finding { verdict, sequence, ..Finding::NONE }
    }

    fn noted(journal: &Journal, last: usize) -> Vec<u64> {
        journal.read(last).iter().map(|(_, finding)| finding.sequence).collect()
    }

    #[test]
    fn the_last_are_kept_in_order() {
        let (mut journal, now) = (Journal::default(), Instant::now());
        assert_eq!(noted(&journal, 3), [0_u64; 0]);
        for sequence in 0..PROOFS_KEPT as u64 + 10 {
            journal.note(now, finding(sequence, Verdict::Proved));
        }
        let end = PROOFS_KEPT as u64 + 10;
        assert_eq!(noted(&journal, 3), [end - 3, end - 2, end - 1]);
        assert_eq!(noted(&journal, usize::MAX), (10..end).collect::<Vec<_>>());
    }

    #[test]
    fn a_flood_of_good_packets_does_not_push_out_what_failed() {
        let (mut journal, now) = (Journal::default(), Instant::now());
        journal.note(now, finding(1, Verdict::WrongTag));
        journal.note(now, finding(2, Verdict::Repeated));
        for sequence in 3..3 * PROOFS_KEPT as u64 {
            journal.note(now, finding(sequence, Verdict::Proved));
        }
        let end = 3 * PROOFS_KEPT as u64;
        assert_eq!(noted(&journal, 2), [1, 2, end - 2, end - 1]);
        // Each is told once, wherever it is kept.
        journal.note(now, finding(end, Verdict::TooOld));
        assert_eq!(noted(&journal, 2), [2, end - 1, end]);
        // Nor do failures push out one another without end.
        for sequence in 0..2 * PROOFS_KEPT_FAILED as u64 {
            journal.note(now, finding(sequence, Verdict::WrongTag));
        }
        assert!(noted(&journal, usize::MAX).len() <= PROOFS_KEPT + PROOFS_KEPT_FAILED);
    }

    #[test]
    fn a_finding_names_who_began_the_packet() {
        let origin = [1, 2, 0, 7, 9, 9, 9, 9];
        let finding = Finding { origin, ..Finding::NONE };
        assert_eq!((finding.element().0, finding.worker().0), (0x102, 7));
    }
}
