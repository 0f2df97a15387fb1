//! How long an association may be used: it fails closed when nobody renews its lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time until which associations may be used. Clones share it: whoever agreed on the keys keeps one and renews it
/// while workers look at theirs.
#[derive(Clone, Debug)]
pub struct Lease {
    start: Instant,
    /// Nanoseconds from `start`; `u64::MAX` never ends.
    end_ns: Arc<AtomicU64>,
}

impl Lease {
    /// A lease that runs for `duration` from `now`.
    pub fn new(now: Instant, duration: Duration) -> Lease {
        let end_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Lease { start: now, end_ns: Arc::new(AtomicU64::new(end_ns)) }
    }

    /// A lease that never ends: for keying `psk`, whose keys nobody renews.
    pub fn unlimited(now: Instant) -> Lease {
        Lease { start: now, end_ns: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Lets the lease end at `until`, later or earlier than it did.
    pub fn renew(&self, until: Instant) {
        let end = until.saturating_duration_since(self.start).as_nanos();
        self.end_ns.store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Ends the lease at once.
    pub fn expire(&self) {
        self.end_ns.store(0, Ordering::Relaxed);
    }

    /// Whether the lease still runs at `now`.
    #[inline]
    pub fn is_live(&self, now: Instant) -> bool {
        let end_ns = self.end_ns.load(Ordering::Relaxed);
        let passed = now.saturating_duration_since(self.start);
        // 2^64 ns are 584 years.
        (passed.as_nanos() as u64) < end_ns
    }

    /// When the lease ends; `None` when never.
    pub fn end(&self) -> Option<Instant> {
        match self.end_ns.load(Ordering::Relaxed) {
            u64::MAX => None,
            end_ns => self.start.checked_add(Duration::from_nanos(end_ns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_on_its_instant_and_every_clone_sees_a_renewal() {
        let now = Instant::now();
        let lease = Lease::new(now, Duration::from_secs(60));
        let worker = lease.clone();
        let end = now + Duration::from_secs(60);
        assert!(worker.is_live(end - Duration::from_nanos(1)) && !worker.is_live(end));
        lease.renew(end + Duration::from_secs(1));
        assert!(worker.is_live(end));
        assert_eq!(worker.end(), Some(end + Duration::from_secs(1)));
        lease.expire();
        assert!(!worker.is_live(now));
    }

    #[test]
    fn an_unlimited_lease_has_no_end() {
        let now = Instant::now();
        let lease = Lease::unlimited(now);
        assert!(lease.is_live(now + Duration::from_secs(1 << 32)));
        assert_eq!(lease.end(), None);
        assert_eq!(Lease::new(now, Duration::MAX).end(), None);
    }
}
