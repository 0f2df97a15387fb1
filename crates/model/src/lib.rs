//! What a domain is: the file that describes it, the path set compiled from it, rules and identities.
//!
//! A core: no clock, socket, disk or environment is read here.

pub mod ids;

pub use ids::{ElementId, Epoch, Label, PathDigest, PathId, PathVersion, SaSpi, WorkerId};
