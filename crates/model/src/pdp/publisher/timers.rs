//! What time does to control's end.

use std::time::Instant;

use super::super::message::Message;
use super::super::reason::CloseReason;
use super::{Answer, Peer, Publisher, PublisherEvent};
use crate::ids::PathVersion;
use crate::limits::{
    PDP_ACTIVATE_WITHIN, PDP_GREETING_WITHIN, PDP_HEARTBEAT_EVERY, PDP_NACKS_WITHIN,
    PDP_REOFFER_AFTER, PDP_SILENT_AFTER,
};

impl Publisher {
    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let committed = self.version();
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            let Some(peer) = self.peers.get_mut(&element) else { continue };
            let session = peer.session;
            let dead = match peer.greeted {
                false => now >= peer.since + PDP_GREETING_WITHIN,
                true => now >= peer.heard + PDP_SILENT_AFTER,
            };
            if dead {
                self.hang_up(now, session, CloseReason::Silent);
                continue;
            }
            if let Some((version, Answer::Activating(since))) = peer.offered
                && now >= since + PDP_ACTIVATE_WITHIN
            {
                peer.offered = Some((version, Answer::Late));
                let (element, nack) = (element.clone(), None);
                self.events.push_back(PublisherEvent::Behind { element, version, nack });
                self.activate(now);
            }
            let again = |(version, answer): &mut (PathVersion, Answer)| {
                let at = match *answer {
                    Answer::Nacked(at) => at,
                    _ => return false,
                };
                *version == committed && now >= at + PDP_REOFFER_AFTER
            };
            let Some(peer) = self.peers.get_mut(&element) else { continue };
            let _asked_again = peer.offered.take_if(again);
            if peer.offered.is_none() {
                // What it could not be given before may be there now.
                self.bring_up(now, &element);
            }
            let Some(peer) = self.peers.get(&element) else { continue };
            if peer.greeted && now >= peer.said + PDP_HEARTBEAT_EVERY {
                self.send(now, &element, &Message::Heartbeat);
            }
        }
        self.look_again(now);
        self.weigh(now);
    }

    /// When [`Publisher::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_peer = |peer: &Peer| match peer.greeted {
            false => peer.since + PDP_GREETING_WITHIN,
            true => {
                let alive = (peer.heard + PDP_SILENT_AFTER).min(peer.said + PDP_HEARTBEAT_EVERY);
                match peer.offered {
                    Some((_, Answer::Activating(since))) => alive.min(since + PDP_ACTIVATE_WITHIN),
                    Some((version, Answer::Nacked(at))) if version == self.version() => {
                        alive.min(at + PDP_REOFFER_AFTER)
                    }
                    _ => alive,
                }
            }
        };
        let proposal = self.proposal.as_ref().filter(|proposal| !proposal.committing);
        let deadline = proposal.map(|proposal| match proposal.refused {
            Some(refused) => proposal.deadline.min(refused + PDP_NACKS_WITHIN),
            None => proposal.deadline,
        });
        self.peers.values().map(of_peer).chain(deadline).chain(self.looks_due()).min()
    }
}
