//! The version that counts, on its way to everybody.

use std::time::Instant;

use super::super::PROTOCOL_ABSENT;
use super::super::message::{Message, Offer};
use super::super::reason::Nack;
use super::{Absent, Answer, Peer, Proposal, Published, Publisher, PublisherEvent, Refusal};
use crate::ids::PathVersion;
use crate::limits::PDP_REISSUE_EVERY;

impl Publisher {
    /// Brings an element to the version that counts, unless it is there.
    pub(super) fn bring_up(&mut self, now: Instant, element: &str) {
        let Some(committed) = &self.committed else { return };
        let Some(peer) = self.peers.get_mut(element).filter(|peer| peer.greeted) else { return };
        let (version, offer) = (committed.version, committed.offer(Offer::Counts));
        let under_way = peer.offered.is_some_and(|(offered, answer)| {
            offered == version && !matches!(answer, Answer::Nacked(_))
        });
        if !committed.members.contains(element) || peer.active == version || under_way {
            return;
        }
        if peer.highest > version {
            let seen = peer.highest;
            let soon = self.reissued.is_some_and(|last| now < last + PDP_REISSUE_EVERY);
            // A version that is being staged may be what it has seen, and settles it.
            if !soon && self.proposal.is_none() {
                self.reissued = Some(now);
                let element = element.to_owned();
                self.events.push_back(PublisherEvent::Reissue { element, seen });
            }
            return;
        }
        peer.offered = Some((version, Answer::Awaited));
        self.untold = true;
        self.send_bytes(now, element, offer);
    }

    pub(super) fn acked(&mut self, now: Instant, element: &str, version: PathVersion) {
        let committed = self.version();
        let Some(peer) = self.peers.get_mut(element) else { return };
        let Some((offered, answer)) = &mut peer.offered else { return };
        if *offered != version || *answer != Answer::Awaited {
            return;
        }
        peer.highest = peer.highest.max(version);
        *answer = Answer::Acked;
        match version == committed {
            true => self.activate(now),
            false => self.weigh(now),
        }
    }

    /// Tells those that have staged the version that counts to activate it, the last ones after all others.
    pub(super) fn activate(&mut self, now: Instant) {
        let Some(Published { version, last, .. }) = &self.committed else { return };
        let version = *version;
        let of_version = |peer: &Peer| {
            peer.offered.filter(|(offered, _)| *offered == version).map(|(_, answer)| answer)
        };
        let acked = |peer: &Peer| of_version(peer) == Some(Answer::Acked);
        let first = |name: &String| !last.contains(name);
        let ready: Vec<String> = self
            .peers
            .iter()
            .filter(|(_, peer)| acked(peer))
            .map(|(name, _)| name.clone())
            .collect();
        let (first_ready, last_ready): (Vec<_>, Vec<_>) = ready.into_iter().partition(first);
        let under_way = |(name, peer): (&String, &Peer)| {
            first(name) && matches!(of_version(peer), Some(Answer::Activating(_) | Answer::Awaited))
        };
        let wait = !first_ready.is_empty() || self.peers.iter().any(under_way);
        let now_ready = if wait { first_ready } else { last_ready };
        for element in now_ready {
            if let Some(peer) = self.peers.get_mut(&element) {
                peer.offered = Some((version, Answer::Activating(now)));
            }
            self.send(now, &element, &Message::Activate { version });
        }
    }

    pub(super) fn nacked(
        &mut self,
        now: Instant,
        element: &str,
        version: PathVersion,
        reason: Nack,
        detail: String,
    ) {
        let Some(peer) = self.peers.get_mut(element) else { return };
        if peer.offered.is_none_or(|(offered, _)| offered != version) {
            return;
        }
        peer.offered = Some((version, Answer::Nacked(now)));
        let older = peer.protocol < PROTOCOL_ABSENT;
        let (at, said) = (now, detail.clone());
        self.refusals.insert(element.to_owned(), Refusal { version, reason, detail: said, at });
        let proposal = self.proposal.as_mut().filter(|p| p.published.version == version);
        match proposal {
            Some(proposal) => {
                let excused = reason == Nack::NoKeys && self.config.absent == Absent::GoOn;
                let detail = match proposal.may_restart() && older {
                    true => {
                        format!(
                            "{detail} (of an older build that does not know --restart, upgrade first)"
                        )
                    }
                    false => detail,
                };
                let no = (element.to_owned(), reason, detail);
                if excused {
                    proposal.keyless.push(no);
                } else {
                    proposal.nacks.push(no);
                    proposal.refused.get_or_insert(now);
                }
                self.weigh(now);
            }
            None => {
                let (element, nack) = (element.to_owned(), Some((reason, detail)));
                self.events.push_back(PublisherEvent::Behind { element, version, nack });
                self.activate(now);
                self.tell_activated();
            }
        }
    }

    pub(super) fn activated(&mut self, now: Instant, element: &str, version: PathVersion) {
        let Some(peer) = self.peers.get_mut(element) else { return };
        peer.active = version;
        peer.highest = peer.highest.max(version);
        if peer.offered.is_some_and(|(offered, _)| offered == version) {
            peer.offered = None;
        }
        self.refusals.remove(element);
        self.activate(now);
        self.tell_activated();
    }

    /// The proposed version is written down as the one that counts: everybody who has staged it activates it.
    pub fn committed(&mut self, now: Instant, version: PathVersion) {
        let proposed = |proposal: &mut Proposal| proposal.published.version == version;
        let Some(proposal) = self.proposal.take_if(proposed) else { return };
        self.committed = Some(proposal.published);
        self.forget_others();
        self.untold = true;
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            self.bring_up(now, &element);
        }
        self.activate(now);
        self.tell_activated();
    }

    /// The documents that count, signed under a higher version. They count at once: nothing in them is new.
    pub fn reissue(&mut self, now: Instant, published: Published) {
        if published.version <= self.version() {
            return;
        }
        self.committed = Some(published);
        self.untold = true;
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            self.bring_up(now, &element);
        }
    }

    pub(super) fn tell_activated(&mut self) {
        let Some(committed) = &self.committed else { return };
        let version = committed.version;
        let of = |name: &String| self.peers.get(name).filter(|peer| peer.greeted);
        let members = || committed.members.iter();
        let nacked = |peer: &Peer| matches!(peer.offered, Some((offered, Answer::Nacked(_))) if offered == version);
        let done = |peer: &Peer| peer.active == version || nacked(peer);
        let all_done = members().filter_map(of).all(done);
        let nobody = members().filter_map(of).next().is_none();
        if self.untold && all_done && !nobody {
            self.untold = false;
            let away = members().filter(|name| of(name).is_none()).cloned().collect();
            self.events.push_back(PublisherEvent::Activated { version, away });
        }
    }
}
