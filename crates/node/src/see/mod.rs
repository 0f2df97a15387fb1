//! Seeing into a running domain from outside: metrics, health and readiness over HTTP, apart from the data plane.
//!
//! ```text
//!  counters of cores, links, gateway, functions, SAP ── status ── samples ── OpenMetrics text ── HTTP
//!                                                          └───── readiness ── JSON ──────────────┘
//! ```

pub mod catalog;
mod health;
mod http;
mod mends;
pub mod metrics;
pub mod prove;
mod text;
pub mod trace;

pub use self::health::{Health, Readiness, Unready, health, readiness};
pub use self::http::{Listener, Server, Source};
pub use self::mends::mend;
pub use self::text::{Format, render};

/// The name of the HTTP socket in the runtime directory.
pub const SOCKET_FILE: &str = "metrics.sock";
