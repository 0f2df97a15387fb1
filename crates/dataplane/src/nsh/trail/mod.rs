//! What an element passed of a path, for auditors: by origin and sequence which packets, and with which mark they left
//! (`docs/nsh.md`, "Roots"; ADR 0011).
//!
//! A packet is a bit and eight bytes in a group of 64 sequences. What lies behind the window is hashed, a group at a time,
//! and kept as roots of a tree. So noting one allocates nothing, but where an origin is new, and hashes hardly ten bytes.

mod forest;

use std::time::Instant;

use ringmail_model::PathDigest;
use ringmail_model::nsh::WORD_BYTES;
use ringmail_model::summary::Node;
use ringmail_model::summary::tree::{self, GROUP, NOTHING, Root};

use self::forest::{Forest, Head};
use super::proof::Mark;
use crate::limits::{MAX_LABELS, TRAIL_OPEN_GROUPS, TRAIL_ORIGINS};

const OPEN: u64 = TRAIL_OPEN_GROUPS as u64;

/// What one worker passed of one path.
#[derive(Debug)]
pub struct Trail {
    path: PathDigest,
    /// Segments whose marks are noted: one, or all at the end of the path.
    width: usize,
    origins: Vec<Walked>,
    /// The one that a packet was noted of last.
    last: usize,
    /// Packets of origins that there was no room for.
    untold: u64,
    /// Origins made room for others: who is new may have been here before.
    forgot: bool,
}

/// What was passed of one origin since the last time that it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Element, worker and life.
    pub origin: [u8; WORD_BYTES],
    /// When its first packet came.
    pub began: Instant,
    /// The first group that this is about.
    pub from: u64,
    /// The first that is not over yet.
    pub to: u64,
    /// Packets that came when their group was over, since the beginning.
    pub late: u64,
    /// Roots of what is over.
    pub nodes: Vec<Node>,
    /// What is not over yet, as it is now; it will be told again.
    pub open: Vec<Node>,
}

impl Trail {
    /// Of a path, by so many segments side by side.
    pub fn new(path: PathDigest, width: usize) -> Trail {
        let width = width.clamp(1, MAX_LABELS);
        Trail { path, width, origins: Vec::new(), last: 0, untold: 0, forgot: false }
    }

    /// Segments whose marks are noted.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Packets of origins that there was no room for.
    pub fn untold(&self) -> u64 {
        self.untold
    }

    /// Notes a packet, with its mark in each segment. One that was noted already stays as it was.
    #[inline]
    pub fn note(
        &mut self,
        now: Instant,
        origin: &[u8; WORD_BYTES],
        sequence: u64,
        marks: impl Fn(usize) -> Mark,
    ) {
        let is = |walked: &Walked| walked.origin == *origin;
        if !self.origins.get(self.last).is_some_and(is) {
            match self.origins.iter().position(is) {
                Some(at) => self.last = at,
                None if !self.begin(origin, sequence / GROUP) => {
                    self.untold += 1;
                    return;
                }
                None => {}
            }
        }
        if let Some(walked) = self.origins.get_mut(self.last) {
            walked.began.get_or_insert(now);
            walked.note(&self.path, self.width, sequence, marks);
        }
    }

    /// Makes room for an origin that will come.
    pub fn expect(&mut self, origin: [u8; WORD_BYTES]) {
        if self.origins.iter().all(|walked| walked.origin != origin) {
            self.begin(&origin, 0);
        }
    }

    /// Makes room for an origin, in the place of one that says nothing any more if there is none. False if there is none.
    #[cold]
    fn begin(&mut self, origin: &[u8; WORD_BYTES], group: u64) -> bool {
        let from = if self.forgot { group } else { 0 };
        let walked = Walked::new(*origin, from, self.width);
        if self.origins.len() < TRAIL_ORIGINS {
            self.last = self.origins.len();
            self.origins.push(walked);
            return true;
        }
        let Some(over) = self.origins.iter().position(|walked| walked.silent) else { return false };
        self.origins[over] = Walked::new(*origin, group, self.width);
        (self.last, self.forgot) = (over, true);
        true
    }

    /// What was passed since the last time that this was asked.
    pub fn tell(&mut self) -> Vec<Stretch> {
        let Trail { path, width, origins, .. } = self;
        origins.iter_mut().filter_map(|walked| walked.tell(path, *width)).collect()
    }
}

/// One origin.
#[derive(Debug)]
struct Walked {
    origin: [u8; WORD_BYTES],
    began: Option<Instant>,
    from: u64,
    /// The first group that is open.
    base: u64,
    /// Of each open group, which sequences there are.
    present: [u64; TRAIL_OPEN_GROUPS],
    /// Their marks, by segment and sequence.
    marks: Box<[Mark]>,
    late: u64,
    over: Forest,
    /// Nothing was noted since it was told last.
    silent: bool,
}

impl Walked {
    fn new(origin: [u8; WORD_BYTES], from: u64, width: usize) -> Walked {
        let places = width * TRAIL_OPEN_GROUPS * GROUP as usize;
        Walked {
            origin,
            began: None,
            from,
            base: from,
            present: [0; TRAIL_OPEN_GROUPS],
            marks: vec![Mark::default(); places].into(),
            late: 0,
            over: Forest::new(width),
            silent: false,
        }
    }

    #[inline]
    fn note(
        &mut self,
        path: &PathDigest,
        width: usize,
        sequence: u64,
        marks: impl Fn(usize) -> Mark,
    ) {
        let group = sequence / GROUP;
        self.silent = false;
        if group < self.base {
            self.late += 1;
            return;
        }
        if group - self.base >= OPEN {
            self.close(path, width, group - OPEN + 1);
        }
        let (slot, bit) = ((group % OPEN) as usize, sequence % GROUP);
        if self.present[slot] >> bit & 1 == 1 {
            return;
        }
        self.present[slot] |= 1 << bit;
        for segment in 0..width {
            self.marks[place(segment, slot, bit)] = marks(segment);
        }
    }

    /// Groups before this one are over.
    #[cold]
    fn close(&mut self, path: &PathDigest, width: usize, until: u64) {
        for group in self.base..until.min(self.base + OPEN) {
            let slot = (group % OPEN) as usize;
            if self.present[slot] != 0 {
                let mut roots = [NOTHING; MAX_LABELS];
                let head = self.leaf(path, &mut roots[..width], group);
                self.over.push(head, &mut roots[..width]);
                self.present[slot] = 0;
            }
        }
        self.base = until;
    }

    fn leaf(&self, path: &PathDigest, roots: &mut [Root], group: u64) -> Head {
        let slot = (group % OPEN) as usize;
        let present = self.present[slot];
        for (segment, root) in roots.iter_mut().enumerate() {
            let there = (0..GROUP).filter(|bit| present >> bit & 1 == 1);
            let marks = there.map(|bit| self.marks[place(segment, slot, bit)]);
            *root = tree::leaf(path, &self.origin, group, present, marks);
        }
        Head { level: 0, index: group, packets: present.count_ones().into(), present }
    }

    fn tell(&mut self, path: &PathDigest, width: usize) -> Option<Stretch> {
        let began = self.began?;
        let groups = (self.base..self.base.saturating_add(OPEN))
            .filter(|group| self.present[(group % OPEN) as usize] != 0);
        let open = groups.map(|group| {
            let mut roots = vec![NOTHING; width];
            let Head { level, index, packets, present } = self.leaf(path, &mut roots, group);
            Node { level, index, packets, present: Some(present), roots }
        });
        let open = open.collect();
        let stretch = Stretch {
            origin: self.origin,
            began,
            from: self.from,
            to: self.base,
            late: self.late,
            nodes: self.over.take(),
            open,
        };
        self.from = self.base;
        self.silent = true;
        Some(stretch)
    }
}

/// Where the mark of a sequence in an open group is.
fn place(segment: usize, slot: usize, bit: u64) -> usize {
    (segment * TRAIL_OPEN_GROUPS + slot) * GROUP as usize + bit as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: PathDigest = PathDigest([3; 32]);
    const ORIGIN: [u8; 8] = [0, 1, 0, 0, 9, 9, 9, 9];
    /// Sequences behind the newest that still count.
    const REACH: u64 = (OPEN - 1) * GROUP;

    fn mark(segment: usize, sequence: u64) -> Mark {
        let mut mark = sequence.to_be_bytes();
        mark[0] = segment as u8 + 1;
        mark
    }

    fn walk(trail: &mut Trail, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            trail.note(Instant::now(), &ORIGIN, sequence, |segment| mark(segment, sequence));
        }
    }

    fn one(trail: &mut Trail) -> Stretch {
        let [stretch] = trail.tell().try_into().expect("one origin");
        stretch
    }

    fn leaf_by_hand(segment: usize, group: u64, sequences: &[u64]) -> Root {
        let present = sequences.iter().fold(0, |bits, sequence| bits | 1 << (sequence % GROUP));
        let marks = sequences.iter().map(|sequence| mark(segment, *sequence));
        tree::leaf(&PATH, &ORIGIN, group, present, marks)
    }

    #[test]
    fn what_is_open_is_told_as_it_is_and_again_when_it_is_over() {
        let mut trail = Trail::new(PATH, 2);
        walk(&mut trail, [5, 1, 70]);
        let told = one(&mut trail);
        assert_eq!((told.from, told.to, told.nodes.len(), told.open.len()), (0, 0, 0, 2));
        let roots = (0..2).map(|segment| leaf_by_hand(segment, 0, &[1, 5])).collect();
        let present = Some(1 << 1 | 1 << 5);
        assert_eq!(told.open[0], Node { level: 0, index: 0, packets: 2, present, roots });
        walk(&mut trail, [2, OPEN * GROUP]);
        let told = one(&mut trail);
        assert_eq!((told.from, told.to, told.nodes.len(), told.open.len()), (0, 1, 1, 2));
        assert_eq!(told.nodes[0].roots[1], leaf_by_hand(1, 0, &[1, 2, 5]));
        let told = one(&mut trail);
        assert_eq!((told.from, told.to, told.nodes.len(), told.open.len()), (1, 1, 0, 2));
    }

    #[test]
    fn the_order_does_not_matter_and_nobody_comes_twice() {
        let (mut one_way, mut other) = (Trail::new(PATH, 1), Trail::new(PATH, 1));
        walk(&mut one_way, 1..10_000);
        for begin in (1..10_000).step_by(700) {
            walk(&mut other, (begin..10_000.min(begin + 700)).rev());
            walk(&mut other, begin..10_000.min(begin + 9));
        }
        let (one_way, other) = (one(&mut one_way), one(&mut other));
        assert_eq!((one_way.late, &one_way.nodes, &one_way.open), (0, &other.nodes, &other.open));
        let packets = one_way.nodes.iter().chain(&one_way.open).map(|node| node.packets);
        assert_eq!(packets.sum::<u64>(), 9_999);
        let mut another = Trail::new(PATH, 1);
        walk(&mut another, (1..10_000).filter(|sequence| *sequence != 3));
        assert_ne!(one(&mut another).nodes, one_way.nodes);
    }

    #[test]
    fn who_is_behind_the_window_is_late_and_a_leap_closes_all() {
        let mut trail = Trail::new(PATH, 1);
        walk(&mut trail, [REACH + 63, 0, REACH + 64, 1, 64]);
        let told = one(&mut trail);
        assert_eq!((told.to, told.late), (1, 1));
        walk(&mut trail, [u64::MAX, 7]);
        let told = one(&mut trail);
        assert_eq!((told.to, told.late, told.open.len()), (u64::MAX / GROUP - OPEN + 1, 2, 1));
        let packets: u64 = told.nodes.iter().map(|node| node.packets).sum();
        assert_eq!(packets, 3, "64 and two of the window");
    }

    #[test]
    fn origins_are_bounded_and_those_that_fell_silent_make_room() {
        let mut trail = Trail::new(PATH, 1);
        let note = |trail: &mut Trail, of: u8, sequence| {
            trail.note(Instant::now(), &[of; 8], sequence, |_| [1; 8]);
        };
        for of in 0..TRAIL_ORIGINS as u8 {
            note(&mut trail, of, 1);
        }
        note(&mut trail, 200, 1);
        assert_eq!((trail.untold(), trail.tell().len()), (1, TRAIL_ORIGINS));
        for of in 1..TRAIL_ORIGINS as u8 {
            note(&mut trail, of, 2);
        }
        note(&mut trail, 200, 640);
        let told = trail.tell();
        assert_eq!((trail.untold(), told.len()), (1, TRAIL_ORIGINS));
        assert_eq!((told[0].origin, told[0].from), ([200; 8], 10));
    }
}
