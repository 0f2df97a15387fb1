//! What an element's end asks its driver for.

use super::super::documents::Documents;
use super::super::look::Look;
use super::super::message::Offer;
use super::super::reason::{CloseReason, Nack};
use crate::ids::PathVersion;
use crate::pathset::PathSet;

/// What the element has to do, or has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowerEvent {
    /// Connect to control; then [`Follower::connected`] or [`Follower::disconnected`].
    Dial,
    /// Hang up; nothing of this connection counts any more.
    HangUp(CloseReason),
    /// Control has answered.
    Greeted {
        /// Control's clock, in milliseconds since 1970.
        now_unix_ms: u64,
        /// The version that counts.
        committed: PathVersion,
    },
    /// Remember [`Held`], then build this beside what runs; then [`Follower::staged`] or [`Follower::not_staged`].
    Stage {
        /// What control sent.
        documents: Box<Documents>,
        /// The path set in it.
        set: Box<PathSet>,
        /// How it stands.
        offer: Offer,
    },
    /// Who of the version that is being staged is away: keys that are missing with those do not matter for it.
    Absent {
        /// The version.
        version: PathVersion,
        /// Names of elements.
        elements: Vec<String>,
    },
    /// Run what is staged; then [`Follower::activated`] or [`Follower::not_activated`].
    Activate(PathVersion),
    /// Forget what is staged, or being staged.
    Abandon(PathVersion),
    /// An offer was refused.
    Refused {
        /// The version.
        version: PathVersion,
        /// Why.
        reason: Nack,
        /// More, for people.
        detail: String,
    },
    /// A lease came.
    Lease(Vec<u8>),
    /// A certificate came that was asked for.
    Certificate {
        /// The number of the request.
        number: u32,
        /// X.509 in DER; none when control refused.
        chain: Vec<Vec<u8>>,
        /// Seconds since 1970 after which it does not hold.
        not_after_unix_s: u64,
        /// Why control refused.
        detail: String,
    },
    /// Control asks about packets; then [`Follower::seen`].
    Look {
        /// Comes back in the answer.
        number: u32,
        /// What is asked.
        look: Look,
    },
    /// Whom to believe from now on.
    Bundle {
        /// Root certificates in DER.
        roots: Vec<Vec<u8>>,
        /// Revocation lists in DER.
        crls: Vec<Vec<u8>>,
        /// The path-signing key.
        path_key: [u8; 32],
    },
}
