//! Gateway, hop and egress in a world that loses, repeats and reorders messages, cuts connections, restarts elements, takes
//! the manager away and withdraws paths; then the faults end and everything must have been agreed on.
//!
//! A failure prints its seed: `RINGMAIL_SIM_SEED=7 cargo test -p ringmail-dataplane --test it sap::simulation` runs it
//! again, `RINGMAIL_SIM_RUNS=10000` runs more of them.

mod checks;
mod faults;
mod parts;
mod tally;
mod world;

use std::time::Duration;

use ringmail_dataplane::sap::{SegmentView, Use};

use self::tally::Tally;
use self::world::World;
use super::support::{relation, segment};

const ELEMENTS: [u16; 3] = [1, 2, 3];
const CHAOS: Duration = Duration::from_secs(150);
const QUIET: Duration = Duration::from_secs(90);
const LEASE_S: u64 = 30;

/// Path 1 forward and path 2 back through the hop, path 3 past it. Path 1 has every use, path 2 most.
fn segments() -> Vec<SegmentView> {
    vec![
        segment(1, 0, 1, 2, 2),
        segment(1, 1, 2, 3, 1),
        segment(2, 0, 3, 2, 1),
        segment(2, 1, 2, 1, 1),
        segment(3, 0, 1, 3, 1),
        relation(Use::Link, 1, 0, 1, 2, 2),
        relation(Use::Link, 1, 1, 2, 3, 1),
        relation(Use::Link, 2, 0, 3, 2, 1),
        relation(Use::Proof, 1, 0, 1, 3, 2),
        relation(Use::Proof, 1, 1, 2, 3, 1),
        relation(Use::Proof, 2, 1, 2, 1, 1),
        relation(Use::Metadata, 1, 2, 1, 3, 2),
    ]
}

fn runs() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("RINGMAIL_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("RINGMAIL_SIM_RUNS").unwrap_or(100)).collect(),
    }
}

#[test]
fn whatever_fails_keys_agree_in_the_end_and_none_is_used_twice() {
    let mut total = Tally::default();
    for seed in runs() {
        let _told = TellSeed(seed);
        let mut world = World::new(seed);
        world.run();
        total.add(&world.tally);
    }
    eprintln!("{total:?}");
    assert!(runs().len() < 20 || total.is_plentiful(), "the world is too kind: {total:?}");
}

/// Prints the seed of a run that panics.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("RINGMAIL_SIM_SEED={}", self.0);
        }
    }
}
