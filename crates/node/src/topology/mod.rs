//! The network of a domain, made of namespaces on one machine: a description, and what builds it through rtnetlink.
//!
//! ```text
//!   client1 ─┐                 ┌─ hop1 ─┐ (each element on the fabric's bridge)
//!   client2 ─┴── gateway ── [fabric: br0] ── hop2 ── egress ── service
//! ```
//!
//! Every box is a network namespace, every line a veth pair; the fabric is a namespace that holds nothing but a bridge.
//! As root the namespaces have names under /run/netns, so that `ip netns exec` reaches them; otherwise they live in a
//! user namespace of their own and go with the process. veth keeps segmentation offload, so a super-packet crosses the
//! fabric whole.

mod build;
mod error;
mod growth;
mod netlink;
mod netns;
mod plan;
mod privilege;
mod rules;
mod sysctl;

pub use build::Fabric;
pub use error::{GrowthError, PlanError, TopologyError};
pub use growth::Growth;
pub use netlink::Netlink;
pub use netns::Netns;
pub use plan::{Bridge, Cable, Cidr, End, Namespace, Route, Tap, Topology, valid_name};
pub use privilege::{Privilege, PrivilegeError};
pub use rules::{MAIN, Rule};
pub use sysctl::Sysctl;
