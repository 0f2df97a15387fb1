//! The paths that an element stands on, and what it needs to send a packet on along each of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ringmail_model::PathId;

use crate::counters::Traffic;
use crate::labels::LabelStack;
use crate::sa::OutboundSa;
use crate::verdict::{DropReason, Neighbour};

/// One path as this element sees it.
#[derive(Clone, Debug)]
pub struct PathConfig {
    /// The path.
    pub id: PathId,
    /// The neighbour that its packets come from; `None` where the path begins here.
    pub previous: Option<Neighbour>,
    /// How its packets leave; `None` where the path ends here.
    pub leaving: Option<Leaving>,
    /// The path that answers travel, for replies and resets.
    pub return_path: Option<PathId>,
    /// The largest inner packet, in bytes.
    pub inner_mtu_bytes: u16,
    /// At the end of a forward path: what the service may be reached at. Anything else is refused.
    pub destinations: Vec<Destination>,
}

impl PathConfig {
    /// A frame of this path must come from the element before this one.
    pub(crate) fn check_previous(&self, source: Option<Neighbour>) -> Result<(), DropReason> {
        match source.is_some() && source == self.previous {
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
    /// The outer addresses, where a segment begins here; a non-intrusive hop has none.
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

/// An address of a service; port `None` means any (ICMP and the like included).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The service's address.
    pub address: IpAddr,
    /// Its port.
    pub port: Option<u16>,
}

/// What an element keeps for a path.
#[derive(Debug)]
pub struct PathState {
    /// How the path runs here.
    pub config: PathConfig,
    /// The security association of the segment that begins here, once it is agreed.
    pub outbound: Option<OutboundSa>,
    /// Packets of the path that came in, and their bytes inside.
    pub traffic_in: Arc<Traffic>,
    /// Packets of the path that went on, and their bytes inside.
    pub traffic_out: Arc<Traffic>,
}

/// Place of a path in a [`PathTable`]; stays the same while the path is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathIndex(u32);

impl PathIndex {
    /// The place of no path.
    pub(crate) const NONE: PathIndex = PathIndex(u32::MAX);
}

/// The paths of an element.
#[derive(Debug, Default)]
pub struct PathTable {
    states: Vec<Option<PathState>>,
    by_id: HashMap<PathId, PathIndex>,
    /// The path found last: batches tend to be of one path.
    last: Option<(PathId, PathIndex)>,
    last_by_labels: Option<PathIndex>,
}

impl PathTable {
    /// Adds a path, or changes how it runs; keys and counts stay.
    pub fn put(&mut self, config: PathConfig) {
        if let Some(state) =
            self.by_id.get(&config.id).and_then(|i| self.states[i.0 as usize].as_mut())
        {
            state.config = config;
            return;
        }
        let id = config.id;
        let state = PathState {
            config,
            outbound: None,
            traffic_in: Arc::default(),
            traffic_out: Arc::default(),
        };
        let free = self.states.iter().position(Option::is_none);
        let index = free.unwrap_or(self.states.len());
        match free {
            Some(index) => self.states[index] = Some(state),
            None => self.states.push(Some(state)),
        }
        self.by_id.insert(id, PathIndex(index as u32));
    }

    /// Takes a path out, its outbound keys with it.
    pub fn remove(&mut self, id: PathId) {
        self.last = None;
        self.last_by_labels = None;
        if let Some(index) = self.by_id.remove(&id) {
            self.states[index.0 as usize] = None;
        }
    }

    /// The place of a path.
    pub fn find(&mut self, id: PathId) -> Option<PathIndex> {
        if let Some((last, index)) = self.last
            && last == id
        {
            return Some(index);
        }
        let index = *self.by_id.get(&id)?;
        self.last = Some((id, index));
        Some(index)
    }

    /// The place of the path whose packets leave this element with exactly the labels that `labels` begins with.
    pub fn find_by_labels(&mut self, labels: &[u8]) -> Option<PathIndex> {
        let matches = |state: &PathState| {
            state.config.leaving.is_some_and(|leaving| leaving.labels.matches(labels))
        };
        if let Some(index) = self.last_by_labels
            && self.get(index).is_some_and(matches)
        {
            return Some(index);
        }
        let index = self.states.iter().position(|s| s.as_ref().is_some_and(matches))?;
        self.last_by_labels = Some(PathIndex(index as u32));
        self.last_by_labels
    }

    /// The path at this place.
    pub fn get(&self, index: PathIndex) -> Option<&PathState> {
        self.states.get(index.0 as usize)?.as_ref()
    }

    /// The path at this place, to change.
    pub fn get_mut(&mut self, index: PathIndex) -> Option<&mut PathState> {
        self.states.get_mut(index.0 as usize)?.as_mut()
    }

    /// Every path.
    pub fn iter(&self) -> impl Iterator<Item = &PathState> {
        self.states.iter().flatten()
    }
}
