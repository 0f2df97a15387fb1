//! A hop whose function is outside of ringmail: any program that takes and gives plain IP packets (RFC 7665 section 4.6,
//! an SFC proxy for an SFC-unaware function; paper sections II.A and V.C).
//!
//! ```text
//!              In side (towards clients)          Out side (towards the service)
//!   link ── open ── Verdict::Function(In) ──► function ──► handle_function(Out) ── seal ── link     forward
//!   link ── seal ── handle_function(In) ◄──── function ◄── Verdict::Function(Out) ── open ── link   back
//! ```
//!
//! What goes forward is put in at one side and comes out at the other. A function may drop packets, hold them, split or
//! join them, rewrite them and make its own, and nothing that it sends says which path it belongs to. So the flow of
//! every packet that goes in is remembered with its path, and what comes out is matched to it, in either direction. An
//! ICMP error belongs to the flow that it is about. A function that is said to rewrite headers may send flows that nobody
//! knows: they take the only path that leads on from that side, or, where there are several, the one that their DSCP
//! names ([`TellApart::Dscp`]). Everything else that it sends goes nowhere.
//!
//! An SFC-aware function is told the path and says it with what it sends ([`aware`]); nothing is to be found out then.

pub mod aware;
mod counters;
mod marks;
mod subject;
mod tracker;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ringmail_model::PathId;
use ringmail_model::defence::{Defence, off};
use ringmail_model::pathset::Direction;

use crate::admit;
use crate::batch::Batch;
use crate::counters::Counters;
use crate::decap::{self, Inner};
use crate::encap;
use crate::labels::ENTRY_BYTES;
use crate::limits::{MAX_LABELS, OTHER_IDLE_S, SWEEP_ENTRIES_PER_BATCH, SWEEP_ENTRIES_PER_TIMEOUT};
use crate::nsh::cmac::LANES;
use crate::nsh::group::{self, Item};
use crate::nsh::link::Covered;
use crate::outer::{self, Form, Frame};
use crate::paths::PathTable;
use crate::sa::SaTable;
use crate::verdict::{DropReason, Side, Verdict};
use aware::Answer;
pub use counters::AttachCounters;
use marks::Marks;
pub(crate) use subject::Subject;
use tracker::{Origin, Tracker};

/// How a function is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachConfig {
    /// Whether it has but one side, [`Side::In`], where everything goes in and comes out.
    pub one_armed: bool,
    /// Whether it may send flows that were not sent into it: address translation, proxies.
    pub rewrites: bool,
    /// How paths are told apart where the flow does not tell.
    pub tell_apart: TellApart,
    /// Whether it is told paths and labels and answers in kind; the rest has no meaning then.
    pub aware: bool,
}

/// How the path of a packet is known whose flow is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TellApart {
    /// Only one path leads on from each side.
    Flow,
    /// What goes in carries a DSCP that stands for its path, and the function keeps it (RFC 2474). The packet's own is
    /// put back where its flow is known; otherwise it leaves with DSCP 0.
    Dscp,
}

/// The one worker of a hop with an attached function.
#[derive(Debug)]
pub struct Attached {
    form: Form,
    config: AttachConfig,
    /// The paths that this hop stands on, with their outbound associations.
    pub paths: PathTable,
    /// The inbound associations.
    pub inbound: SaTable,
    tracker: Tracker,
    /// Seconds that an idle flow is remembered which is not TCP's.
    other_idle_s: u32,
    marks: Marks,
    counters: Arc<Counters>,
    attached: Arc<AttachCounters>,
    covered: Box<Covered>,
}

impl Attached {
    /// A hop whose frames begin as `form` says, and which remembers up to `flows` flows. `seeds` come from the caller's random source.
    pub fn new(
        form: Form,
        config: AttachConfig,
        flows: usize,
        seeds: [u64; 4],
        inbound: SaTable,
        now: Instant,
    ) -> Attached {
        Attached {
            form,
            config,
            paths: PathTable::default(),
            inbound,
            tracker: Tracker::new(flows, seeds, now),
            other_idle_s: OTHER_IDLE_S,
            marks: Marks::default(),
            counters: Arc::default(),
            attached: Arc::default(),
            covered: Box::default(),
        }
    }

    /// How its frames begin.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The counters that every element has; they can be read while the hop works.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What went into the function and what came of it.
    pub fn attach_counters(&self) -> &Arc<AttachCounters> {
        &self.attached
    }

    /// Flows that are remembered.
    pub fn flows(&self) -> usize {
        self.tracker.len()
    }

    /// Flows that may be remembered.
    pub fn flows_limit(&self) -> usize {
        self.tracker.capacity()
    }

    /// From its next packet on a flow is remembered for so long: one of TCP no shorter than RFC 5382 asks for.
    pub fn set_flow_idle_s(&mut self, seconds: u32) {
        self.other_idle_s = seconds;
    }

    /// New flows that found no room.
    pub fn flows_refused(&self) -> u64 {
        self.tracker.refused()
    }

    /// Decides over a batch of frames that came from the link: what is authentic goes into the function.
    pub fn handle_link(&mut self, now: Instant, batch: &mut Batch) {
        for begin in (0..batch.len()).step_by(LANES) {
            let group = begin..batch.len().min(begin + LANES);
            self.put_group_in(now, batch, group);
        }
        self.tracker.sweep(now, SWEEP_ENTRIES_PER_BATCH);
    }

    /// Decides over a batch of plain packets, each with room around it, that the function sent at this side.
    pub fn handle_function(&mut self, now: Instant, side: Side, batch: &mut Batch) {
        let (mut items, mut count) = ([Item::NONE; LANES], 0);
        for index in 0..batch.len() {
            self.counters.inner_in.count(batch.packet(index).len());
            match self.take_out(now, side, batch, index) {
                Ok(Some(item)) => {
                    items[count] = item;
                    count += 1;
                    if count == LANES {
                        self.finish(now, batch, &items);
                        count = 0;
                    }
                }
                Ok(None) => {}
                Err(reason) => self.refuse(batch, index, reason),
            }
        }
        self.finish(now, batch, &items[..count]);
        self.tracker.sweep(now, SWEEP_ENTRIES_PER_BATCH);
    }

    /// Lets flows age while there is no traffic.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tracker.sweep(now, SWEEP_ENTRIES_PER_TIMEOUT);
    }

    /// Decides over some frames of a batch.
    fn put_group_in(&mut self, now: Instant, batch: &mut Batch, group: Range<usize>) {
        let Attached { form, inbound, paths, covered, counters, .. } = self;
        let look = |paths: &mut PathTable, batch: &Batch, index: usize| {
            let bytes = batch.packet(index);
            let frame = outer::parse(bytes, *form)?;
            if frame.ttl <= 1 {
                return Err(DropReason::TtlExpired);
            }
            Ok((admit::look(bytes, batch.source(), &frame, paths, inbound)?, frame))
        };
        let looked = admit::group(batch, group.clone(), paths, covered, counters, now, look);
        for (index, (path, frame)) in group.zip(looked) {
            if batch.verdict(index) == Verdict::Pending
                && let Err(reason) = self.put_in(now, batch, index, path, &frame)
            {
                self.refuse(batch, index, reason);
            }
        }
    }

    /// Makes tag and code of packets that begin here.
    fn finish(&mut self, now: Instant, batch: &mut Batch, items: &[Item]) {
        group::finish(batch, items, &mut self.paths, &mut self.covered, &self.counters, now);
    }

    fn put_in(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        index: usize,
        path: PathId,
        frame: &Frame,
    ) -> Result<(), DropReason> {
        let bytes = batch.packet_mut(index);
        let sa = self.inbound.get(frame.spi)?;
        let state = self.paths.get(path).ok_or(DropReason::UnknownSpi)?;
        let inner = decap::decapsulate(bytes, frame, state, sa, now, &self.counters)?;
        let told = group::told(bytes, frame, state, now)?;
        if self.config.aware {
            return self.tell(batch, index, path, frame, inner, told);
        }
        let packet = &mut bytes[inner.start..inner.end];
        let state = self.paths.get(path).ok_or(DropReason::UnknownSpi)?;
        let direction = state.config.direction;
        let subject = Subject::of(packet, self.other_idle_s)?;
        let mut dscp = 0;
        if self.config.tell_apart == TellApart::Dscp {
            dscp = marks::replace(packet, self.marks.of(path).ok_or(DropReason::AmbiguousPath)?);
        }
        self.tracker.put_in(now, &subject, direction, path, dscp)?;
        state.traffic_in.count(packet.len());
        self.attached.sent_in.count(packet.len());
        self.counters.inner_out.count(packet.len());
        let tail = bytes.len() - inner.end;
        let cut = batch.trim_front(index, inner.start) && batch.trim_back(index, tail);
        debug_assert!(cut);
        let side = match direction {
            Direction::Return if !self.config.one_armed => Side::Out,
            _ => Side::In,
        };
        batch.set_verdict(index, Verdict::Function(side));
        Ok(())
    }

    fn take_out(
        &mut self,
        now: Instant,
        side: Side,
        batch: &mut Batch,
        index: usize,
    ) -> Result<Option<Item>, DropReason> {
        if self.config.aware {
            return self.hear(now, batch, index);
        }
        let packet = batch.packet_mut(index);
        let len = packet.len();
        let subject = Subject::of(packet, self.other_idle_s)?;
        let marked = match self.config.tell_apart {
            TellApart::Dscp => self.marks.path(marks::of(packet)),
            TellApart::Flow => None,
        };
        let direction = match (self.config.one_armed, side) {
            (false, Side::Out) => Direction::Forward,
            (false, Side::In) => Direction::Return,
            (true, _) => self.direction(now, &subject, marked)?,
        };
        let known = self.tracker.way(now, &subject, direction, &self.paths);
        let path = match (marked.filter(|path| self.leads(*path, direction)), known) {
            (Some(marked), _) => marked,
            (None, Some(known)) => known.ok_or(DropReason::NoPathBack)?,
            (None, None) if subject.error => return Err(DropReason::UnmatchedError),
            (None, None) if !self.config.rewrites && !off(Defence::AttachedFlows) => {
                return Err(DropReason::UnmatchedFlow);
            }
            (None, None) => self.only_path(direction).ok_or(DropReason::AmbiguousPath)?,
        };
        if known.is_none() && !subject.error {
            self.tracker.learn(now, &subject, direction, path)?;
        }
        let (origin, dscp) = self.tracker.take_out(now, &subject, direction, self.config.rewrites);
        if self.config.tell_apart == TellApart::Dscp {
            marks::replace(packet, dscp);
        }
        match origin {
            Origin::Same => self.attached.returned_same.count(len),
            Origin::Rewritten => self.attached.returned_rewritten.count(len),
            Origin::Function => self.attached.originated.count(len),
        }
        if subject.error {
            self.attached.errors.add(1);
        }
        let state = self.paths.get_mut(path).ok_or(DropReason::NoPathBack)?;
        encap::encapsulate(batch, index, state, now)?;
        let item = Item::begun(index, state);
        self.counters.sealed.count(len);
        self.counters.link_out.count(batch.packet(index).len());
        Ok(item)
    }

    /// Puts what an SFC-aware function is to know before the packet.
    fn tell(
        &mut self,
        batch: &mut Batch,
        index: usize,
        path: PathId,
        frame: &Frame,
        inner: Inner,
        told: Option<(u32, u32)>,
    ) -> Result<(), DropReason> {
        let state = self.paths.get(path).ok_or(DropReason::UnknownSpi)?;
        let direction = state.config.direction;
        let len = inner.end - inner.start;
        let mut metadata = aware::Metadata::default();
        if let Some((start, end)) = told {
            let items = batch.packet(index).get(start as usize..end as usize);
            metadata.lay_down(items.ok_or(DropReason::Malformed)?);
        }
        let mut stack = [0; MAX_LABELS * ENTRY_BYTES];
        let stack = stack.get_mut(..frame.stack).ok_or(DropReason::Malformed)?;
        let bytes = batch.packet(index);
        stack.copy_from_slice(&bytes[..frame.stack]);
        let tail = bytes.len() - inner.end;
        let head = aware::HEADER_BYTES + stack.len() + metadata.bytes().len();
        // The outer header and that of ESP were longer.
        let front = inner.start.checked_sub(head).ok_or(DropReason::Malformed)?;
        let cut = batch.trim_front(index, front) && batch.trim_back(index, tail);
        debug_assert!(cut);
        let out = &mut batch.packet_mut(index)[..head];
        aware::write(path, direction, stack, metadata.bytes(), out);
        self.tracker.owe(direction);
        state.traffic_in.count(len);
        self.attached.sent_in.count(len);
        self.counters.inner_out.count(len);
        batch.set_verdict(index, Verdict::Function(Side::In));
        Ok(())
    }

    /// Does what an SFC-aware function says.
    fn hear(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        index: usize,
    ) -> Result<Option<Item>, DropReason> {
        let (path, head, added) = match aware::read(batch.packet(index))? {
            Answer::Packet(path, head, metadata) => (path, head, metadata),
            Answer::Dropped(path) => {
                let state = self.paths.get(path).ok_or(DropReason::NoPath)?;
                if self.tracker.settle(state.config.direction) {
                    self.attached.dropped.add(1);
                }
                return Err(DropReason::Function);
            }
        };
        let state = self.paths.get_mut(path).ok_or(DropReason::NoPath)?;
        let facts = match state.writes_metadata() {
            true => Some(aware::facts(batch.packet(index).get(added).unwrap_or_default())?),
            false => None,
        };
        let cut = batch.trim_front(index, head);
        debug_assert!(cut);
        let len = batch.packet(index).len();
        match self.tracker.settle(state.config.direction) {
            true => self.attached.returned_same.count(len),
            false => self.attached.originated.count(len),
        }
        encap::encapsulate(batch, index, state, now)?;
        let item = Item::begun(index, state);
        if let (Some(item), Some(facts)) = (&item, &facts) {
            group::tell(batch, item, state, facts, now)?;
        }
        self.counters.sealed.count(len);
        self.counters.link_out.count(batch.packet(index).len());
        Ok(item)
    }

    /// The direction of a packet that came out of a function with one side.
    fn direction(
        &self,
        now: Instant,
        subject: &Subject,
        marked: Option<PathId>,
    ) -> Result<Direction, DropReason> {
        if let Some(state) = marked.and_then(|path| self.paths.get(path)) {
            return Ok(state.config.direction);
        }
        let known = [Direction::Forward, Direction::Return]
            .into_iter()
            .find(|direction| self.tracker.way(now, subject, *direction, &self.paths).is_some());
        known.ok_or(match subject.error {
            true => DropReason::UnmatchedError,
            false => DropReason::UnmatchedFlow,
        })
    }

    fn leads(&self, path: PathId, direction: Direction) -> bool {
        self.paths.get(path).is_some_and(|state| state.config.direction == direction)
    }

    fn only_path(&self, direction: Direction) -> Option<PathId> {
        let mut paths = self.paths.iter().filter(|state| state.config.direction == direction);
        let only = paths.next()?;
        paths.next().is_none().then_some(only.config.id)
    }

    fn refuse(&self, batch: &mut Batch, index: usize, reason: DropReason) {
        self.counters.count_drop(reason);
        batch.drop_packet(index, reason);
    }
}
