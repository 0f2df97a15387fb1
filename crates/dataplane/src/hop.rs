//! A hop: the SFC proxy (RFC 7665 section 4.6) and the function that it serves.
//!
//! Pop the label, look up the path, open the packet if the function is intrusive, let the function look, seal for the
//! next segment, send. A packet that is not exactly what its path says here goes nowhere.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ringmail_model::PathId;

use crate::admit;
use crate::batch::{BATCH_PACKETS, Batch};
use crate::counters::Counters;
use crate::decap::{self, Inner};
use crate::encap;
use crate::function::{Action, Entry, Function, FunctionBatch, FunctionCounter, Witness};
use crate::labels::ENTRY_BYTES;
use crate::limits::HOP_GROUP_PACKETS;
use crate::memory::FlowMemory;
use crate::nsh::cmac::LANES;
use crate::nsh::group::{self, Item};
use crate::nsh::link::Covered;
use crate::outer::{self, Form, Frame};
use crate::paths::PathTable;
use crate::prohibited;
use crate::reset;
use crate::sa::SaTable;
use crate::served::{Served, Slot};
use crate::verdict::{DropReason, Verdict};

/// Bytes of ESP that a non-intrusive function may see: SPI and sequence number.
const VISIBLE_ESP_BYTES: usize = 8;

/// One worker of a hop.
#[derive(Debug)]
pub struct Hop {
    form: Form,
    intrusive: bool,
    functions: Served,
    /// Sees what the function is handed; hardly ever there.
    witness: Option<Box<dyn Witness>>,
    /// The paths that this hop stands on, with their outbound associations.
    pub paths: PathTable,
    /// The inbound associations.
    pub inbound: SaTable,
    /// The path of each connection, where the hop remembers them.
    memory: Option<FlowMemory>,
    counters: Arc<Counters>,
    work: [Work; BATCH_PACKETS],
    entries: [Entry; BATCH_PACKETS],
    covered: Box<Covered>,
}

/// What is known of a packet between its arrival and its departure.
#[derive(Clone, Copy, Debug)]
struct Work {
    path: PathId,
    frame: Frame,
    /// The opened packet in the frame; at a non-intrusive hop what the function may see.
    inner: Inner,
}

impl Hop {
    /// A hop whose frames begin as `form` says, and which serves `function`.
    pub fn new(form: Form, intrusive: bool, function: Box<dyn Function>, inbound: SaTable) -> Hop {
        let none = Inner { start: 0, end: 0, next_header: 0 };
        let idle = Work { path: PathId(0), frame: Frame::NONE, inner: none };
        Hop {
            form,
            intrusive,
            functions: Served::new(function),
            witness: None,
            paths: PathTable::default(),
            inbound,
            memory: None,
            counters: Arc::default(),
            work: [idle; BATCH_PACKETS],
            entries: [Entry::PASS; BATCH_PACKETS],
            covered: Box::default(),
        }
    }

    /// The same hop, which remembers the paths of up to `flows` TCP connections, so that a reset on a return path that
    /// several forward paths share reaches both ends. Only an intrusive hop sees connections. `seeds` come from the
    /// caller's random source.
    #[must_use]
    pub fn with_flows(mut self, flows: usize, seeds: [u64; 4], now: Instant) -> Hop {
        self.memory = self.intrusive.then(|| FlowMemory::new(flows, seeds, now));
        self
    }

    /// The same hop, which remembers in one memory with `other`, another worker of the same hop. Only `other` counts what is
    /// in it.
    #[must_use]
    pub fn with_flows_of(mut self, other: &Hop) -> Hop {
        self.memory = other.memory.as_ref().map(FlowMemory::share);
        self
    }

    /// Connections whose path the hop remembers.
    pub fn flows(&self) -> usize {
        self.memory.as_ref().map_or(0, FlowMemory::len)
    }

    /// Connections whose path the hop may remember.
    pub fn flows_limit(&self) -> usize {
        self.memory.as_ref().map_or(0, FlowMemory::limit)
    }

    /// Bytes of memory for each such connection.
    pub fn flow_bytes(&self) -> usize {
        self.memory.as_ref().map_or(0, FlowMemory::bytes_per_flow)
    }

    /// Connections that were not remembered because there was no room: those that were there stay.
    pub fn flows_refused(&self) -> u64 {
        self.memory.as_ref().map_or(0, FlowMemory::refused)
    }

    /// How its frames begin.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The counters; they can be read while the hop works.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The function that the hop serves; of several the one that new paths get.
    pub fn function(&mut self) -> &mut dyn Function {
        self.functions.current()
    }

    /// What the hop's functions counted, those that are gone included.
    pub fn function_counters(&self) -> Vec<FunctionCounter> {
        self.functions.counters()
    }

    /// Puts a function beside those that are there; paths whose [`PathState`](crate::paths::PathState) names the slot are
    /// served by it. A hop that is not intrusive tells no paths apart and serves all by the current one.
    pub fn put_function(&mut self, slot: Slot, function: Box<dyn Function>) {
        self.functions.put(slot, function);
    }

    /// Gives the function of this slot other settings; it keeps what it remembers. False if it cannot.
    pub fn retune_function(&mut self, slot: Slot, settings: Box<dyn Any + Send>) -> bool {
        self.functions.retune(slot, settings)
    }

    /// Makes the function of this slot the current one.
    pub fn set_current_function(&mut self, slot: Slot) {
        self.functions.set_current(slot);
    }

    /// Takes a function out that no path is served by any more, unless it is the current one.
    pub fn remove_function(&mut self, slot: Slot) {
        self.functions.remove(slot);
    }

    /// Lets somebody see what the function is handed, or nobody any more.
    pub fn set_witness(&mut self, witness: Option<Box<dyn Witness>>) {
        self.witness = witness;
    }

    /// Who sees what the function is handed.
    pub fn witness(&mut self) -> Option<&mut dyn Witness> {
        match &mut self.witness {
            Some(witness) => Some(&mut **witness),
            None => None,
        }
    }

    /// Decides over a batch that came from the link. `made` is emptied and filled with packets of the hop's own.
    pub fn handle_link(&mut self, now: Instant, batch: &mut Batch, made: &mut Batch) {
        made.clear();
        for begin in (0..batch.len()).step_by(LANES) {
            let lanes = begin..batch.len().min(begin + LANES);
            let signed = self.look(now, batch, lanes.clone());
            for begin in lanes.clone().step_by(HOP_GROUP_PACKETS) {
                let end = lanes.end.min(begin + HOP_GROUP_PACKETS);
                self.handle_group(now, batch, begin..end, made);
            }
            if signed {
                self.finish(now, batch, lanes);
            }
        }
    }

    /// Serves some packets of a batch whose codes were found to be right.
    fn handle_group(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        group: Range<usize>,
        made: &mut Batch,
    ) {
        let mut ready = 0;
        for index in group {
            if batch.verdict(index) != Verdict::Pending {
                continue;
            }
            match self.open(now, batch, index) {
                Ok(entry) => {
                    self.entries[ready] = entry;
                    ready += 1;
                }
                Err(reason) => self.refuse(batch, index, reason),
            }
        }
        if let Some(witness) = &mut self.witness {
            witness.see(&FunctionBatch::new(batch, &mut self.entries[..ready]));
        }
        let paths = self.intrusive.then_some(&self.paths);
        self.functions.handle_batch(now, batch, &mut self.entries[..ready], paths);
        for nth in 0..ready {
            let Entry { index, action, .. } = self.entries[nth];
            self.act(now, batch, index as usize, action, made);
        }
    }

    /// Lets the function and the hop's memory of flows age.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(memory) = &mut self.memory {
            memory.handle_timeout(now);
        }
        self.functions.handle_timeout(now);
    }

    /// Finds the paths of some frames and looks whether they are steered as those of their paths are; whether any has an NSH.
    fn look(&mut self, now: Instant, batch: &mut Batch, group: Range<usize>) -> bool {
        let Hop { form, intrusive, inbound, paths, covered, counters, .. } = self;
        let look = |paths: &mut PathTable, batch: &Batch, index: usize| {
            let (source, bytes) = (batch.source(), batch.packet(index));
            let frame = outer::parse(bytes, *form)?;
            if frame.ttl <= 1 {
                return Err(DropReason::TtlExpired);
            }
            let path = match (*intrusive, frame.path) {
                (true, _) => admit::look(bytes, source, &frame, paths, inbound)?,
                (false, None) => paths.find_by_labels(&bytes[ENTRY_BYTES..], source)?,
                (false, Some(path)) => {
                    let state = paths.get(path).ok_or(DropReason::UnknownServicePath)?;
                    admit::check(bytes, source, &frame, state)?;
                    path
                }
            };
            Ok((path, frame))
        };
        let looked = admit::group(batch, group.clone(), paths, covered, counters, now, look);
        let inner = Inner { start: 0, end: 0, next_header: 0 };
        for (work, (path, frame)) in self.work[group].iter_mut().zip(looked) {
            *work = Work { path, frame, inner };
        }
        looked.iter().any(|(_, frame)| frame.path.is_some())
    }

    /// Opens a frame if the function is to see what is inside.
    fn open(&mut self, now: Instant, batch: &mut Batch, index: usize) -> Result<Entry, DropReason> {
        let Work { path, frame, .. } = self.work[index];
        let state = self.paths.get(path).ok_or(DropReason::LabelMismatch)?;
        let bytes = batch.packet_mut(index);
        let (visible, inner_bytes) = if self.intrusive {
            let sa = self.inbound.get(frame.spi)?;
            let inner = decap::decapsulate(bytes, &frame, state, sa, now, &self.counters)?;
            (inner, inner.end - inner.start)
        } else {
            frame.check_mode(state.config.mode)?;
            let end = bytes.len().min(frame.esp + VISIBLE_ESP_BYTES);
            (Inner { start: frame.outer, end, next_header: 0 }, bytes.len() - frame.outer)
        };
        let metadata = group::told(bytes, &frame, state, now)?;
        self.work[index].inner = visible;
        state.traffic_in.count(inner_bytes);
        Ok(Entry {
            index: index as u8,
            offset: visible.start as u32,
            visible_bytes: (visible.end - visible.start) as u32,
            path: state.config.id,
            direction: state.config.direction,
            header: frame.path.map_or(Entry::NO_HEADER, |_| frame.stack as u32),
            metadata,
            action: Action::Pass,
        })
    }

    /// Proves the passage of those packets that go on, and makes their codes.
    fn finish(&mut self, now: Instant, batch: &mut Batch, group: Range<usize>) {
        let (mut items, mut count) = ([Item::NONE; LANES], 0);
        for index in group {
            let Work { path, frame, .. } = self.work[index];
            let goes = matches!(batch.verdict(index), Verdict::Send(_));
            let Some(state) = self.paths.get(path).filter(|_| goes && frame.path.is_some()) else {
                continue;
            };
            items[count] = Item { index, path, stack: frame.stack - encap::pop_bytes(state) };
            count += 1;
        }
        let items = &items[..count];
        group::finish(batch, items, &mut self.paths, &mut self.covered, &self.counters, now);
    }

    fn act(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        index: usize,
        action: Action,
        made: &mut Batch,
    ) {
        let outcome = match action {
            Action::Pass => self.pass(now, batch, index),
            Action::Drop { .. } | Action::Refuse => Err(DropReason::Function),
            Action::NoRoom => Err(DropReason::FunctionTableFull),
            Action::Reset { .. } => {
                self.reset(now, batch, index, made);
                Err(DropReason::FunctionReset)
            }
            Action::Reject { .. } => {
                self.reject(now, batch, index, made);
                Err(DropReason::FunctionReject)
            }
        };
        if let Err(reason) = outcome {
            self.refuse(batch, index, reason);
        }
    }

    /// Pops this hop's label and sends the packet on; an opened one is sealed again in the same bytes.
    fn pass(&mut self, now: Instant, batch: &mut Batch, index: usize) -> Result<(), DropReason> {
        let work = self.work[index];
        let state = self.paths.get_mut(work.path).ok_or(DropReason::NoPath)?;
        if self.intrusive {
            if let Some(memory) = &mut self.memory {
                memory.observe(
                    now,
                    &batch.packet(index)[work.inner.start..work.inner.end],
                    work.path,
                );
            }
            encap::reseal(batch, index, work.inner, state, work.frame.ttl - 1, now)?;
            self.counters.sealed.count(work.inner.end - work.inner.start);
        } else {
            let leaving = state.config.leaving.as_ref().ok_or(DropReason::NoPath)?;
            let next = leaving.next;
            if let Some(nsh) = &state.nsh {
                nsh.ready(now)?;
            }
            let bytes = batch.packet_mut(index);
            encap::step(&mut bytes[work.frame.stack..], state);
            let pop = encap::pop_bytes(state);
            if let Some(ttl) = bytes[..work.frame.stack].get_mut(pop + ENTRY_BYTES - 1) {
                *ttl = work.frame.ttl - 1;
            }
            state.traffic_out.count(bytes.len() - work.frame.outer);
            let popped = batch.trim_front(index, pop);
            debug_assert!(popped);
            batch.set_verdict(index, Verdict::Send(next));
        }
        self.counters.link_out.count(batch.packet(index).len());
        Ok(())
    }

    /// Makes a reset for each end of the connection that packet `index` belongs to. An end that no path of this hop
    /// leads to gets none; it then learns of it by its own timer.
    fn reset(&mut self, now: Instant, batch: &Batch, index: usize, made: &mut Batch) {
        let work = self.work[index];
        let packet = &batch.packet(index)[work.inner.start..work.inner.end];
        let back = self.way_back(now, packet, work.path);
        for (path, towards) in
            [(Some(work.path), reset::Towards::Receiver), (back, reset::Towards::Sender)]
        {
            let Some(state) = path.and_then(|path| self.paths.get_mut(path)) else { continue };
            reset::originate(now, packet, towards, state, made, &self.counters);
        }
    }

    /// Tells the sender of packet `index`, and nobody else, that it was refused: by a reset of its TCP connection, or by
    /// an ICMP error. What is not opened is not answered.
    fn reject(&mut self, now: Instant, batch: &Batch, index: usize, made: &mut Batch) {
        if !self.intrusive {
            return;
        }
        let work = self.work[index];
        let packet = &batch.packet(index)[work.inner.start..work.inner.end];
        let back = self.way_back(now, packet, work.path);
        let Some(state) = back.and_then(|path| self.paths.get_mut(path)) else { return };
        if reset::segment(packet).is_some() {
            reset::originate(now, packet, reset::Towards::Sender, state, made, &self.counters);
        } else {
            prohibited::originate(now, packet, state, made, &self.counters);
        }
    }

    /// The path by which the sender of a packet on `path` is reached, if one is known. The connection is taken as over.
    fn way_back(&mut self, now: Instant, packet: &[u8], path: PathId) -> Option<PathId> {
        let remembered = self.memory.as_mut().and_then(|memory| memory.end(now, packet));
        self.paths.get(path)?.config.return_path.or_else(|| {
            // Paths may have changed since.
            let returns = |path| self.paths.get(path)?.config.return_path;
            remembered.filter(|other| returns(*other) == Some(path))
        })
    }

    fn refuse(&self, batch: &mut Batch, index: usize, reason: DropReason) {
        self.counters.count_drop(reason);
        batch.drop_packet(index, reason);
    }
}
