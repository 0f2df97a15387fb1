//! When an element that ended by itself is started again: at once, then after growing waits, and at last not any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringmail_model::defence::CAN_BE_WEAKENED;

use crate::limits::{RESTART_WAIT_MAX, RESTART_WAIT_MIN, RESTARTS, RESTARTS_FORGOTTEN_AFTER};

/// The ends of a domain's elements, and who is to be started again.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    elements: BTreeMap<String, Element>,
}

#[derive(Debug, Default)]
struct Element {
    /// Ends one soon after the other.
    ends: u32,
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Restarts {
    /// An element ended. False: it did so too often, and is not started again.
    pub(super) fn ended(&mut self, now: Instant, element: &str) -> bool {
        let known = self.elements.entry(element.to_owned()).or_default();
        if known.last.is_some_and(|last| now >= last + RESTARTS_FORGOTTEN_AFTER) {
            known.ends = 0;
        }
        known.last = Some(now);
        known.ends += 1;
        if CAN_BE_WEAKENED {
            // The suite that has switches ends elements as often as it likes.
            known.ends = 1;
        }
        if known.ends > RESTARTS {
            return false;
        }
        // The first time nothing is known against it.
        let wait = match known.ends.checked_sub(2) {
            None => Duration::ZERO,
            Some(more) => (RESTART_WAIT_MIN * 2_u32.pow(more.min(16))).min(RESTART_WAIT_MAX),
        };
        known.due = Some(now + wait);
        true
    }

    /// It was started again, or is not wanted any more.
    pub(super) fn done(&mut self, element: &str) {
        if let Some(known) = self.elements.get_mut(element) {
            known.due = None;
        }
    }

    /// Who is to be started next, and when.
    pub(super) fn next(&self) -> Option<(String, Instant)> {
        let due = self.elements.iter().filter_map(|(name, element)| Some((name, element.due?)));
        due.min_by_key(|(_, due)| *due).map(|(name, due)| (name.clone(), due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_at_once_then_it_waits_longer_and_at_last_gives_up() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        let mut waits = Vec::new();
        while restarts.ended(now, "sf1") {
            let (element, due) = restarts.next().expect("it is due");
            assert_eq!(element, "sf1");
            waits.push(due - now);
            restarts.done("sf1");
            assert_eq!(restarts.next(), None);
        }
        assert_eq!(waits.len(), RESTARTS as usize);
        assert_eq!(waits[..3], [Duration::ZERO, RESTART_WAIT_MIN, 2 * RESTART_WAIT_MIN]);
        assert!(waits.is_sorted() && waits.iter().all(|wait| *wait <= RESTART_WAIT_MAX));
    }

    #[test]
    fn an_element_that_ran_for_long_is_forgiven() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        while restarts.ended(now, "sf1") {}
        let later = now + RESTARTS_FORGOTTEN_AFTER;
        assert!(restarts.ended(later, "sf1"));
        assert_eq!(restarts.next(), Some(("sf1".to_owned(), later)));
    }
}
