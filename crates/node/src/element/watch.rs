//! What a station does besides its work while somebody looks: notes for a trace, copies for a tap. It is there only then.

use std::collections::HashSet;
use std::time::Instant;

use ringmail_dataplane::batch::BATCH_PACKETS;
use ringmail_dataplane::edge::{Edge, Known};
use ringmail_dataplane::function::{FunctionBatch, Witness};
use ringmail_dataplane::{Batch, Verdict};
use ringmail_dataplane_io::pcapng::{Tap, Way};
use ringmail_model::{PathId, SaSpi};
use ringmail_packet::flow::FlowKey;
use tokio::sync::oneshot;

use super::trace::{self, Recorder};
use super::worker::Core;
use crate::control::{Mark, Passage};

/// What is asked of a station besides its work.
pub(crate) enum Watch {
    /// Note packets of these paths, and plain ones of these flows.
    Trace(HashSet<PathId>, HashSet<FlowKey>, oneshot::Sender<()>),
    /// Say what was noted of these, and how many notes were overwritten.
    Find(HashSet<FlowKey>, HashSet<Mark>, oneshot::Sender<(Vec<Passage>, u64)>),
    /// Note nothing any more.
    EndTrace,
    /// Copy plain packets of these paths; one tap at a time. Answers whether there was room.
    Tap(u64, HashSet<PathId>, Box<Tap>, oneshot::Sender<bool>),
    /// Hand over what was copied.
    Flush,
    /// Copy nothing any more, if this tap still does.
    EndTap(u64),
}

/// A station's watching, while there is any.
#[derive(Default)]
pub(crate) struct Watching {
    trace: Option<Recorder>,
    tap: Option<EdgeTap>,
    /// A hop's tap hangs on its core; which it is.
    hop_tap: Option<u64>,
}

/// Does what is asked. `watching` is there afterwards only if there is something to watch.
pub(crate) fn obey(watching: &mut Option<Box<Watching>>, watch: Watch, core: &mut Core) {
    let now = watching.get_or_insert_default();
    match watch {
        Watch::Trace(paths, flows, answer) => {
            now.trace = Some(Recorder::new(paths, flows, core.form()));
            let _gone = answer.send(());
        }
        Watch::Find(flows, marks, answer) => {
            let found = now.trace.as_ref().map(|trace| {
                let mut found = trace.find(&flows, &marks);
                if let Core::Attached(..) = core {
                    // What went into the function comes out by itself, and later.
                    let into = found.iter().filter_map(|passage| passage.flow);
                    found.extend(trace.given_back(&into.map(FlowKey::from).collect()));
                }
                (found, trace.overwritten())
            });
            let _gone = answer.send(found.unwrap_or_default());
        }
        Watch::EndTrace => now.trace = None,
        Watch::Tap(number, paths, tap, answer) => {
            let room = now.tap.is_none() && now.hop_tap.is_none();
            if room {
                match core {
                    // Of an attached function, what goes into it.
                    Core::Edge(..) | Core::Attached(..) => {
                        now.tap = Some(EdgeTap {
                            number,
                            paths,
                            tap: *tap,
                            wanted: [false; BATCH_PACKETS],
                        });
                    }
                    Core::Hop(hop) => {
                        hop.set_witness(Some(Box::new(HopTap { paths, tap: *tap })));
                        now.hop_tap = Some(number);
                    }
                }
            }
            let _gone = answer.send(room);
        }
        Watch::Flush => {
            if let Some(tap) = &mut now.tap {
                tap.tap.flush();
            }
            if let (Core::Hop(hop), Some(_)) = (core, now.hop_tap)
                && let Some(witness) = hop.witness()
            {
                witness.flush();
            }
        }
        Watch::EndTap(number) => {
            now.tap.take_if(|tap| tap.number == number);
            if let (Core::Hop(hop), Some(_)) = (core, now.hop_tap.take_if(|known| *known == number))
            {
                hop.set_witness(None);
            }
        }
    }
    if now.trace.is_none() && now.tap.is_none() && now.hop_tap.is_none() {
        *watching = None;
    }
}

impl Watching {
    /// Before the core looks at a batch from the link.
    pub(crate) fn came_by_link(&mut self, now: Instant, core: &mut Core, batch: &Batch) {
        if let Some(trace) = &mut self.trace {
            trace.came_by_link(now, core, batch);
        }
        if let Some(tap) = &mut self.tap {
            tap.came_by_link(core, batch);
        }
    }

    /// Before the core looks at a batch of plain packets: of an edge's TUN, or from an attached function.
    pub(crate) fn came_plain(&mut self, now: Instant, edge: Option<&Edge>, batch: &Batch) {
        if let Some(trace) = &mut self.trace {
            trace.came_plain(now, batch);
        }
        if let (Some(tap), Some(edge)) = (&mut self.tap, edge) {
            tap.came_plain(edge, batch);
        }
    }

    /// When the core has decided, before the batch is sent.
    pub(crate) fn decided(&mut self, batch: &Batch) {
        if let Some(trace) = &mut self.trace {
            trace.decided(batch);
        }
        if let Some(tap) = &mut self.tap {
            tap.decided(batch);
        }
    }

    /// Once it is sent.
    pub(crate) fn sent(&mut self, batch: &Batch) {
        if let Some(trace) = &mut self.trace {
            trace.sent(batch);
        }
    }
}

/// Copies what enters and leaves a gateway or an egress in plain, and what goes into an attached function.
struct EdgeTap {
    number: u64,
    paths: HashSet<PathId>,
    tap: Tap,
    /// Which packets of the batch under way are to be copied when they come out.
    wanted: [bool; BATCH_PACKETS],
}

impl EdgeTap {
    fn came_plain(&mut self, edge: &Edge, batch: &Batch) {
        self.wanted = [false; BATCH_PACKETS];
        for index in 0..batch.len() {
            let packet = batch.packet(index);
            let flow = FlowKey::of(packet).ok();
            // An entry that has run out still says which path it was.
            let path = flow.and_then(|flow| edge.flows().get(&flow, 0).map(Known::path));
            if path.is_some_and(|path| self.paths.contains(&path)) {
                self.tap.packet(packet, Way::In);
            }
        }
    }

    fn came_by_link(&mut self, core: &mut Core, batch: &Batch) {
        let form = core.form();
        for index in 0..batch.len() {
            let mark = trace::mark(batch.packet(index), form);
            let sa = mark.and_then(|(mark, _)| core.inbound().get(SaSpi(mark.spi)).ok());
            self.wanted[index] = sa.is_some_and(|sa| self.paths.contains(&sa.path()));
        }
    }

    fn decided(&mut self, batch: &Batch) {
        for index in 0..batch.len() {
            let wanted = std::mem::take(&mut self.wanted[index]);
            if wanted && matches!(batch.verdict(index), Verdict::Deliver | Verdict::Function(_)) {
                self.tap.packet(batch.packet(index), Way::Out);
            }
        }
    }
}

/// Copies what a hop hands to its function.
#[derive(Debug)]
struct HopTap {
    paths: HashSet<PathId>,
    tap: Tap,
}

impl Witness for HopTap {
    fn see(&mut self, packets: &FunctionBatch<'_>) {
        for nth in 0..packets.len() {
            if self.paths.contains(&packets.path(nth)) {
                self.tap.packet(packets.packet(nth), Way::In);
            }
        }
    }

    fn flush(&mut self) {
        self.tap.flush();
    }
}
