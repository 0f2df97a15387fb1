//! The path set: what a domain file comes to on the wire. Elements, labels, addresses, paths, segments, inner MTUs.
//!
//! RFC 7665's service function paths, each one direction. Everything is in a fixed order, so that equal files give equal
//! bytes (`docs/formats/pathset.md`).

mod compile;
mod consistent;
mod elements;
mod encode;
mod grants;
mod numbering;
mod sign;
mod steering;
mod wire;

use std::net::{SocketAddr, SocketAddrV4};

pub use compile::{CompileError, Issue};
pub(crate) use elements::egress_name;
pub use encode::DecodeError;
pub use grants::Reader;
pub(crate) use grants::{Grant, grants};
pub use numbering::Numbering;
pub use sign::{Expected, PublicKey, SignedPathSet, VerifyError, VerifyPathSet};
pub(crate) use steering::Extent;
pub use steering::SFF_LABEL;

use serde::Serialize;

use crate::domain::{Keying, LinkKind, Profile, Suite};
use crate::ids::{ElementId, Label, PathDigest, PathId, PathVersion};
use crate::integrity::Integrity;
use crate::mac::MacAddress;
use crate::metadata::Kinds;
use crate::names::{Name, TrustDomain};
use crate::overhead::EspMode;

/// All elements and paths of a domain at one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathSet {
    /// The SPIFFE trust domain.
    pub domain: TrustDomain,
    /// Only ever grows.
    pub version: PathVersion,
    /// Seconds since 1970 before which it does not hold.
    pub not_before_unix_s: u64,
    /// Seconds since 1970 from which on it does not hold.
    pub not_after_unix_s: u64,
    /// What stands in front of ESP.
    pub profile: Profile,
    /// What covers Network Service Headers, where the profile has them.
    #[serde(skip_serializing_if = "Integrity::is_default")]
    pub integrity: Integrity,
    /// The AEAD of every segment.
    pub suite: Suite,
    /// Where traffic keys come from.
    pub keying: Keying,
    /// How ESP wraps the inner packet; transport only with `keying: psk`.
    pub esp_mode: EspMode,
    /// How frames travel between elements.
    pub link: LinkSet,
    /// Bytes of the longest IP packet on a link, or of the longest label stack with what it covers.
    pub link_mtu: u16,
    /// All elements by ascending id. The gateway is 0, a standby gateway comes after all others; ids of elements that are gone leave gaps.
    pub elements: Vec<Element>,
    /// All paths by ascending id. In a first path set ids begin at 1, forward paths come first, in the order of their names;
    /// later ones keep the ids of paths that stay, and give others to those that are new or changed ([`Numbering`]).
    pub paths: Vec<Path>,
}

/// A gateway, hop or egress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Element {
    /// Its number: the gateway is 0, then functions by name, then egresses by name; an element that stays keeps it.
    pub id: ElementId,
    /// `gateway`, the function's name, `egress` or `egress-SERVICE`.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its identity, `spiffe://DOMAIN/element/NAME`.
    pub spiffe_id: String,
    /// Its link address; with links of UDP it receives encapsulated packets there.
    pub link: SocketAddrV4,
    /// Where it receives encapsulated packets with links of Ethernet, and only then.
    pub mac: Option<MacAddress>,
    /// Where it agrees on keys with its neighbours (TCP).
    pub control: SocketAddrV4,
    /// The label that names it.
    pub label: Label,
    /// Its workers.
    pub workers: u16,
}

/// The links of all elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum LinkSet {
    /// UDP to the elements' link addresses.
    #[default]
    Udp,
    /// Ethernet to the elements' MAC addresses.
    Ethernet {
        /// The VLAN that frames are tagged with.
        vlan: Option<u16>,
    },
}

impl LinkSet {
    /// What the domain file calls it.
    pub const fn kind(self) -> LinkKind {
        match self {
            LinkSet::Udp => LinkKind::Udp,
            LinkSet::Ethernet { .. } => LinkKind::Ethernet,
        }
    }
}

/// What an element is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Classifier and encryption proxy: begins forward paths, ends return paths.
    Gateway,
    /// An SFC proxy with its function.
    Hop,
    /// The SFC proxy at services: ends forward paths, begins return paths.
    Egress,
}

/// The direction of a path.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Gateway to egress.
    Forward,
    /// Egress to gateway.
    Return,
}

/// One path, one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// Its number.
    pub id: PathId,
    /// Its name in the file; a return path that the file leaves out is `NAME.return`.
    pub name: String,
    /// Its direction.
    pub direction: Direction,
    /// Where it begins.
    pub origin: ElementId,
    /// The functions in order.
    pub hops: Vec<Hop>,
    /// Where it ends; its label is the last of the stack.
    pub end: Hop,
    /// Stretches between elements that hold plaintext, in order.
    pub segments: Vec<Segment>,
    /// The path of replies, of a forward path.
    pub return_path: Option<PathId>,
    /// The service at the end, of a forward path.
    pub service: Option<Name>,
    /// Bytes of the largest inner packet.
    pub inner_mtu: u16,
    /// SHA-256 of the path's canonical encoding. Version and validity are not in it: a path that stays keeps its keys.
    pub digest: PathDigest,
}

/// One element on a path and the label that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Hop {
    /// The element.
    pub element: ElementId,
    /// Its label.
    pub label: Label,
    /// Whether it opens ESP; ends always do.
    pub intrusive: bool,
    /// Whether it may begin packets of its own on the path, whose proof of transit begins with it: resets, errors, and all
    /// that an attached function sends. Said only where packets prove their way.
    pub originates: bool,
    /// What it is told of flows, in headers that nobody else can read. Said only where packets have a Network Service
    /// Header.
    #[serde(skip_serializing_if = "Kinds::is_empty")]
    pub reads: Kinds,
    /// What it may tell those behind it, with packets that begin with it.
    #[serde(skip_serializing_if = "Kinds::is_empty")]
    pub adds: Kinds,
}

/// The stretch between two neighbours that hold plaintext: one ESP security association for each sending worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Segment {
    /// Seals.
    pub sender: ElementId,
    /// Opens; chooses the SPI.
    pub receiver: ElementId,
    /// The sender's position: 0 is the origin, 1 the first hop.
    pub from: u8,
    /// The receiver's position: the end's is the number of hops + 1.
    pub to: u8,
}

impl PathSet {
    /// The element of this id.
    pub fn element(&self, id: ElementId) -> Option<&Element> {
        let index = self.elements.binary_search_by_key(&id, |element| element.id).ok()?;
        self.elements.get(index)
    }

    /// The element of this name.
    pub fn element_named(&self, name: &str) -> Option<&Element> {
        self.elements.iter().find(|e| e.name == name)
    }

    /// The element that receives encapsulated packets at this address.
    pub fn element_at(&self, link: SocketAddr) -> Option<&Element> {
        self.elements.iter().find(|e| SocketAddr::V4(e.link) == link)
    }

    /// The path of this id.
    pub fn path(&self, id: PathId) -> Option<&Path> {
        let index = self.paths.binary_search_by_key(&id, |path| path.id).ok()?;
        self.paths.get(index)
    }

    /// The path of this name.
    pub fn path_named(&self, name: &str) -> Option<&Path> {
        self.paths.iter().find(|p| p.name == name)
    }

    /// Bytes of the largest inner packet that every path carries: the MTU of the TUN devices.
    pub fn inner_mtu(&self) -> Option<u16> {
        self.paths.iter().map(|p| p.inner_mtu).min()
    }
}

impl Path {
    /// Every element after the origin: the hops, then the end.
    pub fn visits(&self) -> impl Iterator<Item = Hop> + Clone + '_ {
        self.hops.iter().copied().chain(std::iter::once(self.end))
    }

    /// The label stack as the origin pushes it, top first; the last has the S bit.
    pub fn labels(&self) -> impl Iterator<Item = Label> + Clone + '_ {
        self.visits().map(|hop| hop.label)
    }

    /// The element at a position: 0 is the origin, the number of hops + 1 the end.
    pub fn element_at(&self, position: usize) -> Option<ElementId> {
        match position.checked_sub(1) {
            None => Some(self.origin),
            Some(index) => self.visits().nth(index).map(|hop| hop.element),
        }
    }

    /// The labels that are still on the stack in the packet that the element at this position sends.
    pub fn labels_after(&self, position: usize) -> impl Iterator<Item = Label> + Clone + '_ {
        self.labels().skip(position)
    }
}
