//! A worker's part: sees the batches of a gateway or an egress before and after the core, and counts their flows.
//!
//! It is there only where the domain wants records; the core does not know of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmail_dataplane::batch::BATCH_PACKETS;
use ringmail_dataplane::edge::{self, Edge, Known};
use ringmail_dataplane::meter::{Meter, MeterTimes, Proof, Seen, Way};
use ringmail_dataplane::{Batch, Verdict};
use ringmail_model::PathId;
use ringmail_model::domain::FlowExport;
use ringmail_model::pathset::Role;
use ringmail_packet::flow::FlowKey;

use super::Telling;
use crate::limits::{FLOW_SWEEP_A_TICK, FLOWS_METERED};

/// Counts the flows of one worker.
pub(crate) struct Metering {
    meter: Meter,
    role: Role,
    /// One instant by two clocks.
    anchor: (Instant, Duration),
    /// Packets of the batch under way that came in plain.
    plain: [Option<(FlowKey, usize, bool)>; BATCH_PACKETS],
    unmetered: u64,
    telling: Telling,
}

impl Metering {
    pub(super) fn new(
        wanted: &FlowExport,
        role: Role,
        seeds: [u64; 4],
        telling: Telling,
    ) -> Metering {
        let times = MeterTimes { idle_s: wanted.idle_timeout_s, active_s: wanted.active_timeout_s };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Metering {
            meter: Meter::new(FLOWS_METERED, seeds, times),
            role,
            anchor: (Instant::now(), since),
            plain: [None; BATCH_PACKETS],
            unmetered: 0,
            telling,
        }
    }

    /// Before the core looks at a batch of plain packets.
    pub(crate) fn came_plain(&mut self, batch: &Batch) {
        for index in 0..batch.len() {
            let packet = batch.packet(index);
            let flow = FlowKey::of(packet).ok();
            self.plain[index] = flow.map(|flow| (flow, packet.len(), edge::closes(packet)));
        }
    }

    /// When the core has decided over a batch of plain packets: what goes on is counted.
    pub(crate) fn sealed(&mut self, now: Instant, edge: &Edge, batch: &Batch) {
        let now_ms = self.at(now);
        for index in 0..batch.len() {
            let Some((flow, len_bytes, ends)) = self.plain[index].take() else { continue };
            if !matches!(batch.verdict(index), Verdict::Send(_)) {
                continue;
            }
            // An entry that has run out still says which path it was.
            let Some(taken) = edge.flows().get(&flow, 0).map(Known::path) else { continue };
            let (flow, way, path) = match self.role {
                Role::Egress => (flow.reversed(), Way::Back, before(edge, taken)),
                _ => (flow, Way::Forward, Some(taken)),
            };
            let Some(path) = path else { continue };
            self.count(now_ms, Seen { flow, way, path, len_bytes, ends, proof: None });
        }
    }

    /// When the core has decided over a batch from the link: what is delivered is counted.
    pub(crate) fn delivered(&mut self, now: Instant, edge: &Edge, batch: &Batch) {
        let now_ms = self.at(now);
        for (index, arrived) in edge.opened() {
            if batch.verdict(index) != Verdict::Deliver {
                continue;
            }
            let packet = batch.packet(index);
            let Ok(flow) = FlowKey::of(packet) else { continue };
            let (flow, way, path) = match self.role {
                Role::Egress => (flow, Way::Forward, Some(arrived)),
                _ => {
                    let forward = flow.reversed();
                    let path = edge.flows().get(&forward, 0).map(Known::path);
                    (forward, Way::Back, path)
                }
            };
            let Some(path) = path else { continue };
            let (len_bytes, ends) = (packet.len(), edge::closes(packet));
            let proof = Some(proof(edge, arrived));
            self.count(now_ms, Seen { flow, way, path, len_bytes, ends, proof });
        }
    }

    /// Hands over what is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        let now_ms = self.at(now);
        let Metering { meter, telling, .. } = self;
        meter.sweep(now_ms, FLOW_SWEEP_A_TICK, |record| telling.record(record));
        let unmetered = self.meter.unmetered();
        self.telling.counters.flow_packets_unmetered.add(unmetered - self.unmetered);
        self.unmetered = unmetered;
    }

    fn count(&mut self, now_ms: u64, seen: Seen) {
        let Metering { meter, telling, .. } = self;
        meter.saw(now_ms, &seen, |record| telling.record(record));
    }

    /// Milliseconds since 1970.
    fn at(&self, now: Instant) -> u64 {
        let since = self.anchor.1 + now.saturating_duration_since(self.anchor.0);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What is under way has its record when the worker ends.
impl Drop for Metering {
    fn drop(&mut self) {
        let Metering { meter, telling, .. } = self;
        meter.finish(|record| telling.record(record));
    }
}

/// A forward path whose packets come back by this one, for a flow of which another worker saw the beginning.
fn before(edge: &Edge, back: PathId) -> Option<PathId> {
    let mut paths = edge.paths.iter();
    paths.find(|state| state.config.return_path == Some(back)).map(|state| state.config.id)
}

/// Where proofs are enforced, whatever is delivered was proved.
fn proof(edge: &Edge, path: PathId) -> Proof {
    let nsh = edge.paths.get(path).and_then(|state| state.nsh.as_ref());
    if nsh.is_some_and(|nsh| nsh.proves()) { Proof::Proved } else { Proof::Unknown }
}
