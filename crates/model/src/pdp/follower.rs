//! An element's end of the protocol (`docs/pdp.md`, "The element").

use std::collections::VecDeque;
use std::time::Instant;

use super::PROTOCOL;
use super::documents::{DocumentError, Documents};
use super::message::{Life, Message, Usage};
use super::reason::{CloseReason, Nack};
use crate::domain::Profile;
use crate::ids::{PathDigest, PathVersion};
use crate::limits::{
    PDP_GREETING_WITHIN, PDP_HEARTBEAT_EVERY, PDP_REDIAL_FIRST, PDP_REDIAL_MOST, PDP_SILENT_AFTER,
    PDP_STAGED_FOR, PDP_TRANSMITS,
};
use crate::names::TrustDomain;
use crate::pathset::{Expected, PathSet, PublicKey, VerifyError};

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

/// What the element has to do, or has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowerEvent {
    /// Connect to control; then [`Follower::connected`] or [`Follower::disconnected`].
    Dial,
    /// Hang up; nothing of this connection counts any more.
    HangUp(CloseReason),
    /// Control has answered.
    Greeted {
        /// Control's clock, in milliseconds since 1970.
        now_unix_ms: u64,
        /// The version that counts.
        committed: PathVersion,
    },
    /// Remember [`Held`], then build this beside what runs; then [`Follower::staged`] or [`Follower::not_staged`].
    Stage {
        /// What control sent.
        documents: Box<Documents>,
        /// The path set in it.
        set: Box<PathSet>,
        /// Whether it counts already for everybody else.
        counts: bool,
    },
    /// Run what is staged; then [`Follower::activated`] or [`Follower::not_activated`].
    Activate(PathVersion),
    /// Forget what is staged, or being staged.
    Abandon(PathVersion),
    /// An offer was refused.
    Refused {
        /// The version.
        version: PathVersion,
        /// Why.
        reason: Nack,
    },
    /// A lease came.
    Lease(Vec<u8>),
    /// A certificate came that was asked for.
    Certificate {
        /// The number of the request.
        number: u32,
        /// X.509 in DER; none when control refused.
        chain: Vec<Vec<u8>>,
        /// Seconds since 1970 after which it does not hold.
        not_after_unix_s: u64,
        /// Why control refused.
        detail: String,
    },
    /// Whom to believe from now on.
    Bundle {
        /// Root certificates in DER.
        roots: Vec<Vec<u8>>,
        /// Revocation lists in DER.
        crls: Vec<Vec<u8>>,
        /// The path-signing key.
        path_key: [u8; 32],
    },
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
    /// The element changes to it.
    Activating,
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
            Message::Offer { version, counts, documents } => {
                self.offered(now, now_unix_s, version, counts, documents);
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

    fn offered(
        &mut self,
        now: Instant,
        now_unix_s: u64,
        version: PathVersion,
        counts: bool,
        documents: Box<Documents>,
    ) {
        let set = match self.judge(now_unix_s, version, &documents) {
            Ok(set) => set,
            Err((reason, detail)) => {
                self.events.push_back(FollowerEvent::Refused { version, reason });
                return self.say(now, &Message::Nack { version, reason, detail });
            }
        };
        if version == self.held.active {
            return self.say(now, &Message::Activated { version });
        }
        match self.staging {
            Some(Staging { version: same, stage, .. }) if same == version => {
                // The answer to the first one was lost; where it is being built, it is still to come.
                if stage == Stage::Staged {
                    self.say(now, &Message::Ack { version });
                }
                return;
            }
            Some(Staging { version: other, stage: Stage::Building | Stage::Staged, .. }) => {
                self.events.push_back(FollowerEvent::Abandon(other));
            }
            _ => {}
        }
        self.held.highest = version;
        self.held.fingerprint = documents.fingerprint();
        self.staging = Some(Staging { version, stage: Stage::Building, since: now });
        self.events.push_back(FollowerEvent::Stage { documents, set: Box::new(set), counts });
    }

    /// The path set of documents that count here.
    fn judge(
        &self,
        now_unix_s: u64,
        version: PathVersion,
        documents: &Documents,
    ) -> Result<PathSet, (Nack, String)> {
        let domain = &self.config.domain;
        let expected = Expected { domain, highest_version: self.held.highest, now_unix_s };
        let set = documents.verify(&self.config.path_key, &expected).map_err(|error| {
            let reason = match &error {
                DocumentError::DomainFile(_) | DocumentError::Paths(VerifyError::Signature) => {
                    Nack::Signature
                }
                DocumentError::Paths(VerifyError::Decode(_)) => Nack::Malformed,
                DocumentError::Paths(VerifyError::Domain(_)) => Nack::Domain,
                DocumentError::Paths(VerifyError::Older { .. }) => Nack::Older,
                DocumentError::Paths(VerifyError::NotYet(_)) => Nack::NotYet,
                DocumentError::Paths(VerifyError::Expired(_)) => Nack::Expired,
            };
            let detail = match &error {
                DocumentError::Paths(cause) => cause.to_string(),
                DocumentError::DomainFile(_) => error.to_string(),
            };
            (reason, detail)
        })?;
        let refuse = |reason: Nack| Err((reason, reason.to_string()));
        if set.version != version || version == PathVersion(0) {
            return refuse(Nack::Malformed);
        }
        if version == self.held.highest && documents.fingerprint() != self.held.fingerprint {
            return refuse(Nack::Conflict);
        }
        if !self.config.profiles.contains(&set.profile) {
            return refuse(Nack::Profile);
        }
        if set.element_named(&self.config.element).is_none() {
            return refuse(Nack::NotThere);
        }
        Ok(set)
    }

    fn told_to_activate(&mut self, now: Instant, version: PathVersion) {
        match &mut self.staging {
            Some(Staging { version: staged, stage, .. }) if *staged == version => match stage {
                Stage::Staged => {
                    *stage = Stage::Activating;
                    self.events.push_back(FollowerEvent::Activate(version));
                }
                Stage::Activating => {}
                Stage::Building => self.nack(now, version, Nack::NotStaged),
            },
            _ if version == self.held.active => self.say(now, &Message::Activated { version }),
            _ => self.nack(now, version, Nack::NotStaged),
        }
    }

    fn told_to_abandon(&mut self, version: PathVersion) {
        let waits = |staging: &mut Staging| {
            staging.version == version && staging.stage != Stage::Activating
        };
        if self.staging.take_if(waits).is_some() {
            self.events.push_back(FollowerEvent::Abandon(version));
        }
    }

    /// What [`FollowerEvent::Stage`] asked for is built.
    pub fn staged(&mut self, now: Instant, version: PathVersion) {
        let building = self.staging.as_mut().filter(|staging| staging.version == version);
        if let Some(staging) = building
            && staging.stage == Stage::Building
        {
            staging.stage = Stage::Staged;
            self.say(now, &Message::Ack { version });
        }
    }

    /// It cannot be built here: [`Nack::Unbuildable`] or [`Nack::NoKeys`].
    pub fn not_staged(&mut self, now: Instant, version: PathVersion, reason: Nack, detail: String) {
        let building =
            |staging: &mut Staging| staging.version == version && staging.stage == Stage::Building;
        if self.staging.take_if(building).is_some() {
            self.events.push_back(FollowerEvent::Refused { version, reason });
            self.say(now, &Message::Nack { version, reason, detail });
        }
    }

    /// What [`FollowerEvent::Activate`] asked for is what runs.
    pub fn activated(&mut self, now: Instant, version: PathVersion) {
        if self.staging.take_if(|staging| staging.version == version).is_some() {
            self.held.active = version;
            self.say(now, &Message::Activated { version });
        }
    }

    /// It could not be run; what ran before does.
    pub fn not_activated(&mut self, now: Instant, version: PathVersion, detail: String) {
        if self.staging.take_if(|staging| staging.version == version).is_some() {
            self.say(now, &Message::Nack { version, reason: Nack::NotActivated, detail });
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
