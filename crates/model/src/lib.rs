//! What a domain is: the file that describes it, the path set compiled from it, rules and identities.
//!
//! A core: no clock, socket, disk or environment is read here.
//!
//! ```text
//! text ──parse──► Domain ──check──► Diagnostics
//!                   ├──PathSet::compile──► PathSet ──encode, sign──► SignedPathSet
//!                   └──RuleSet::compile──► RuleSet ──evaluate(request)──► Decision
//! ```

#![forbid(unsafe_code)]

pub mod check;
pub mod defence;
pub mod diagnostic;
pub mod diff;
pub mod domain;
pub mod ids;
pub mod integrity;
pub mod limits;
pub mod mac;
pub mod metadata;
pub mod names;
pub mod net;
pub mod nsh;
pub mod overhead;
pub mod pathset;
pub mod pdp;
pub mod rules;
pub mod show;
pub mod splitmix;
mod suggest;
pub mod summary;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use domain::Domain;
pub use ids::{ElementId, Epoch, Label, PathDigest, PathId, PathVersion, SaSpi, WorkerId};
pub use mac::MacAddress;
pub use names::{HostName, HostPattern, Name, TrustDomain};
pub use net::Cidr;
pub use pathset::PathSet;
pub use rules::RuleSet;
pub use splitmix::SplitMix64;
