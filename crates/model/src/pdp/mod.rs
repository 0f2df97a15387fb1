//! The Path Distribution Protocol without I/O: signed paths reach the elements of a domain that run on machines of their
//! own, and count everywhere or nowhere (`docs/pdp.md`).
//!
//! A driver authenticates both ends with TLS 1.3 and passes messages and time in; messages and wishes come out.
//! [`Publisher`] is control's end, for all elements; [`Follower`] is an element's.
//!
//! ```text
//!  element                                           control
//!    │ HELLO(active, highest) ─────────────────────────► │
//!    │ ◄───────────────────────────── WELCOME(committed) │
//!    │ ◄───────────── OFFER(path set, domain file, signed) │   to all
//!  build beside what runs                                │
//!    │ ACK ────────────────────────────────────────────► │   from all: commit
//!    │ ◄──────────────────────────────────────── ACTIVATE │   to all
//!    │ ACTIVATED ──────────────────────────────────────► │
//!    │ LEASE_REQUEST ─►       ◄─ LEASE, HEARTBEAT either way
//! ```

mod documents;
mod follower;
pub mod look;
mod message;
mod publisher;
mod reason;

pub use documents::{DocumentError, Documents};
pub use follower::{Follower, FollowerConfig, FollowerEvent, Held};
pub use message::{EnrolSecret, Framer, Life, Message, MessageError, Offer, Usage};
pub use publisher::{
    Absent, Progress, Proposing, Published, Publisher, PublisherConfig, PublisherEvent, Refusal,
    SessionId, Standing,
};
pub use reason::{CloseReason, Nack};

/// The ALPN protocol id (RFC 7301) of sessions.
pub const ALPN: &[u8] = b"ringmail-pdp/1";

/// The highest version of the protocol that this release speaks; it speaks all before it, too. A session speaks the lower one
/// of its two ends (`docs/pdp.md`, "Versions of the protocol").
pub const PROTOCOL: u8 = 4;

/// From which version of the protocol on an end knows [`Offer::MayRestart`], [`Nack::NoKeys`] and [`Message::Absent`].
pub(crate) const PROTOCOL_ABSENT: u8 = 2;

/// From which version of the protocol on an end knows [`Message::Look`] and [`Message::Seen`].
pub(crate) const PROTOCOL_LOOK: u8 = 3;

/// From which version of the protocol on an end knows [`look::Look::Proofs`] and [`look::Seen::Proofs`].
pub(crate) const PROTOCOL_PROOFS: u8 = 4;
