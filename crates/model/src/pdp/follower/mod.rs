//! An element's end of the protocol (`docs/pdp.md`, "The element"): its connection, one at a time, and what it asks for.

mod event;
mod staging;

pub use self::event::FollowerEvent;

use std::collections::VecDeque;
use std::time::Instant;

use super::PROTOCOL;
use super::message::{Life, Message, Usage};
use super::reason::{CloseReason, Nack};
use crate::domain::Profile;
use crate::ids::{PathDigest, PathVersion};
use crate::limits::{
    PDP_GREETING_WITHIN, PDP_HEARTBEAT_EVERY, PDP_REDIAL_FIRST, PDP_REDIAL_MOST, PDP_SILENT_AFTER,
    PDP_STAGED_FOR, PDP_TRANSMITS,
};
use crate::names::TrustDomain;
use crate::pathset::PublicKey;

/// Who the element is, and whom it believes.
#[derive(Clone, Debug)]
pub struct FollowerConfig {
    /// Its domain.
    pub domain: TrustDomain,
    /// Its name in the path set.
    pub element: String,
    /// The domain's path-signing key.
    pub path_key: PublicKey,
    /// The profiles that it speaks.
    pub profiles: Vec<Profile>,
    /// Random: which life of the element this is.
    pub life: Life,
    /// Random: spreads the dials of many elements.
    pub jitter_seed: u64,
}

/// What the element's disk remembers over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The version that it runs; 0 for none.
    pub active: PathVersion,
    /// The highest version that it has seen; 0 for none.
    pub highest: PathVersion,
    /// [`Documents::fingerprint`] of that one.
    pub fingerprint: [u8; 32],
}

impl Default for Held {
    /// What a new element remembers.
    fn default() -> Held {
        Held { active: PathVersion(0), highest: PathVersion(0), fingerprint: [0; 32] }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// None; the next dial is at this time.
    Waiting(Instant),
    /// Being made.
    Dialing,
    /// HELLO is said, WELCOME awaited until this time.
    Greeting(Instant),
    /// Control has answered.
    Following,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The element builds it.
    Building,
    /// It is built, and was acknowledged.
    Staged,
}

#[derive(Clone, Copy, Debug)]
struct Staging {
    version: PathVersion,
    stage: Stage,
    since: Instant,
}

/// An element's end. One connection at a time.
#[derive(Debug)]
pub struct Follower {
    config: FollowerConfig,
    held: Held,
    staging: Option<Staging>,
    /// The version that the element is changing to.
    activating: Option<PathVersion>,
    connection: Connection,
    failures: u32,
    heard: Instant,
    said: Instant,
    jitter: u64,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<FollowerEvent>,
}

impl Follower {
    /// An element that begins, with what its disk remembers.
    pub fn new(now: Instant, config: FollowerConfig, held: Held) -> Follower {
        let jitter = config.jitter_seed | 1;
        Follower {
            config,
            held,
            staging: None,
            activating: None,
            connection: Connection::Waiting(now),
            failures: 0,
            heard: now,
            said: now,
            jitter,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What has to be on disk before [`FollowerEvent::Stage`] is carried out, and after [`Follower::activated`].
    pub fn held(&self) -> Held {
        self.held
    }

    /// What ran cannot be run any more: the element has nothing, whatever it had.
    pub fn lost_active(&mut self) {
        self.held.active = PathVersion(0);
    }

    /// Whether control has answered on the connection of now.
    pub fn is_following(&self) -> bool {
        self.connection == Connection::Following
    }

    /// When control said something last.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// The version that is on its way here, and whether it is staged.
    pub fn staging(&self) -> Option<(PathVersion, bool)> {
        self.staging.map(|staging| (staging.version, staging.stage == Stage::Staged))
    }

    /// The connection stands, and control is authenticated.
    pub fn connected(&mut self, now: Instant) {
        self.transmits.clear();
        self.connection = Connection::Greeting(now + PDP_GREETING_WITHIN);
        (self.heard, self.said) = (now, now);
        let Held { active, highest, .. } = self.held;
        let life = self.config.life;
        self.say(now, &Message::Hello { protocol: PROTOCOL, life, active, highest });
    }

    /// The connection is lost, or could not be had.
    pub fn disconnected(&mut self, now: Instant) {
        if self.is_following() {
            self.failures = 0;
        }
        let wait = PDP_REDIAL_FIRST.saturating_mul(1 << self.failures.min(10)).min(PDP_REDIAL_MOST);
        self.failures = self.failures.saturating_add(1);
        // Half of each wait is random, so that elements do not come all at once when control is back.
        let wait = wait / 2 + wait.mul_f64(self.random() / 2.0);
        self.connection = Connection::Waiting(now + wait);
    }

    /// A message of control, without its length.
    pub fn handle_message(&mut self, now: Instant, now_unix_s: u64, bytes: &[u8]) {
        if matches!(self.connection, Connection::Waiting(_) | Connection::Dialing) {
            return;
        }
        self.heard = now;
        let Ok(message) = Message::decode(bytes) else {
            return self.hang_up(now, CloseReason::Violation);
        };
        match (message, self.connection) {
            (Message::Close { reason }, _) => self.closed(now, reason),
            (
                Message::Welcome { protocol, now_unix_ms, committed, .. },
                Connection::Greeting(_),
            ) => {
                if protocol != PROTOCOL {
                    return self.hang_up(now, CloseReason::Protocol);
                }
                self.connection = Connection::Following;
                self.events.push_back(FollowerEvent::Greeted { now_unix_ms, committed });
            }
            (message, Connection::Following) => self.heed(now, now_unix_s, message),
            _ => self.hang_up(now, CloseReason::Violation),
        }
    }

    fn heed(&mut self, now: Instant, now_unix_s: u64, message: Message) {
        match message {
            Message::Offer { version, offer, documents } => {
                self.offered(now, now_unix_s, version, offer, documents);
            }
            Message::Activate { version } => self.told_to_activate(now, version),
            Message::Abandon { version } => self.told_to_abandon(version),
            Message::Lease { signed } => self.events.push_back(FollowerEvent::Lease(signed)),
            Message::Certificate { number, not_after_unix_s, chain } => {
                let detail = String::new();
                self.events.push_back(FollowerEvent::Certificate {
                    number,
                    chain,
                    not_after_unix_s,
                    detail,
                });
            }
            Message::Refused { number, detail } => {
                let (chain, not_after_unix_s) = (Vec::new(), 0);
                self.events.push_back(FollowerEvent::Certificate {
                    number,
                    chain,
                    not_after_unix_s,
                    detail,
                });
            }
            Message::Bundle { roots, crls, path_key } => {
                self.events.push_back(FollowerEvent::Bundle { roots, crls, path_key });
            }
            Message::Heartbeat => {}
            // What only elements say, and a second WELCOME.
            _ => self.hang_up(now, CloseReason::Violation),
        }
    }

    /// Asks for a lease. Whether control can be asked now.
    pub fn request_lease(&mut self, now: Instant, digest: PathDigest) -> bool {
        let following = self.is_following();
        if following {
            self.say(now, &Message::LeaseRequest { digest });
        }
        following
    }

    /// Asks for a certificate. Whether control can be asked now.
    pub fn request_certificate(
        &mut self,
        now: Instant,
        number: u32,
        usage: Usage,
        request: Vec<u8>,
    ) -> bool {
        let following = self.is_following();
        if following {
            self.say(now, &Message::CertificateRequest { number, usage, request });
        }
        following
    }

    /// The path-signing key that counts from now on.
    pub fn set_path_key(&mut self, key: PublicKey) {
        self.config.path_key = key;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let forgotten = |staging: &mut Staging| {
            staging.stage == Stage::Staged && now >= staging.since + PDP_STAGED_FOR
        };
        if let Some(staging) = self.staging.take_if(forgotten) {
            self.events.push_back(FollowerEvent::Abandon(staging.version));
        }
        match self.connection {
            Connection::Waiting(until) if now >= until => {
                self.connection = Connection::Dialing;
                self.events.push_back(FollowerEvent::Dial);
            }
            Connection::Greeting(until) if now >= until => {
                self.hang_up(now, CloseReason::Silent);
            }
            Connection::Following if now >= self.heard + PDP_SILENT_AFTER => {
                self.hang_up(now, CloseReason::Silent);
            }
            Connection::Following if now >= self.said + PDP_HEARTBEAT_EVERY => {
                self.say(now, &Message::Heartbeat);
            }
            _ => {}
        }
    }

    /// When [`Follower::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let staged = self.staging.filter(|staging| staging.stage == Stage::Staged);
        let staged = staged.map(|staging| staging.since + PDP_STAGED_FOR);
        let connection = match self.connection {
            Connection::Waiting(until) | Connection::Greeting(until) => Some(until),
            Connection::Dialing => None,
            Connection::Following => {
                Some((self.said + PDP_HEARTBEAT_EVERY).min(self.heard + PDP_SILENT_AFTER))
            }
        };
        [staged, connection].into_iter().flatten().min()
    }

    /// The next message to send on the connection, its length in front.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    /// The next thing to do. Transmits that came before a [`FollowerEvent::HangUp`] are still worth sending.
    pub fn poll_event(&mut self) -> Option<FollowerEvent> {
        self.events.pop_front()
    }

    fn nack(&mut self, now: Instant, version: PathVersion, reason: Nack) {
        self.say(now, &Message::Nack { version, reason, detail: reason.to_string() });
    }

    fn say(&mut self, now: Instant, message: &Message) {
        if matches!(self.connection, Connection::Greeting(_) | Connection::Following)
            && self.transmits.len() < PDP_TRANSMITS
        {
            self.said = now;
            self.transmits.push_back(message.encode());
        }
    }

    fn hang_up(&mut self, now: Instant, reason: CloseReason) {
        self.say(now, &Message::Close { reason });
        self.closed(now, reason);
    }

    fn closed(&mut self, now: Instant, reason: CloseReason) {
        self.events.push_back(FollowerEvent::HangUp(reason));
        // Being told to go is no failure of the connection, but a reason to wait longer with each.
        let kept = self.failures;
        self.disconnected(now);
        self.failures = kept.saturating_add(1);
    }

    /// From 0 to 1 (xorshift64).
    fn random(&mut self) -> f64 {
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        (self.jitter >> 11) as f64 / (1u64 << 53) as f64
    }
}
