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
//! On a listener of kind `tls` the same holds once a connection, whose bytes then pass unread.
//!
//! Nothing is buffered whole: a slow side holds the other up, over [`limits`] that each have a
//! [`Counters`] entry.

#![forbid(unsafe_code)]

pub mod access;
mod activity;
mod census;
mod certificate;
mod chain;
mod chunks;
mod client_trust;
mod connection;
mod counters;
mod decision;
mod demand;
mod exchange;
mod failed;
mod forwarded;
mod gate;
mod gateway;
mod headers;
mod identity;
mod leg;
pub mod limits;
mod passing;
mod policy;
mod pool;
mod preamble;
mod proxy;
mod proxy_protocol;
mod rate;
mod recognize;
mod refusal;
mod relay;
mod request_body;
mod response_body;
mod service_io;
mod silence;
mod sites;
mod target;
mod times;
pub mod tls;
mod tls_io;
mod tunnel;
pub mod wireguard;

pub use certificate::ClientCertificate;
pub use chain::{Chain, ChainError, ChainRequest, ChainStream};
pub use client_trust::{CrlError, Revocation};
pub use counters::{Counter, Counters, Reading};
pub use decision::{DecisionPoint, DecisionPointError, DecisionPoints, DecisionTrust};
pub use gateway::{Drained, Gateway, Reserved, bind, bind_ahead};
pub use identity::{Fingerprint, IdentityError};
pub use leg::{ServiceOptions, ServiceTls, Services};
pub use limits::Limits;
pub use policy::{Policy, PolicyHandle};
pub use rate::Rates;
pub use sites::Certificates;
pub use times::{Times, TimesByPath};
