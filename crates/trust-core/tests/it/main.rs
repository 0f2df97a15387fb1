//! The crate's behaviour, from outside, a folder a part.

mod function;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where they are public")]
#[path = "../../../../fuzz/src/function.rs"]
mod fuzz_bodies;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where it is shared")]
#[path = "../../../../fuzz/src/replay.rs"]
mod fuzz_replay;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where they are public")]
#[path = "../../../../fuzz/src/trust.rs"]
mod fuzz_trust;
mod fuzzed;
mod host;
mod manager;
