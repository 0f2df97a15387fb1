//! An element at work: cores and links on worker threads, keys from the agreement, at the gateway the proxy on top.
//!
//! ```text
//!  control channel ── element ──┬── worker threads: core, links
//!                               ├── key agreement (sap): events → commands to the workers
//!                               └── proxy threads (gateway): pins flows, connects through the TUN
//! ```

mod build;
mod chain;
mod command;
mod inner;
mod plan;
mod ports;
mod proxy;
mod report;
mod worker;

pub use proxy::ListenerTls;
pub use report::{Count, Drop, Flow, PathReport, Report};
