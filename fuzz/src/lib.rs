//! The bodies of the fuzz targets, one module a crate.

pub mod dataplane;
pub mod function;
pub mod io;
pub mod model;
pub mod packet;
pub mod trust;

#[allow(dead_code, reason = "shared with the crate's tests, which use all of it")]
#[path = "../../crates/dataplane/tests/it/packets.rs"]
mod packets;
#[allow(dead_code, reason = "shared with the crate's tests, which use all of it")]
#[path = "../../crates/dataplane/tests/it/sealing.rs"]
mod sealing;
#[allow(dead_code, reason = "shared with the crate's tests, which use all of it")]
#[path = "../../crates/dataplane/tests/it/testbed.rs"]
mod testbed;
