//! The encryption proxy: mutual TLS, HTTP and authorization at the edge of a chain.
//!
//! ```text
//!            ┌ gateway: accept ─ connection: TLS, watchdog ──────────────┐
//!  client ───┤     proxy: target, headers, policy ─ exchange: send, retry├─── chain ─── service
//!            └ tls_io ─ request_body, response_body ── pool, service_io ─┘
//! ```
//!
//! A client shows a certificate or does not get as far as HTTP. Each of its requests, and each
//! HTTP/2 stream is one, is judged by itself: who asks, over which server name, for which
//! authority, method, path and headers, and how its body begins. What no rule allows is refused.
//! What is allowed goes to its service over a connection that no other client certificate, rule,
//! path version or service shares, and that the implementer of [`Chain`] opens on the rule's path.
//!
//! Nothing is buffered whole: a slow side holds the other up, over [`limits`] that each have a
//! [`Counters`] entry.

#![forbid(unsafe_code)]

mod activity;
mod census;
mod chain;
mod chunks;
mod connection;
mod counters;
mod exchange;
mod gate;
mod gateway;
mod headers;
mod identity;
pub mod limits;
mod policy;
mod pool;
mod proxy;
mod refusal;
mod request_body;
mod response_body;
mod service_io;
mod silence;
mod sites;
mod target;
pub mod tls;
mod tls_io;

pub use chain::{Chain, ChainError, ChainRequest, ChainStream};
pub use counters::{Counter, Counters, Reading};
pub use gateway::{Drained, Gateway, bind};
pub use identity::{Fingerprint, IdentityError};
pub use limits::Limits;
pub use policy::{Policy, PolicyHandle};
