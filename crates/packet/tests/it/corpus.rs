//! Replays what the fuzzers kept.

use crate::fuzz_bodies::TARGETS;
use crate::fuzz_replay;

#[test]
fn every_committed_input_keeps_every_promise() {
    fuzz_replay::every_input(&TARGETS);
}

#[test]
fn every_body_has_a_target_and_every_target_a_body() {
    fuzz_replay::targets_are_the_bodies("packet_", &TARGETS);
}
