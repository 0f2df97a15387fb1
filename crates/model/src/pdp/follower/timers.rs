//! What time does to an element's end.

use std::time::Instant;

use super::super::message::Message;
use super::super::reason::CloseReason;
use super::{Connection, Follower, FollowerEvent, Stage, Staging};
use crate::limits::{PDP_HEARTBEAT_EVERY, PDP_SILENT_AFTER, PDP_STAGED_FOR};

impl Follower {
    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let forgotten = |staging: &mut Staging| {
            staging.stage == Stage::Staged && now >= staging.since + PDP_STAGED_FOR
        };
        if let Some(staging) = self.staging.take_if(forgotten) {
            self.events.push_back(FollowerEvent::Abandon(staging.version));
        }
        match self.connection {
            Connection::Waiting(until) if now >= until => {
                self.connection = Connection::Dialing;
                self.events.push_back(FollowerEvent::Dial);
            }
            Connection::Greeting(until) if now >= until => {
                self.hang_up(now, CloseReason::Silent);
            }
            Connection::Following if now >= self.heard + PDP_SILENT_AFTER => {
                self.hang_up(now, CloseReason::Silent);
            }
            Connection::Following if now >= self.said + PDP_HEARTBEAT_EVERY => {
                self.say(now, &Message::Heartbeat);
            }
            _ => {}
        }
    }

    /// When [`Follower::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let staged = self.staging.filter(|staging| staging.stage == Stage::Staged);
        let staged = staged.map(|staging| staging.since + PDP_STAGED_FOR);
        let connection = match self.connection {
            Connection::Waiting(until) | Connection::Greeting(until) => Some(until),
            Connection::Dialing => None,
            Connection::Following => {
                Some((self.said + PDP_HEARTBEAT_EVERY).min(self.heard + PDP_SILENT_AFTER))
            }
        };
        [staged, connection].into_iter().flatten().min()
    }
}
