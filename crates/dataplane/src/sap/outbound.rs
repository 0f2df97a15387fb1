//! The sender's side of a segment: WAITING → OFFERED → SENDING → STOPPING → LAST SENT (`docs/sap.md`, "The sender").

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringmail_model::{Epoch, PathDigest, SaSpi, WorkerId};

use super::context::{ExportFailed, Exporter, KeyContext};
use super::event::{Cause, Event, Outbox, Place, Violation};
use super::leases::Leases;
use super::limits::{
    AGREEMENTS_PER_SESSION, CLOSING_SAS, REFUSED_RETRY_MAX, REFUSED_RETRY_MIN, RESEND_MAX,
    RESEND_MIN,
};
use super::message::{Installed, Message, Offer, OfferId};
use super::segment::{SegmentKey, SegmentView, suite_code};
use super::session::{Session, SessionId};
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

/// The session in use.
#[derive(Debug)]
pub(super) struct Current<'a> {
    pub(super) id: SessionId,
    pub(super) epoch: Epoch,
    pub(super) session: &'a mut Session,
}

/// What an INSTALLED did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstalledOutcome {
    /// It was known, or an association was begun with it.
    Done,
    /// The association cannot be used; the receiver is told so.
    Unusable,
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
            for worker in (0..view.sender_workers).map(WorkerId) {
                let key = (view.key(), worker);
                let slot = before.remove(&key).filter(|slot| slot.view.same_keys(view));
                let fresh = || Slot {
                    view: view.clone(),
                    next: Next::Waiting { until: now },
                    refusals: 0,
                    active: None,
                };
                self.slots.insert(key, slot.unwrap_or_else(fresh));
            }
        }
        for ((_, worker), mut slot) in before {
            slot.stop(worker, Cause::Withdrawn, &mut self.closing, out);
        }
    }

    /// Makes and repeats offers, repeats LAST, stops what has expired: all that is due.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        current: Option<&mut Current<'_>>,
        leases: &Leases,
        out: &mut Outbox,
    ) -> Exhausted {
        for ((_, worker), slot) in &mut self.slots {
            if slot.active.is_some_and(|active| active.expires <= now) {
                slot.stop(*worker, Cause::LeaseExpired, &mut self.closing, out);
            }
        }
        let Some(current) = current else { return Exhausted(false) };
        for (spi, closing) in &mut self.closing {
            closing.resend_when_due(now, *spi, current.id, out);
        }
        let mut exhausted = false;
        for ((_, worker), slot) in &mut self.slots {
            exhausted |= slot.offer_when_due(now, *worker, current, leases, out).0;
        }
        Exhausted(exhausted)
    }

    pub(super) fn handle_installed(
        &mut self,
        now: Instant,
        current: &mut Current<'_>,
        installed: &Installed,
        lease: Result<Instant, ()>,
        exporter: &dyn Exporter,
        out: &mut Outbox,
    ) -> Result<Result<InstalledOutcome, ExportFailed>, Violation> {
        let spi = installed.spi;
        if !current.session.was_offered(installed.offer) {
            return Err(Violation::NeverOffered(installed.offer));
        }
        if spi < MIN_SPI {
            return Err(Violation::ReservedSpi(spi));
        }
        let waiting = self.slots.iter_mut().find(|(_, slot)| {
            matches!(slot.next, Next::Offered { session, offer, .. }
                if session == current.id && offer == installed.offer)
                && !slot.is_settled(current.id)
        });
        let Some(((_, worker), slot)) = waiting else {
            // Late or repeated. One that is not known is not used: the receiver may remove it.
            if current.session.choose(spi, AGREEMENTS_PER_SESSION)? && !self.is_known(spi) {
                self.close_unused(now, spi, current.id, out);
            }
            return Ok(Ok(InstalledOutcome::Done));
        };
        Ok(Ok(InstalledOutcome::Unusable))
    }
}
