//! An element's end of the protocol (`docs/pdp.md`, "The element"): its connection, one at a time, and what it asks for.

mod event;
mod held;
mod looks;
mod staging;
mod timers;

pub use self::event::FollowerEvent;
pub use self::held::{FollowerConfig, Held};

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::PROTOCOL;
use super::message::{Message, Usage};
use super::reason::{CloseReason, Nack};
use crate::ids::{PathDigest, PathVersion};
use crate::limits::{PDP_GREETING_WITHIN, PDP_REDIAL_FIRST, PDP_REDIAL_MOST, PDP_TRANSMITS};
use crate::pathset::PublicKey;

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
    /// The version of the protocol that the session speaks.
    protocol: u8,
    failures: u32,
    /// Questions about packets, and until when control waits for the answers.
    looks: BTreeMap<u32, Instant>,
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
            protocol: PROTOCOL,
            failures: 0,
            looks: BTreeMap::new(),
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
        self.looks.clear();
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
                if !(1..=PROTOCOL).contains(&protocol) {
                    return self.hang_up(now, CloseReason::Protocol);
                }
                self.protocol = protocol;
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
            Message::Absent { version, elements } => {
                if self.staging.is_some_and(|staging| staging.version == version) {
                    self.events.push_back(FollowerEvent::Absent { version, elements });
                }
            }
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
            Message::Look { number, look } => self.asked(now, number, look),
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
