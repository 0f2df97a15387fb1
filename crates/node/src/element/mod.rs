//! An element at work: cores and links on worker threads, keys from the agreement, at the gateway the proxy on top.
//!
//! ```text
//!  control channel ── element ──┬── worker threads: core, links
//!                               ├── key agreement (sap): events → commands to the workers
//!                               └── proxy threads (gateway): pins flows, connects through the TUN
//! ```

mod agreement;
mod alerts;
mod asked;
mod attached;
mod begin;
mod build;
mod care;
mod chain;
mod change;
mod command;
mod direct;
mod flows;
mod guard;
mod header;
pub(crate) mod inner;
mod keys;
mod knowledge;
mod legend;
mod listener;
mod logfile;
mod observe;
mod pin;
mod plan;
mod ports;
mod proofs;
mod proxy;
pub(crate) mod psk;
mod relations;
mod replicas;
mod report;
mod run;
mod statement;
mod status;
mod summary;
mod told;
mod trace;
mod trouble;
mod versions;
mod watch;
mod whose;
mod wireguard;
mod worker;
mod workshop;

pub use direct::run_direct;
pub(crate) use flows::FlowCounters;
pub use run::run;
pub(crate) use status::{FLOWS, FLOWS_LIMIT, FLOWS_REFUSED, REPLICA_CLOSED, REPLICA_MOVED};
pub use workshop::{Mill, Workshop};
