//! Questions about packets that pass, of control alone, and the answers (`docs/pdp.md`, "Looking").

use std::time::Instant;

use super::super::PROTOCOL_LOOK;
use super::super::look::{Look, Seen};
use super::super::message::Message;
use super::super::reason::CloseReason;
use super::{Follower, FollowerEvent};
use crate::limits::{PDP_LOOK_PASSAGES, PDP_LOOK_WITHIN, PDP_LOOKS, PDP_SEEN_PASSAGES};

impl Follower {
    pub(super) fn asked(&mut self, now: Instant, number: u32, look: Look) {
        if self.protocol < PROTOCOL_LOOK {
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
        let Seen::Passages { mut passages, overwritten, .. } = seen else {
            return self.say(now, &Message::Seen { number, seen });
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
}
