//! The agreement with one neighbour: sessions come and go, associations outlive them (`docs/sap.md`).

mod heard;
mod sessions;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use ringmail_model::{ElementId, Epoch, SaSpi};

use super::config::{Config, Counters};
use super::context::Exporter;
use super::dialer::Dialer;
use super::event::{EndReason, Event, Outbox, Violation};
use super::inbound::{AllocateSpi, Inbounds};
use super::lease::{LeaseError, Now, SignedLease, VerifyLease};
use super::leases::Leases;
use super::limits::{DEMAND_YIELD, SESSIONS};
use super::message::{BootId, Hello, Message};
use super::outbound::Outbounds;
use super::segment::{SegmentKey, SegmentView};
use super::session::{Opener, Session, SessionId};
use super::uses::INDEX_MAX;

/// A message for the driver to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// In which session.
    pub session: SessionId,
    /// The encoding, length field included.
    pub bytes: Vec<u8>,
}

/// An epoch that is in use for all that is agreed on with a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The epoch.
    pub epoch: Epoch,
    /// Associations that this element sends by.
    pub sending: usize,
    /// Associations that it receives by.
    pub receiving: usize,
}

/// The agreement with one neighbour, without I/O.
///
/// After every call the driver sends what [`poll_transmit`](Sap::poll_transmit) has, then does what
/// [`poll_event`](Sap::poll_event) says, both until they have nothing, and calls
/// [`handle_timeout`](Sap::handle_timeout) at [`poll_timeout`](Sap::poll_timeout).
pub struct Sap {
    element: ElementId,
    peer: ElementId,
    boot: BootId,
    segments: BTreeMap<SegmentKey, SegmentView>,
    epoch_lifetime: Duration,
    verifier: Box<dyn VerifyLease + Send>,
    spis: Box<dyn AllocateSpi + Send>,

    sessions: BTreeMap<SessionId, Session>,
    next_session: SessionId,
    /// The session that keys come from; all others wait for HELLO.
    current: Option<SessionId>,
    /// The highest epoch that was used or proposed.
    highest_epoch: Epoch,
    new_epoch_at: Instant,
    /// Since when `current` has been what it is.
    current_since: Instant,
    /// Which life the neighbour is in, and the last session that said so.
    peer_boot: Option<(BootId, SessionId)>,
    dialer: Dialer,

    leases: Leases,
    outbounds: Outbounds,
    inbounds: Inbounds,
    out: Outbox,
    counters: Counters,
}

impl Sap {
    /// An agreement that has not begun. It asks for leases and, if it goes first, to dial at once.
    pub fn new(now: Instant, config: Config) -> Sap {
        let Config { element, peer, .. } = config;
        let mut sap = Sap {
            element,
            peer,
            boot: config.boot,
            segments: BTreeMap::new(),
            epoch_lifetime: config.epoch_lifetime,
            verifier: config.verifier,
            spis: config.spis,
            sessions: BTreeMap::new(),
            next_session: SessionId(0),
            current: None,
            highest_epoch: Epoch(0),
            new_epoch_at: now,
            current_since: now,
            peer_boot: None,
            dialer: Dialer::new(now, element < peer, config.jitter_seed),
            leases: Leases::new(element, peer),
            outbounds: Outbounds::default(),
            inbounds: Inbounds::default(),
            out: Outbox::default(),
            counters: Counters::default(),
        };
        sap.set_segments(now, &config.segments);
        sap
    }

    /// Takes the segments that a new path set names. Associations of those that are gone run out within a grace time.
    pub fn set_segments(&mut self, now: Instant, segments: &[SegmentView]) {
        let (element, peer) = (self.element, self.peer);
        let ours = segments.iter().filter(|view| {
            view.index.0 <= INDEX_MAX
                && [(element, peer), (peer, element)].contains(&(view.sender, view.receiver))
        });
        self.segments = ours.map(|view| (view.key(), view.clone())).collect();
        let paths = self.segments.values().map(|view| (view.digest, view.path));
        self.leases.set_paths(now, paths);
        let sent = self.segments.values().filter(|view| view.sender == element);
        self.outbounds.set_segments(now, sent, &mut self.out);
        self.inbounds.set_segments(now, &self.segments, self.current, &mut self.out);
        self.advance(now);
    }

    /// Epochs last so long from now on, the one that runs too.
    pub fn set_epoch_lifetime(&mut self, now: Instant, lifetime: Duration) {
        let before = std::mem::replace(&mut self.epoch_lifetime, lifetime);
        // One that is due stays due.
        if self.new_epoch_at > now
            && let Some(began) = self.new_epoch_at.checked_sub(before)
        {
            self.new_epoch_at = began + lifetime;
        }
        self.advance(now);
    }

    /// Takes a lease of this element, as [`Event::RenewLease`] asked, and passes it on.
    ///
    /// # Errors
    /// [`LeaseError`] when the lease does not count; associations keep the one that they have.
    pub fn set_lease(&mut self, now: Now, lease: &SignedLease) -> Result<(), LeaseError> {
        let taken = self.leases.set_own(now, lease, self.verifier.as_ref());
        if taken.is_ok()
            && let Some(current) = self.current
        {
            self.out.send(current, Message::Lease(*lease));
        }
        self.advance(now.instant);
        taken
    }

    /// A connection stands, and its other end was authenticated as the neighbour.
    pub fn open_session(&mut self, now: Instant, opener: Opener) -> SessionId {
        let id = self.next_session;
        self.next_session = SessionId(id.0 + 1);
        if opener == Opener::Us {
            self.dialer.dialed();
        }
        if self.sessions.len() >= SESSIONS {
            let oldest = self.sessions.keys().find(|id| Some(**id) != self.current).copied();
            if let Some(oldest) = oldest {
                self.end_session(now, oldest, EndReason::Superseded);
            }
        }
        // No epoch is proposed twice, so that no two sessions are equal.
        self.highest_epoch = Epoch(self.highest_epoch.0.saturating_add(1));
        let hello = Hello {
            element: self.element,
            boot: self.boot,
            epoch: self.highest_epoch,
            heard: false,
        };
        self.sessions.insert(id, Session::new(now, opener, hello));
        self.advance(now);
        id
    }

    /// The dial that [`Event::Dial`] asked for came to nothing.
    pub fn dial_failed(&mut self, now: Instant) {
        self.dialer.dialed();
        self.dialer.failed(now, false);
        self.advance(now);
    }

    /// The connection of a session is gone. Associations stay while their leases last.
    pub fn session_lost(&mut self, now: Instant, id: SessionId) {
        self.forget_session(now, id, true);
        self.advance(now);
    }

    /// A message came, length field included. `exporter` is that of the session's connection.
    ///
    /// # Errors
    /// [`Violation`] when no honest neighbour sends this; the session is ended.
    pub fn handle_message(
        &mut self,
        now: Now,
        id: SessionId,
        bytes: &[u8],
        exporter: &dyn Exporter,
    ) -> Result<(), Violation> {
        if !self.sessions.contains_key(&id) {
            self.counters.messages_ignored += 1;
            return Ok(());
        }
        let handled = Message::decode(bytes)
            .map_err(Violation::from)
            .and_then(|message| self.dispatch(now, id, &message, exporter));
        if let Err(violation) = handled {
            self.counters.violations += 1;
            self.end_session(now.instant, id, EndReason::Violation(violation));
        }
        self.advance(now.instant);
        handled
    }

    /// The data plane has installed an inbound association at every worker.
    pub fn installed(&mut self, now: Instant, spi: SaSpi) {
        self.inbounds.installed(now, spi, &self.leases, &mut self.out);
        self.advance(now);
    }

    /// The data plane could not install an inbound association.
    pub fn install_failed(&mut self, now: Instant, spi: SaSpi) {
        self.inbounds.install_failed(spi, &mut self.out);
        self.advance(now);
    }

    /// The data plane has stopped using an outbound association; `sequence` is the last number that it used, 0 for none.
    pub fn stopped(&mut self, now: Instant, spi: SaSpi, sequence: u64) {
        self.outbounds.stopped(now, spi, sequence);
        self.advance(now);
    }

    /// Begins a new epoch: before an association runs out of numbers, or when the operator asks. The element of the higher
    /// id lets the other one go first.
    pub fn begin_epoch(&mut self, now: Instant) {
        let yields = if self.element < self.peer { Duration::ZERO } else { DEMAND_YIELD };
        self.new_epoch_at = self.new_epoch_at.min(now + yields);
        self.advance(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let (session, message) = self.out.transmits.pop_front()?;
        Some(Transmit { session, bytes: message.encode() })
    }

    /// The next thing to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.out.events.pop_front()
    }

    /// When to call [`Sap::handle_timeout`], unless something else is called before.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let sessions = self.sessions.values().map(Session::next_timeout).min();
        let outbounds = self.outbounds.next_timeout(now, self.current, &self.leases);
        let rest = [
            sessions,
            outbounds,
            self.inbounds.next_timeout(),
            self.leases.next_timeout(),
            self.next_dial(),
        ];
        rest.into_iter().flatten().min()
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The epoch of the session in use.
    pub fn epoch(&self) -> Option<Epoch> {
        self.sessions.get(&self.current?)?.epoch()
    }

    /// The session in use.
    pub fn session(&self) -> Option<SessionId> {
        self.current
    }

    /// Since when the session in use has been that.
    pub fn epoch_since(&self) -> Option<Instant> {
        self.current.map(|_| self.current_since)
    }

    /// Associations of the epoch in use, those that this element sends by and those that it receives by, once that epoch
    /// is in use everywhere: each place has one, and nothing is sent by an earlier one any more. `None` before.
    pub fn settled(&self) -> Option<Settled> {
        let current = self.current?;
        let sending = self.outbounds.settled(current)?;
        let expected = self.segments.values().filter(|view| view.receiver == self.element);
        let expected = expected.map(|view| usize::from(view.workers())).sum();
        let receiving = self.inbounds.settled(current, expected)?;
        Some(Settled { epoch: self.epoch()?, sending, receiving })
    }
}

impl fmt::Debug for Sap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sap")
            .field("element", &self.element)
            .field("peer", &self.peer)
            .field("sessions", &self.sessions)
            .field("current", &self.current)
            .field("outbounds", &self.outbounds)
            .field("inbounds", &self.inbounds)
            .finish_non_exhaustive()
    }
}
