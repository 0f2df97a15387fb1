//! What a service function is to the hop that serves it (RFC 7665 section 5.2): it looks at a batch and says what is to be done.

use std::any::Any;
use std::fmt;
use std::time::Instant;

use ringmail_model::PathId;
use ringmail_model::metadata::{Kinds, Said};
use ringmail_model::pathset::Direction;
use ringmail_packet::flow::FlowKey;

use crate::batch::{BATCH_PACKETS, Batch};
use crate::nsh::beginning::Beginning;

/// What a function wants done with one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// On to the next hop.
    Pass,
    /// Dropped because of the rule of this index.
    Drop { rule: u32 },
    /// Dropped because of the rule of this index, and both ends of the TCP connection get a reset.
    Reset { rule: u32 },
    /// Dropped because of the rule of this index, and its sender is told: by a reset if it is TCP, or else by an ICMP
    /// error that says "administratively prohibited".
    Reject { rule: u32 },
    /// Dropped because the function has no room to keep what it must know of the flow.
    NoRoom,
    /// Dropped though it matched no rule: it could make the receiver see what the function did not. The function's own
    /// counters say why.
    Refuse,
}

/// A packet that matched a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The index of the rule; [`Function::rule_name`] knows its name.
    pub rule: u32,
    /// The path that the packet travelled.
    pub path: PathId,
    /// The packet's flow, in the direction in which it went.
    pub flow: FlowKey,
}

/// A service function inside ringmail. One instance a worker; never shared.
pub trait Function: Send + fmt::Debug {
    /// Decides over every packet of the batch.
    ///
    /// An intrusive function sees the inner IP packet; another sees the outer IP header and the first eight bytes of
    /// ESP (SPI and sequence number), no more.
    fn handle_batch(&mut self, now: Instant, packets: &mut FunctionBatch<'_>);

    /// Lets the function age its state.
    fn handle_timeout(&mut self, now: Instant);

    /// Takes other settings in place and keeps what it remembers. False: these are none that it can take so.
    fn retune(&mut self, _settings: Box<dyn Any + Send>) -> bool {
        false
    }

    /// The function's own counters: name, unit with description, value.
    fn counters(&self) -> Vec<FunctionCounter>;

    /// Names among [`Function::counters`] whose value is of now, and may fall.
    fn gauges(&self) -> &'static [&'static str] {
        &[]
    }

    /// Hands out the alerts raised since the last call, oldest first.
    fn drain_alerts(&mut self, _sink: &mut dyn FnMut(Alert)) {}

    /// The name of a rule, for reports.
    fn rule_name(&self, _rule: u32) -> Option<&str> {
        None
    }
}

/// Looks at what a hop hands to its function, before the function does, and changes nothing: a tap.
pub trait Witness: Send + fmt::Debug {
    /// Sees a batch.
    fn see(&mut self, packets: &FunctionBatch<'_>);

    /// Passes on what it kept.
    fn flush(&mut self);
}

/// One counter of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionCounter {
    /// What is counted, e.g. `alerts{rule="forbidden"}`.
    pub name: String,
    /// The unit, e.g. `packets`.
    pub unit: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// The count since the function started.
    pub value: u64,
}

/// The packets of a batch that a function is to look at.
#[derive(Debug)]
pub struct FunctionBatch<'a> {
    batch: &'a mut Batch,
    entries: &'a mut [Entry],
}

/// One packet as the hop prepared it: where it is in the batch, its path, and the function's answer.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Index of the packet in the batch.
    pub index: u8,
    /// Where in the packet that begins which the function may see.
    pub offset: u32,
    /// How many bytes the function may see.
    pub visible_bytes: u32,
    /// The path that the packet travels.
    pub path: PathId,
    /// The direction of that path.
    pub direction: Direction,
    /// Where in the packet its Network Service Header begins; [`Entry::NO_HEADER`] if it has none.
    pub header: u32,
    /// Where in the packet the metadata begins and ends that the hop was told of it, if it was told any.
    pub metadata: Option<(u32, u32)>,
    /// What the function said; `Pass` until it says otherwise.
    pub action: Action,
}

impl Entry {
    /// In the place of a header's.
    pub const NO_HEADER: u32 = u32::MAX;

    /// An entry that passes; what arrays of entries start from.
    pub const PASS: Entry = Entry {
        index: 0,
        offset: 0,
        visible_bytes: 0,
        path: PathId(0),
        direction: Direction::Forward,
        header: Entry::NO_HEADER,
        metadata: None,
        action: Action::Pass,
    };
}

impl<'a> FunctionBatch<'a> {
    /// A view over the packets that `entries` name.
    pub fn new(batch: &'a mut Batch, entries: &'a mut [Entry]) -> FunctionBatch<'a> {
        debug_assert!(entries.len() <= BATCH_PACKETS);
        FunctionBatch { batch, entries }
    }

    /// How many packets there are to look at.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the function may see of packet `nth`.
    #[inline]
    pub fn packet(&self, nth: usize) -> &[u8] {
        let entry = &self.entries[nth];
        let packet = self.batch.packet(entry.index as usize);
        let visible = packet.get(entry.offset as usize..).unwrap_or_default();
        &visible[..visible.len().min(entry.visible_bytes as usize)]
    }

    /// The path of packet `nth`.
    #[inline]
    pub fn path(&self, nth: usize) -> PathId {
        self.entries[nth].path
    }

    /// Whether packet `nth` goes to a service or comes from there.
    #[inline]
    pub fn direction(&self, nth: usize) -> Direction {
        self.entries[nth].direction
    }

    /// Who began packet `nth`, as it claims; `None` where packets of its path do not say.
    pub fn beginning(&self, nth: usize) -> Option<Beginning> {
        let entry = &self.entries[nth];
        let packet = self.batch.packet(entry.index as usize);
        Beginning::read(packet.get(entry.header as usize..)?)
    }

    /// What the hop is granted to know of packet `nth`, as whoever began the packet said it; `None` where nobody said
    /// anything, which is no statement either.
    #[inline]
    pub fn metadata(&self, nth: usize) -> Option<Said<'_>> {
        let entry = &self.entries[nth];
        let (start, end) = entry.metadata?;
        let items = self.batch.packet(entry.index as usize).get(start as usize..end as usize)?;
        // Looked at before by who opened it: of kinds that are granted.
        Said::parse(items, Kinds::ALL).ok()
    }

    /// Says what is to be done with packet `nth`.
    #[inline]
    pub fn set_action(&mut self, nth: usize, action: Action) {
        self.entries[nth].action = action;
    }
}
