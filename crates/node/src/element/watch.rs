//! What a station does besides its work while somebody looks: notes for a trace, copies for a tap. It is there only then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use ringmail_dataplane::batch::BATCH_PACKETS;
use ringmail_dataplane::edge::{Edge, Known};
use ringmail_dataplane::function::{FunctionBatch, Witness};
use ringmail_dataplane::nsh::beginning::Beginning;
use ringmail_dataplane::{Batch, Form, Verdict};
use ringmail_dataplane_io::pcapng::{Tap, Way};
use ringmail_model::{PathId, SaSpi};
use ringmail_packet::flow::FlowKey;
use tokio::sync::oneshot;

use super::legend::{self, Legend};
use super::trace::{self, Recorder};
use super::whose::Whose;
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
    Tap(u64, Box<Tapping>, oneshot::Sender<bool>),
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
        Watch::Tap(number, tapping, answer) => {
            let room = now.tap.is_none() && now.hop_tap.is_none();
            if room {
                match core {
                    // Of an attached function, what goes into it.
                    Core::Edge(..) | Core::Attached(..) => {
                        if let Core::Edge(edge, _) = core {
                            edge.keep_findings(true);
                        }
                        let wanted = [None; BATCH_PACKETS];
                        now.tap = Some(EdgeTap { number, tapping: *tapping, wanted });
                    }
                    Core::Hop(hop) => {
                        hop.set_witness(Some(Box::new(HopTap(*tapping))));
                        now.hop_tap = Some(number);
                    }
                }
            }
            let _gone = answer.send(room);
        }
        Watch::Flush => {
            if let Some(tap) = &mut now.tap {
                tap.tapping.tap.flush();
            }
            if let (Core::Hop(hop), Some(_)) = (core, now.hop_tap)
                && let Some(witness) = hop.witness()
            {
                witness.flush();
            }
        }
        Watch::EndTap(number) => {
            let ended = now.tap.take_if(|tap| tap.number == number);
            if let (Core::Edge(edge, _), Some(_)) = (&mut *core, ended) {
                edge.keep_findings(false);
            }
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

    /// When the core has decided, before the batch is sent. The edge, if it is one that opened the batch.
    pub(crate) fn decided(&mut self, edge: Option<&Edge>, batch: &Batch) {
        if let Some(trace) = &mut self.trace {
            trace.decided(batch);
        }
        if let Some(tap) = &mut self.tap {
            tap.decided(edge, batch);
        }
    }

    /// Once it is sent.
    pub(crate) fn sent(&mut self, batch: &Batch) {
        if let Some(trace) = &mut self.trace {
            trace.sent(batch);
        }
    }
}

/// Copies of packets with what is known of them.
#[derive(Debug)]
pub(crate) struct Tapping {
    paths: HashSet<PathId>,
    tap: Tap,
    legend: Arc<Legend>,
    /// At a gateway.
    whose: Option<Whose>,
    /// Used again for every packet.
    text: String,
}

impl Tapping {
    /// Copies of plain packets of these paths.
    pub(super) fn new(
        paths: HashSet<PathId>,
        tap: Tap,
        legend: Arc<Legend>,
        whose: Option<Whose>,
    ) -> Tapping {
        Tapping { paths, tap, legend, whose, text: String::new() }
    }

    fn copy(&mut self, packet: &[u8], way: Way, path: PathId, known: legend::Known<'_>) {
        let flow = || FlowKey::of(packet).ok();
        let client = self.whose.as_ref().and_then(|whose| whose.of(&flow()?));
        let identity = known.identity.or(client.as_deref());
        self.legend.write(&mut self.text, path, legend::Known { identity, ..known });
        self.tap.packet(packet, way, &self.text);
    }
}

/// Copies what enters and leaves a gateway or an egress in plain, and what goes into an attached function.
struct EdgeTap {
    number: u64,
    tapping: Tapping,
    /// Which packets of the batch under way are to be copied when they come out: the path, and what the packet claims.
    wanted: [Option<(PathId, Option<Beginning>)>; BATCH_PACKETS],
}

impl EdgeTap {
    fn came_plain(&mut self, edge: &Edge, batch: &Batch) {
        self.wanted = [None; BATCH_PACKETS];
        for index in 0..batch.len() {
            let packet = batch.packet(index);
            let flow = FlowKey::of(packet).ok();
            // An entry that has run out still says which path it was.
            let path = flow.and_then(|flow| edge.flows().get(&flow, 0).map(Known::path));
            if let Some(path) = path.filter(|path| self.tapping.paths.contains(path)) {
                self.tapping.copy(packet, Way::In, path, legend::Known::default());
            }
        }
    }

    fn came_by_link(&mut self, core: &mut Core, batch: &Batch) {
        let form = core.form();
        for index in 0..batch.len() {
            let frame = batch.packet(index);
            let mark = trace::mark(frame, form);
            let sa = mark.and_then(|(mark, _)| core.inbound().get(SaSpi(mark.spi)).ok());
            let path = sa.map(|sa| sa.path()).filter(|path| self.tapping.paths.contains(path));
            self.wanted[index] = path.map(|path| (path, beginning(frame, form)));
        }
    }

    fn decided(&mut self, edge: Option<&Edge>, batch: &Batch) {
        for index in 0..batch.len() {
            let Some((path, beginning)) = self.wanted[index].take() else { continue };
            if matches!(batch.verdict(index), Verdict::Deliver | Verdict::Function(_)) {
                let finding = edge.and_then(|edge| edge.finding(index));
                let known = legend::Known { beginning, finding, identity: None };
                self.tapping.copy(batch.packet(index), Way::Out, path, known);
            }
        }
    }
}

/// Who began the packet in a frame, as it claims.
fn beginning(frame: &[u8], form: Form) -> Option<Beginning> {
    let glance = ringmail_dataplane::glance(frame, form)?;
    Beginning::read(frame.get(glance.header?..)?)
}

/// Copies what a hop hands to its function.
#[derive(Debug)]
struct HopTap(Tapping);

impl Witness for HopTap {
    fn see(&mut self, packets: &FunctionBatch<'_>) {
        for nth in 0..packets.len() {
            let path = packets.path(nth);
            if self.0.paths.contains(&path) {
                let beginning = packets.beginning(nth);
                let known = legend::Known { beginning, ..legend::Known::default() };
                self.0.copy(packets.packet(nth), Way::In, path, known);
            }
        }
    }

    fn flush(&mut self) {
        self.0.tap.flush();
    }
}
