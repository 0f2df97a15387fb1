//! When to open a connection to the neighbour: with growing waits, half of each random, so that neighbours that lost each
//! other do not meet in lockstep.

use std::time::{Duration, Instant};

use ringmail_model::SplitMix64;

use super::limits::{DIAL_RETRY_MAX, DIAL_RETRY_MIN, DIAL_YIELD};

#[derive(Debug)]
pub(super) struct Dialer {
    /// The driver is at it.
    dialing: bool,
    at: Instant,
    failures: u32,
    /// How long the neighbour may go first.
    yields: Duration,
    jitter: SplitMix64,
}

impl Dialer {
    pub(super) fn new(now: Instant, goes_first: bool, jitter_seed: u64) -> Dialer {
        let yields = if goes_first { Duration::ZERO } else { DIAL_YIELD };
        Dialer {
            dialing: false,
            at: now + yields,
            failures: 0,
            yields,
            jitter: SplitMix64(jitter_seed),
        }
    }

    /// When to dial; `None` while the driver is at it.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.dialing).then_some(self.at)
    }

    pub(super) fn dial(&mut self) {
        self.dialing = true;
    }

    pub(super) fn dialed(&mut self) {
        self.dialing = false;
    }

    /// A dial failed, or a session ended. A session that lived for long is no failure.
    pub(super) fn failed(&mut self, now: Instant, lived_long: bool) {
        if lived_long {
            self.failures = 0;
        }
        let wait = (DIAL_RETRY_MIN * 2_u32.pow(self.failures.min(16))).min(DIAL_RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        let half = wait / 2;
        self.at = now + self.yields + half + half.mul_f64(self.jitter.fraction());
    }
}
