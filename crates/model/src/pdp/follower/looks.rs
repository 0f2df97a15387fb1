//! Questions about packets that pass, of control alone, and the answers (`docs/pdp.md`, "Looking").

use std::time::Instant;

use super::super::look::{Look, Proved, Seen};
use super::super::message::Message;
use super::super::reason::CloseReason;
use super::super::{PROTOCOL_LOOK, PROTOCOL_PROOFS};
use super::{Follower, FollowerEvent};
use crate::limits::{
    PDP_LOOK_PASSAGES, PDP_LOOK_PATHS, PDP_LOOK_WITHIN, PDP_LOOKS, PDP_SEEN_JUDGED,
    PDP_SEEN_PASSAGES,
};

impl Follower {
    pub(super) fn asked(&mut self, now: Instant, number: u32, look: Look) {
        let since = match look {
            Look::Proofs { .. } => PROTOCOL_PROOFS,
            _ => PROTOCOL_LOOK,
        };
        if self.protocol < since {
            return self.hang_up(now, CloseReason::Violation);
        }
        // Control does not wait for those any more.
        self.looks.retain(|_, until| now < *until);
        if self.looks.len() >= PDP_LOOKS {
            let seen = Seen::Refused("it has not answered the questions before".to_owned());
            return self.say(now, &Message::Seen { number, seen });
        }
        self.looks.insert(number, now + PDP_LOOK_WITHIN);
        self.events.push_back(FollowerEvent::Look { number, look });
    }

    /// Answers a question of control, unless its session is over. A long answer goes in parts; past
    /// [`PDP_LOOK_PASSAGES`] it is cut, and what is missing counts as overwritten.
    pub fn seen(&mut self, now: Instant, number: u32, seen: Seen) {
        if self.looks.remove(&number).is_none() || !self.is_following() {
            return;
        }
        let (mut passages, overwritten) = match seen {
            Seen::Passages { passages, overwritten, .. } => (passages, overwritten),
            Seen::Proofs { paths, .. } => return self.proved(now, number, paths),
            seen => return self.say(now, &Message::Seen { number, seen }),
        };
        let cut = passages.len().saturating_sub(PDP_LOOK_PASSAGES);
        passages.truncate(PDP_LOOK_PASSAGES);
        let overwritten = overwritten.saturating_add(cut as u64);
        loop {
            let rest = passages.split_off(passages.len().min(PDP_SEEN_PASSAGES));
            let more = !rest.is_empty();
            let seen = Seen::Passages { passages, overwritten, more };
            self.say(now, &Message::Seen { number, seen });
            if !more {
                return;
            }
            passages = rest;
        }
    }

    /// A message a path; the last verdicts of each.
    fn proved(&mut self, now: Instant, number: u32, mut paths: Vec<Proved>) {
        paths.truncate(PDP_LOOK_PATHS);
        for path in &mut paths {
            let old = path.last.len().saturating_sub(PDP_SEEN_JUDGED);
            path.last.drain(..old);
        }
        let mut rest = paths.into_iter().peekable();
        loop {
            let paths = rest.next().into_iter().collect();
            let more = rest.peek().is_some();
            self.say(now, &Message::Seen { number, seen: Seen::Proofs { paths, more } });
            if !more {
                return;
            }
        }
    }
}
