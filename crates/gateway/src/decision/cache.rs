//! Answers that are kept for the same question, for a time and up to a number that the domain file says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use ringmail_model::domain::DecisionCache;
use tokio::time::Instant;

use super::Answer;
use crate::limits::ms;

/// A question: SHA-256 over its bytes.
pub(super) type Key = [u8; 32];

/// Of these bytes.
pub(super) fn key(question: &[u8]) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, question).as_ref());
    key
}

#[derive(Debug)]
pub(super) struct Cache {
    keep: Duration,
    entries: usize,
    kept: Mutex<HashMap<Key, (Answer, Instant)>>,
}

impl Cache {
    pub(super) fn new(described: &DecisionCache) -> Cache {
        Cache {
            keep: ms(described.keep_ms.into()),
            entries: described.entries as usize,
            kept: Mutex::default(),
        }
    }

    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Answer> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(_, until)| now < *until).map(|(answer, _)| answer.clone())
    }

    /// Keeps an answer. A full cache forgets what is over, or else everything: what counts is that it is small.
    pub(super) fn put(&self, key: Key, answer: Answer, now: Instant) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.entries && !kept.contains_key(&key) {
            kept.retain(|_, (_, until)| now < *until);
            if kept.len() >= self.entries {
                kept.clear();
            }
        }
        kept.insert(key, (answer, now + self.keep));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time_and_memory_is_bounded() {
        let cache = Cache::new(&DecisionCache { keep_ms: 100, entries: 3 });
        let now = Instant::now();
        cache.put(key(b"a"), Answer::Yes, now);
        assert_eq!(cache.get(&key(b"a"), now + ms(99)), Some(Answer::Yes));
        assert_eq!(cache.get(&key(b"b"), now), None);
        assert_eq!(cache.get(&key(b"a"), now + ms(100)), None);
        for n in 0..100u8 {
            cache.put(key(&[n]), Answer::No(None), now);
            assert!(cache.kept.lock().expect("nobody panicked").len() <= 3);
            assert_eq!(cache.get(&key(&[n]), now), Some(Answer::No(None)));
        }
    }
}
