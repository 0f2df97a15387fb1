//! The flows that passed an attached function: which paths they take, and how many packets it still owes.

use std::time::Instant;

use ringmail_model::PathId;
use ringmail_model::pathset::Direction;
use ringmail_packet::flow::FlowKey;

use super::subject::Subject;
use crate::flow::{FlowTable, PINNED, TableFull};
use crate::paths::PathTable;
use crate::verdict::DropReason;

/// Where a packet came from that the function sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its flow was owed one.
    Same,
    /// Its flow was not, but others were, and the function rewrites.
    Rewritten,
    /// Nothing was owed: the function made it, or split it off.
    Function,
}

/// Flows by their keys as they go forward.
#[derive(Debug)]
pub(super) struct Tracker {
    flows: FlowTable<FlowKey, Flow>,
    started: Instant,
    /// Packets that went in and did not come out yet, all flows together, by direction.
    owed: [u64; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// The path of its packets, by direction, where one was seen.
    paths: [Option<PathId>; 2],
    /// Packets that went in and did not come out yet, by direction.
    owed: [u16; 2],
    /// The DSCP that its packets had, by direction.
    dscp: [u8; 2],
}

impl Tracker {
    pub(super) fn new(flows: usize, seeds: [u64; 4], now: Instant) -> Tracker {
        Tracker { flows: FlowTable::new(flows, seeds), started: now, owed: [0; 2] }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// New flows that found no room.
    pub(super) fn refused(&self) -> u64 {
        self.flows.refused()
    }

    pub(super) fn capacity(&self) -> usize {
        self.flows.capacity()
    }

    /// A packet of `path` is about to be put in. An error teaches nothing: it only is of a flow.
    pub(super) fn put_in(
        &mut self,
        now: Instant,
        subject: &Subject,
        direction: Direction,
        path: PathId,
        dscp: u8,
    ) -> Result<(), DropReason> {
        if !subject.error {
            self.learn(now, subject, direction, path)?;
        }
        let (key, now_s, at) = (subject.forward(direction), self.seconds(now), index(direction));
        if let Some((flow, _)) = self.flows.get_mut(&key, now_s) {
            flow.owed[at] = flow.owed[at].saturating_add(1);
            flow.dscp[at] = dscp;
        }
        self.owed[at] += 1;
        Ok(())
    }

    /// A packet goes in whose flow need not be known.
    pub(super) fn owe(&mut self, direction: Direction) {
        self.owed[index(direction)] += 1;
    }

    /// One comes out, or is said to be dropped. Whether any was owed.
    pub(super) fn settle(&mut self, direction: Direction) -> bool {
        let owed = &mut self.owed[index(direction)];
        let settled = *owed > 0;
        *owed = owed.saturating_sub(1);
        settled
    }

    /// Remembers that packets of this flow take `path` in this direction.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        subject: &Subject,
        direction: Direction,
        path: PathId,
    ) -> Result<(), DropReason> {
        let (key, now_s, at) = (subject.forward(direction), self.seconds(now), index(direction));
        let until_s = now_s.saturating_add(subject.idle_s).min(PINNED - 1);
        if let Some(flow) = self.flows.touch(&key, now_s, until_s) {
            if flow.paths[at] != Some(path) {
                // Another connection of the same addresses and ports: what was known of the other direction is of the
                // one before.
                let other = 1 - at;
                flow.paths[other] = flow.paths[other].filter(|_| flow.paths[at].is_none());
                flow.paths[at] = Some(path);
            }
            return Ok(());
        }
        let mut flow = Flow::default();
        flow.paths[at] = Some(path);
        let inserted = self.flows.insert(key, flow, until_s);
        inserted.map_err(|TableFull| DropReason::FlowTableFull)
    }

    /// The path that a packet of this flow takes in this direction. `None` if nobody knows the flow, `Some(None)` if it
    /// is known and has no path in this direction here.
    pub(super) fn way(
        &self,
        now: Instant,
        subject: &Subject,
        direction: Direction,
        paths: &PathTable,
    ) -> Option<Option<PathId>> {
        let flow = self.flows.get(&subject.forward(direction), self.seconds(now))?;
        let at = index(direction);
        let opposite = || paths.get(flow.paths[1 - at]?)?.config.return_path;
        let path = flow.paths[at].or_else(opposite);
        Some(path.filter(|path| paths.get(*path).is_some()))
    }

    /// A packet of this flow came out: where it came from, and the DSCP that it had.
    pub(super) fn take_out(
        &mut self,
        now: Instant,
        subject: &Subject,
        direction: Direction,
        rewrites: bool,
    ) -> (Origin, u8) {
        let (key, now_s, at) = (subject.forward(direction), self.seconds(now), index(direction));
        let known = match subject.error {
            true => self.flows.get_mut(&key, now_s).map(|(flow, _)| flow),
            false => {
                let until_s = now_s.saturating_add(subject.idle_s).min(PINNED - 1);
                self.flows.touch(&key, now_s, until_s)
            }
        };
        let dscp = known.as_ref().map_or(0, |flow| flow.dscp[at]);
        if self.owed[at] == 0 {
            return (Origin::Function, dscp);
        }
        let origin = match known {
            Some(flow) if flow.owed[at] > 0 => {
                flow.owed[at] -= 1;
                Origin::Same
            }
            _ if rewrites => Origin::Rewritten,
            _ => return (Origin::Function, dscp),
        };
        self.owed[at] -= 1;
        (origin, dscp)
    }

    /// Forgets flows that are too old, a few at a time.
    pub(super) fn sweep(&mut self, now: Instant, budget: usize) {
        let now_s = self.seconds(now);
        self.flows.sweep(now_s, budget);
    }

    fn seconds(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.started).as_secs();
        u32::try_from(elapsed).unwrap_or(PINNED - 1).min(PINNED - 1)
    }
}

fn index(direction: Direction) -> usize {
    match direction {
        Direction::Forward => 0,
        Direction::Return => 1,
    }
}
