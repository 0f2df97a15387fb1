//! What control's end is told, and asks its driver for.

use super::super::look::{Seen, Unseen};
use super::super::message::{Life, Usage};
use super::super::reason::{CloseReason, Nack};
use crate::ids::{PathDigest, PathVersion};

/// One connection of one element, numbered by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What happens to a version while elements are away or silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    /// The others go on, and it gets the version when it is back. Until then its paths fail closed.
    #[default]
    GoOn,
    /// The version is abandoned.
    Refuse,
}

/// How control goes about it.
#[derive(Clone, Copy, Debug)]
pub struct PublisherConfig {
    /// Random: which life of control this is.
    pub life: Life,
    /// What happens to a version while elements are away.
    pub absent: Absent,
}

/// What control has to do, or what has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublisherEvent {
    /// Everybody who has to has staged the version: write down that it counts, then [`Publisher::committed`].
    Commit(PathVersion),
    /// The version that was proposed does not come to count; the one before goes on.
    Rejected {
        /// Which.
        version: PathVersion,
        /// Who refused, and why.
        nacks: Vec<(String, Nack, String)>,
        /// Who did not answer.
        missing: Vec<String>,
        /// Who had staged it.
        staged: Vec<String>,
    },
    /// The version that was only tried could count.
    Tried {
        /// Which.
        version: PathVersion,
        /// Elements that were not there to say so.
        missing: Vec<String>,
    },
    /// Every element of the version that has a session runs it.
    Activated {
        /// Which.
        version: PathVersion,
        /// Elements that have no session, and get it when they come.
        away: Vec<String>,
    },
    /// An element has not activated the version that counts in time, or refuses it.
    Behind {
        /// Which element.
        element: String,
        /// The version.
        version: PathVersion,
        /// What it said.
        nack: Option<(Nack, String)>,
    },
    /// An element has seen a higher version than counts: the same documents must be signed under one that is higher
    /// still, and [`Publisher::reissue`] be called with it.
    Reissue {
        /// Which element.
        element: String,
        /// What it has seen.
        seen: PathVersion,
    },
    /// An element has come.
    Joined {
        /// Which.
        element: String,
        /// The version that it runs; 0 for none.
        active: PathVersion,
    },
    /// An element's session is over.
    Left {
        /// Which.
        element: String,
    },
    /// An element asks for a lease; answered with [`Publisher::answer`].
    LeaseRequest {
        /// Its session.
        session: SessionId,
        /// Which.
        element: String,
        /// The path.
        digest: PathDigest,
    },
    /// An element asks for a certificate; answered with [`Publisher::answer`].
    CertificateRequest {
        /// Its session.
        session: SessionId,
        /// Which.
        element: String,
        /// Comes back in the answer.
        number: u32,
        /// What for.
        usage: Usage,
        /// PKCS #10 in DER.
        request: Vec<u8>,
    },
    /// The whole answer to a question of [`Publisher::look`].
    Seen {
        /// That of the question.
        number: u32,
        /// What was seen, or why there is no answer.
        seen: Result<Seen, Unseen>,
    },
    /// Hang up, after what waits to be sent.
    HangUp {
        /// Which.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
}
