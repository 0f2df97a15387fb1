//! Control's end of the protocol, for all elements of a domain (`docs/pdp.md`, "Control"): their sessions, and what each
//! is sent.

mod activation;
mod event;
mod looks;
mod proposal;
mod published;
mod standing;
mod timers;

pub use self::event::{Absent, PublisherConfig, PublisherEvent, SessionId};
use self::looks::Looking;
use self::proposal::Proposal;
pub use self::proposal::Proposing;
pub use self::published::Published;
use self::standing::Known;
pub use self::standing::{Progress, Refusal, Standing};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::PROTOCOL;
use super::message::Message;
use super::reason::CloseReason;
use crate::ids::PathVersion;
use crate::limits::PDP_TRANSMITS;

#[derive(Debug)]
struct Peer {
    session: SessionId,
    greeted: bool,
    /// The version of the protocol that its session speaks.
    protocol: u8,
    since: Instant,
    heard: Instant,
    said: Instant,
    active: PathVersion,
    highest: PathVersion,
    /// The version that was offered in this session, and what came of it.
    offered: Option<(PathVersion, Answer)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Awaited,
    Acked,
    /// Refused, at this time.
    Nacked(Instant),
    /// ACTIVATE was sent, at this time.
    Activating(Instant),
    /// The same, and somebody was told that it takes long.
    Late,
}

/// Control's end, for all elements.
#[derive(Debug)]
pub struct Publisher {
    config: PublisherConfig,
    committed: Option<Published>,
    proposal: Option<Proposal>,
    peers: BTreeMap<String, Peer>,
    /// Elements that had a session.
    known: BTreeMap<String, Known>,
    /// What each refused last.
    refusals: BTreeMap<String, Refusal>,
    /// Whether [`PublisherEvent::Activated`] is still to be told.
    untold: bool,
    reissued: Option<Instant>,
    /// Questions about packets that are not answered yet.
    looks: BTreeMap<u32, Looking>,
    last_look: u32,
    transmits: VecDeque<(SessionId, Arc<[u8]>)>,
    events: VecDeque<PublisherEvent>,
}

impl Publisher {
    /// Control that begins, with the version that counted when it ended.
    pub fn new(config: PublisherConfig, committed: Option<Published>) -> Publisher {
        Publisher {
            config,
            committed,
            proposal: None,
            peers: BTreeMap::new(),
            known: BTreeMap::new(),
            refusals: BTreeMap::new(),
            untold: true,
            reissued: None,
            looks: BTreeMap::new(),
            last_look: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The version that counts; 0 for none.
    pub fn version(&self) -> PathVersion {
        self.committed.as_ref().map_or(PathVersion(0), |published| published.version)
    }

    /// The version that is being staged.
    pub fn proposed(&self) -> Option<PathVersion> {
        self.proposal.as_ref().map(|proposal| proposal.published.version)
    }

    /// An element has connected, authenticated as this one.
    pub fn connected(&mut self, now: Instant, session: SessionId, element: &str) {
        let peer = Peer {
            session,
            greeted: false,
            protocol: 0,
            since: now,
            heard: now,
            said: now,
            active: PathVersion(0),
            highest: PathVersion(0),
            offered: None,
        };
        if let Some(old) = self.peers.insert(element.to_owned(), peer) {
            self.send_to(old.session, &Message::Close { reason: CloseReason::Superseded });
            let reason = CloseReason::Superseded;
            self.events.push_back(PublisherEvent::HangUp { session: old.session, reason });
            self.unseen(element);
        }
    }

    /// A connection is lost.
    pub fn disconnected(&mut self, now: Instant, session: SessionId) {
        let Some(element) = self.element_of(session) else { return };
        self.leave(now, &element);
    }

    /// Ends the session of an element, e.g. because its certificate was revoked.
    pub fn hang_up(&mut self, now: Instant, session: SessionId, reason: CloseReason) {
        let Some(element) = self.element_of(session) else { return };
        self.send_to(session, &Message::Close { reason });
        self.events.push_back(PublisherEvent::HangUp { session, reason });
        self.leave(now, &element);
    }

    fn leave(&mut self, now: Instant, element: &str) {
        if let Some(peer) = self.peers.remove(element) {
            self.remember(element, &peer);
        }
        self.events.push_back(PublisherEvent::Left { element: element.to_owned() });
        self.unseen(element);
        self.tell_absent(now);
        self.weigh(now);
        self.activate(now);
        self.tell_activated();
    }

    /// A message of an element, without its length.
    pub fn handle_message(
        &mut self,
        now: Instant,
        now_unix_ms: u64,
        session: SessionId,
        bytes: &[u8],
    ) {
        let Some(element) = self.element_of(session) else { return };
        let Some(peer) = self.peers.get_mut(&element) else { return };
        peer.heard = now;
        match (Message::decode(bytes), peer.greeted) {
            (Ok(Message::Hello { protocol, active, highest, .. }), false) => {
                if protocol == 0 {
                    return self.hang_up(now, session, CloseReason::Protocol);
                }
                (peer.greeted, peer.active, peer.highest) = (true, active, highest);
                peer.protocol = protocol.min(PROTOCOL);
                self.greet(now, now_unix_ms, &element);
            }
            (Ok(Message::Close { .. }), _) => {
                let reason = CloseReason::Stopping;
                self.events.push_back(PublisherEvent::HangUp { session, reason });
                self.leave(now, &element);
            }
            (Ok(message), true) => self.heed(now, session, &element, message),
            _ => self.hang_up(now, session, CloseReason::Violation),
        }
    }

    fn greet(&mut self, now: Instant, now_unix_ms: u64, element: &str) {
        let (committed, life) = (self.version(), self.config.life);
        let protocol = self.peers.get(element).map_or(PROTOCOL, |peer| peer.protocol);
        let welcome = Message::Welcome { protocol, life, now_unix_ms, committed };
        self.send(now, element, &welcome);
        let active = self.peers.get(element).map_or(PathVersion(0), |peer| peer.active);
        self.events.push_back(PublisherEvent::Joined { element: element.to_owned(), active });
        self.bring_up(now, element);
        self.offer_proposal(now, element);
        self.tell_absent(now);
        self.tell_activated();
    }

    fn heed(&mut self, now: Instant, session: SessionId, element: &str, message: Message) {
        let element_name = || element.to_owned();
        match message {
            Message::Ack { version } => self.acked(now, element, version),
            Message::Nack { version, reason, detail } => {
                self.nacked(now, element, version, reason, detail);
            }
            Message::Activated { version } => self.activated(now, element, version),
            Message::LeaseRequest { digest } => {
                let element = element_name();
                self.events.push_back(PublisherEvent::LeaseRequest { session, element, digest });
            }
            Message::CertificateRequest { number, usage, request } => {
                let element = element_name();
                self.events.push_back(PublisherEvent::CertificateRequest {
                    session,
                    element,
                    number,
                    usage,
                    request,
                });
            }
            Message::Seen { number, seen } => self.seen(element, number, seen),
            Message::Heartbeat => {}
            // What only control says, and a second HELLO.
            _ => self.hang_up(now, session, CloseReason::Violation),
        }
    }

    /// Sends a message to one element, if it has a session.
    pub fn tell(&mut self, now: Instant, element: &str, message: &Message) {
        self.send(now, element, message);
    }

    /// Sends what an element asked for.
    pub fn answer(&mut self, now: Instant, session: SessionId, message: &Message) {
        if let Some(element) = self.element_of(session) {
            self.send(now, &element, message);
        }
    }

    /// Sends a message to every element.
    pub fn tell_all(&mut self, now: Instant, message: &Message) {
        let greeted = self.peers.iter().filter(|(_, peer)| peer.greeted);
        let elements: Vec<String> = greeted.map(|(element, _)| element.clone()).collect();
        for element in elements {
            self.send(now, &element, message);
        }
    }

    /// The next message to send, its length in front.
    pub fn poll_transmit(&mut self) -> Option<(SessionId, Arc<[u8]>)> {
        self.transmits.pop_front()
    }

    /// The next thing to do. Transmits that came before a [`PublisherEvent::HangUp`] are still worth sending.
    pub fn poll_event(&mut self) -> Option<PublisherEvent> {
        self.events.pop_front()
    }

    fn element_of(&self, session: SessionId) -> Option<String> {
        let found = self.peers.iter().find(|(_, peer)| peer.session == session);
        found.map(|(element, _)| element.clone())
    }

    fn send(&mut self, now: Instant, element: &str, message: &Message) {
        self.send_bytes(now, element, message.encode().into());
    }

    fn send_bytes(&mut self, now: Instant, element: &str, bytes: Arc<[u8]>) {
        let most = PDP_TRANSMITS * self.peers.len().max(1);
        if let Some(peer) = self.peers.get_mut(element)
            && self.transmits.len() < most
        {
            peer.said = now;
            self.transmits.push_back((peer.session, bytes));
        }
    }

    /// To a session that is not an element's any more.
    fn send_to(&mut self, session: SessionId, message: &Message) {
        self.transmits.push_back((session, message.encode().into()));
    }
}
