//! Nonces: good once, for one host, for a short time; there are never too many.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use ringmail_model::Name;

use super::Now;
use crate::limits::{NONCE_LASTS, NONCES, NONCES_A_HOST};

/// What evidence has to contain.
pub type Nonce = [u8; 32];

/// A nonce that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its place among all nonces: evidence upon an older one does not undo what newer evidence showed.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub made_unix_ms: u64,
}

/// Those that wait for their evidence.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    next: u64,
    waiting: BTreeMap<Nonce, Waiting>,
    /// In the order of their making, and so of their ends; some are gone already.
    order: VecDeque<(Instant, Nonce)>,
    of_host: BTreeMap<Name, VecDeque<Nonce>>,
}

#[derive(Debug)]
struct Waiting {
    host: Name,
    number: u64,
    made_unix_ms: u64,
    ends: Instant,
}

impl Nonces {
    /// Makes a nonce of random bytes; `None` when too many wait, or when the bytes are not random.
    pub(super) fn make(&mut self, at: Now, host: &Name, random: Nonce) -> Option<Nonce> {
        let now = at.instant;
        self.forget_old(now);
        if self.waiting.len() >= NONCES || self.waiting.contains_key(&random) {
            return None;
        }
        let of_host = self.of_host.entry(host.clone()).or_default();
        of_host.push_back(random);
        let oldest = if of_host.len() > NONCES_A_HOST { of_host.pop_front() } else { None };
        if let Some(oldest) = oldest {
            self.waiting.remove(&oldest);
        }
        self.next += 1;
        let ends = now + NONCE_LASTS;
        let (number, made_unix_ms) = (self.next, at.unix_ms);
        self.waiting.insert(random, Waiting { host: host.clone(), number, made_unix_ms, ends });
        self.order.push_back((ends, random));
        Some(random)
    }

    /// Takes a nonce; `None` when it was never made, is another host's, was taken before or is too old.
    pub(super) fn take(&mut self, now: Instant, host: &Name, nonce: &Nonce) -> Option<Taken> {
        self.forget_old(now);
        if self.waiting.get(nonce).is_none_or(|waiting| waiting.host != *host) {
            return None;
        }
        let waiting = self.remove(nonce)?;
        Some(Taken { number: waiting.number, made_unix_ms: waiting.made_unix_ms })
    }

    /// When the next one is too old.
    pub(super) fn oldest_ends(&self) -> Option<Instant> {
        self.order.front().map(|(ends, _)| *ends)
    }

    pub(super) fn forget_old(&mut self, now: Instant) {
        while let Some((_, nonce)) = self.order.pop_front_if(|(ends, _)| *ends <= now) {
            // One that was taken may be made again by a broken random source: then this is not its end.
            if self.waiting.get(&nonce).is_some_and(|waiting| waiting.ends <= now) {
                self.remove(&nonce);
            }
        }
    }

    fn remove(&mut self, nonce: &Nonce) -> Option<Waiting> {
        let waiting = self.waiting.remove(nonce)?;
        if let Some(of_host) = self.of_host.get_mut(&waiting.host) {
            of_host.retain(|kept| kept != nonce);
            if of_host.is_empty() {
                self.of_host.remove(&waiting.host);
            }
        }
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_nonce_is_good_once_for_its_host_and_in_time() {
        let (now, mut nonces) = (Instant::now(), Nonces::default());
        let at = Now { instant: now, unix_ms: 5 };
        let (h1, h2) = (name("h1"), name("h2"));
        nonces.make(at, &h1, [1; 32]).unwrap();
        assert_eq!(nonces.take(now, &h2, &[1; 32]), None, "another's");
        assert_eq!(nonces.take(now, &h1, &[2; 32]), None, "never made");
        assert_eq!(nonces.take(now, &h1, &[1; 32]), Some(Taken { number: 1, made_unix_ms: 5 }));
        assert_eq!(nonces.take(now, &h1, &[1; 32]), None, "taken before");
        nonces.make(at, &h1, [3; 32]).unwrap();
        assert_eq!(nonces.take(now + NONCE_LASTS, &h1, &[3; 32]), None, "too old");
        assert!(nonces.waiting.is_empty() && nonces.of_host.is_empty() && nonces.order.is_empty());
    }

    #[test]
    fn a_host_that_asks_and_asks_pushes_out_its_own_alone() {
        let (now, mut nonces) = (Instant::now(), Nonces::default());
        let at = Now { instant: now, unix_ms: 5 };
        let (h1, h2) = (name("h1"), name("h2"));
        nonces.make(at, &h2, [255; 32]).unwrap();
        for n in 0..=NONCES_A_HOST {
            let mut random = [0; 32];
            random[0] = u8::try_from(n).unwrap();
            nonces.make(at, &h1, random).unwrap();
        }
        assert_eq!(nonces.waiting.len(), NONCES_A_HOST + 1);
        assert_eq!(nonces.take(now, &h1, &[0; 32]), None, "the oldest is gone");
        assert!(nonces.take(now, &h2, &[255; 32]).is_some());
    }

    #[test]
    fn the_same_bytes_are_not_given_twice() {
        let (now, mut nonces) = (Instant::now(), Nonces::default());
        let at = Now { instant: now, unix_ms: 5 };
        nonces.make(at, &name("h1"), [1; 32]).unwrap();
        assert_eq!(nonces.make(at, &name("h2"), [1; 32]), None);
    }
}
