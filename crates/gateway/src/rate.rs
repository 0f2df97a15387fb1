//! How often each client used each rule: token buckets, shared by all listeners and workers, kept over changes of the
//! rules.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ringmail_model::domain::Rate;
use tokio::time::Instant;

use crate::limits::{RATE_CLIENTS, RATE_SWEEP_MS};

/// All buckets of a gateway.
#[derive(Debug)]
pub struct Rates {
    begun: Instant,
    buckets: Mutex<Buckets>,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates { begun: Instant::now(), buckets: Mutex::default() }
    }
}

/// Why a client may not go on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooFast {
    /// Its bucket is empty; there is a token again after this time.
    Empty {
        /// Milliseconds.
        wait_ms: u64,
    },
    /// There are more clients under way than are remembered.
    Full,
}

impl Rates {
    /// Takes a token of `client` under `rule`.
    pub(crate) fn take(&self, rule: &str, client: &str, rate: Rate) -> Result<(), TooFast> {
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.take(now_ms, rule, client, rate)
    }
}

/// By rule, then by client.
#[derive(Debug, Default)]
struct Buckets {
    rules: HashMap<String, HashMap<String, Bucket>>,
    count: usize,
    swept_ms: Option<u64>,
}

/// Levels are in parts of a token: a millisecond brings `most` of them, a token costs as many as `per` has milliseconds.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    level: u64,
    at_ms: u64,
}

impl Buckets {
    fn take(&mut self, now_ms: u64, rule: &str, client: &str, rate: Rate) -> Result<(), TooFast> {
        if let Some(known) = self.rules.get_mut(rule).and_then(|clients| clients.get_mut(client)) {
            return known.take(now_ms, rate);
        }
        if self.count >= RATE_CLIENTS {
            self.sweep(now_ms);
        }
        if self.count >= RATE_CLIENTS {
            return Err(TooFast::Full);
        }
        let mut bucket = Bucket::full(now_ms, rate);
        let taken = bucket.take(now_ms, rate);
        self.rules.entry(rule.to_owned()).or_default().insert(client.to_owned(), bucket);
        self.count += 1;
        taken
    }

    /// Forgets whoever has a full bucket: a new one would be the same.
    fn sweep(&mut self, now_ms: u64) {
        if self.swept_ms.is_some_and(|swept| now_ms.saturating_sub(swept) < RATE_SWEEP_MS) {
            return;
        }
        self.swept_ms = Some(now_ms);
        self.rules.retain(|_, clients| {
            clients.retain(|_, bucket| {
                bucket.fill(now_ms);
                bucket.level < capacity(bucket.rate)
            });
            !clients.is_empty()
        });
        self.count = self.rules.values().map(HashMap::len).sum();
    }
}

impl Bucket {
    fn full(now_ms: u64, rate: Rate) -> Bucket {
        Bucket { rate, level: capacity(rate), at_ms: now_ms }
    }

    fn take(&mut self, now_ms: u64, rate: Rate) -> Result<(), TooFast> {
        self.fill(now_ms);
        if self.rate != rate {
            // Another rate counts from now on; nobody gets more by it than it has tokens.
            self.level = self.level.saturating_mul(token(rate)) / token(self.rate);
            self.level = self.level.min(capacity(rate));
            self.rate = rate;
        }
        if self.level >= token(rate) {
            self.level -= token(rate);
            return Ok(());
        }
        let missing = token(rate) - self.level;
        Err(TooFast::Empty { wait_ms: missing.div_ceil(u64::from(rate.most.max(1))) })
    }

    fn fill(&mut self, now_ms: u64) {
        let came = now_ms.saturating_sub(self.at_ms).saturating_mul(u64::from(self.rate.most));
        self.level = self.level.saturating_add(came).min(capacity(self.rate));
        self.at_ms = self.at_ms.max(now_ms);
    }
}

/// What a token costs.
fn token(rate: Rate) -> u64 {
    u64::from(rate.per.seconds()) * 1_000
}

fn capacity(rate: Rate) -> u64 {
    u64::from(rate.burst()) * token(rate)
}

#[cfg(test)]
mod tests {
    use ringmail_model::domain::Per;

    use super::*;

    const THREE: Rate = Rate { most: 3, per: Per::Second, burst: None };

    fn taken(buckets: &mut Buckets, now_ms: u64, client: &str, rate: Rate) -> usize {
        (0..100).take_while(|_| buckets.take(now_ms, "r", client, rate).is_ok()).count()
    }

    #[test]
    fn a_bucket_fills_as_its_rate_says_and_no_further_than_its_burst() {
        let mut buckets = Buckets::default();
        assert_eq!(taken(&mut buckets, 0, "a", THREE), 3);
        assert_eq!(taken(&mut buckets, 333, "a", THREE), 0);
        assert_eq!(taken(&mut buckets, 334, "a", THREE), 1);
        assert_eq!(taken(&mut buckets, 3_600_000, "a", THREE), 3);
        let slow = Rate { most: 60, per: Per::Hour, burst: Some(2) };
        assert_eq!(taken(&mut buckets, 0, "b", slow), 2);
        assert_eq!(taken(&mut buckets, 59_999, "b", slow), 0);
        let wait = buckets.take(30_000, "r", "b", slow);
        assert_eq!(wait, Err(TooFast::Empty { wait_ms: 1 }), "a clock never goes back");
        assert_eq!(taken(&mut buckets, 60_000, "b", slow), 1);
        assert_eq!(
            buckets.take(60_000, "r", "b", slow),
            Err(TooFast::Empty { wait_ms: 60_000 }),
            "when to come again"
        );
    }

    #[test]
    fn each_client_and_each_rule_has_its_own() {
        let mut buckets = Buckets::default();
        assert_eq!(taken(&mut buckets, 0, "a", THREE), 3);
        assert_eq!(taken(&mut buckets, 0, "b", THREE), 3);
        assert_eq!(buckets.take(0, "other rule", "a", THREE), Ok(()));
    }

    #[test]
    fn another_rate_brings_nobody_tokens() {
        let mut buckets = Buckets::default();
        assert_eq!(taken(&mut buckets, 0, "a", THREE), 3);
        let hourly = Rate { most: 100, per: Per::Hour, burst: None };
        assert_eq!(taken(&mut buckets, 0, "a", hourly), 0);
        assert_eq!(taken(&mut buckets, 0, "b", hourly), 100);
        assert_eq!(taken(&mut buckets, 0, "c", THREE), 3);
        // Half of its tokens left, of the new kind.
        let many = Rate { most: 8, per: Per::Minute, burst: None };
        let two = Rate { most: 4, per: Per::Second, burst: None };
        (0..4).for_each(|_| buckets.take(0, "r", "d", many).expect("a token"));
        assert_eq!(taken(&mut buckets, 0, "d", two), 4);
    }

    #[test]
    fn who_comes_seldom_is_forgotten_and_a_full_table_lets_nobody_new_past() {
        let mut buckets = Buckets::default();
        for n in 0..RATE_CLIENTS {
            buckets.take(0, "r", &n.to_string(), THREE).expect("a token");
        }
        assert_eq!(buckets.take(0, "r", "new", THREE), Err(TooFast::Full));
        assert_eq!(buckets.take(1, "r", "0", THREE), Ok(()), "who is known goes on");
        assert_eq!(buckets.count, RATE_CLIENTS);
        // After a third of a second all but the one that took two are as if they had never been.
        assert_eq!(buckets.take(RATE_SWEEP_MS, "r", "new", THREE), Ok(()));
        assert!(buckets.count < 3, "{}", buckets.count);
    }
}
