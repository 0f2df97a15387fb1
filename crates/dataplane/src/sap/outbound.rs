//! The sender's side of a segment: WAITING → OFFERED → SENDING → STOPPING → LAST SENT (`docs/sap.md`, "The sender").

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringmail_model::{SaSpi, WorkerId};

use super::context::{ExportFailed, Exporter};
use super::event::{Cause, Event, Outbox, Violation};
use super::lease::{Now, VerifyLease};
use super::leases::Leases;
use super::limits::{CLOSING_SAS, REFUSED_RETRY_MAX, REFUSED_RETRY_MIN, RESEND_MAX, RESEND_MIN};
use super::message::{Installed, Message, Offer, OfferId};
use super::segment::{SegmentKey, SegmentView, suite_code};
use super::session::{Current, SessionId};
use crate::sa::MIN_SPI;

/// Everything that this element sends to one neighbour.
#[derive(Debug, Default)]
pub(super) struct Outbounds {
    slots: BTreeMap<(SegmentKey, WorkerId), Slot>,
    closing: BTreeMap<SaSpi, Closing>,
}

/// One segment and worker: the association in use, and the next one.
#[derive(Debug)]
struct Slot {
    view: SegmentView,
    worker: WorkerId,
    next: Next,
    refusals: u32,
    active: Option<Active>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    /// No OFFER is out; none is made before then.
    Waiting { until: Instant },
    /// An OFFER is out.
    Offered { session: SessionId, offer: OfferId, resend_at: Instant, wait: Duration },
}

/// SENDING.
#[derive(Clone, Copy, Debug)]
struct Active {
    spi: SaSpi,
    session: SessionId,
    expires: Instant,
}

/// An association that is not to be used any more, until the receiver has deleted it.
#[derive(Clone, Copy, Debug)]
enum Closing {
    /// The data plane has not said yet where it stopped.
    Stopping,
    /// LAST is said until DELETED comes.
    LastSent { sequence: u64, resend_at: Instant, wait: Duration },
}

impl Outbounds {
    /// Takes the segments that this element sends in; associations of others are stopped.
    pub(super) fn set_segments<'a>(
        &mut self,
        now: Instant,
        segments: impl Iterator<Item = &'a SegmentView>,
        out: &mut Outbox,
    ) {
        let mut before = std::mem::take(&mut self.slots);
        for view in segments {
            for worker in (0..view.workers()).map(WorkerId) {
                let key = (view.key(), worker);
                let known = before.remove(&key);
                let (kept, changed) = match known {
                    Some(slot) if slot.view.same_keys(view) => (Some(slot), None),
                    other => (None, other),
                };
                if let Some(slot) = changed {
                    before.insert(key, slot);
                }
                self.slots.insert(key, kept.unwrap_or_else(|| Slot::new(now, view, worker)));
            }
        }
        for mut slot in before.into_values() {
            slot.stop(Cause::Withdrawn, &mut self.closing, out);
        }
    }

    /// Does what is due: follows leases, stops what has expired, makes and repeats offers, repeats LAST.
    /// Returns whether the session has no OFFER left.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        current: Option<&mut Current<'_>>,
        leases: &Leases,
        out: &mut Outbox,
    ) -> bool {
        for slot in self.slots.values_mut() {
            slot.follow_leases(leases, out);
            if slot.active.is_some_and(|active| active.expires <= now) {
                slot.stop(Cause::LeaseExpired, &mut self.closing, out);
            }
        }
        let Some(current) = current else { return false };
        for (spi, closing) in &mut self.closing {
            closing.resend_when_due(now, *spi, current.id, out);
        }
        let mut exhausted = false;
        for slot in self.slots.values_mut() {
            exhausted |= slot.offer_when_due(now, current, leases, out);
        }
        exhausted
    }

    /// OFFERED → SENDING. Returns an error of the session where the key could not be derived.
    #[expect(clippy::too_many_arguments, reason = "the parts of one Sap, borrowed apart")]
    pub(super) fn handle_installed(
        &mut self,
        now: Now,
        current: &mut Current<'_>,
        installed: &Installed,
        leases: &mut Leases,
        verifier: &dyn VerifyLease,
        exporter: &dyn Exporter,
        out: &mut Outbox,
        replaced: &mut u64,
    ) -> Result<Result<(), ExportFailed>, Violation> {
        let spi = installed.spi;
        if !current.session.was_offered(installed.offer) {
            return Err(Violation::NeverOffered(installed.offer));
        }
        if spi < MIN_SPI {
            return Err(Violation::ReservedSpi(spi));
        }
        let in_use = self.in_use(spi);
        let slots = &mut self.slots;
        let Some(slot) =
            slots.values_mut().find(|s| s.offered(current.id) == Some(installed.offer))
        else {
            // Repeated, or late: then the association is not used, and the receiver may remove it.
            if !in_use && current.session.choose(spi) {
                self.close(now.instant, spi, 0);
            }
            return Ok(Ok(()));
        };
        if in_use || !current.session.choose(spi) {
            return Err(Violation::SpiReused(spi));
        }
        let digest = slot.view.digest;
        let lease = leases.set_peer(now, &installed.lease, digest, verifier);
        let own = leases.own(now.instant, &digest).is_some();
        let (Ok(()), true, Some(expires)) = (lease, own, leases.end(&digest)) else {
            slot.back_off(now.instant);
            self.close(now.instant, spi, 0);
            return Ok(Ok(()));
        };
        let context = slot.view.key_context(slot.worker, current.epoch, spi);
        let key = match context.key(exporter) {
            Ok(key) => key,
            Err(failed) => return Ok(Err(failed)),
        };
        let place = slot.view.place(slot.worker);
        out.event(Event::InstallOutbound { place, spi, key, expires });
        *replaced += u64::from(slot.active.is_some());
        slot.stop(Cause::Replaced, &mut self.closing, out);
        slot.active = Some(Active { spi, session: current.id, expires });
        slot.next = Next::Waiting { until: now.instant };
        slot.refusals = 0;
        Ok(Ok(()))
    }

    /// OFFERED → WAITING.
    pub(super) fn handle_refused(
        &mut self,
        now: Instant,
        current: &Current<'_>,
        offer: OfferId,
    ) -> Result<(), Violation> {
        if !current.session.was_offered(offer) {
            return Err(Violation::NeverOffered(offer));
        }
        let mut slots = self.slots.values_mut();
        if let Some(slot) = slots.find(|slot| slot.offered(current.id) == Some(offer)) {
            slot.back_off(now);
        }
        Ok(())
    }

    /// LAST SENT → gone; an association in use is stopped and made anew.
    pub(super) fn handle_deleted(&mut self, now: Instant, spi: SaSpi, out: &mut Outbox) {
        if self.closing.remove(&spi).is_some() {
            return;
        }
        let in_use = |slot: &&mut Slot| slot.active.is_some_and(|active| active.spi == spi);
        if let Some(slot) = self.slots.values_mut().find(in_use) {
            slot.drop_active(Cause::PeerDeleted, out);
            slot.back_off(now);
        }
    }

    /// STOPPING → LAST SENT.
    pub(super) fn stopped(&mut self, now: Instant, spi: SaSpi, sequence: u64) {
        if let Some(Closing::Stopping) = self.closing.get(&spi) {
            self.close(now, spi, sequence);
        }
    }

    /// The neighbour has forgotten every key.
    pub(super) fn peer_restarted(&mut self, now: Instant, out: &mut Outbox) {
        self.closing.clear();
        for slot in self.slots.values_mut() {
            slot.drop_active(Cause::PeerRestarted, out);
            slot.next = Next::Waiting { until: now };
            slot.refusals = 0;
        }
    }

    /// How many associations there are, if each place has one of this session.
    pub(super) fn settled(&self, current: SessionId) -> Option<usize> {
        let of_session = |slot: &Slot| slot.active.is_some_and(|active| active.session == current);
        self.slots.values().all(of_session).then_some(self.slots.len())
    }

    /// Whether nothing is left for the receiver to delete.
    pub(super) fn is_idle(&self) -> bool {
        self.closing.is_empty() && self.slots.values().all(|slot| slot.active.is_none())
    }

    pub(super) fn next_timeout(
        &self,
        now: Instant,
        current: Option<SessionId>,
        leases: &Leases,
    ) -> Option<Instant> {
        let expiry = self.slots.values().filter_map(|slot| Some(slot.active?.expires));
        let of_session = current.into_iter().flat_map(|current| {
            let offers =
                self.slots.values().filter_map(move |slot| slot.next_timeout(now, current, leases));
            offers.chain(self.closing.values().filter_map(Closing::next_timeout))
        });
        expiry.chain(of_session).min()
    }

    /// Whether the neighbour must not choose this SPI (again): it is sent to, or the data plane still holds its key. One that
    /// waits for its DELETED is free: the receiver has deleted it, or would not choose it.
    fn in_use(&self, spi: SaSpi) -> bool {
        matches!(self.closing.get(&spi), Some(Closing::Stopping))
            || self.slots.values().any(|slot| slot.active.is_some_and(|active| active.spi == spi))
    }

    fn close(&mut self, now: Instant, spi: SaSpi, sequence: u64) {
        let last = Closing::LastSent { sequence, resend_at: now, wait: RESEND_MIN };
        insert_bounded(&mut self.closing, spi, last);
    }
}

impl Slot {
    fn new(now: Instant, view: &SegmentView, worker: WorkerId) -> Slot {
        let next = Next::Waiting { until: now };
        Slot { view: view.clone(), worker, next, refusals: 0, active: None }
    }

    /// The OFFER that is out in this session.
    fn offered(&self, current: SessionId) -> Option<OfferId> {
        match self.next {
            Next::Offered { session, offer, .. } if session == current => Some(offer),
            _ => None,
        }
    }

    /// Whether an OFFER may be made: the session has given no association yet, and there is a lease to show.
    fn wants_offer(&self, now: Instant, current: SessionId, leases: &Leases) -> bool {
        let settled = self.active.is_some_and(|active| active.session == current);
        !settled && leases.own(now, &self.view.digest).is_some()
    }

    fn offer_when_due(
        &mut self,
        now: Instant,
        current: &mut Current<'_>,
        leases: &Leases,
        out: &mut Outbox,
    ) -> bool {
        if !self.wants_offer(now, current.id, leases) {
            return false;
        }
        let Some(lease) = leases.own(now, &self.view.digest).copied() else { return false };
        let (offer, wait) = match self.next {
            Next::Offered { session, offer, resend_at, wait } if session == current.id => {
                if now < resend_at {
                    return false;
                }
                (offer, (wait * 2).min(RESEND_MAX))
            }
            Next::Waiting { until } if now < until => return false,
            _ => match current.session.next_offer() {
                Some(offer) => (offer, RESEND_MIN),
                None => {
                    self.next = Next::Waiting { until: now + REFUSED_RETRY_MAX };
                    return true;
                }
            },
        };
        self.next = Next::Offered { session: current.id, offer, resend_at: now + wait, wait };
        out.send(
            current.id,
            Message::Offer(Offer {
                offer,
                epoch: current.epoch,
                digest: self.view.digest,
                usage: self.view.usage,
                segment: self.view.index,
                profile: self.view.profile.code(),
                suite: suite_code(self.view.suite),
                worker: self.worker,
                lease,
            }),
        );
        false
    }

    fn next_timeout(&self, now: Instant, current: SessionId, leases: &Leases) -> Option<Instant> {
        self.wants_offer(now, current, leases).then_some(match self.next {
            Next::Waiting { until } => until,
            Next::Offered { resend_at, .. } => resend_at,
        })
    }

    /// The association ends with the leases, whatever has become of them.
    fn follow_leases(&mut self, leases: &Leases, out: &mut Outbox) {
        let Some(active) = &mut self.active else { return };
        let Some(expires) = leases.end(&self.view.digest).filter(|end| *end != active.expires)
        else {
            return;
        };
        active.expires = expires;
        let place = self.view.place(self.worker);
        out.event(Event::RenewOutbound { place, spi: active.spi, expires });
    }

    /// SENDING → STOPPING.
    fn stop(&mut self, cause: Cause, closing: &mut BTreeMap<SaSpi, Closing>, out: &mut Outbox) {
        if let Some(spi) = self.drop_active(cause, out) {
            insert_bounded(closing, spi, Closing::Stopping);
        }
    }

    /// SENDING → gone: nobody waits for LAST.
    fn drop_active(&mut self, cause: Cause, out: &mut Outbox) -> Option<SaSpi> {
        let Active { spi, .. } = self.active.take()?;
        out.event(Event::StopSending { place: self.view.place(self.worker), spi, cause });
        Some(spi)
    }

    fn back_off(&mut self, now: Instant) {
        let wait = REFUSED_RETRY_MIN * 2_u32.saturating_pow(self.refusals.min(16));
        self.refusals = self.refusals.saturating_add(1);
        self.next = Next::Waiting { until: now + wait.min(REFUSED_RETRY_MAX) };
    }
}

impl Closing {
    fn resend_when_due(&mut self, now: Instant, spi: SaSpi, current: SessionId, out: &mut Outbox) {
        if let Closing::LastSent { sequence, resend_at, wait } = self
            && *resend_at <= now
        {
            out.send(current, Message::Last { spi, sequence: *sequence });
            *resend_at = now + *wait;
            *wait = (*wait * 2).min(RESEND_MAX);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self {
            Closing::Stopping => None,
            Closing::LastSent { resend_at, .. } => Some(*resend_at),
        }
    }
}

fn insert_bounded(closing: &mut BTreeMap<SaSpi, Closing>, spi: SaSpi, state: Closing) {
    if closing.len() >= CLOSING_SAS && !closing.contains_key(&spi) {
        closing.pop_first();
    }
    closing.insert(spi, state);
}
