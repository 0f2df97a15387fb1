//! The leases of the two elements for the paths that they share, and when to ask for new ones.

use std::collections::BTreeMap;
use std::time::Instant;

use ringmail_model::defence::{Defence, off};
use ringmail_model::{ElementId, PathDigest, PathId};

use super::event::{Event, Outbox};
use super::lease::{Held, LeaseError, Now, SignedLease, VerifyLease};
use super::limits::{LEASE_MAX, RENEW_MIN, RENEW_RETRY};

#[derive(Debug)]
pub(super) struct Leases {
    own: Side,
    peer: Side,
    /// Every shared path, and when to ask for a lease next.
    paths: BTreeMap<PathDigest, Ask>,
}

#[derive(Debug)]
struct Side {
    element: ElementId,
    held: BTreeMap<PathDigest, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Ask {
    path: PathId,
    at: Instant,
}

impl Leases {
    pub(super) fn new(own: ElementId, peer: ElementId) -> Leases {
        let side = |element| Side { element, held: BTreeMap::new() };
        Leases { own: side(own), peer: side(peer), paths: BTreeMap::new() }
    }

    /// Says which paths are shared; leases for others are forgotten.
    pub(super) fn set_paths(
        &mut self,
        now: Instant,
        paths: impl Iterator<Item = (PathDigest, PathId)>,
    ) {
        let before = std::mem::take(&mut self.paths);
        self.paths = paths
            .map(|(digest, path)| {
                let at = before.get(&digest).map_or(now, |ask| ask.at);
                (digest, Ask { path, at })
            })
            .collect();
        for side in [&mut self.own, &mut self.peer] {
            side.held.retain(|digest, _| self.paths.contains_key(digest));
        }
    }

    /// Takes a lease of this element.
    pub(super) fn set_own(
        &mut self,
        now: Now,
        signed: &SignedLease,
        verifier: &dyn VerifyLease,
    ) -> Result<(), LeaseError> {
        let digest = signed.lease.digest;
        let ask = self.paths.get_mut(&digest).ok_or(LeaseError::AnotherPath(digest))?;
        let held = self.own.accept(now, signed, digest, verifier)?;
        ask.at = held.renew_at.max(now.instant + RENEW_MIN);
        held.live(now).map(|_| ())
    }

    /// Takes a lease of the neighbour that it passed on for this path.
    pub(super) fn set_peer(
        &mut self,
        now: Now,
        signed: &SignedLease,
        digest: PathDigest,
        verifier: &dyn VerifyLease,
    ) -> Result<(), LeaseError> {
        if !self.paths.contains_key(&digest) {
            return Err(LeaseError::AnotherPath(digest));
        }
        self.peer.accept(now, signed, digest, verifier)?.live(now).map(|_| ())
    }

    /// This element's lease for a path, while it runs.
    pub(super) fn own(&self, now: Instant, digest: &PathDigest) -> Option<&SignedLease> {
        let held = self.own.held.get(digest).filter(|held| now < held.ends)?;
        Some(&held.signed)
    }

    /// All of this element's leases that run.
    pub(super) fn all_own(&self, now: Instant) -> impl Iterator<Item = &SignedLease> {
        self.own.held.values().filter(move |held| now < held.ends).map(|held| &held.signed)
    }

    /// When an association of this path ends: with the first of the two leases.
    pub(super) fn end(&self, digest: &PathDigest) -> Option<Instant> {
        let end = self.own.held.get(digest)?.ends.min(self.peer.held.get(digest)?.ends);
        Some(if off(Defence::LeaseEnd) { end + LEASE_MAX } else { end })
    }

    /// Asks for the leases that are due.
    pub(super) fn ask_when_due(&mut self, now: Instant, out: &mut Outbox) {
        for (digest, ask) in &mut self.paths {
            if ask.at <= now {
                ask.at = now + RENEW_RETRY;
                out.event(Event::RenewLease { path: ask.path, digest: *digest });
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.paths.values().map(|ask| ask.at).min()
    }
}

impl Side {
    fn accept(
        &mut self,
        now: Now,
        signed: &SignedLease,
        digest: PathDigest,
        verifier: &dyn VerifyLease,
    ) -> Result<Held, LeaseError> {
        let known = self.held.get(&digest).copied();
        let held = Held::accept(known, now, signed, self.element, digest, verifier)?;
        self.held.insert(digest, held);
        Ok(held)
    }
}
