//! A version on its way to count: offered to all, weighed by their answers.

use std::time::Instant;

use super::super::PROTOCOL_ABSENT;
use super::super::message::{Message, Offer};
use super::super::reason::{CloseReason, Nack};
use super::{Absent, Answer, Peer, Published, Publisher, PublisherEvent};
use crate::ids::PathVersion;
use crate::limits::{PDP_NACKS_WITHIN, PDP_STAGE_WITHIN};

/// What a proposal is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proposing {
    /// To count, once everybody has staged it beside what runs.
    #[default]
    InPlace,
    /// To count; elements that cannot take it beside what runs start again.
    MayRestart,
    /// To know whether it could; then it is abandoned.
    Trial,
}

#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) published: Published,
    pub(super) deadline: Instant,
    pub(super) nacks: Vec<(String, Nack, String)>,
    /// When the first of them came.
    pub(super) refused: Option<Instant>,
    /// Who could not agree on keys: no reason against it where a neighbour is away.
    pub(super) keyless: Vec<(String, Nack, String)>,
    /// Commit was asked for.
    pub(super) committing: bool,
    how: Proposing,
}

impl Proposal {
    pub(super) fn may_restart(&self) -> bool {
        self.how == Proposing::MayRestart
    }
}

impl Publisher {
    /// Proposes a version: it comes to count once those who have to have staged it. One that is being staged is
    /// abandoned for it.
    pub fn propose(&mut self, now: Instant, published: Published, how: Proposing) {
        self.drop_proposal(now, Vec::new());
        let deadline = now + PDP_STAGE_WITHIN;
        self.proposal = Some(Proposal {
            published,
            deadline,
            nacks: Vec::new(),
            refused: None,
            keyless: Vec::new(),
            committing: false,
            how,
        });
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            self.offer_proposal(now, &element);
        }
        self.tell_absent(now);
        self.weigh(now);
    }

    pub(super) fn offer_proposal(&mut self, now: Instant, element: &str) {
        let Some(Proposal { published, keyless, committing: false, how, .. }) = &mut self.proposal
        else {
            return;
        };
        let how = *how;
        keyless.retain(|(other, ..)| other != element);
        let Some(peer) = self.peers.get_mut(element).filter(|peer| peer.greeted) else { return };
        if !published.members.contains(element) {
            return;
        }
        peer.offered = Some((published.version, Answer::Awaited));
        let offer = published.offer(match how {
            // One of the release before takes it in place, or says why it cannot.
            Proposing::MayRestart if peer.protocol >= PROTOCOL_ABSENT => Offer::MayRestart,
            _ => Offer::Proposed,
        });
        self.send_bytes(now, element, offer);
    }

    /// Tells those that stage the proposed version who of it is away: nobody waits for keys with those.
    pub(super) fn tell_absent(&mut self, now: Instant) {
        let Some(Proposal { published, committing: false, .. }) = &self.proposal else { return };
        if self.config.absent == Absent::Refuse {
            return;
        }
        let (version, members) = (published.version, &published.members);
        let there = |name: &String| self.peers.get(name).is_some_and(|peer| peer.greeted);
        let elements: Vec<String> = members.iter().filter(|name| !there(name)).cloned().collect();
        let stages = |peer: &Peer| {
            peer.protocol >= PROTOCOL_ABSENT && peer.offered == Some((version, Answer::Awaited))
        };
        let told = self.peers.iter().filter(|(_, peer)| stages(peer));
        let told: Vec<String> = told.map(|(name, _)| name.clone()).collect();
        for name in told {
            self.send(now, &name, &Message::Absent { version, elements: elements.clone() });
        }
    }

    /// Whether the version that is being staged comes to count, does not, or has to wait.
    pub(super) fn weigh(&mut self, now: Instant) {
        let Some(proposal) = &mut self.proposal else { return };
        if proposal.committing {
            return;
        }
        let version = proposal.published.version;
        let late = now >= proposal.deadline;
        let answer = |name: &String| {
            let peer = self.peers.get(name).filter(|peer| peer.greeted);
            peer.and_then(|peer| peer.offered).filter(|(offered, _)| *offered == version)
        };
        if let Some(refused) = proposal.refused {
            // It is over. Whoever else has something against it may say so, for the operator's sake.
            let awaited = |name: &String| matches!(answer(name), Some((_, Answer::Awaited)));
            if now < refused + PDP_NACKS_WITHIN && proposal.published.members.iter().any(awaited) {
                return;
            }
            let mut nacks = std::mem::take(&mut proposal.nacks);
            nacks.append(&mut proposal.keyless);
            return self.drop_proposal(now, nacks);
        }
        let keyless = |name: &String| proposal.keyless.iter().any(|(other, ..)| other == name);
        let acked =
            |name: &String| matches!(answer(name), Some((_, Answer::Acked))) || keyless(name);
        let missing: Vec<String> =
            proposal.published.members.iter().filter(|name| !acked(name)).cloned().collect();
        let connected = missing.iter().any(|name| answer(name).is_some());
        let trial = proposal.how == Proposing::Trial;
        match self.config.absent {
            Absent::GoOn if missing.is_empty() && !proposal.keyless.is_empty() => {
                // Everybody is there: it is not for one who is away that keys are missing.
                let mut nacks = std::mem::take(&mut proposal.keyless);
                let members = &proposal.published.members;
                let older = self.peers.iter().filter(|(name, peer)| {
                    members.contains(*name) && peer.protocol < PROTOCOL_ABSENT
                });
                let older: Vec<&str> = older.map(|(name, _)| name.as_str()).collect();
                if !older.is_empty() {
                    // It may be of a build that agrees on keys only when it starts again.
                    let hint = format!(" (of an older build, upgrade first: {})", older.join(", "));
                    nacks.iter_mut().for_each(|(.., detail)| detail.push_str(&hint));
                }
                return self.drop_proposal(now, nacks);
            }
            Absent::GoOn if !connected || late => {}
            Absent::Refuse if missing.is_empty() => {}
            Absent::Refuse if late => return self.drop_proposal_of(now, Vec::new(), missing),
            Absent::GoOn | Absent::Refuse => return,
        }
        if trial {
            return self.over(now, |version| PublisherEvent::Tried { version, missing });
        }
        proposal.committing = true;
        self.events.push_back(PublisherEvent::Commit(version));
        // Who is connected and silent is taken for dead; it may come again.
        for name in missing {
            if let Some(peer) = self.peers.get(&name) {
                let session = peer.session;
                self.hang_up(now, session, CloseReason::Silent);
            }
        }
    }

    pub(super) fn drop_proposal(&mut self, now: Instant, nacks: Vec<(String, Nack, String)>) {
        self.drop_proposal_of(now, nacks, Vec::new());
    }

    fn drop_proposal_of(
        &mut self,
        now: Instant,
        nacks: Vec<(String, Nack, String)>,
        missing: Vec<String>,
    ) {
        let proposed = self.proposed();
        let acked =
            |peer: &&Peer| matches!(peer.offered, Some((v, Answer::Acked)) if Some(v) == proposed);
        let staged = self.peers.iter().filter(|(_, peer)| acked(peer));
        let staged = staged.map(|(name, _)| name.clone()).collect();
        self.over(now, |version| PublisherEvent::Rejected { version, nacks, missing, staged });
    }

    /// What is proposed is abandoned everywhere; `told` is what becomes of it.
    fn over(&mut self, now: Instant, told: impl FnOnce(PathVersion) -> PublisherEvent) {
        let Some(proposal) = self.proposal.take() else { return };
        let version = proposal.published.version;
        self.events.push_back(told(version));
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            let Some(peer) = self.peers.get_mut(&element) else { continue };
            if let Some((_, answer)) = peer.offered.take_if(|(offered, _)| *offered == version) {
                // It has seen the version, whatever comes of it.
                peer.highest = peer.highest.max(version);
                if !matches!(answer, Answer::Nacked(_)) {
                    self.send(now, &element, &Message::Abandon { version });
                }
            }
            self.bring_up(now, &element);
        }
    }

    /// What is proposed does not come to count.
    pub fn withdraw(&mut self, now: Instant) {
        self.drop_proposal(now, Vec::new());
    }
}
