//! One direction of a TCP connection as its receiver will see it (RFC 9293 section 3.10.7.4).
//!
//! The receiver's stream is what the forwarded segments say, in the order of their sequence numbers. Two rules make it
//! one stream, whatever the receiver does with overlaps and whatever is lost behind this function:
//!
//! 1. Content once forwarded under a sequence number is never forwarded differently, until the receiver acknowledged it.
//! 2. Content is searched when no gap is left before it, together with what precedes it; a segment that completes a
//!    match is dropped, and the stream stops there.
//!
//! A stream that is first seen in the middle, as after a restart, may have a gap that was filled before: the receiver goes
//! on behind it, and nobody sends what lies in it again. So where the receiver acknowledges more than was seen, the stream
//! goes on from there; and what comes ahead of a gap is searched at once, with what lies around it, for the receiver may
//! have the rest. What only a regex over more than [`STREAM_APART_BYTES`] of both would find is found when it is too late
//! for its first part.

use ringmail_model::defence::{Defence, off};

use super::history::{Chain, Pool};
use super::hits::Hits;
use super::matcher::Matcher;
use super::ranges::{Range, RangePool, RangeSet};
use super::refusal::Refusal;
use super::regexes::State;
use crate::limits::{
    STREAM_AHEAD_BYTES, STREAM_APART_BYTES, STREAM_BLOCK_BYTES, STREAM_WINDOW_BYTES,
    STREAM_WINDOW_SCARCE_BYTES, STREAM_WINDOW_SHARE_SHIFT,
};

/// How far `settled` may lag behind while no acknowledgement is seen: far more than the window, far less than half the
/// sequence numbers.
const UNSETTLED_BYTES: u32 = 1 << 29;

/// What all streams share.
pub(super) struct Shared {
    pub(super) pool: Pool,
    pub(super) ranges: RangePool,
    pub(super) matcher: Matcher,
}

/// One direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    begin: Begin,
    /// The first sequence number of content.
    start: u32,
    /// Up to here everything was forwarded and searched.
    next: u32,
    /// Before here content is no longer held against what was forwarded.
    settled: u32,
    /// Whether the receiver takes nothing before `settled`, so that it does no harm.
    past_is_harmless: bool,
    history: Chain,
    ahead: RangeSet,
    state: State,
}

/// How the stream was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Unseen,
    /// With a SYN: nothing precedes `start`.
    Syn,
    /// In the middle: what precedes `start` was never this function's to judge. The receiver may also hold what lies
    /// further on, forwarded before this function's time; only its acknowledgements tell.
    Middle,
}

impl Stream {
    /// A stream of which nothing was seen.
    pub(super) fn unseen(shared: &Shared) -> Stream {
        Stream {
            begin: Begin::Unseen,
            start: 0,
            next: 0,
            settled: 0,
            past_is_harmless: false,
            history: Chain::EMPTY,
            ahead: RangeSet::default(),
            state: shared.matcher.start(),
        }
    }

    /// A SYN whose content, if any, begins at `start`.
    ///
    /// A receiver that took another SYN before ignores this one (RFC 9293 section 3.10.7.4), so one that would move the
    /// stream is refused even when nothing was sent yet: this function would wait for content that the receiver does
    /// not wait for. A real new connection comes after the old one was forgotten.
    pub(super) fn handle_syn(&mut self, start: u32) -> Result<(), Refusal> {
        match self.begin {
            Begin::Unseen => {
                self.begin_at(Begin::Syn, start);
                Ok(())
            }
            Begin::Syn if self.start == start => Ok(()),
            Begin::Syn | Begin::Middle => Err(Refusal::SynInUse),
        }
    }

    /// The receiver of this stream says that it has everything before `acknowledged`.
    pub(super) fn handle_ack(&mut self, shared: &mut Shared, acknowledged: u32, hits: &mut Hits) {
        if self.is_unseen() {
            return;
        }
        // Beyond `next` lies at most a FIN, or what was forwarded before this function came; an honest receiver has
        // all before it either way.
        let ahead = acknowledged.wrapping_sub(self.next) as i32;
        if ahead > 0 && self.begin == Begin::Middle {
            self.go_on(shared, acknowledged, hits);
            return;
        }
        let settled = if ahead <= 0 {
            acknowledged
        } else if ahead as u32 <= STREAM_AHEAD_BYTES {
            self.next
        } else {
            return;
        };
        if (settled.wrapping_sub(self.settled) as i32) > 0 {
            self.settled = settled;
            self.past_is_harmless = true;
            self.trim(shared);
        }
    }

    /// Whether nothing was seen that takes a sequence number.
    pub(super) fn is_unseen(&self) -> bool {
        self.begin == Begin::Unseen
    }

    /// A segment with content. `Ok` means that it may be forwarded unless `hits` holds a rule that says otherwise.
    pub(super) fn handle_content(
        &mut self,
        shared: &mut Shared,
        seq: u32,
        content: &[u8],
        hits: &mut Hits,
    ) -> Result<(), Refusal> {
        if self.begin == Begin::Unseen {
            self.begin_at(Begin::Middle, seq);
        }
        if seq == self.next && self.ahead.is_empty() {
            return self.handle_next(shared, content, hits);
        }
        self.handle_other(shared, seq, content, hits)
    }

    /// Gives everything back to the pools.
    pub(super) fn release(&mut self, shared: &mut Shared) {
        shared.pool.release(&mut self.history);
        shared.ranges.release(&mut self.ahead);
    }

    fn begin_at(&mut self, begin: Begin, start: u32) {
        self.begin = begin;
        self.start = start;
        self.next = start;
        self.settled = start;
        self.past_is_harmless = begin == Begin::Middle;
    }

    /// The common case: the segment that the receiver waits for, and nothing out of order behind it.
    fn handle_next(
        &mut self,
        shared: &mut Shared,
        content: &[u8],
        hits: &mut Hits,
    ) -> Result<(), Refusal> {
        let Shared { pool, matcher, .. } = shared;
        pool.write(&mut self.history, self.next, self.next, content)?;
        if off(Defence::StreamSearch) {
            matcher.search_alone(content, hits);
        }
        let (tail_seq, tail_len) = self.tail(matcher.tail_bytes());
        let tail = pool.slices(&self.history, tail_seq, tail_len);
        if !off(Defence::StreamSearch) {
            matcher.search(&mut self.state, tail, content, hits);
        }
        self.next = self.next.wrapping_add(content.len() as u32);
        self.trim(shared);
        Ok(())
    }

    /// A segment that repeats, overlaps or runs ahead. Nothing changes when it is refused.
    fn handle_other(
        &mut self,
        shared: &mut Shared,
        seq: u32,
        content: &[u8],
        hits: &mut Hits,
    ) -> Result<(), Refusal> {
        // Positions relative to `next`: negative is repeated, positive runs ahead.
        let position = |seq: u32| i64::from(seq.wrapping_sub(self.next) as i32);
        let (start, end) = (position(seq), position(seq) + content.len() as i64);
        let part = |from: i64, to: i64| &content[(from - start) as usize..(to - start) as usize];
        if end > i64::from(STREAM_AHEAD_BYTES) {
            return Err(Refusal::TooFarAhead);
        }

        let settled = position(self.settled);
        if start < settled {
            if !self.past_is_harmless {
                return Err(Refusal::TooOld);
            }
            // The receiver has it, or it is from before this function's time: searched by itself.
            shared.matcher.search_alone(content, hits);
        }
        let from = start.max(settled);
        if end <= from {
            return Ok(());
        }
        if from < position(self.history.first_seq().unwrap_or(self.next)) {
            return Err(Refusal::TooOld);
        }

        let holds = |from: i64, to: i64| {
            let seq = self.next.wrapping_add(from as u32);
            shared.pool.holds(&self.history, seq, part(from, to))
        };
        if from < 0 && !holds(from, end.min(0)) {
            return Err(Refusal::Inconsistent);
        }
        for range in shared.ranges.ranges(self.ahead) {
            let (from, to) = (from.max(position(range.start)), end.min(position(range.end)));
            if from < to && !holds(from, to) {
                return Err(Refusal::Inconsistent);
            }
        }
        if end <= 0 {
            return Ok(());
        }

        let fresh = from.max(0);
        let fresh_seq = self.next.wrapping_add(fresh as u32);
        let end_seq = self.next.wrapping_add(end as u32);
        shared.pool.write(&mut self.history, self.next, fresh_seq, part(fresh, end))?;
        if fresh > 0 {
            let range = Range { start: fresh_seq, end: end_seq };
            shared.ranges.insert(&mut self.ahead, self.next, range)?;
            if self.begin == Begin::Middle {
                self.search_apart(shared, range, hits);
            }
            return Ok(());
        }
        let reached = shared.ranges.absorb(&mut self.ahead, self.next, end_seq);
        self.search_to(shared, reached, hits);
        self.trim(shared);
        Ok(())
    }

    /// The receiver has everything before `acknowledged`, which lies ahead of what was seen: goes on there, or where what
    /// came ahead and reaches there begins.
    fn go_on(&mut self, shared: &mut Shared, acknowledged: u32, hits: &mut Hits) {
        let ahead = |seq: u32| seq.wrapping_sub(self.next);
        let holds = |range: &&Range| {
            ahead(range.start) <= ahead(acknowledged) && ahead(acknowledged) <= ahead(range.end)
        };
        let ranges = shared.ranges.ranges(self.ahead);
        let from = ranges.iter().find(holds).map_or(acknowledged, |range| range.start);
        if ranges.iter().all(|range| ahead(range.end) < ahead(from)) {
            self.release(shared);
            self.state = shared.matcher.start();
            self.begin_at(Begin::Middle, acknowledged);
            return;
        }
        let reached = shared.ranges.absorb(&mut self.ahead, self.next, from);
        self.begin_at(Begin::Middle, from);
        self.state = shared.matcher.start();
        self.search_to(shared, reached, hits);
        self.settled = acknowledged;
        self.trim(shared);
    }

    /// Searches what came ahead of a gap, with what lies around it.
    fn search_apart(&self, shared: &mut Shared, came: Range, hits: &mut Hits) {
        let ahead = |seq: u32| seq.wrapping_sub(self.next);
        let holds = |range: &&Range| {
            ahead(range.start) <= ahead(came.start) && ahead(came.end) <= ahead(range.end)
        };
        let Some(range) = shared.ranges.ranges(self.ahead).iter().find(holds) else { return };
        let before = came.start.wrapping_sub(range.start).min(STREAM_APART_BYTES);
        let behind = range.end.wrapping_sub(came.end).min(STREAM_APART_BYTES);
        let begin = came.start.wrapping_sub(before);
        let len = came.end.wrapping_sub(begin).wrapping_add(behind);
        let Shared { pool, matcher, .. } = shared;
        let (mut state, mut at) = (matcher.start(), begin);
        for chunk in pool.slices(&self.history, begin, len as usize) {
            let tail_len = at.wrapping_sub(begin).min(matcher.tail_bytes() as u32);
            let tail_seq = at.wrapping_sub(tail_len);
            let tail = pool.slices(&self.history, tail_seq, tail_len as usize);
            matcher.search(&mut state, tail, chunk, hits);
            at = at.wrapping_add(chunk.len() as u32);
        }
    }

    /// Searches what lies in the history from `next` to `reached`, and moves `next` there.
    fn search_to(&mut self, shared: &mut Shared, reached: u32, hits: &mut Hits) {
        let Shared { pool, matcher, .. } = shared;
        let content =
            pool.slices(&self.history, self.next, reached.wrapping_sub(self.next) as usize);
        for chunk in content {
            let (tail_seq, tail_len) = self.tail(matcher.tail_bytes());
            let tail = pool.slices(&self.history, tail_seq, tail_len);
            matcher.search(&mut self.state, tail, chunk, hits);
            self.next = self.next.wrapping_add(chunk.len() as u32);
        }
        debug_assert_eq!(self.next, reached);
        self.next = reached;
    }

    /// The tail before `next`: its first sequence number and its length.
    fn tail(&self, wanted: usize) -> (u32, usize) {
        let there = self.next.wrapping_sub(self.history.first_seq().unwrap_or(self.next));
        // What lies in the history before where the stream was joined was never written.
        let seen = match self.begin {
            Begin::Middle => self.next.wrapping_sub(self.start),
            Begin::Syn | Begin::Unseen => there,
        };
        let len = there.min(seen).min(wanted as u32);
        (self.next.wrapping_sub(len), len as usize)
    }

    /// Lets go of what neither a retransmission nor a tail can need.
    fn trim(&mut self, shared: &mut Shared) {
        if self.begin == Begin::Middle && self.next.wrapping_sub(self.start) > UNSETTLED_BYTES {
            self.start = self.next.wrapping_sub(UNSETTLED_BYTES / 2);
        }
        if self.next.wrapping_sub(self.settled) > UNSETTLED_BYTES {
            // Sequence numbers compare over half their space only. Nothing so far back is kept for comparison.
            self.settled = self.next.wrapping_sub(UNSETTLED_BYTES / 2);
            self.past_is_harmless = false;
        }
        let free_bytes = shared.pool.free_blocks() * STREAM_BLOCK_BYTES;
        let share = u32::try_from(free_bytes >> STREAM_WINDOW_SHARE_SHIFT).unwrap_or(u32::MAX);
        let window = share.clamp(STREAM_WINDOW_SCARCE_BYTES, STREAM_WINDOW_BYTES);
        let unsettled = self.next.wrapping_sub(self.settled).min(window);
        let kept = unsettled.max(shared.matcher.tail_bytes() as u32);
        shared.pool.advance(&mut self.history, self.next, self.next.wrapping_sub(kept));
    }
}
