//! How long requests take, as a histogram for each path.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::limits::TIMED_PATHS;

/// Times from a microsecond to half an hour; longer ones are in the last bucket.
pub(crate) const BUCKETS: usize = 32;

/// Times, counted in buckets over powers of two of a microsecond.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// What a [`Histogram`] held at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// At place `n` those below 2^n microseconds that are in no place before.
    pub us_log2: [u64; BUCKETS],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    pub(crate) fn note(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    fn read(&self) -> Times {
        let us_log2 = std::array::from_fn(|at| self.buckets[at].load(Relaxed));
        Times { us_log2, sum_us: self.sum_us.load(Relaxed) }
    }
}

/// A histogram for each path, by name.
#[derive(Debug, Default)]
pub struct TimesByPath(Mutex<BTreeMap<String, Arc<Histogram>>>);

impl TimesByPath {
    /// That of a path; `None` when there are as many as may be.
    pub(crate) fn of(&self, path: &str) -> Option<Arc<Histogram>> {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = paths.get(path) {
            return Some(Arc::clone(known));
        }
        (paths.len() < TIMED_PATHS).then(|| Arc::clone(paths.entry(path.to_owned()).or_default()))
    }

    /// Every path's times so far.
    pub fn read(&self) -> Vec<(String, Times)> {
        let paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.iter().map(|(path, times)| (path.clone(), times.read())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_that_it_is_below_of() {
        let times = TimesByPath::default();
        let of = times.of("plain").expect("room");
        for us in [0, 1, 3, 4, 1000, u64::from(u32::MAX)] {
            of.note(Duration::from_micros(us));
        }
        let (path, read) = times.read().remove(0);
        assert_eq!((path.as_str(), read.us_log2.iter().sum::<u64>()), ("plain", 6));
        for (bucket, count) in [(0, 1), (1, 1), (2, 1), (3, 1), (10, 1), (BUCKETS - 1, 1)] {
            assert_eq!(read.us_log2[bucket], count, "{bucket}");
        }
        assert_eq!(read.sum_us, 1008 + u64::from(u32::MAX));
    }

    #[test]
    fn there_are_no_more_paths_than_may_be() {
        let times = TimesByPath::default();
        for path in 0..TIMED_PATHS {
            assert!(times.of(&path.to_string()).is_some());
        }
        assert!(times.of("one more").is_none() && times.of("0").is_some());
    }
}
