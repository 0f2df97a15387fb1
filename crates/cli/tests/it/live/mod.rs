//! Whole chains against programs that nobody here wrote: nginx behind them, curl and aria2 before them, tshark on
//! the links between.
//!
//! ```text
//!   curl ─┐                            tshark on br0                       ┌─ nginx
//!   aria2 ┴─ outside (bridge) ─ gateway ═╪═ sf1 ═╪═ sf2 ═╪═ egress ────────┘
//! ```
//!
//! Every test brings up a domain of its own, so that they may run at once. They need root; otherwise each starts
//! itself again inside a user namespace.

mod attached;
mod capture;
mod certificates;
mod chromium;
mod counters;
mod crl;
mod ethernet;
mod finer;
mod firewall;
mod forwarders;
mod growth;
mod guards;
mod headers;
mod kill;
mod lease;
mod listeners;
mod load;
mod logger;
mod machines;
mod manual;
mod metadata;
mod metrics;
mod nginx;
mod passing;
mod programs;
mod proofs;
mod refusals;
mod rekey;
mod reload;
mod replicas;
mod returns;
mod rfc9145;
mod rotation;
mod sight;
mod summaries;
mod switch;
mod two_gateways;
mod variants;
mod wire;
mod wireguard;
pub(crate) mod world;
