//! The paths that an element stands on, and what it needs to send a packet on along each of them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use ringmail_model::defence::{Defence, off};
use ringmail_model::overhead::EspMode;
use ringmail_model::pathset::Direction;
use ringmail_model::{Cidr, PathId, SaSpi};
use ringmail_packet::flow::FlowKey;

use crate::counters::{Counter, Traffic};
use crate::labels::LabelStack;
use crate::limits::{MAX_LABELS, MAX_PATHS};
use crate::nsh::journal::Finding;
use crate::nsh::{self, Clock, NshConfig, Origin, PathNsh, Seen};
use crate::sa::{Lease, OutboundSa};
use crate::served::Slot;
use crate::verdict::{DropReason, Neighbour};

/// One path as this element sees it.
#[derive(Clone, Debug)]
pub struct PathConfig {
    /// The path.
    pub id: PathId,
    /// Its direction.
    pub direction: Direction,
    /// The neighbour that its packets come from; `None` where the path begins here.
    pub previous: Option<Neighbour>,
    /// How its packets leave; `None` where the path ends here.
    pub leaving: Option<Leaving>,
    /// The path that answers travel, for replies and resets.
    pub return_path: Option<PathId>,
    /// The labels that its packets come with, this element's on top; none where the path begins.
    pub arriving: LabelStack,
    /// Its Network Service Header, if its profile has one.
    pub nsh: Option<NshConfig>,
    /// How ESP wraps the inner packet, on every segment of the path.
    pub mode: EspMode,
    /// The largest inner packet, in bytes.
    pub inner_mtu_bytes: u16,
    /// At the end of a forward path: what the service may be reached at. Anything else is refused.
    pub destinations: Vec<Destination>,
}

impl PathConfig {
    /// A frame of this path must come from the element before this one.
    pub(crate) fn check_previous(&self, source: Option<Neighbour>) -> Result<(), DropReason> {
        match (source.is_some() && source == self.previous) || off(Defence::PreviousElement) {
            true => Ok(()),
            false => Err(DropReason::UnknownNeighbour),
        }
    }
}

/// How packets leave an element along a path.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    /// The element that they go to.
    pub next: Neighbour,
    /// The labels that they carry then.
    pub labels: LabelStack,
    /// The ends of the segment that begins here, which are the outer addresses in tunnel mode; a non-intrusive hop has
    /// none.
    pub tunnel: Option<Tunnel>,
}

/// The two ends of a segment, as addresses of the outer IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The segment's sender.
    pub source: Ipv4Addr,
    /// The segment's receiver.
    pub destination: Ipv4Addr,
}

/// Addresses of a service; port `None` means any (ICMP and the like included).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The service's address or network.
    pub network: Cidr,
    /// Its port.
    pub port: Option<u16>,
}

impl Destination {
    /// One address.
    pub fn host(address: IpAddr, port: Option<u16>) -> Option<Destination> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Some(Destination { network: Cidr::around(address, bits)?, port })
    }

    /// Whether packets of this flow go there.
    pub(crate) fn reaches(&self, flow: &FlowKey) -> bool {
        self.network.contains(flow.dst) && self.port.is_none_or(|port| port == flow.dst_port)
    }
}

/// What an element keeps for a path.
#[derive(Debug)]
pub struct PathState {
    /// How the path runs here.
    pub config: PathConfig,
    /// The security association of the segment that begins here, once it is agreed.
    pub outbound: Option<OutboundSa>,
    /// What its Network Service Header needs, if it has one.
    pub nsh: Option<Box<PathNsh>>,
    /// What the end of the path said of packets, by verdict.
    pub proofs: Arc<ProofCounts>,
    /// The lease of the association before, while there is none.
    ended: Option<Lease>,
    /// Which of an intrusive hop's functions serves the path.
    pub function: Slot,
    /// Packets of the path that came in, and their bytes inside.
    pub traffic_in: Arc<Traffic>,
    /// Packets of the path that went on, and their bytes inside.
    pub traffic_out: Arc<Traffic>,
}

/// Packets by what the end of their path said of the way that they came.
#[derive(Debug, Default)]
pub struct ProofCounts {
    verdicts: [Counter; nsh::verify::Verdict::ALL.len()],
    /// Of those that are proved: by the position from which on they are.
    from: [Counter; MAX_LABELS],
}

impl ProofCounts {
    pub(crate) fn count(&self, finding: &Finding) {
        if finding.verdict != nsh::verify::Verdict::Proved && off(Defence::ProofRecord) {
            return;
        }
        self.verdicts[finding.verdict as usize].add(1);
        if finding.verdict == nsh::verify::Verdict::Proved
            && let Some(count) = self.from.get(usize::from(finding.from))
        {
            count.add(1);
        }
    }

    /// Packets of this verdict.
    pub fn of(&self, verdict: nsh::verify::Verdict) -> u64 {
        self.verdicts[verdict as usize].get()
    }

    /// Packets that are proved, by the position from which on they are: 0 is where the path begins.
    pub fn proved_from(&self) -> impl Iterator<Item = (u8, u64)> {
        (0..).zip(self.from.iter().map(Counter::get))
    }
}

impl PathState {
    fn new(config: PathConfig) -> PathState {
        let (traffic_in, traffic_out, proofs) = Default::default();
        let (outbound, nsh, ended, function) = (None, None, None, Slot::default());
        PathState { config, outbound, nsh, proofs, ended, function, traffic_in, traffic_out }
    }

    /// Whether packets of the path can go on from here; `None` where that takes no keys.
    pub fn is_keyed(&self) -> Option<bool> {
        let leaving = self.config.leaving.as_ref()?;
        let sealing = leaving.tunnel.map(|_| self.outbound.is_some());
        let steering = self.nsh.as_ref().map(|nsh| nsh.is_keyed());
        sealing.into_iter().chain(steering).reduce(|one, other| one && other)
    }

    /// Whether others on the path are told of packets that begin here.
    #[inline]
    pub(crate) fn writes_metadata(&self) -> bool {
        self.nsh.as_ref().is_some_and(|nsh| nsh.writes())
    }

    /// Takes out the association of this SPI, if it is the one in use.
    pub fn end_outbound(&mut self, spi: SaSpi) -> Option<OutboundSa> {
        let ended = self.outbound.take_if(|sa| sa.spi() == spi)?;
        self.ended = Some(ended.lease().clone());
        Some(ended)
    }

    /// Why a packet cannot be sealed while there is no association: the last one's lease ran out, if it did.
    pub(crate) fn unkeyed(&self, now: Instant) -> DropReason {
        match &self.ended {
            Some(lease) if !lease.is_live(now) => DropReason::LeaseExpired,
            _ => DropReason::NoAssociation,
        }
    }
}

/// The paths of an element, found by their numbers.
#[derive(Debug, Default)]
pub struct PathTable {
    /// The path of number `n` is at index `n`: numbers are given out densely.
    states: Vec<Option<Box<PathState>>>,
    /// The path found last by its labels: batches tend to be of one path.
    last: Option<PathId>,
    /// Who begins proofs here.
    origin: Origin,
    /// Proofs that came to this element.
    seen: Seen,
    clock: Clock,
}

/// The path's number is beyond [`MAX_PATHS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path {0} is beyond the {MAX_PATHS} paths that an element can stand on")]
pub struct PathOutOfRange(pub PathId);

impl PathTable {
    /// The same table, whose element begins proofs as `origin` and remembers in `seen` those that came, to it and to its
    /// other workers. To be said before paths are put.
    #[must_use]
    pub fn with_proofs(mut self, origin: Origin, seen: Seen) -> PathTable {
        (self.origin, self.seen) = (origin, seen);
        self
    }

    /// Adds a path, or changes how it runs; keys and counts stay.
    ///
    /// # Errors
    /// [`PathOutOfRange`]; nothing changed.
    pub fn put(&mut self, config: PathConfig) -> Result<(), PathOutOfRange> {
        let index = config.id.0 as usize;
        if index >= MAX_PATHS {
            return Err(PathOutOfRange(config.id));
        }
        if index >= self.states.len() {
            self.states.resize_with(index + 1, || None);
        }
        let (id, nsh) = (config.id, config.nsh.clone());
        let leaving = config.leaving.as_ref().map_or(LabelStack::NONE, |leaving| leaving.labels);
        let labels = nsh::path::Labels { arriving: config.arriving, leaving };
        let state =
            self.states[index].get_or_insert_with(|| Box::new(PathState::new(config.clone())));
        state.config = config;
        match (&mut state.nsh, nsh) {
            (Some(held), Some(nsh)) => held.change(nsh, labels, &self.seen),
            (held, nsh) => {
                let fresh = |nsh| PathNsh::new(id, nsh, labels, self.origin.clone(), &self.seen);
                *held = nsh.map(|nsh| Box::new(fresh(nsh)));
            }
        }
        if let Some(nsh) = &mut state.nsh {
            nsh.clock = self.clock.clone();
        }
        Ok(())
    }

    /// The time of day, for whoever knows it to set.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Takes a path out, its outbound keys with it.
    pub fn remove(&mut self, id: PathId) {
        if let Some(state) = self.states.get_mut(id.0 as usize) {
            *state = None;
        }
    }

    /// The path of this number.
    pub fn get(&self, id: PathId) -> Option<&PathState> {
        self.states.get(id.0 as usize)?.as_deref()
    }

    /// What the Network Service Header of a path needs.
    pub(crate) fn nsh(&self, id: PathId) -> Result<&PathNsh, DropReason> {
        let state = self.get(id).ok_or(DropReason::UnknownServicePath)?;
        state.nsh.as_deref().ok_or(DropReason::WrongProfile)
    }

    /// The same, for packets that go on.
    pub(crate) fn nsh_to_finish(&mut self, id: PathId) -> Result<&mut PathNsh, DropReason> {
        let state = self.get_mut(id).ok_or(DropReason::UnknownServicePath)?;
        state.nsh.as_deref_mut().ok_or(DropReason::WrongProfile)
    }

    pub(crate) fn nsh_mut(&mut self, id: PathId) -> Option<&mut PathNsh> {
        self.get_mut(id)?.nsh.as_deref_mut()
    }

    /// The path of this number, to change.
    pub fn get_mut(&mut self, id: PathId) -> Option<&mut PathState> {
        self.states.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// The path whose packets leave this element with exactly the labels that `labels` begins with, and come to it from
    /// `source`. Paths that agree in both are not told apart: their packets fare the same here.
    pub(crate) fn find_by_labels(
        &mut self,
        labels: &[u8],
        source: Option<Neighbour>,
    ) -> Result<PathId, DropReason> {
        let leads = |state: &PathState| {
            state.config.leaving.is_some_and(|leaving| leaving.labels.matches(labels))
        };
        let fits = |state: &PathState| state.config.check_previous(source).is_ok() && leads(state);
        if let Some(id) = self.last
            && self.get(id).is_some_and(fits)
        {
            return Ok(id);
        }
        let found = self.iter().find(|state| fits(state)).map(|state| state.config.id);
        if let Some(found) = found {
            self.last = Some(found);
            return Ok(found);
        }
        match self.iter().any(leads) {
            true => Err(DropReason::UnknownNeighbour),
            false => Err(DropReason::LabelMismatch),
        }
    }

    /// Every path, by number.
    pub fn iter(&self) -> impl Iterator<Item = &PathState> {
        self.states.iter().flatten().map(Box::as_ref)
    }
}
