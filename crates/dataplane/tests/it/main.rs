//! The behaviour of the data plane, one module a subject.

mod attach;
mod batches;
mod capture;
mod chain;
mod corpus;
mod dependencies;
mod esp;
mod flood;
mod forged;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where they are public")]
#[path = "../../../../fuzz/src/dataplane.rs"]
mod fuzz_bodies;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where it is shared")]
#[path = "../../../../fuzz/src/replay.rs"]
mod fuzz_replay;
mod memory;
mod nsh;
mod packets;
mod replay;
mod sa;
mod sap;
mod sealing;
mod testbed;
mod transport;
mod tshark;
mod vectors;
