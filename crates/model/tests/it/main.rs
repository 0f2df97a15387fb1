//! The behaviour of the crate as a whole: files in, diagnostics, path sets and decisions out.

mod bad_files;
mod corpus;
mod examples;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where they are public")]
#[path = "../../../../fuzz/src/model.rs"]
mod fuzz_bodies;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where it is shared")]
#[path = "../../../../fuzz/src/replay.rs"]
mod fuzz_replay;
mod fuzzed;
mod golden;
mod metadata;
mod numbering;
mod packets;
mod pathset;
mod pdp;
mod replicas;
mod round_trip;
mod rules;
mod schema;
mod shadow;
mod show;
mod standby;
mod strict;
mod wire;
