//! One session with a neighbour: HELLO both ways, the epoch, and signs of life (`docs/sap.md`, "Sessions").

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ringmail_model::{ElementId, Epoch, SaSpi};

use super::event::{Outbox, Violation};
use super::limits::{
    AGREEMENTS_PER_SESSION, EPOCH_LEAD_MAX, HELLO_TIMEOUT, KEEPALIVE, RESEND_MAX, RESEND_MIN,
    SILENCE_MAX,
};
use super::message::{Hello, Message, OfferId};

/// A session of one [`Sap`](super::Sap), counted in the order in which they opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// This element.
    Us,
    /// The neighbour.
    Peer,
}

/// How sessions compare; the greatest is the one in use. Both ends compute the same for each session, but for the last
/// field, which is not reached while epochs last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    epoch: Epoch,
    dialed_by_lower_id: bool,
    proposed_by_dialer: Epoch,
    id: SessionId,
}

#[derive(Debug)]
pub(super) struct Session {
    opener: Opener,
    /// What this side says; `heard` is filled in when it is sent.
    ours: Hello,
    theirs: Option<Hello>,
    began: Instant,
    heard: Instant,
    /// When HELLO is to be said again, and the wait after that.
    hello_at: Instant,
    hello_wait: Duration,
    /// How many OFFERs this side has made.
    offers: u32,
    /// SPIs that the neighbour chose, and those that it was given: none may come twice.
    chosen: BTreeSet<SaSpi>,
    given: BTreeSet<SaSpi>,
}

/// What a HELLO did.
pub(super) enum HelloOutcome {
    /// The neighbour's first in this session.
    First(Hello),
    /// One that was known.
    Repeated,
}

impl Session {
    pub(super) fn new(now: Instant, opener: Opener, ours: Hello) -> Session {
        Session {
            opener,
            ours,
            theirs: None,
            began: now,
            heard: now,
            hello_at: now,
            hello_wait: RESEND_MIN,
            offers: 0,
            chosen: BTreeSet::new(),
            given: BTreeSet::new(),
        }
    }

    /// The epoch, once both have said HELLO.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.theirs.map(|theirs| theirs.epoch.max(self.ours.epoch))
    }

    pub(super) fn is_established(&self) -> bool {
        self.theirs.is_some()
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) fn rank(&self, id: SessionId, peer: ElementId) -> Option<Rank> {
        let theirs = self.theirs?;
        let we_are_lower = self.ours.element < peer;
        Some(Rank {
            epoch: theirs.epoch.max(self.ours.epoch),
            dialed_by_lower_id: (self.opener == Opener::Us) == we_are_lower,
            proposed_by_dialer: match self.opener {
                Opener::Us => self.ours.epoch,
                Opener::Peer => theirs.epoch,
            },
            id,
        })
    }

    pub(super) fn handle_hello(
        &mut self,
        id: SessionId,
        peer: ElementId,
        hello: Hello,
        out: &mut Outbox,
    ) -> Result<HelloOutcome, Violation> {
        if hello.element != peer {
            return Err(Violation::WrongElement { expected: peer, found: hello.element });
        }
        let outcome = match self.theirs {
            Some(known) if known == (Hello { heard: known.heard, ..hello }) => {
                HelloOutcome::Repeated
            }
            Some(_) => return Err(Violation::HelloChanged),
            None => {
                let highest = self.ours.epoch.0.saturating_add(EPOCH_LEAD_MAX);
                if hello.epoch.0 == 0 || hello.epoch.0 > highest {
                    return Err(Violation::EpochOutOfRange(hello.epoch));
                }
                self.theirs = Some(hello);
                self.hello_at = self.heard + KEEPALIVE;
                HelloOutcome::First(hello)
            }
        };
        if !hello.heard {
            self.say_hello(id, out);
        }
        Ok(outcome)
    }

    /// Says HELLO when it is time, and whether the session was established then: a keepalive.
    pub(super) fn hello_when_due(&mut self, now: Instant, id: SessionId, out: &mut Outbox) -> bool {
        if now < self.hello_at {
            return false;
        }
        self.say_hello(id, out);
        if self.is_established() {
            self.hello_at = now + KEEPALIVE;
        } else {
            self.hello_at = now + self.hello_wait;
            self.hello_wait = (self.hello_wait * 2).min(RESEND_MAX);
        }
        self.is_established()
    }

    fn say_hello(&self, id: SessionId, out: &mut Outbox) {
        let hello = Hello { heard: self.is_established(), ..self.ours };
        out.send(id, Message::Hello(hello));
    }

    /// When this session has to be given up, unless something is heard.
    pub(super) fn dies_at(&self) -> Instant {
        if self.is_established() { self.heard + SILENCE_MAX } else { self.began + HELLO_TIMEOUT }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.dies_at().min(self.hello_at)
    }

    /// The number of the next OFFER, unless this session has made as many as it may.
    pub(super) fn next_offer(&mut self) -> Option<OfferId> {
        if self.offers as usize >= AGREEMENTS_PER_SESSION {
            return None;
        }
        self.offers += 1;
        Some(OfferId(self.offers - 1))
    }

    pub(super) fn was_offered(&self, offer: OfferId) -> bool {
        offer.0 < self.offers
    }

    /// Notes an SPI that the neighbour chose; `false` when it did so before, or chose more than there can be.
    pub(super) fn choose(&mut self, spi: SaSpi) -> bool {
        self.chosen.len() < AGREEMENTS_PER_SESSION && self.chosen.insert(spi)
    }

    /// Notes an SPI that the neighbour is given; `false` when it was given before.
    pub(super) fn give(&mut self, spi: SaSpi) -> bool {
        self.given.insert(spi)
    }

    /// Whether the neighbour was given as many SPIs as one session may have.
    pub(super) fn gave_all(&self) -> bool {
        self.given.len() >= AGREEMENTS_PER_SESSION
    }
}

/// The session in use.
#[derive(Debug)]
pub(super) struct Current<'a> {
    pub(super) id: SessionId,
    pub(super) epoch: Epoch,
    pub(super) session: &'a mut Session,
}
