//! An end of chains: the gateway and the egress, where plain packets become frames and frames become plain packets.
//!
//! Both are the same engine over a table of flows. They differ in who fills the table: at the gateway the encryption
//! proxy pins each flow to a path before it connects ([`Edge::pin`]); at the egress a packet that arrives authentic
//! teaches the return path of its flow (RFC 7665 section 4.4). A plain packet of no known flow goes nowhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmail_model::{Label, PathId};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::Flags;

use crate::attach::Subject;
use crate::batch::Batch;
use crate::counters::Counters;
use crate::decap::{self, Inner};
use crate::encap;
use crate::flow::{FlowTable, PINNED, TableFull};
use crate::limits::{OTHER_IDLE_S, SWEEP_ENTRIES_PER_BATCH, TCP_CLOSING_S, TCP_IDLE_S};
use crate::outer;
use crate::paths::{PathConfig, PathTable};
use crate::reset;
use crate::sa::SaTable;
use crate::verdict::{DropReason, Verdict};

/// Which end of chains an [`Edge`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Forward paths begin here; return paths end here.
    Gateway,
    /// Forward paths end here; return paths begin here.
    Egress,
}

/// One worker of a gateway or an egress.
#[derive(Debug)]
pub struct Edge {
    role: Role,
    label: Label,
    /// The paths that begin or end here, with their outbound associations.
    pub paths: PathTable,
    /// The inbound associations.
    pub inbound: SaTable,
    /// The path of each flow, by the key of the packets that leave on it.
    flows: FlowTable<FlowKey, PathId>,
    counters: Arc<Counters>,
    started: Instant,
}

impl Edge {
    /// An edge that answers to `label` and remembers up to `flows` flows.
    pub fn new(
        role: Role,
        label: Label,
        flows: usize,
        seeds: [u64; 4],
        inbound: SaTable,
        now: Instant,
    ) -> Edge {
        Edge {
            role,
            label,
            paths: PathTable::default(),
            inbound,
            flows: FlowTable::new(flows, seeds),
            counters: Arc::default(),
            started: now,
        }
    }

    /// The counters; they can be read while the edge works.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The flows that have a path.
    pub fn flows(&self) -> &FlowTable<FlowKey, PathId> {
        &self.flows
    }

    /// Gives a flow its path until [`Edge::unpin`]. The entry must stand before the first packet is sent.
    ///
    /// # Errors
    /// [`TableFull`]; nothing changed.
    pub fn pin(&mut self, flow: FlowKey, path: PathId) -> Result<(), TableFull> {
        self.flows.insert(flow, path, PINNED)
    }

    /// Lets a pinned flow go after `linger`, which covers TIME_WAIT; packets of the flow do not lengthen that. False if
    /// there was no such flow.
    pub fn unpin(&mut self, now: Instant, flow: &FlowKey, linger: Duration) -> bool {
        let until = self.seconds(now).saturating_add(linger.as_secs() as u32);
        self.flows.set_expiry(flow, until.min(PINNED - 1))
    }

    /// Decides over a batch of plain packets, each with room around it, that came from the inner side.
    pub fn handle_inner(&mut self, now: Instant, batch: &mut Batch) {
        let now_s = self.seconds(now);
        for index in 0..batch.len() {
            self.counters.inner_in.count(batch.packet(index).len());
            if let Err(reason) = self.enter(now, now_s, batch, index) {
                self.refuse(batch, index, reason);
            }
        }
        self.flows.sweep(now_s, SWEEP_ENTRIES_PER_BATCH);
    }

    /// Decides over a batch of frames that came from the link.
    pub fn handle_link(&mut self, now: Instant, batch: &mut Batch) {
        let now_s = self.seconds(now);
        for index in 0..batch.len() {
            self.counters.link_in.count(batch.packet(index).len());
            if let Err(reason) = self.leave(now, now_s, batch, index) {
                self.refuse(batch, index, reason);
            }
        }
        self.flows.sweep(now_s, SWEEP_ENTRIES_PER_BATCH);
    }

    /// Lets flows age while there is no traffic.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now_s = self.seconds(now);
        self.flows.sweep(now_s, SWEEP_ENTRIES_PER_BATCH);
    }

    fn enter(
        &mut self,
        now: Instant,
        now_s: u32,
        batch: &mut Batch,
        index: usize,
    ) -> Result<(), DropReason> {
        let packet = batch.packet(index);
        let Subject { flow, error, idle_s } = Subject::of(packet)?;
        let inner_len = packet.len();
        let path = match self.role {
            // What was unpinned lingers as long as it was to, whatever is still sent; an error lengthens no life.
            Role::Gateway => self.flows.get(&flow, now_s).copied(),
            Role::Egress if error => self.flows.get(&flow, now_s).copied(),
            Role::Egress => {
                let until = now_s.saturating_add(idle_s);
                self.flows.touch(&flow, now_s, until).copied()
            }
        };
        let path = path.ok_or(DropReason::NoPath)?;
        let state = self.paths.get_mut(path).ok_or(DropReason::NoPath)?;
        encap::encapsulate(batch, index, state, now)?;
        self.counters.sealed.count(inner_len);
        self.counters.link_out.count(batch.packet(index).len());
        Ok(())
    }

    fn leave(
        &mut self,
        now: Instant,
        now_s: u32,
        batch: &mut Batch,
        index: usize,
    ) -> Result<(), DropReason> {
        let source = batch.source();
        let bytes = batch.packet_mut(index);
        let frame = outer::parse(bytes, self.label)?;
        if frame.ttl == 0 {
            return Err(DropReason::TtlExpired);
        }
        let sa = self.inbound.get(frame.spi)?;
        let state = self.paths.get(sa.path()).ok_or(DropReason::UnknownSpi)?;
        state.config.check_previous(source)?;
        // The path ends here, so this element's label is the last one.
        if state.config.leaving.is_some() || frame.outer != 4 {
            return Err(DropReason::LabelMismatch);
        }
        let mode = state.config.mode;
        let Inner { start, end, .. } =
            decap::decapsulate(bytes, &frame, mode, sa, now, &self.counters)?;
        let Subject { flow, error, idle_s } = Subject::of(&bytes[start..end])?;
        match self.role {
            Role::Gateway => {
                let path =
                    self.flows.get(&flow.reversed(), now_s).ok_or(DropReason::UnknownFlow)?;
                let forward = self.paths.get(*path);
                if forward.and_then(|forward| forward.config.return_path) != Some(state.config.id) {
                    return Err(DropReason::UnknownFlow);
                }
            }
            Role::Egress if error => {
                // It is about a packet of the service, which began no flow.
                check_destination(&state.config, &flow)?;
                self.flows.get(&flow.reversed(), now_s).ok_or(DropReason::UnknownFlow)?;
            }
            Role::Egress => {
                check_destination(&state.config, &flow)?;
                let back = state.config.return_path.ok_or(DropReason::NoPath)?;
                self.flows
                    .insert(flow.reversed(), back, now_s.saturating_add(idle_s))
                    .map_err(|TableFull| DropReason::FlowTableFull)?;
            }
        }
        state.traffic_in.count(end - start);
        self.counters.inner_out.count(end - start);
        let tail = bytes.len() - end;
        let cut = batch.trim_front(index, start) && batch.trim_back(index, tail);
        debug_assert!(cut);
        batch.set_verdict(index, Verdict::Deliver);
        Ok(())
    }

    fn seconds(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.started).as_secs();
        u32::try_from(elapsed).unwrap_or(PINNED - 1).min(PINNED - 1)
    }

    fn refuse(&self, batch: &mut Batch, index: usize, reason: DropReason) {
        self.counters.count_drop(reason);
        batch.drop_packet(index, reason);
    }
}

/// Seconds for which a flow is remembered after this packet of it.
pub(crate) fn idle_s(flow: &FlowKey, packet: &[u8]) -> u32 {
    match flow.protocol {
        protocol::TCP if closes(packet) => TCP_CLOSING_S,
        protocol::TCP => TCP_IDLE_S,
        _ => OTHER_IDLE_S,
    }
}

/// Whether a TCP packet ends its connection; then the flow need not be remembered for long.
fn closes(packet: &[u8]) -> bool {
    reset::segment(packet).is_some_and(|tcp| tcp.flags().intersects(Flags::FIN | Flags::RST))
}

fn check_destination(path: &PathConfig, flow: &FlowKey) -> Result<(), DropReason> {
    let reaches = path
        .destinations
        .iter()
        .any(|to| to.address == flow.dst && to.port.is_none_or(|port| port == flow.dst_port));
    if reaches { Ok(()) } else { Err(DropReason::WrongService) }
}
