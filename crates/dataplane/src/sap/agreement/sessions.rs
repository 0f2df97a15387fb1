//! What is due, and how sessions end: dials, epochs, silence, and what nobody reads.

use std::time::Instant;

use super::super::event::{EndReason, Event};
use super::super::limits::{DIAL_FORGIVEN_AFTER, TRANSMITS};
use super::super::message::{Goodbye, Message};
use super::super::session::{Current, SessionId};
use super::Sap;

impl Sap {
    pub(super) fn end_session(&mut self, now: Instant, id: SessionId, reason: EndReason) {
        let failed =
            !matches!(reason, EndReason::Superseded | EndReason::PeerClosed(Goodbye::Superseded));
        self.forget_session(now, id, failed);
        if let Some(goodbye) = reason.goodbye() {
            self.out.send(id, Message::Close(goodbye));
        }
        self.out.event(Event::EndSession { session: id, reason });
    }

    /// `failed`: not because a newer one took its place. Where epochs are short, that is all that ever happens.
    pub(super) fn forget_session(&mut self, now: Instant, id: SessionId, failed: bool) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.counters.sessions_ended += 1;
        self.out.transmits.retain(|(session, _)| *session != id);
        self.inbounds.session_ended(id, &mut self.out);
        if self.current == Some(id) {
            self.current = None;
        }
        let lived = now.saturating_duration_since(session.began()) >= DIAL_FORGIVEN_AFTER;
        self.dialer.failed(now, !failed || lived && session.is_established());
    }

    /// Does all that is due. Idempotent: every call ends with it.
    pub(super) fn advance(&mut self, now: Instant) {
        self.advance_sessions(now);
        self.leases.ask_when_due(now, &mut self.out);

        let (leases, out) = (&self.leases, &mut self.out);
        let mut current = self.current.and_then(|id| {
            let session = self.sessions.get_mut(&id)?;
            Some(Current { id, epoch: session.epoch()?, session })
        });
        let used_up = self.outbounds.advance(now, current.as_mut(), leases, out);
        self.inbounds.advance(now, self.current, leases, out);
        if used_up {
            self.new_epoch_at = self.new_epoch_at.min(now);
        }

        if self.out.transmits.len() > TRANSMITS
            && let Some(current) = self.current
        {
            self.end_session(now, current, EndReason::NotRead);
        }
        if self.segments.is_empty() && self.outbounds.is_idle() && self.inbounds.is_empty() {
            while let Some((id, _)) = self.sessions.first_key_value() {
                self.end_session(now, *id, EndReason::NoPaths);
            }
        }
        if self.next_dial().is_some_and(|at| at <= now) {
            self.dialer.dial();
            self.out.event(Event::Dial);
        }
    }

    fn advance_sessions(&mut self, now: Instant) {
        let dead = self.sessions.iter().filter(|(_, session)| session.dies_at() <= now);
        for id in dead.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_session(now, id, EndReason::Silent);
        }
        let mut keepalive = false;
        for (id, session) in &mut self.sessions {
            keepalive |= session.hello_when_due(now, *id, &mut self.out);
        }
        if let (true, Some(current)) = (keepalive, self.current) {
            self.pass_leases_on(now, current);
        }
    }

    /// When to dial: without a session, or for a new epoch; never while a session waits for HELLO.
    pub(super) fn next_dial(&self) -> Option<Instant> {
        let at = self.dialer.next()?;
        match self.current {
            _ if self.segments.is_empty() => None,
            Some(_) if self.sessions.len() == 1 => Some(at.max(self.new_epoch_at)),
            None if self.sessions.is_empty() => Some(at),
            _ => None,
        }
    }
}
