//! The Verification Manager: appraises, issues, revokes, and keeps a log of all that (RFC 9334's verifier and relying party).
//!
//! ```text
//!  agent ──nonce──► evidence, CSR ─► Appraiser ─verdict─► trust-core's Manager ─effects─► Store: one commit
//!                                                                                          │ then
//!  agent ◄── SVID and the receipt that it stands in the log ◄──────────────────────────────┘ the answer
//! ```
//!
//! - [`Service`]: the manager in a process, whoever asks it.
//! - [`Server`]: the same over mutual TLS: HTTP and JSON, described by `docs/openapi/trust.v1.json`.
//! - [`Client`]: whoever asks a server: agents, operators, auditors.
//! - [`Appraiser`]: the seam to appraisal.
//!
//! ```text
//! DIR/                  0700; every file 0600
//!   manager.sqlite      what is remembered, and the log
//!   intermediate.key    the key of the manager's own CA
//!   intermediate.pem    its certificate, signed by the domain's root
//!   crl.pem             its revocation list, for other programs
//!   lock                held while a manager serves from here
//! ```

pub mod api;
mod appraiser;
mod client;
mod error;
mod issuer;
mod openapi;
mod references;
mod routes;
mod server;
mod service;
mod settle;
mod store;
mod who;

pub use self::appraiser::{
    Appraiser, Enrolment, Found, FunctionAsked, HostAsked, HostFound, Outcome, Pending, bound,
};
pub use self::client::{Client, ClientError, Trusting};
pub use self::error::ManagerError;
pub use self::openapi::openapi;
pub use self::references::{Anchor, References};
pub use self::server::{Server, ServerError, ServerSettings};
pub use self::service::{Attested, Certified, Clock, Service, Settings};
pub use self::who::{Role, Who};

use aws_lc_rs::digest::{SHA256, digest};

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
