//! What the core asks of its driver, and why.

use std::collections::VecDeque;
use std::time::Instant;

use ringmail_model::{ElementId, Epoch, PathDigest, PathId, SaSpi, WorkerId};

use super::context::ExportFailed;
use super::message::{BootId, DecodeError, Goodbye, Message, OfferId};
use super::session::SessionId;
use super::uses::{AgreedKey, Use};
use crate::sa::SegmentIndex;

/// Which association: there is one for each path, use, segment (or position) and worker of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The path.
    pub path: PathId,
    /// What it is for.
    pub usage: Use,
    /// The segment of the path; of another use than ESP, a position on it.
    pub segment: SegmentIndex,
    /// The sender's worker.
    pub worker: WorkerId,
}

/// What the driver has to do, in the order in which it comes out.
#[derive(Debug)]
pub enum Event {
    /// Open a connection to the neighbour, then call [`open_session`](super::Sap::open_session) or
    /// [`dial_failed`](super::Sap::dial_failed).
    Dial,
    /// Both ends have said HELLO; keys come from this session now.
    Established {
        /// The session.
        session: SessionId,
        /// Its epoch.
        epoch: Epoch,
        /// Which of its lives the neighbour is in.
        boot: BootId,
    },
    /// Send what is left to be sent in this session, then hang up.
    EndSession {
        /// The session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// Let in, at every worker, packets with this SPI, or what carries it as the id of its key; then call [`installed`](super::Sap::installed) or
    /// [`install_failed`](super::Sap::install_failed). Nothing is sent to the SPI before.
    InstallInbound {
        /// What the packets are.
        place: Place,
        /// The SPI, from the allocator that the core was given.
        spi: SaSpi,
        /// The key.
        key: AgreedKey,
        /// When the data plane has to stop by itself.
        expires: Instant,
    },
    /// The inbound association ends at another time, earlier or later.
    RenewInbound {
        /// The association.
        spi: SaSpi,
        /// When the data plane has to stop by itself.
        expires: Instant,
    },
    /// Let no packet with this SPI in any more; then the SPI goes back to its allocator. Comes once for every
    /// [`Event::InstallInbound`].
    RemoveInbound {
        /// The association.
        spi: SaSpi,
        /// Why.
        cause: Cause,
        /// The last sequence number that the sender used, where it said so.
        last_sequence: Option<u64>,
    },
    /// Seal packets of this place, or make its MACs, with this key from now on; the receiver has installed it.
    InstallOutbound {
        /// What it is for.
        place: Place,
        /// The SPI that the receiver chose.
        spi: SaSpi,
        /// The key.
        key: AgreedKey,
        /// When the data plane has to stop by itself.
        expires: Instant,
    },
    /// The outbound association ends at another time, earlier or later.
    RenewOutbound {
        /// What it is for.
        place: Place,
        /// The association.
        spi: SaSpi,
        /// When the data plane has to stop by itself.
        expires: Instant,
    },
    /// Seal nothing more with this association and destroy its key; then call [`stopped`](super::Sap::stopped) with the
    /// last sequence number used, 0 where there are none.
    StopSending {
        /// What it was for.
        place: Place,
        /// The association.
        spi: SaSpi,
        /// Why.
        cause: Cause,
    },
    /// Get a new lease of this element for the path and pass it to [`set_lease`](super::Sap::set_lease). Comes again
    /// while none is passed.
    RenewLease {
        /// The path.
        path: PathId,
        /// Its digest.
        digest: PathDigest,
    },
}

/// Why an association ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// One of a later epoch has taken its place.
    Replaced,
    /// The path set has no such segment any more.
    Withdrawn,
    /// A lease, of either end, has ended.
    LeaseExpired,
    /// The neighbour has begun another life, and knows no key of the last one.
    PeerRestarted,
    /// The receiver says that it has removed it.
    PeerDeleted,
    /// The sender says that it uses it no more, and the grace time is over.
    Finished,
    /// The session ended before the sender could know of it, or a successor was there and no LAST came.
    Orphaned,
    /// The data plane did not install it.
    NotInstalled,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Cause::Replaced => "replaced",
            Cause::Withdrawn => "path withdrawn",
            Cause::LeaseExpired => "lease expired",
            Cause::PeerRestarted => "neighbour restarted",
            Cause::PeerDeleted => "deleted by the receiver",
            Cause::Finished => "finished by the sender",
            Cause::Orphaned => "orphaned",
            Cause::NotInstalled => "not installed",
        })
    }
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// A newer session has taken its place.
    #[error("a newer session took its place")]
    Superseded,
    /// The neighbour said CLOSE.
    #[error("the neighbour closed it: {0}")]
    PeerClosed(Goodbye),
    /// The neighbour broke the protocol.
    #[error("the neighbour broke the protocol")]
    Violation(#[source] Violation),
    /// Nothing was heard for too long.
    #[error("the neighbour was not heard for too long")]
    Silent,
    /// The two elements share no path any more.
    #[error("the elements share no path any more")]
    NoPaths,
    /// More waited to be sent than the neighbour would read.
    #[error("the neighbour does not read what it is sent")]
    NotRead,
    /// No key could be derived.
    #[error("no key could be derived here")]
    Export(#[source] ExportFailed),
}

impl EndReason {
    /// What to tell the neighbour, unless it spoke first.
    pub(super) fn goodbye(self) -> Option<Goodbye> {
        match self {
            EndReason::Superseded => Some(Goodbye::Superseded),
            EndReason::PeerClosed(_) => None,
            EndReason::Violation(_) => Some(Goodbye::Violation),
            EndReason::Silent => Some(Goodbye::Silent),
            EndReason::NoPaths => Some(Goodbye::NoPaths),
            EndReason::NotRead | EndReason::Export(_) => Some(Goodbye::Failure),
        }
    }
}

/// What an honest neighbour never does, whatever the network does to messages. Ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The bytes are no message.
    #[error("the neighbour sent what is no message")]
    Malformed(#[from] DecodeError),
    /// HELLO names another element than TLS authenticated.
    #[error("the neighbour is element {expected} and calls itself {found}")]
    WrongElement {
        /// Whom the session was authenticated as.
        expected: ElementId,
        /// Whom HELLO names.
        found: ElementId,
    },
    /// A second HELLO differs from the first.
    #[error("the neighbour changed its HELLO within a session")]
    HelloChanged,
    /// The epoch is 0 or too far ahead.
    #[error("the neighbour proposes epoch {0}, which is 0 or too far ahead")]
    EpochOutOfRange(Epoch),
    /// An OFFER came again with other contents.
    #[error("the neighbour changed its OFFER {}", .0.0)]
    OfferChanged(OfferId),
    /// An answer to an OFFER that was never made.
    #[error("the neighbour answers OFFER {}, which was never made", .0.0)]
    NeverOffered(OfferId),
    /// The SPI is below 256 (RFC 4303 section 2.1).
    #[error("the neighbour chose the reserved SPI {0}")]
    ReservedSpi(SaSpi),
    /// The SPI was chosen before: the same key would begin to count again.
    #[error("the neighbour chose SPI {0} twice in one session")]
    SpiReused(SaSpi),
}

/// What waits for the driver.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) transmits: VecDeque<(SessionId, Message)>,
    pub(super) events: VecDeque<Event>,
}

impl Outbox {
    pub(super) fn send(&mut self, session: SessionId, message: Message) {
        self.transmits.push_back((session, message));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }
}
