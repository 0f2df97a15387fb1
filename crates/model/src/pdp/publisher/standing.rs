//! How far every element is, and what it refused.

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::reason::Nack;
use super::{Answer, Peer, Publisher};
use crate::ids::PathVersion;

/// How far an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has no session.
    Away,
    /// It has one, and nothing is under way.
    Idle,
    /// A version was offered.
    Offered,
    /// It has staged the version.
    Staged,
    /// It was told to activate it.
    Activating,
    /// It runs the version that counts.
    Current,
}

/// How an element is, as far as control has heard in this life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub element: String,
    /// How far it is.
    pub progress: Progress,
    /// The version that it runs, or ran when it was heard last; 0 for none.
    pub active: PathVersion,
    /// The highest version that it has seen; 0 for none.
    pub highest: PathVersion,
    /// When it said something last.
    pub heard: Option<Instant>,
    /// What it refused last, unless it took a version since.
    pub refused: Option<Refusal>,
}

/// An element's no to a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The version.
    pub version: PathVersion,
    /// Why.
    pub reason: Nack,
    /// More, for people.
    pub detail: String,
    /// When.
    pub at: Instant,
}

/// What is remembered of an element beyond its session.
#[derive(Clone, Debug)]
pub(super) struct Known {
    active: PathVersion,
    highest: PathVersion,
    heard: Instant,
}

impl Publisher {
    /// How every element is that belongs to the version that counts or has a session.
    pub fn standings(&self) -> Vec<Standing> {
        let members = self.committed.iter().flat_map(|published| published.members.iter());
        let names: BTreeSet<&String> = members.chain(self.peers.keys()).collect();
        names.into_iter().map(|name| self.standing(name)).collect()
    }

    fn standing(&self, element: &str) -> Standing {
        let refused = self.refusals.get(element).cloned();
        let of = |progress, known: Option<Known>| Standing {
            element: element.to_owned(),
            progress,
            active: known.as_ref().map_or(PathVersion(0), |known| known.active),
            highest: known.as_ref().map_or(PathVersion(0), |known| known.highest),
            heard: known.map(|known| known.heard),
            refused,
        };
        let Some(peer) = self.peers.get(element) else {
            return of(Progress::Away, self.known.get(element).cloned());
        };
        let progress = match peer.offered {
            Some((_, Answer::Awaited)) => Progress::Offered,
            Some((_, Answer::Acked)) => Progress::Staged,
            Some((_, Answer::Activating(_) | Answer::Late)) => Progress::Activating,
            _ if peer.active == self.version() => Progress::Current,
            _ => Progress::Idle,
        };
        of(progress, Some(Known::of(peer)))
    }

    /// Remembers how an element was whose session is over.
    pub(super) fn remember(&mut self, element: &str, peer: &Peer) {
        if peer.greeted {
            self.known.insert(element.to_owned(), Known::of(peer));
        }
    }

    /// Elements that are in no version any more are forgotten.
    pub(super) fn forget_others(&mut self) {
        let Some(committed) = &self.committed else { return };
        self.known.retain(|name, _| committed.members.contains(name));
        self.refusals.retain(|name, _| committed.members.contains(name));
    }
}

impl Known {
    fn of(peer: &Peer) -> Known {
        Known { active: peer.active, highest: peer.highest, heard: peer.heard }
    }
}
