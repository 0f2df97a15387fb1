//! The Segment Agreement Protocol without I/O: the two ends of a segment agree on keys, by themselves (`docs/sap.md`).
//!
//! A driver authenticates the neighbour with TLS 1.3 (RFC 8446) and passes messages, time and the session's exporter in;
//! messages, keys for the data plane and wishes come out. One [`Sap`] stands for one neighbour:
//!
//! ```text
//!  sender                                              receiver
//!    │ HELLO ───────────────────────────────────► HELLO   │   epoch = the higher proposal
//!    │ OFFER(path, segment, worker, lease) ────────────►  │
//!    │                                    InstallInbound ─┼─► data plane
//!    │  ◄──────────────────────── INSTALLED(SPI, lease)  ◄┼── installed()
//!  ◄─┼─ InstallOutbound                                   │
//!    │            … packets, LEASE either way …           │
//!  ◄─┼─ StopSending                                       │
//!  ──┼► stopped(seq)    LAST(SPI, seq) ────────────────►  │
//!    │  ◄──────────────────────────────── DELETED(SPI)    │   after a grace time: RemoveInbound
//! ```

mod agreement;
mod config;
mod context;
mod dialer;
mod event;
pub mod fuzz;
mod inbound;
mod lease;
mod leases;
pub mod limits;
pub mod message;
mod outbound;
mod segment;
mod session;
mod uses;
mod wire;

pub use agreement::{Sap, Settled, Transmit};
pub use config::{Config, Counters};
pub use context::{ExportFailed, Exporter, KeyContext};
pub use event::{Cause, EndReason, Event, Place, Violation};
pub use inbound::AllocateSpi;
pub use lease::{
    LEASE_CONTEXT, Lease, LeaseError, Now, PathKey, SIGNATURE_BYTES, SignedLease, VerifyLease,
};
pub use message::{BootId, Framer, Message};
pub use segment::{Profile, SegmentView, suite_code};
pub use session::{Opener, SessionId};
pub use uses::{AgreedKey, HMAC_KEY_BYTES, MAC_KEY_BYTES, MacKey, Use};

/// The ALPN protocol id (RFC 7301) of sessions.
pub const ALPN: &[u8] = b"ringmail-sap/1";
