//! An end of chains: the gateway and the egress, where plain packets become frames and frames become plain packets.
//!
//! Both are the same engine over a table of flows. They differ in who fills the table: at the gateway the encryption
//! proxy pins each flow to a path before it connects ([`Edge::pin`]); at the egress a packet that arrives authentic
//! teaches the return path of its flow (RFC 7665 section 4.4). A plain packet of no known flow goes nowhere.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmail_model::PathId;
use ringmail_model::defence::{Defence, off};
use ringmail_model::metadata::{Facts, Kinds, Ports, Said};
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use ringmail_packet::tcp::Flags;

use crate::admit;
use crate::attach::Subject;
use crate::batch::{BATCH_PACKETS, Batch};
use crate::counters::Counters;
use crate::decap::{self, Inner};
use crate::encap;
use crate::flow::{FlowTable, PINNED, TableFull};
use crate::guard;
use crate::limits::{LINK_PORT, OTHER_IDLE_S, SWEEP_ENTRIES_PER_BATCH, TCP_CLOSING_S, TCP_IDLE_S};
use crate::nsh::cmac::LANES;
use crate::nsh::group::{self, Item};
use crate::nsh::journal::Finding;
use crate::nsh::link::Covered;
use crate::nsh::proof::Mark;
use crate::outer::{self, Form, Frame};
use crate::paths::{PathConfig, PathState, PathTable};
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
    form: Form,
    /// The paths that begin or end here, with their outbound associations.
    pub paths: PathTable,
    /// The inbound associations.
    pub inbound: SaTable,
    /// The path of each flow, by the key of the packets that leave on it.
    flows: FlowTable<FlowKey, Known>,
    /// What is known of each flow besides, by the same key, where somebody on a path is told of it.
    facts: Option<FlowTable<FlowKey, Facts>>,
    seeds: [u64; 4],
    /// Whether there are other workers to tell what this one learns, and what it learned from the last batch.
    shares: bool,
    learned: Vec<Learned>,
    counters: Arc<Counters>,
    started: Instant,
    /// Seconds that an idle flow is remembered which is not TCP's.
    other_idle_s: u32,
    /// The UDP port of the domain's links, which nothing inside goes to.
    link_port: u16,
    /// The packets of the batch under way whose flows are looked up next, and the keys by which they are.
    work: [Work; BATCH_PACKETS],
    keys: [FlowKey; BATCH_PACKETS],
    /// How many of them the last batch from the link had.
    came: usize,
    /// What was found of the packets of the last batch from the link, while somebody wants to know.
    findings: Option<Box<[Option<Finding>; BATCH_PACKETS]>>,
    covered: Box<Covered>,
}

/// What is remembered of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    path: PathId,
    /// When other workers were last told of it.
    told_s: u32,
}

impl Known {
    /// The path of the flow's packets.
    pub fn path(&self) -> PathId {
        self.path
    }

    /// Whether other workers know it, too, and will for a while.
    fn is_told(&self, path: PathId, now_s: u32, idle_s: u32) -> bool {
        self.path == path && now_s < self.told_s.saturating_add(idle_s / 2)
    }
}

/// A flow that one worker of an egress learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    flow: FlowKey,
    path: PathId,
    idle_s: u32,
    /// What it was told besides.
    facts: Option<Box<Facts>>,
}

/// A packet between its classification and the look-up of its flow.
#[derive(Clone, Copy, Debug)]
struct Work {
    index: u8,
    /// It is an ICMP error about a packet of the flow.
    error: bool,
    /// Seconds for which the flow is remembered after this packet.
    idle_s: u32,
    /// The path that it came by, and where in its frame it is; only where it came from the link.
    path: PathId,
    start: usize,
    end: usize,
    /// Where in its frame that is which this element is told of it.
    told: Option<(u32, u32)>,
}

impl Work {
    const NONE: Work =
        Work { index: 0, error: false, idle_s: 0, path: PathId(0), start: 0, end: 0, told: None };
}

impl Edge {
    /// An edge whose frames begin as `form` says, and which remembers up to `flows` flows.
    pub fn new(
        role: Role,
        form: Form,
        flows: usize,
        seeds: [u64; 4],
        inbound: SaTable,
        now: Instant,
    ) -> Edge {
        Edge {
            role,
            form,
            paths: PathTable::default(),
            inbound,
            flows: FlowTable::new(flows, seeds),
            facts: None,
            seeds,
            shares: false,
            learned: Vec::with_capacity(BATCH_PACKETS),
            counters: Arc::default(),
            started: now,
            other_idle_s: OTHER_IDLE_S,
            link_port: LINK_PORT,
            work: [Work::NONE; BATCH_PACKETS],
            keys: [NO_FLOW; BATCH_PACKETS],
            came: 0,
            findings: None,
            covered: Box::default(),
        }
    }

    /// How its frames begin.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The counters; they can be read while the edge works.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The flows that have a path.
    pub fn flows(&self) -> &FlowTable<FlowKey, Known> {
        &self.flows
    }

    /// From its next packet on a flow is remembered for so long: one of TCP no shorter than RFC 5382 asks for.
    pub fn set_flow_idle_s(&mut self, seconds: u32) {
        self.other_idle_s = seconds;
    }

    /// Which packets of the last batch from the link were opened, and the paths that they came by. Some may have been
    /// refused after all.
    pub fn opened(&self) -> impl Iterator<Item = (usize, PathId)> {
        self.work[..self.came].iter().map(|work| (work.index.into(), work.path))
    }

    /// From now on [`Edge::finding`] knows what was found of each packet, or not any more.
    pub fn keep_findings(&mut self, keep: bool) {
        self.findings = keep.then(|| Box::new([None; BATCH_PACKETS]));
    }

    /// What was found of the way that a packet of the last batch from the link came, if that is kept.
    pub fn finding(&self, index: usize) -> Option<Finding> {
        *self.findings.as_ref()?.get(index)?
    }

    /// Nothing inside goes to this UDP port from now on: the links' own, if it is not [`LINK_PORT`].
    pub fn set_link_port(&mut self, port: u16) {
        self.link_port = port;
    }

    /// From now on [`Edge::learned`] says what other workers have to [`hear`](Edge::hear): the system may give them the
    /// replies of a flow that came to this one.
    pub fn share(&mut self) {
        self.shares = true;
    }

    /// The flows that the last batch from the link taught, and those that have not been told for long.
    pub fn learned(&self) -> &[Learned] {
        &self.learned
    }

    /// Takes over what another worker learned. A full table keeps what it has.
    pub fn hear(&mut self, now: Instant, learned: &[Learned]) {
        let now_s = self.seconds(now);
        for Learned { flow, path, idle_s, facts } in learned {
            let (flow, path) = (*flow, *path);
            let until = now_s.saturating_add(*idle_s);
            if let Some(facts) = facts {
                let _full = self.facts().insert(flow, **facts, until);
            }
            match self.flows.get_mut(&flow, now_s) {
                Some((known, expires_s)) => {
                    *known = Known { path, told_s: now_s };
                    *expires_s = until.max(*expires_s);
                }
                None => {
                    let _full = self.flows.insert(flow, Known { path, told_s: now_s }, until);
                }
            }
        }
    }

    /// Gives a flow its path until [`Edge::unpin`]. The entry must stand before the first packet is sent.
    ///
    /// # Errors
    /// [`TableFull`]; nothing changed.
    pub fn pin(&mut self, flow: FlowKey, path: PathId) -> Result<(), TableFull> {
        self.flows.insert(flow, Known { path, told_s: 0 }, PINNED)
    }

    /// Says what is known of a flow that is pinned, for those on its path who are told; in place of what was said before.
    ///
    /// # Errors
    /// [`TableFull`]; nothing changed.
    pub fn tell(&mut self, flow: FlowKey, facts: &Facts) -> Result<(), TableFull> {
        self.facts().insert(flow, *facts, PINNED)
    }

    /// Room for what is known of flows, taken where somebody is told for the first time.
    fn facts(&mut self) -> &mut FlowTable<FlowKey, Facts> {
        let (flows, seeds) = (self.flows.capacity(), self.seeds);
        self.facts.get_or_insert_with(|| FlowTable::new(flows, seeds))
    }

    /// Lets a pinned flow go after `linger`, which covers TIME_WAIT; packets of the flow do not lengthen that. False if
    /// there was no such flow.
    pub fn unpin(&mut self, now: Instant, flow: &FlowKey, linger: Duration) -> bool {
        let until = self.seconds(now).saturating_add(linger.as_secs() as u32).min(PINNED - 1);
        if let Some(facts) = &mut self.facts {
            facts.set_expiry(flow, until);
        }
        self.flows.set_expiry(flow, until)
    }

    /// Decides over a batch of plain packets, each with room around it, that came from the inner side.
    pub fn handle_inner(&mut self, now: Instant, batch: &mut Batch) {
        let now_s = self.seconds(now);
        let mut ready = 0;
        for index in 0..batch.len() {
            let packet = batch.packet(index);
            self.counters.inner_in.count(packet.len());
            match guard::subject(packet, self.other_idle_s, self.link_port) {
                Ok(Subject { flow, error, idle_s }) => {
                    let (index, end) = (index as u8, packet.len());
                    self.work[ready] = Work { index, error, idle_s, end, ..Work::NONE };
                    self.keys[ready] = flow;
                    self.flows.approach(&flow);
                    ready += 1;
                }
                Err(reason) => self.refuse(batch, index, reason),
            }
        }
        self.flows.warm(&self.keys[..ready]);
        let (mut items, mut count) = ([Item::NONE; LANES], 0);
        for nth in 0..ready {
            let (work, flow) = (self.work[nth], self.keys[nth]);
            match self.enter(now, now_s, batch, &work, &flow) {
                Ok(Some(item)) => {
                    items[count] = item;
                    count += 1;
                    if count == LANES {
                        self.finish(now, batch, &items);
                        count = 0;
                    }
                }
                Ok(None) => {}
                Err(reason) => self.refuse(batch, work.index.into(), reason),
            }
        }
        self.finish(now, batch, &items[..count]);
        self.sweep(now_s);
    }

    /// Decides over a batch of frames that came from the link.
    pub fn handle_link(&mut self, now: Instant, batch: &mut Batch) {
        let now_s = self.seconds(now);
        self.learned.clear();
        if let Some(findings) = &mut self.findings {
            findings.fill(None);
        }
        let mut ready = 0;
        for begin in (0..batch.len()).step_by(LANES) {
            let group = begin..batch.len().min(begin + LANES);
            self.open_group(now, batch, group, &mut ready);
        }
        self.came = ready;
        self.flows.warm(&self.keys[..ready]);
        for nth in 0..ready {
            let (work, back) = (self.work[nth], self.keys[nth]);
            if let Err(reason) = self.leave(now_s, batch, &work, back) {
                self.refuse(batch, work.index.into(), reason);
            }
        }
        self.sweep(now_s);
    }

    /// Lets flows age while there is no traffic.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now_s = self.seconds(now);
        self.sweep(now_s);
    }

    fn sweep(&mut self, now_s: u32) {
        self.flows.sweep(now_s, SWEEP_ENTRIES_PER_BATCH);
        if let Some(facts) = &mut self.facts {
            facts.sweep(now_s, SWEEP_ENTRIES_PER_BATCH);
        }
    }

    /// Sends a plain packet of this flow on its path; where it has an NSH, tag and code are still to be made.
    fn enter(
        &mut self,
        now: Instant,
        now_s: u32,
        batch: &mut Batch,
        work: &Work,
        flow: &FlowKey,
    ) -> Result<Option<Item>, DropReason> {
        let index = usize::from(work.index);
        let path = match self.role {
            // What was unpinned lingers as long as it was to, whatever is still sent; an error lengthens no life.
            Role::Gateway => self.flows.get(flow, now_s).map(|known| known.path),
            Role::Egress if work.error => self.flows.get(flow, now_s).map(|known| known.path),
            Role::Egress => {
                let until = now_s.saturating_add(work.idle_s);
                self.flows.touch(flow, now_s, until).map(|known| known.path)
            }
        };
        let unknown = || match flow.dst.is_multicast() {
            true => DropReason::Multicast,
            false => DropReason::NoPath,
        };
        let path = path.or_else(|| self.any_path()).ok_or_else(unknown)?;
        let state = self.paths.get_mut(path).ok_or(DropReason::PathRemoved)?;
        encap::encapsulate(batch, index, state, now)?;
        let item = Item::begun(index, state);
        if let Some(item) = item.as_ref().filter(|_| state.writes_metadata()) {
            let until = now_s.saturating_add(work.idle_s);
            let known = self.facts.as_mut().and_then(|facts| facts.touch(flow, now_s, until));
            let mut facts = known.map_or(Facts::NONE, |facts| *facts);
            let (source, destination, protocol) = (flow.src_port, flow.dst_port, flow.protocol);
            facts.set_ports(Ports { source, destination, protocol });
            group::tell(batch, item, state, &facts, now)?;
        }
        self.counters.sealed.count(work.end);
        self.counters.link_out.count(batch.packet(index).len());
        Ok(item)
    }

    /// Opens some frames of a batch; what is authentic, and came the way that it should, waits for its flow.
    fn open_group(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        group: Range<usize>,
        ready: &mut usize,
    ) {
        let Edge { form, inbound, paths, covered, counters, .. } = self;
        let look = |paths: &mut PathTable, batch: &Batch, index: usize| {
            let bytes = batch.packet(index);
            let frame = outer::parse(bytes, *form)?;
            if frame.ttl == 0 {
                return Err(DropReason::TtlExpired);
            }
            let path = admit::look(bytes, batch.source(), &frame, paths, inbound)?;
            let ends = paths.get(path).is_some_and(|state| state.config.leaving.is_none());
            if ends { Ok((path, frame)) } else { Err(DropReason::LabelMismatch) }
        };
        let looked = admit::group(batch, group.clone(), paths, covered, counters, now, look);
        let (mut proofs, mut proved) = ([(Item::NONE, Mark::default()); LANES], 0);
        let opened_from = *ready;
        for (index, (path, frame)) in group.zip(looked) {
            if batch.verdict(index) != Verdict::Pending {
                continue;
            }
            match self.open(now, batch, index, path, &frame) {
                Ok((work, flow, mark)) => {
                    if let Some(item) = Item::came(index, path, &frame) {
                        proofs[proved] = (item, mark);
                        proved += 1;
                    }
                    self.work[*ready] = work;
                    self.keys[*ready] = flow.reversed();
                    self.flows.approach(&self.keys[*ready]);
                    *ready += 1;
                }
                Err(reason) => self.refuse(batch, index, reason),
            }
        }
        if proved > 0 {
            self.judge(now, batch, &proofs[..proved]);
            self.leave_out(batch, opened_from, ready);
        }
    }

    /// Looks at the proofs of packets that were opened.
    fn judge(&mut self, now: Instant, batch: &mut Batch, proofs: &[(Item, Mark)]) {
        let findings = group::verify(batch, proofs, &mut self.paths, now);
        for ((item, _), finding) in proofs.iter().zip(findings) {
            let Some(state) = self.paths.get(item.path) else { continue };
            state.proofs.count(&finding);
            if let Some(findings) = &mut self.findings {
                findings[item.index] = Some(finding);
            }
            let enforced = state.nsh.as_ref().is_some_and(|nsh| nsh.config.enforce)
                && !off(Defence::TransitProof);
            if let (true, Err(reason)) = (enforced, finding.verdict.outcome()) {
                self.refuse(batch, item.index, reason);
            }
        }
    }

    /// Closes up over those that were refused meanwhile.
    fn leave_out(&mut self, batch: &Batch, from: usize, ready: &mut usize) {
        let mut kept = from;
        for nth in from..*ready {
            if batch.verdict(self.work[nth].index.into()) == Verdict::Pending {
                (self.work[kept], self.keys[kept]) = (self.work[nth], self.keys[nth]);
                kept += 1;
            }
        }
        *ready = kept;
    }

    /// Makes tag and code of packets that begin here.
    fn finish(&mut self, now: Instant, batch: &mut Batch, items: &[Item]) {
        group::finish(batch, items, &mut self.paths, &mut self.covered, &self.counters, now);
    }

    /// Opens a frame of a path that ends here.
    fn open(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        index: usize,
        path: PathId,
        frame: &Frame,
    ) -> Result<(Work, FlowKey, Mark), DropReason> {
        let source = batch.source();
        let bytes = batch.packet_mut(index);
        let sa = admit::association(source, frame, &self.paths, &self.inbound)?;
        let state = self.paths.get(path).ok_or(DropReason::UnknownSpi)?;
        let mark = group::mark(bytes)?;
        let Inner { start, end, .. } =
            decap::decapsulate(bytes, frame, state, sa, now, &self.counters)?;
        let told = group::told(bytes, frame, state, now)?;
        let inner = &bytes[start..end];
        let Subject { flow, error, idle_s } =
            guard::subject(inner, self.other_idle_s, self.link_port)?;
        let index = index as u8;
        Ok((Work { index, error, idle_s, path, start, end, told }, flow, mark))
    }

    /// Delivers an opened packet, if its flow, whose answers have the key `back`, may be here.
    fn leave(
        &mut self,
        now_s: u32,
        batch: &mut Batch,
        work: &Work,
        back: FlowKey,
    ) -> Result<(), DropReason> {
        let Work { start, end, .. } = *work;
        let index = usize::from(work.index);
        let state = self.paths.get(work.path).ok_or(DropReason::UnknownSpi)?;
        match self.role {
            Role::Gateway if off(Defence::ReturnFlow) => {}
            Role::Gateway => {
                let known = self.flows.get(&back, now_s).ok_or(DropReason::UnknownFlow)?;
                let forward = self.paths.get(known.path);
                if forward.and_then(|forward| forward.config.return_path) != Some(state.config.id) {
                    return Err(DropReason::UnknownFlow);
                }
            }
            Role::Egress if work.error => {
                // It is about a packet of the service, which began no flow.
                check_destination(&state.config, &back.reversed())?;
                self.flows.get(&back, now_s).ok_or(DropReason::UnknownFlow)?;
            }
            Role::Egress => {
                check_destination(&state.config, &back.reversed())?;
                let path = state.config.return_path.ok_or(DropReason::NoPath)?;
                let until = now_s.saturating_add(work.idle_s);
                let items = work
                    .told
                    .and_then(|(start, end)| batch.packet(index).get(start as usize..end as usize));
                let said = items.and_then(|items| Said::parse(items, Kinds::ALL).ok());
                let facts = said.map(|said| Facts::of(&said));
                let news = facts.filter(|facts| {
                    let held = self.facts.as_mut().and_then(|it| it.touch(&back, now_s, until));
                    held.is_none_or(|held| *held != *facts)
                });
                let known = self.shares.then(|| self.flows.get(&back, now_s));
                let told_s = match known.flatten() {
                    _ if !self.shares => 0,
                    Some(known) if known.is_told(path, now_s, work.idle_s) && news.is_none() => {
                        known.told_s
                    }
                    _ => {
                        let (idle_s, facts) = (work.idle_s, facts.map(Box::new));
                        self.learned.push(Learned { flow: back, path, idle_s, facts });
                        now_s
                    }
                };
                let full = |TableFull| DropReason::FlowTableFull;
                self.flows.insert(back, Known { path, told_s }, until).map_err(full)?;
                if let Some(news) = news {
                    let (flows, seeds) = (self.flows.capacity(), self.seeds);
                    let table = self.facts.get_or_insert_with(|| FlowTable::new(flows, seeds));
                    table.insert(back, news, until).map_err(full)?;
                }
            }
        }
        state.traffic_in.count(end - start);
        self.counters.inner_out.count(end - start);
        let tail = batch.packet(index).len() - end;
        let cut = batch.trim_front(index, start) && batch.trim_back(index, tail);
        debug_assert!(cut);
        batch.set_verdict(index, Verdict::Deliver);
        Ok(())
    }

    /// A path for what has none: without the defence.
    fn any_path(&self) -> Option<PathId> {
        let leads = |state: &&PathState| state.config.leaving.is_some();
        let first = || self.paths.iter().find(leads).map(|state| state.config.id);
        if off(Defence::NoRuleNoPath) { first() } else { None }
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

/// Stands where no flow is looked up.
const NO_FLOW: FlowKey = FlowKey {
    src: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    dst: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    src_port: 0,
    dst_port: 0,
    protocol: 0,
};

/// Seconds for which a flow is remembered after this packet of it.
pub(crate) fn idle_s(flow: &FlowKey, packet: &[u8], other_idle_s: u32) -> u32 {
    match flow.protocol {
        protocol::TCP if closes(packet) => TCP_CLOSING_S,
        protocol::TCP => TCP_IDLE_S.max(other_idle_s),
        _ => other_idle_s,
    }
}

/// Whether a TCP packet ends its connection; then the flow need not be remembered for long.
pub fn closes(packet: &[u8]) -> bool {
    reset::segment(packet).is_some_and(|tcp| tcp.flags().intersects(Flags::FIN | Flags::RST))
}

fn check_destination(path: &PathConfig, flow: &FlowKey) -> Result<(), DropReason> {
    let reaches = path.destinations.iter().any(|to| to.reaches(flow));
    if reaches || off(Defence::PathService) { Ok(()) } else { Err(DropReason::WrongService) }
}
