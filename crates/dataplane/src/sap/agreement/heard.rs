//! What the neighbour says: a message goes to the part of the agreement that it is for (`docs/sap.md`, "Messages").

use std::time::{Duration, Instant};

use super::super::context::{ExportFailed, Exporter};
use super::super::event::{EndReason, Event, Violation};
use super::super::inbound::{Judge, OfferOutcome};
use super::super::lease::Now;
use super::super::limits::EPOCH_YIELD;
use super::super::message::{Hello, Message};
use super::super::session::{Current, HelloOutcome, SessionId};
use super::Sap;

impl Sap {
    pub(super) fn dispatch(
        &mut self,
        now: Now,
        id: SessionId,
        message: &Message,
        exporter: &dyn Exporter,
    ) -> Result<(), Violation> {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.heard(now.instant);
        }
        match message {
            Message::Hello(hello) => return self.handle_hello(now.instant, id, *hello),
            Message::Close(goodbye) => {
                self.end_session(now.instant, id, EndReason::PeerClosed(*goodbye));
                return Ok(());
            }
            _ => {}
        }
        let (Some(session), true) = (self.sessions.get_mut(&id), self.current == Some(id)) else {
            self.counters.messages_ignored += 1;
            return Ok(());
        };
        let Some(epoch) = session.epoch() else { return Ok(()) };
        let mut current = Current { id, epoch, session };
        let (leases, out) = (&mut self.leases, &mut self.out);
        let verifier = self.verifier.as_ref();
        match message {
            Message::Hello(_) | Message::Close(_) => {}
            Message::Offer(offer) => {
                let mut judge = Judge {
                    own: self.element,
                    peer: self.peer,
                    segments: &self.segments,
                    verifier,
                    spis: self.spis.as_mut(),
                    exporter,
                };
                match self.inbounds.handle_offer(
                    now,
                    &mut current,
                    offer,
                    leases,
                    &mut judge,
                    out,
                )? {
                    OfferOutcome::Taken => {}
                    OfferOutcome::Refused => self.counters.offers_refused += 1,
                    OfferOutcome::Failed(failed) => self.export_failed(now.instant, id, failed),
                }
            }
            Message::Installed(installed) => {
                let outbounds = &mut self.outbounds;
                let replaced = &mut self.counters.associations_replaced;
                if let Err(failed) = outbounds.handle_installed(
                    now,
                    &mut current,
                    installed,
                    leases,
                    verifier,
                    exporter,
                    out,
                    replaced,
                )? {
                    self.export_failed(now.instant, id, failed);
                }
            }
            Message::Refused { offer, .. } => {
                self.counters.offers_rejected += 1;
                self.outbounds.handle_refused(now.instant, &current, *offer)?;
            }
            Message::Lease(signed) => {
                if leases.set_peer(now, signed, signed.lease.digest, verifier).is_err() {
                    self.counters.leases_refused += 1;
                }
            }
            Message::Last { spi, sequence } => {
                self.inbounds.handle_last(now.instant, id, *spi, *sequence, out);
            }
            Message::Deleted { spi } => self.outbounds.handle_deleted(now.instant, *spi, out),
        }
        Ok(())
    }

    fn handle_hello(&mut self, now: Instant, id: SessionId, hello: Hello) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let HelloOutcome::First(hello) =
            session.handle_hello(id, self.peer, hello, &mut self.out)?
        else {
            return Ok(());
        };
        let (epoch, rank) = (session.epoch(), session.rank(id, self.peer));
        match self.peer_boot {
            Some((boot, seen)) if boot != hello.boot && id < seen => {
                // Opened in an earlier life, heard of only now.
                self.end_session(now, id, EndReason::Superseded);
                return Ok(());
            }
            Some((boot, _)) if boot != hello.boot => self.peer_restarted(now),
            _ => {}
        }
        let seen = self.peer_boot.map_or(id, |(_, seen)| seen.max(id));
        self.peer_boot = Some((hello.boot, seen));
        self.counters.sessions_established += 1;
        let Some(epoch) = epoch else { return Ok(()) };
        self.highest_epoch = self.highest_epoch.max(epoch);

        if let Some(other) = self.current {
            let other_rank = self.sessions.get(&other).and_then(|s| s.rank(other, self.peer));
            if other_rank > rank {
                self.end_session(now, id, EndReason::Superseded);
                return Ok(());
            }
            self.end_session(now, other, EndReason::Superseded);
        }
        self.current = Some(id);
        self.current_since = now;
        let yields = if self.element < self.peer { Duration::ZERO } else { EPOCH_YIELD };
        self.new_epoch_at = now + self.epoch_lifetime + yields;
        self.out.event(Event::Established { session: id, epoch, boot: hello.boot });
        self.pass_leases_on(now, id);
        Ok(())
    }

    fn peer_restarted(&mut self, now: Instant) {
        if let Some(current) = self.current {
            self.end_session(now, current, EndReason::Superseded);
        }
        self.outbounds.peer_restarted(now, &mut self.out);
        self.inbounds.peer_restarted(&mut self.out);
    }

    pub(super) fn pass_leases_on(&mut self, now: Instant, id: SessionId) {
        for lease in self.leases.all_own(now) {
            self.out.send(id, Message::Lease(*lease));
        }
    }

    fn export_failed(&mut self, now: Instant, id: SessionId, failed: ExportFailed) {
        self.end_session(now, id, EndReason::Export(failed));
    }
}
