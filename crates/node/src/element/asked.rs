//! Leases that were asked for and have not come: every neighbour on a path asks for the same one, and one will do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringmail_dataplane::sap::limits::RENEW_RETRY;
use ringmail_model::PathDigest;

/// After so long an answer is not waited for: the next question of a neighbour passes. Below the time after which one
/// that got no answer asks again.
const WAITED_FOR: Duration = RENEW_RETRY.saturating_sub(Duration::from_millis(500));

/// Questions that are out.
#[derive(Debug, Default)]
pub(crate) struct Asked(BTreeMap<PathDigest, Instant>);

impl Asked {
    /// Whether to ask for a lease of this path, since no answer is on its way.
    pub(crate) fn ask(&mut self, now: Instant, digest: PathDigest) -> bool {
        self.0.retain(|_, since| now < *since + WAITED_FOR);
        let first = !self.0.contains_key(&digest);
        self.0.entry(digest).or_insert(now);
        first
    }

    /// A lease of this path has come, and goes to all neighbours.
    pub(crate) fn came(&mut self, digest: PathDigest) {
        self.0.remove(&digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_is_out_until_the_lease_comes_or_is_overdue() {
        let (now, mut asked) = (Instant::now(), Asked::default());
        let [one, other] = [PathDigest([1; 32]), PathDigest([2; 32])];
        assert!(asked.ask(now, one));
        assert!(!asked.ask(now, one), "another neighbour of the same path");
        assert!(asked.ask(now, other), "another path");
        asked.came(one);
        assert!(asked.ask(now, one), "who asks after the answer gets one, too");
        assert!(!asked.ask(now, other));
        assert!(asked.ask(now + RENEW_RETRY, other), "the answer was lost");
        assert!(!asked.ask(now + RENEW_RETRY, other));
    }
}
