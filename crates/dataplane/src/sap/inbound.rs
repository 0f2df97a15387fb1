//! The receiver's side of a segment: INSTALLING → INSTALLED → DRAINING → gone (`docs/sap.md`, "The receiver").

use std::collections::BTreeMap;
use std::time::Instant;

use ringmail_model::{ElementId, PathDigest, SaSpi, WorkerId};

use super::context::{ExportFailed, Exporter};
use super::event::{Cause, Event, Outbox, Place, Violation};
use super::lease::{LeaseError, Now, VerifyLease};
use super::leases::Leases;
use super::limits::{
    INBOUNDS_PER_PLACE, INSTALL_TIMEOUT, LAST_GRACE, ORPHAN_GRACE, WITHDRAWN_GRACE,
};
use super::message::{Installed, Message, Offer, OfferId, Refusal};
use super::segment::{SegmentKey, SegmentView, suite_code};
use super::session::{Current, SessionId};

/// Everything that this element receives from one neighbour.
#[derive(Debug, Default)]
pub(super) struct Inbounds {
    by_spi: BTreeMap<SaSpi, Inbound>,
}

#[derive(Debug)]
struct Inbound {
    place: Place,
    key: SegmentKey,
    session: SessionId,
    offer: OfferId,
    state: State,
    /// INSTALLED was said at least once: one that drains may not have come so far.
    was_installed: bool,
    expires: Instant,
    last_sequence: Option<u64>,
    /// The session that made it has ended.
    orphan: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The data plane has not said yet that it has it.
    Installing { give_up_at: Instant },
    /// INSTALLED was said.
    Installed,
    /// It goes when the time is over.
    Draining { until: Instant, cause: Cause },
}

/// The parts of a [`Sap`](super::Sap) that an OFFER is judged by.
pub(super) struct Judge<'a> {
    pub(super) own: ElementId,
    pub(super) peer: ElementId,
    pub(super) segments: &'a BTreeMap<SegmentKey, SegmentView>,
    pub(super) verifier: &'a dyn VerifyLease,
    pub(super) spis: &'a mut dyn AllocateSpi,
    pub(super) exporter: &'a dyn Exporter,
}

/// Gives out the SPIs of this element, all neighbours and workers together.
pub trait AllocateSpi {
    /// An SPI of at least 256 that no association of this element has; `None` when there is none left. No two that are out
    /// agree in their low 16 bits: that is all that a proof of transit carries of them.
    fn allocate(&mut self) -> Option<SaSpi>;

    /// Takes back an SPI that the data plane never heard of. All others come back with
    /// [`Event::RemoveInbound`].
    fn release(&mut self, spi: SaSpi);
}

/// What became of an OFFER.
pub(super) enum OfferOutcome {
    /// It was known or is being installed.
    Taken,
    /// It was refused.
    Refused,
    /// No key could be derived.
    Failed(ExportFailed),
}

impl Inbounds {
    /// gone → INSTALLING; a repeated OFFER is answered as the first one was.
    pub(super) fn handle_offer(
        &mut self,
        now: Now,
        current: &mut Current<'_>,
        offer: &Offer,
        leases: &mut Leases,
        judge: &mut Judge<'_>,
        out: &mut Outbox,
    ) -> Result<OfferOutcome, Violation> {
        let key = SegmentKey { digest: offer.digest, usage: offer.usage, index: offer.segment };
        let mut known = self.by_spi.iter().filter(|(_, inbound)| inbound.session == current.id);
        if let Some((spi, inbound)) = known.find(|(_, inbound)| inbound.offer == offer.offer) {
            if (inbound.key, inbound.place.worker) != (key, offer.worker) {
                return Err(Violation::OfferChanged(offer.offer));
            }
            if inbound.was_installed {
                say_installed(now.instant, *spi, inbound, leases, out);
            }
            return Ok(OfferOutcome::Taken);
        }
        let view = match self.judge(now, current, offer, key, leases, judge) {
            Ok(Some(view)) => view,
            Ok(None) => return Ok(OfferOutcome::Taken),
            Err(reason) => {
                out.send(current.id, Message::Refused { offer: offer.offer, reason });
                return Ok(OfferOutcome::Refused);
            }
        };
        Ok(self.install(now.instant, current, offer, &view, leases, judge, out))
    }

    /// Whether the path, the leases and the bounds allow what is offered; `None` for an OFFER that a later one overtook.
    fn judge(
        &self,
        now: Now,
        current: &Current<'_>,
        offer: &Offer,
        key: SegmentKey,
        leases: &mut Leases,
        judge: &Judge<'_>,
    ) -> Result<Option<SegmentView>, Refusal> {
        if offer.epoch != current.epoch {
            return Err(Refusal::StaleEpoch);
        }
        let view = judge.segments.get(&key).ok_or(Refusal::UnknownPath)?;
        if (view.sender, view.receiver) != (judge.peer, judge.own) {
            return Err(Refusal::WrongNeighbour);
        }
        if offer.profile != view.profile.code() {
            return Err(Refusal::WrongProfile);
        }
        if offer.suite != suite_code(view.suite) {
            return Err(Refusal::WrongSuite);
        }
        if offer.worker.0 >= view.workers() {
            return Err(Refusal::UnknownWorker);
        }
        let lease = leases.set_peer(now, &offer.lease, offer.digest, judge.verifier);
        lease.map_err(|error| match error {
            LeaseError::BadSignature => Refusal::BadLease,
            LeaseError::AnotherElement { .. } | LeaseError::AnotherPath(_) => Refusal::AnotherLease,
            LeaseError::Expired(_) | LeaseError::TooLong(_) => Refusal::LeaseExpired,
        })?;
        if leases.own(now.instant, &offer.digest).is_none() {
            return Err(Refusal::NoLease);
        }
        let mut there = 0;
        for inbound in self.by_spi.values().filter(|inbound| inbound.is_at(key, offer.worker)) {
            if inbound.session == current.id && inbound.offer > offer.offer {
                return Ok(None);
            }
            there += 1;
        }
        if there >= INBOUNDS_PER_PLACE || current.session.gave_all() {
            return Err(Refusal::NoRoom);
        }
        Ok(Some(view.clone()))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one Sap, borrowed apart")]
    fn install(
        &mut self,
        now: Instant,
        current: &mut Current<'_>,
        offer: &Offer,
        view: &SegmentView,
        leases: &Leases,
        judge: &mut Judge<'_>,
        out: &mut Outbox,
    ) -> OfferOutcome {
        let refused = Message::Refused { offer: offer.offer, reason: Refusal::NoRoom };
        let (Some(spi), Some(expires)) = (judge.spis.allocate(), leases.end(&offer.digest)) else {
            out.send(current.id, refused);
            return OfferOutcome::Refused;
        };
        let key = view.key();
        let mut there = self.by_spi.iter().filter(|(_, inbound)| inbound.key == key);
        let apart = there.all(|(other, _)| view.usage.tells_apart(spi, *other));
        if !apart || !current.session.give(spi) {
            judge.spis.release(spi);
            out.send(current.id, refused);
            return OfferOutcome::Refused;
        }
        let context = view.key_context(offer.worker, current.epoch, spi);
        let key = match context.key(judge.exporter) {
            Ok(key) => key,
            Err(failed) => {
                judge.spis.release(spi);
                return OfferOutcome::Failed(failed);
            }
        };
        // The sender makes one OFFER at a time: with a new one in the same session it has given up the last.
        for inbound in self.by_spi.values_mut() {
            if inbound.session == current.id && inbound.is_at(view.key(), offer.worker) {
                inbound.drain(now + LAST_GRACE, Cause::Finished);
            }
        }
        let place = view.place(offer.worker);
        out.event(Event::InstallInbound { place, spi, key, expires });
        let inbound = Inbound {
            place,
            key: view.key(),
            session: current.id,
            offer: offer.offer,
            state: State::Installing { give_up_at: now + INSTALL_TIMEOUT },
            was_installed: false,
            expires,
            last_sequence: None,
            orphan: false,
        };
        self.by_spi.insert(spi, inbound);
        OfferOutcome::Taken
    }

    /// INSTALLING → INSTALLED: the data plane has it, the sender may know.
    pub(super) fn installed(
        &mut self,
        now: Instant,
        spi: SaSpi,
        leases: &Leases,
        out: &mut Outbox,
    ) {
        if let Some(inbound) = self.by_spi.get_mut(&spi)
            && matches!(inbound.state, State::Installing { .. })
        {
            inbound.state = State::Installed;
            inbound.was_installed = true;
            say_installed(now, spi, inbound, leases, out);
        }
    }

    /// INSTALLING → gone: the data plane could not.
    pub(super) fn install_failed(&mut self, spi: SaSpi, out: &mut Outbox) {
        if let Some(inbound) = self.by_spi.get(&spi)
            && matches!(inbound.state, State::Installing { .. })
        {
            let refused = Message::Refused { offer: inbound.offer, reason: Refusal::NoRoom };
            out.send(inbound.session, refused);
            self.remove(spi, Cause::NotInstalled, None, out);
        }
    }

    /// INSTALLED → DRAINING. An association that is not there is as good as deleted.
    pub(super) fn handle_last(
        &mut self,
        now: Instant,
        current: SessionId,
        spi: SaSpi,
        sequence: u64,
        out: &mut Outbox,
    ) {
        match self.by_spi.get_mut(&spi) {
            Some(inbound) => {
                inbound.last_sequence = Some(sequence);
                inbound.drain(now + LAST_GRACE, Cause::Finished);
            }
            None => out.send(current, Message::Deleted { spi }),
        }
    }

    /// Those that were made in this session: what the sender cannot know of goes, the rest waits for a successor.
    pub(super) fn session_ended(&mut self, session: SessionId, out: &mut Outbox) {
        let of_session = self.by_spi.iter_mut().filter(|(_, inbound)| inbound.session == session);
        let mut unknown = Vec::new();
        for (spi, inbound) in of_session {
            inbound.orphan = true;
            if matches!(inbound.state, State::Installing { .. }) {
                unknown.push(*spi);
            }
        }
        for spi in unknown {
            self.remove(spi, Cause::Orphaned, None, out);
        }
    }

    /// The neighbour has forgotten every key.
    pub(super) fn peer_restarted(&mut self, out: &mut Outbox) {
        for spi in self.by_spi.keys().copied().collect::<Vec<_>>() {
            self.remove(spi, Cause::PeerRestarted, None, out);
        }
    }

    /// Lets associations of segments that are no more run out, and tells the sender at once: where the path comes back before
    /// the time is over, the data plane may have forgotten what it had for it.
    pub(super) fn set_segments(
        &mut self,
        now: Instant,
        segments: &BTreeMap<SegmentKey, SegmentView>,
        current: Option<SessionId>,
        out: &mut Outbox,
    ) {
        for (spi, inbound) in &mut self.by_spi {
            let worker = inbound.place.worker;
            let view = segments.get(&inbound.key);
            let stays = view.is_some_and(|view| {
                worker.0 < view.workers() && view.place(worker) == inbound.place
            });
            if stays {
                continue;
            }
            if let (State::Installed, Some(session)) = (inbound.state, current) {
                out.send(session, Message::Deleted { spi: *spi });
            }
            inbound.drain(now + WITHDRAWN_GRACE, Cause::Withdrawn);
        }
    }

    /// Does what is due: follows leases, and removes what has expired, drained, or was left behind.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        current: Option<SessionId>,
        leases: &Leases,
        out: &mut Outbox,
    ) {
        self.drain_orphans(now);
        let mut gone = Vec::new();
        for (spi, inbound) in &mut self.by_spi {
            inbound.follow_leases(*spi, leases, out);
            if let Some(cause) = inbound.ended(now) {
                gone.push((*spi, cause));
            }
        }
        for (spi, cause) in gone {
            self.remove(spi, cause, current, out);
        }
    }

    /// How many associations there are, if there are as many of this session as there are places, and the sender has
    /// stopped using all others.
    pub(super) fn settled(&self, current: SessionId, expected: usize) -> Option<usize> {
        let mut installed = 0;
        for inbound in self.by_spi.values().filter(|inbound| inbound.state == State::Installed) {
            if inbound.session != current {
                return None;
            }
            installed += 1;
        }
        (installed >= expected).then_some(installed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_spi.is_empty()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.by_spi.values().map(Inbound::next_timeout).min()
    }

    /// An orphan beside a later association of the same place gets no packets for long, even if no LAST names it.
    fn drain_orphans(&mut self, now: Instant) {
        let mut newest = BTreeMap::new();
        for inbound in self.by_spi.values().filter(|inbound| inbound.state == State::Installed) {
            let session = newest.entry((inbound.key, inbound.place.worker)).or_insert(SessionId(0));
            *session = inbound.session.max(*session);
        }
        for inbound in self.by_spi.values_mut() {
            let newest = newest.get(&(inbound.key, inbound.place.worker));
            let succeeded = newest.is_some_and(|newest| *newest > inbound.session);
            if inbound.orphan && inbound.state == State::Installed && succeeded {
                inbound.drain(now + ORPHAN_GRACE, Cause::Orphaned);
            }
        }
    }

    fn remove(&mut self, spi: SaSpi, cause: Cause, tell: Option<SessionId>, out: &mut Outbox) {
        if let Some(inbound) = self.by_spi.remove(&spi) {
            let last_sequence = inbound.last_sequence;
            out.event(Event::RemoveInbound { spi, cause, last_sequence });
            if let Some(session) = tell {
                out.send(session, Message::Deleted { spi });
            }
        }
    }
}

impl Inbound {
    fn is_at(&self, key: SegmentKey, worker: WorkerId) -> bool {
        self.key == key && self.place.worker == worker
    }

    /// Removes it then, unless it goes earlier anyway.
    fn drain(&mut self, until: Instant, cause: Cause) {
        match self.state {
            State::Draining { until: earlier, .. } if earlier <= until => {}
            _ => self.state = State::Draining { until, cause },
        }
    }

    fn follow_leases(&mut self, spi: SaSpi, leases: &Leases, out: &mut Outbox) {
        let digest: &PathDigest = &self.key.digest;
        if let Some(expires) = leases.end(digest).filter(|end| *end != self.expires) {
            self.expires = expires;
            out.event(Event::RenewInbound { spi, expires });
        }
    }

    fn ended(&self, now: Instant) -> Option<Cause> {
        if self.expires <= now {
            return Some(Cause::LeaseExpired);
        }
        match self.state {
            State::Draining { until, cause } if until <= now => Some(cause),
            State::Installing { give_up_at } if give_up_at <= now => Some(Cause::NotInstalled),
            _ => None,
        }
    }

    fn next_timeout(&self) -> Instant {
        match self.state {
            State::Installing { give_up_at: at } | State::Draining { until: at, .. } => {
                self.expires.min(at)
            }
            State::Installed => self.expires,
        }
    }
}

fn say_installed(now: Instant, spi: SaSpi, inbound: &Inbound, leases: &Leases, out: &mut Outbox) {
    if let Some(lease) = leases.own(now, &inbound.key.digest) {
        let installed = Installed { offer: inbound.offer, spi, lease: *lease };
        out.send(inbound.session, Message::Installed(installed));
    }
}
