//! The behaviour of the crate as a whole: properties of every codec, real captures against other implementations, and
//! the replay of the fuzzers' corpus.

mod capture;
mod corpus;
mod etherparse_agrees;
#[expect(unreachable_pub, reason = "it is a public module of the fuzz workspace")]
#[path = "../../../../fuzz/src/packet.rs"]
mod fuzz_bodies;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where it is shared")]
#[path = "../../../../fuzz/src/replay.rs"]
mod fuzz_replay;
mod ipfix;
mod no_panic;
mod round_trip;
mod tshark_agrees;
