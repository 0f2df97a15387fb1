//! A worker's part in a trace: while a session runs, what passes is noted in a ring; nothing is, otherwise.
//!
//! A packet is known by its flow where it is plain, and by SPI and sequence number (RFC 4303 section 2) where it is
//! sealed; what a worker notes of both sides joins them. Cores take no part: the frame before and after them says all.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use ringmail_dataplane::batch::BATCH_PACKETS;
use ringmail_dataplane::{Batch, Form, Glance, Verdict};
use ringmail_model::{PathId, SaSpi};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::mpls;
use rustix::time::{ClockId, clock_gettime};

use super::worker::Core;
use crate::control::{Mark, Passage, TraceFlow};
use crate::limits::TRACE_RECORDS;

/// A running session at one worker.
pub(crate) struct Recorder {
    paths: HashSet<PathId>,
    flows: HashSet<FlowKey>,
    form: Form,
    /// One instant by two clocks: the worker's, and the machine's, which its processes share.
    anchor: (Instant, u64),
    ring: VecDeque<Record>,
    overwritten: u64,
    pending: [Option<Record>; BATCH_PACKETS],
}

/// One packet that passed.
#[derive(Clone, Copy, Debug)]
struct Record {
    flow: Option<FlowKey>,
    arrived: Option<Mark>,
    left: Option<Mark>,
    in_ns: u64,
    out_ns: u64,
    bytes_in: u32,
    bytes_out: u32,
    verdict: Verdict,
}

impl Recorder {
    /// Notes packets of these paths, and at the ends of chains plain packets of these flows.
    pub(crate) fn new(paths: HashSet<PathId>, flows: HashSet<FlowKey>, form: Form) -> Recorder {
        Recorder {
            paths,
            flows,
            form,
            anchor: (Instant::now(), machine_ns()),
            ring: VecDeque::with_capacity(TRACE_RECORDS),
            overwritten: 0,
            pending: [None; BATCH_PACKETS],
        }
    }

    /// Notes what came from the link, before the core looks at it.
    pub(crate) fn came_by_link(&mut self, now: Instant, core: &mut Core, batch: &Batch) {
        let in_ns = self.at(now);
        for index in 0..batch.len() {
            let packet = batch.packet(index);
            let arrived = mark(packet, self.form);
            let arrived =
                arrived.filter(|(mark, path)| self.is_on_path(core, packet, *mark, *path));
            let arrived = arrived.map(|(mark, _)| mark);
            self.pending[index] =
                arrived.map(|mark| Record::begin(None, Some(mark), in_ns, packet.len()));
        }
    }

    /// Notes what came in plain, before the core looks at it.
    pub(crate) fn came_plain(&mut self, now: Instant, batch: &Batch) {
        let in_ns = self.at(now);
        for index in 0..batch.len() {
            let packet = batch.packet(index);
            let flow = FlowKey::of(packet).ok().filter(|flow| self.wants(flow));
            self.pending[index] =
                flow.map(|flow| Record::begin(Some(flow), None, in_ns, packet.len()));
        }
    }

    /// Notes what the core made of it, before it is sent.
    pub(crate) fn decided(&mut self, batch: &Batch) {
        for index in 0..batch.len() {
            let Some(record) = &mut self.pending[index] else { continue };
            let packet = batch.packet(index);
            match batch.verdict(index) {
                Verdict::Send(_) => record.left = mark(packet, self.form).map(|(mark, _)| mark),
                Verdict::Deliver | Verdict::Function(_) => record.flow = FlowKey::of(packet).ok(),
                Verdict::Drop(_) | Verdict::Pending => continue,
            }
            record.bytes_out = packet.len() as u32;
        }
    }

    /// Keeps what was noted, once it is sent.
    pub(crate) fn sent(&mut self, batch: &Batch) {
        let out_ns = self.anchor.1 + nanos(self.anchor.0.elapsed());
        for index in 0..batch.len() {
            let Some(mut record) = self.pending[index].take() else { continue };
            record.out_ns = out_ns;
            record.verdict = batch.verdict(index);
            if self.ring.len() == TRACE_RECORDS {
                self.ring.pop_front();
                self.overwritten += 1;
            }
            self.ring.push_back(record);
        }
    }

    /// What was kept of packets that arrived with one of these marks, or are of one of these flows; in order.
    pub(crate) fn find(&self, flows: &HashSet<FlowKey>, marks: &HashSet<Mark>) -> Vec<Passage> {
        let wanted = |record: &&Record| {
            record.arrived.is_some_and(|mark| marks.contains(&mark))
                || record.flow.is_some_and(|flow| flows.contains(&flow))
        };
        self.ring.iter().filter(wanted).map(Record::told).collect()
    }

    /// What came in plain as one of these flows and went on: what an attached function gave back.
    pub(crate) fn given_back(&self, flows: &HashSet<FlowKey>) -> Vec<Passage> {
        let wanted = |record: &&Record| {
            record.arrived.is_none() && record.flow.is_some_and(|flow| flows.contains(&flow))
        };
        self.ring.iter().filter(wanted).map(Record::told).collect()
    }

    /// Packets that were noted and had to make room.
    pub(crate) fn overwritten(&self) -> u64 {
        self.overwritten
    }

    /// Whether a frame from the link is one of the paths', by its NSH, or its association where it is opened, else by the
    /// labels with which it goes on.
    fn is_on_path(&self, core: &mut Core, frame: &[u8], mark: Mark, path: Option<PathId>) -> bool {
        if let Some(path) = path {
            return self.paths.contains(&path);
        }
        if let Ok(sa) = core.inbound().get(SaSpi(mark.spi)) {
            return self.paths.contains(&sa.path());
        }
        let labels = frame.get(mpls::ENTRY_LEN_BYTES..).unwrap_or_default();
        core.paths().iter().any(|state| {
            let leads = state.config.leaving.is_some_and(|leaving| leaving.labels.matches(labels));
            leads && self.paths.contains(&state.config.id)
        })
    }

    fn at(&self, now: Instant) -> u64 {
        self.anchor.1 + nanos(now.saturating_duration_since(self.anchor.0))
    }

    fn wants(&self, flow: &FlowKey) -> bool {
        self.flows.is_empty() || self.flows.contains(flow)
    }
}

impl Record {
    fn begin(flow: Option<FlowKey>, arrived: Option<Mark>, in_ns: u64, bytes: usize) -> Record {
        let (bytes_in, verdict) = (bytes as u32, Verdict::Pending);
        Record { flow, arrived, left: None, in_ns, out_ns: in_ns, bytes_in, bytes_out: 0, verdict }
    }

    fn told(&self) -> Passage {
        let (verdict, reason) = match self.verdict {
            Verdict::Send(_) => ("sent", None),
            Verdict::Deliver => ("delivered", None),
            Verdict::Function(_) => ("handed_over", None),
            Verdict::Drop(reason) => ("dropped", Some(reason.name().to_owned())),
            Verdict::Pending => ("pending", None),
        };
        Passage {
            flow: self.flow.map(TraceFlow::from),
            arrived: self.arrived,
            left: self.left,
            in_ns: self.in_ns,
            out_ns: self.out_ns,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            verdict: verdict.to_owned(),
            reason,
        }
    }
}

/// SPI and sequence number of a frame, and the path that its NSH names; `None` where it holds no ESP.
pub(super) fn mark(frame: &[u8], form: Form) -> Option<(Mark, Option<PathId>)> {
    let Glance { path, esp, .. } = ringmail_dataplane::glance(frame, form)?;
    let esp = frame.get(esp..)?.first_chunk::<8>()?;
    let [spi, sequence] =
        [0, 4].map(|at| u32::from_be_bytes([esp[at], esp[at + 1], esp[at + 2], esp[at + 3]]));
    Some((Mark { spi, sequence }, path))
}

/// The machine's clock that its processes share.
fn machine_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
