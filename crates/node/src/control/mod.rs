//! What the parent of a domain and its elements say to each other: one JSON object a line, over a socket pair that the
//! element inherits.
//!
//! ```text
//!  element                                  parent
//!     │ Hello { certificate request }  ──►    │
//!     │ ◄──  Domain, PathSet, Listener…, Identity
//!     │                                       │
//!     │ Ready                          ──►    │
//!     │ LeaseRequest ──►      ◄── Lease       │   again and again
//!     │ ◄── Status, ExportKeys    answers ──► │   whenever somebody asks
//!     │ ◄── Stage, then Activate or Abandon   │   another version of the domain, see element/versions
//!     │ ◄── Shutdown                          │   then the element ends
//! ```
//!
//! Both ends are the same build, so a message that one of them does not know is a fault. What must not be forged is
//! signed inside its message; the socket itself is private to the two processes.

mod blob;
mod channel;
pub(crate) mod lines;
mod messages;
mod nack;
mod observe;
mod status;

pub use blob::{Blob, Secret};
pub use channel::{Channel, ChannelError, ControlChannel, ParentChannel, Receiver, Sender};
pub use messages::{
    FromElement, KeyExport, ListenerTls, PinnedFlow, ServerCertificate, ServiceTls, TlsPeer,
    ToElement, WireguardKeys,
};
pub use nack::{Fault, Nack};
pub use observe::{Mark, Observe, Observed, Passage, PathProofs, ProofRecord, TraceFlow};
pub use status::{
    Counter, Drops, ElementStatus, EpochStatus, ListenerLists, PathStatus, ProofCount, Rekeyed,
    ReplicaStatus, RequestTimes,
};
