//! Which ranges of a stream came out of order (RFC 9293 section 3.10.7.4), for the few directions that have any.

use crate::limits::STREAM_RANGES;

/// A half-open range of sequence numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Disjoint ranges in the order of the stream, none touching another.
#[derive(Clone, Copy)]
struct Set {
    ranges: [Range; STREAM_RANGES],
    len: usize,
}

/// The sets of all directions.
pub(crate) struct RangePool {
    sets: Vec<Set>,
    free: Vec<u32>,
    capacity: usize,
}

/// A direction's set in the pool, if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet(Option<u32>);

/// No set, or no range, is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRange;

impl RangeSet {
    /// Whether nothing came out of order.
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_none()
    }
}

impl RangePool {
    /// A pool for this many directions.
    pub(crate) fn new(capacity: usize) -> RangePool {
        RangePool {
            sets: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// The ranges of a direction.
    pub(crate) fn ranges(&self, set: RangeSet) -> &[Range] {
        match set.0 {
            Some(id) => {
                let set = &self.sets[id as usize];
                &set.ranges[..set.len]
            }
            None => &[],
        }
    }

    /// Adds a range, ahead of `next`, to those of a direction, and joins it with those that it overlaps or touches.
    pub(crate) fn insert(
        &mut self,
        set: &mut RangeSet,
        next: u32,
        range: Range,
    ) -> Result<(), NoRange> {
        let id = match set.0 {
            Some(id) => id,
            None => self.take().ok_or(NoRange)?,
        };
        set.0 = Some(id);
        let set = &mut self.sets[id as usize];
        let ahead = |seq: u32| seq.wrapping_sub(next);
        let before =
            set.ranges[..set.len].partition_point(|other| ahead(other.end) < ahead(range.start));
        let touched = set.ranges[before..set.len]
            .partition_point(|other| ahead(other.start) <= ahead(range.end));
        if touched == 0 {
            if set.len == STREAM_RANGES {
                return Err(NoRange);
            }
            set.ranges.copy_within(before..set.len, before + 1);
            set.ranges[before] = range;
            set.len += 1;
            return Ok(());
        }
        let (first, last) = (set.ranges[before], set.ranges[before + touched - 1]);
        let start = if ahead(first.start) < ahead(range.start) { first.start } else { range.start };
        let end = if ahead(last.end) > ahead(range.end) { last.end } else { range.end };
        set.ranges[before] = Range { start, end };
        set.ranges.copy_within(before + touched..set.len, before + 1);
        set.len -= touched - 1;
        Ok(())
    }

    /// The stream is there up to `reached`, counted from `next`: takes out the ranges that this reaches, and says how
    /// far the stream goes with them.
    pub(crate) fn absorb(&mut self, set: &mut RangeSet, next: u32, reached: u32) -> u32 {
        let Some(id) = set.0 else { return reached };
        let ranges = &mut self.sets[id as usize];
        let ahead = |seq: u32| seq.wrapping_sub(next);
        let mut reached = reached;
        let mut count = 0;
        for range in &ranges.ranges[..ranges.len] {
            if ahead(range.start) > ahead(reached) {
                break;
            }
            if ahead(range.end) > ahead(reached) {
                reached = range.end;
            }
            count += 1;
        }
        ranges.ranges.copy_within(count..ranges.len, 0);
        ranges.len -= count;
        if ranges.len == 0 {
            self.release(set);
        }
        reached
    }

    /// Gives the set back.
    pub(crate) fn release(&mut self, set: &mut RangeSet) {
        if let Some(id) = set.0.take() {
            self.free.push(id);
        }
    }

    fn take(&mut self) -> Option<u32> {
        let empty = Set { ranges: [Range::default(); STREAM_RANGES], len: 0 };
        if let Some(id) = self.free.pop() {
            self.sets[id as usize] = empty;
            return Some(id);
        }
        (self.sets.len() < self.capacity).then(|| {
            self.sets.push(empty);
            self.sets.len() as u32 - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Ranges in any order are what a map of single bytes says they are, over the wrap of sequence numbers too.
        #[test]
        fn agrees_with_a_map_of_bytes(
            next in prop_oneof![Just(0u32), Just(u32::MAX - 40), any::<u32>()],
            steps in prop::collection::vec((1u32..90, 1u32..9), 1..40),
            filled in 0u32..100,
        ) {
            let mut pool = RangePool::new(1);
            let mut set = RangeSet::default();
            let mut there = [false; 100];
            for (start, len) in steps {
                let range =
                    Range { start: next.wrapping_add(start), end: next.wrapping_add(start + len) };
                if pool.insert(&mut set, next, range).is_ok() {
                    there[start as usize..(start + len) as usize].fill(true);
                }
            }
            let seen = |pool: &RangePool, set| {
                let mut seen = [false; 100];
                for range in pool.ranges(set) {
                    let (start, end) = (range.start.wrapping_sub(next), range.end.wrapping_sub(next));
                    assert!(start == 0 || !seen[start as usize - 1], "two ranges touch");
                    seen[start as usize..end as usize].fill(true);
                }
                seen
            };
            prop_assert_eq!(seen(&pool, set), there);

            let reached = pool.absorb(&mut set, next, next.wrapping_add(filled)).wrapping_sub(next);
            let mut expected = filled as usize;
            while expected < 100 && there[expected] {
                expected += 1;
            }
            there[..expected].fill(false);
            prop_assert_eq!(reached as usize, expected);
            prop_assert_eq!(seen(&pool, set), there);
            prop_assert_eq!(set.is_empty(), !there.contains(&true));
        }
    }

    #[test]
    fn a_set_that_is_full_says_so_and_a_range_that_joins_still_fits() {
        let mut pool = RangePool::new(1);
        let (mut set, mut other) = (RangeSet::default(), RangeSet::default());
        for n in 0..STREAM_RANGES as u32 {
            pool.insert(&mut set, 0, Range { start: 10 + n * 4, end: 12 + n * 4 }).unwrap();
        }
        assert_eq!(pool.insert(&mut set, 0, Range { start: 1, end: 2 }), Err(NoRange));
        assert_eq!(pool.insert(&mut set, 0, Range { start: 12, end: 14 }), Ok(()));
        assert_eq!(pool.insert(&mut set, 0, Range { start: 1, end: 2 }), Ok(()));
        assert_eq!(pool.insert(&mut other, 0, Range { start: 1, end: 2 }), Err(NoRange));
    }
}
