//! What two neighbours have to agree on: the segments between them, as the path set names them.

use ringmail_model::{ElementId, Epoch, PathDigest, PathId, SaSpi, WorkerId};

use super::context::KeyContext;
use super::event::Place;
use super::uses::Use;
use crate::sa::{SegmentIndex, Suite};

/// What stands in front of ESP on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// A stack of MPLS labels.
    Mpls,
    /// A stack of MPLS labels and NSH (RFC 8300).
    MplsNsh,
    /// NSH alone.
    Nsh,
    /// Labels and NSH, whose code is that of RFC 9145.
    MplsNshRfc9145,
    /// NSH alone, whose code is that of RFC 9145.
    NshRfc9145,
}

impl Profile {
    /// The byte that stands for it in OFFER and in exporter contexts.
    pub const fn code(self) -> u8 {
        match self {
            Profile::Mpls => 1,
            Profile::MplsNsh => 2,
            Profile::Nsh => 3,
            Profile::MplsNshRfc9145 => 4,
            Profile::NshRfc9145 => 5,
        }
    }

    /// Whether codes of links are those of RFC 9145.
    pub const fn is_rfc_9145(self) -> bool {
        matches!(self, Profile::MplsNshRfc9145 | Profile::NshRfc9145)
    }
}

/// The byte that stands for a suite in OFFER and in exporter contexts.
pub const fn suite_code(suite: Suite) -> u8 {
    match suite {
        Suite::Aes128Gcm => 1,
        Suite::Aes256Gcm => 2,
        Suite::ChaCha20Poly1305 => 3,
    }
}

/// One segment of one path, one direction; or what another [`Use`] has in its place, with a sender and a receiver, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// The path, for the data plane; the neighbour knows it by its digest.
    pub path: PathId,
    /// The digest of the path.
    pub digest: PathDigest,
    /// What its associations are for.
    pub usage: Use,
    /// Which segment of the path; of another use, a position on it, as [`Use`] says. At most 63.
    pub index: SegmentIndex,
    /// The profile of the path.
    pub profile: Profile,
    /// The suite of the path.
    pub suite: Suite,
    /// Seals, or makes the MAC.
    pub sender: ElementId,
    /// Opens, or checks the MAC.
    pub receiver: ElementId,
    /// How many workers the sender has. With a use of counters each gets an association of its own.
    pub sender_workers: u16,
}

/// What names a segment between two elements, at both of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentKey {
    pub(super) digest: PathDigest,
    pub(super) usage: Use,
    pub(super) index: SegmentIndex,
}

impl SegmentView {
    pub(super) fn key(&self) -> SegmentKey {
        SegmentKey { digest: self.digest, usage: self.usage, index: self.index }
    }

    /// Whether associations of the other view are as good for this one.
    pub(super) fn same_keys(&self, other: &SegmentView) -> bool {
        let SegmentView { path, profile, suite, sender, receiver, .. } = self;
        (path, self.key()) == (&other.path, other.key())
            && (profile, suite) == (&other.profile, &other.suite)
            && (sender, receiver) == (&other.sender, &other.receiver)
    }

    pub(super) fn place(&self, worker: WorkerId) -> Place {
        Place { path: self.path, usage: self.usage, segment: self.index, worker }
    }

    /// How many of the sender's workers get an association.
    pub(super) fn workers(&self) -> u16 {
        self.usage.workers(self.sender_workers)
    }

    pub(super) fn key_context(&self, worker: WorkerId, epoch: Epoch, spi: SaSpi) -> KeyContext {
        KeyContext {
            usage: self.usage,
            digest: self.digest,
            profile: self.profile,
            suite: self.suite,
            sender: self.sender,
            receiver: self.receiver,
            worker,
            epoch,
            spi,
        }
    }
}
