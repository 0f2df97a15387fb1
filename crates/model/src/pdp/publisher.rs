//! Control's end of the protocol, for all elements of a domain (`docs/pdp.md`, "Control").

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::PROTOCOL;
use super::documents::Documents;
use super::message::{Life, Message, Usage};
use super::reason::{CloseReason, Nack};
use crate::ids::{PathDigest, PathVersion};
use crate::limits::{
    PDP_ACTIVATE_WITHIN, PDP_GREETING_WITHIN, PDP_HEARTBEAT_EVERY, PDP_MESSAGE_BYTES,
    PDP_REISSUE_EVERY, PDP_REOFFER_AFTER, PDP_SILENT_AFTER, PDP_STAGE_WITHIN, PDP_TRANSMITS,
};

/// One connection of one element, numbered by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What happens to a version while elements are away or silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    /// The others go on, and it gets the version when it is back. Until then its paths fail closed.
    #[default]
    GoOn,
    /// The version is abandoned.
    Refuse,
}

/// How control goes about it.
#[derive(Clone, Copy, Debug)]
pub struct PublisherConfig {
    /// Random: which life of control this is.
    pub life: Life,
    /// What happens to a version while elements are away.
    pub absent: Absent,
}

/// A version that is to be distributed.
#[derive(Clone, Debug)]
pub struct Published {
    version: PathVersion,
    /// The encoded OFFER while it is proposed, and once it counts.
    offers: [Arc<[u8]>; 2],
    members: BTreeSet<String>,
    /// Those that activate it when all others have.
    last: BTreeSet<String>,
}

/// How far an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has no session.
    Away,
    /// It has one, and nothing is under way.
    Idle,
    /// A version was offered.
    Offered,
    /// It has staged the version.
    Staged,
    /// It was told to activate it.
    Activating,
    /// It runs the version that counts.
    Current,
}

/// What control has to do, or what has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublisherEvent {
    /// Everybody who has to has staged the version: write down that it counts, then [`Publisher::committed`].
    Commit(PathVersion),
    /// The version that was proposed does not come to count; the one before goes on.
    Rejected {
        /// Which.
        version: PathVersion,
        /// Who refused, and why.
        nacks: Vec<(String, Nack, String)>,
        /// Who did not answer.
        missing: Vec<String>,
    },
    /// Every element of the version that has a session runs it.
    Activated {
        /// Which.
        version: PathVersion,
        /// Elements that have no session, and get it when they come.
        away: Vec<String>,
    },
    /// An element has not activated the version that counts in time, or refuses it.
    Behind {
        /// Which element.
        element: String,
        /// The version.
        version: PathVersion,
        /// What it said.
        nack: Option<(Nack, String)>,
    },
    /// An element has seen a higher version than counts: the same documents must be signed under one that is higher
    /// still, and [`Publisher::reissue`] be called with it.
    Reissue {
        /// Which element.
        element: String,
        /// What it has seen.
        seen: PathVersion,
    },
    /// An element has come.
    Joined {
        /// Which.
        element: String,
        /// The version that it runs; 0 for none.
        active: PathVersion,
    },
    /// An element's session is over.
    Left {
        /// Which.
        element: String,
    },
    /// An element asks for a lease; answered with [`Publisher::answer`].
    LeaseRequest {
        /// Its session.
        session: SessionId,
        /// Which.
        element: String,
        /// The path.
        digest: PathDigest,
    },
    /// An element asks for a certificate; answered with [`Publisher::answer`].
    CertificateRequest {
        /// Its session.
        session: SessionId,
        /// Which.
        element: String,
        /// Comes back in the answer.
        number: u32,
        /// What for.
        usage: Usage,
        /// PKCS #10 in DER.
        request: Vec<u8>,
    },
    /// Hang up, after what waits to be sent.
    HangUp {
        /// Which.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
}

#[derive(Debug)]
struct Peer {
    session: SessionId,
    greeted: bool,
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

#[derive(Debug)]
struct Proposal {
    published: Published,
    deadline: Instant,
    nacks: Vec<(String, Nack, String)>,
    /// Who could not agree on keys: no reason against it where a neighbour is away.
    keyless: Vec<(String, Nack, String)>,
    /// Commit was asked for.
    committing: bool,
}

/// Control's end, for all elements.
#[derive(Debug)]
pub struct Publisher {
    config: PublisherConfig,
    committed: Option<Published>,
    proposal: Option<Proposal>,
    peers: BTreeMap<String, Peer>,
    /// Whether [`PublisherEvent::Activated`] is still to be told.
    untold: bool,
    reissued: Option<Instant>,
    transmits: VecDeque<(SessionId, Arc<[u8]>)>,
    events: VecDeque<PublisherEvent>,
}

impl Published {
    /// A version with the elements that are in it; those in `last` activate it when all others have. `None` when the
    /// documents are longer than a message may be.
    pub fn new(
        version: PathVersion,
        documents: Documents,
        members: impl IntoIterator<Item = String>,
        last: impl IntoIterator<Item = String>,
    ) -> Option<Published> {
        let documents = Box::new(documents);
        let offer = |counts, documents| Message::Offer { version, counts, documents }.encode();
        let offers = [offer(false, documents.clone()), offer(true, documents)];
        let fits = |offer: &Vec<u8>| {
            offer.len() <= PDP_MESSAGE_BYTES && Message::decode(&offer[4..]).is_ok()
        };
        if !offers.iter().all(fits) {
            return None;
        }
        let (members, last) = (members.into_iter().collect(), last.into_iter().collect());
        Some(Published { version, offers: offers.map(Arc::from), members, last })
    }

    /// Its version.
    pub fn version(&self) -> PathVersion {
        self.version
    }
}

impl Publisher {
    /// Control that begins, with the version that counted when it ended.
    pub fn new(config: PublisherConfig, committed: Option<Published>) -> Publisher {
        Publisher {
            config,
            committed,
            proposal: None,
            peers: BTreeMap::new(),
            untold: true,
            reissued: None,
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

    /// How far every element is that belongs to the version that counts or has a session, and what it runs.
    pub fn progress(&self) -> Vec<(String, Progress, PathVersion)> {
        let members = self.committed.iter().flat_map(|published| published.members.iter());
        let names: BTreeSet<&String> = members.chain(self.peers.keys()).collect();
        let version = self.version();
        let of = |name: &String| {
            let Some(peer) = self.peers.get(name) else { return (Progress::Away, PathVersion(0)) };
            let progress = match peer.offered {
                Some((_, Answer::Awaited)) => Progress::Offered,
                Some((_, Answer::Acked)) => Progress::Staged,
                Some((_, Answer::Activating(_) | Answer::Late)) => Progress::Activating,
                _ if peer.active == version => Progress::Current,
                _ => Progress::Idle,
            };
            (progress, peer.active)
        };
        let line = |name: &String| {
            let (progress, active) = of(name);
            (name.clone(), progress, active)
        };
        names.into_iter().map(line).collect()
    }

    /// An element has connected, authenticated as this one.
    pub fn connected(&mut self, now: Instant, session: SessionId, element: &str) {
        let peer = Peer {
            session,
            greeted: false,
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
        self.peers.remove(element);
        self.events.push_back(PublisherEvent::Left { element: element.to_owned() });
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
        let welcome = Message::Welcome { protocol: PROTOCOL, life, now_unix_ms, committed };
        self.send(now, element, &welcome);
        let active = self.peers.get(element).map_or(PathVersion(0), |peer| peer.active);
        self.events.push_back(PublisherEvent::Joined { element: element.to_owned(), active });
        self.bring_up(now, element);
        self.offer_proposal(now, element);
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
            Message::Heartbeat => {}
            // What only control says, and a second HELLO.
            _ => self.hang_up(now, session, CloseReason::Violation),
        }
    }

    /// Brings an element to the version that counts, unless it is there.
    fn bring_up(&mut self, now: Instant, element: &str) {
        let Some(committed) = &self.committed else { return };
        let Some(peer) = self.peers.get_mut(element).filter(|peer| peer.greeted) else { return };
        let (version, offer) = (committed.version, committed.offers[1].clone());
        let under_way = peer.offered.is_some_and(|(offered, answer)| {
            offered == version && !matches!(answer, Answer::Nacked(_))
        });
        if !committed.members.contains(element) || peer.active == version || under_way {
            return;
        }
        if peer.highest > version {
            let seen = peer.highest;
            let soon = self.reissued.is_some_and(|last| now < last + PDP_REISSUE_EVERY);
            // A version that is being staged may be what it has seen, and settles it.
            if !soon && self.proposal.is_none() {
                self.reissued = Some(now);
                let element = element.to_owned();
                self.events.push_back(PublisherEvent::Reissue { element, seen });
            }
            return;
        }
        peer.offered = Some((version, Answer::Awaited));
        self.untold = true;
        self.send_bytes(now, element, offer);
    }

    /// Proposes a version: it comes to count once those who have to have staged it. One that is being staged is
    /// abandoned for it.
    pub fn propose(&mut self, now: Instant, published: Published) {
        self.drop_proposal(now, Vec::new());
        let deadline = now + PDP_STAGE_WITHIN;
        let (nacks, keyless, committing) = (Vec::new(), Vec::new(), false);
        self.proposal = Some(Proposal { published, deadline, nacks, keyless, committing });
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            self.offer_proposal(now, &element);
        }
        self.weigh(now);
    }

    fn offer_proposal(&mut self, now: Instant, element: &str) {
        let Some(Proposal { published, keyless, committing: false, .. }) = &mut self.proposal
        else {
            return;
        };
        keyless.retain(|(other, ..)| other != element);
        let Some(peer) = self.peers.get_mut(element).filter(|peer| peer.greeted) else { return };
        if !published.members.contains(element) {
            return;
        }
        peer.offered = Some((published.version, Answer::Awaited));
        let offer = published.offers[0].clone();
        self.send_bytes(now, element, offer);
    }

    fn acked(&mut self, now: Instant, element: &str, version: PathVersion) {
        let committed = self.version();
        let Some(peer) = self.peers.get_mut(element) else { return };
        let Some((offered, answer)) = &mut peer.offered else { return };
        if *offered != version || *answer != Answer::Awaited {
            return;
        }
        peer.highest = peer.highest.max(version);
        *answer = Answer::Acked;
        match version == committed {
            true => self.activate(now),
            false => self.weigh(now),
        }
    }

    /// Tells those that have staged the version that counts to activate it, the last ones after all others.
    fn activate(&mut self, now: Instant) {
        let Some(Published { version, last, .. }) = &self.committed else { return };
        let version = *version;
        let of_version = |peer: &Peer| {
            peer.offered.filter(|(offered, _)| *offered == version).map(|(_, answer)| answer)
        };
        let acked = |peer: &Peer| of_version(peer) == Some(Answer::Acked);
        let first = |name: &String| !last.contains(name);
        let ready: Vec<String> = self
            .peers
            .iter()
            .filter(|(_, peer)| acked(peer))
            .map(|(name, _)| name.clone())
            .collect();
        let (first_ready, last_ready): (Vec<_>, Vec<_>) = ready.into_iter().partition(first);
        let under_way = |(name, peer): (&String, &Peer)| {
            first(name) && matches!(of_version(peer), Some(Answer::Activating(_) | Answer::Awaited))
        };
        let wait = !first_ready.is_empty() || self.peers.iter().any(under_way);
        let now_ready = if wait { first_ready } else { last_ready };
        for element in now_ready {
            if let Some(peer) = self.peers.get_mut(&element) {
                peer.offered = Some((version, Answer::Activating(now)));
            }
            self.send(now, &element, &Message::Activate { version });
        }
    }

    fn nacked(
        &mut self,
        now: Instant,
        element: &str,
        version: PathVersion,
        reason: Nack,
        detail: String,
    ) {
        let Some(peer) = self.peers.get_mut(element) else { return };
        if peer.offered.is_none_or(|(offered, _)| offered != version) {
            return;
        }
        peer.offered = Some((version, Answer::Nacked(now)));
        let proposal = self.proposal.as_mut().filter(|p| p.published.version == version);
        match proposal {
            Some(proposal) => {
                let excused = reason == Nack::NoKeys && self.config.absent == Absent::GoOn;
                let nacks = if excused { &mut proposal.keyless } else { &mut proposal.nacks };
                nacks.push((element.to_owned(), reason, detail));
                self.weigh(now);
            }
            None => {
                let (element, nack) = (element.to_owned(), Some((reason, detail)));
                self.events.push_back(PublisherEvent::Behind { element, version, nack });
                self.activate(now);
                self.tell_activated();
            }
        }
    }

    fn activated(&mut self, now: Instant, element: &str, version: PathVersion) {
        let Some(peer) = self.peers.get_mut(element) else { return };
        peer.active = version;
        peer.highest = peer.highest.max(version);
        if peer.offered.is_some_and(|(offered, _)| offered == version) {
            peer.offered = None;
        }
        self.activate(now);
        self.tell_activated();
    }

    /// Whether the version that is being staged comes to count, does not, or has to wait.
    fn weigh(&mut self, now: Instant) {
        let Some(proposal) = &mut self.proposal else { return };
        if proposal.committing {
            return;
        }
        let nacks = std::mem::take(&mut proposal.nacks);
        if !nacks.is_empty() {
            return self.drop_proposal(now, nacks);
        }
        let version = proposal.published.version;
        let late = now >= proposal.deadline;
        let answer = |name: &String| {
            let peer = self.peers.get(name).filter(|peer| peer.greeted);
            peer.and_then(|peer| peer.offered).filter(|(offered, _)| *offered == version)
        };
        let keyless = |name: &String| proposal.keyless.iter().any(|(other, ..)| other == name);
        let acked =
            |name: &String| matches!(answer(name), Some((_, Answer::Acked))) || keyless(name);
        let missing: Vec<String> =
            proposal.published.members.iter().filter(|name| !acked(name)).cloned().collect();
        let connected = missing.iter().any(|name| answer(name).is_some());
        match self.config.absent {
            Absent::GoOn if missing.is_empty() && !proposal.keyless.is_empty() => {
                // Everybody is there: it is not for one who is away that keys are missing.
                let nacks = std::mem::take(&mut proposal.keyless);
                self.drop_proposal(now, nacks);
            }
            Absent::GoOn if !connected || late => {
                proposal.committing = true;
                self.events.push_back(PublisherEvent::Commit(version));
                // Who is connected and silent is taken for dead; it may come again.
                for name in missing {
                    if let Some(peer) = self.peers.get(&name) {
                        let session = peer.session;
                        self.hang_up(now, session, CloseReason::Silent);
                    }
                }
            }
            Absent::Refuse if missing.is_empty() => {
                proposal.committing = true;
                self.events.push_back(PublisherEvent::Commit(version));
            }
            Absent::Refuse if late => self.drop_proposal_of(now, Vec::new(), missing),
            _ => {}
        }
    }

    fn drop_proposal(&mut self, now: Instant, nacks: Vec<(String, Nack, String)>) {
        self.drop_proposal_of(now, nacks, Vec::new());
    }

    fn drop_proposal_of(
        &mut self,
        now: Instant,
        nacks: Vec<(String, Nack, String)>,
        missing: Vec<String>,
    ) {
        let Some(proposal) = self.proposal.take() else { return };
        let version = proposal.published.version;
        self.events.push_back(PublisherEvent::Rejected { version, nacks, missing });
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            let Some(peer) = self.peers.get_mut(&element) else { continue };
            if let Some((_, answer)) = peer.offered.take_if(|(offered, _)| *offered == version) {
                // It has seen the version, whatever comes of it.
                peer.highest = peer.highest.max(version);
                if !matches!(answer, Answer::Nacked(_)) {
                    self.send(now, &element, &Message::Abandon { version });
                }
            }
            self.bring_up(now, &element);
        }
    }

    /// The proposed version is written down as the one that counts: everybody who has staged it activates it.
    pub fn committed(&mut self, now: Instant, version: PathVersion) {
        let proposed = |proposal: &mut Proposal| proposal.published.version == version;
        let Some(proposal) = self.proposal.take_if(proposed) else { return };
        self.committed = Some(proposal.published);
        self.untold = true;
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            self.bring_up(now, &element);
        }
        self.activate(now);
        self.tell_activated();
    }

    /// What is proposed does not come to count.
    pub fn withdraw(&mut self, now: Instant) {
        self.drop_proposal(now, Vec::new());
    }

    /// The documents that count, signed under a higher version. They count at once: nothing in them is new.
    pub fn reissue(&mut self, now: Instant, published: Published) {
        if published.version <= self.version() {
            return;
        }
        self.committed = Some(published);
        self.untold = true;
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            self.bring_up(now, &element);
        }
    }

    fn tell_activated(&mut self) {
        let Some(committed) = &self.committed else { return };
        let version = committed.version;
        let of = |name: &String| self.peers.get(name).filter(|peer| peer.greeted);
        let members = || committed.members.iter();
        let nacked = |peer: &Peer| matches!(peer.offered, Some((offered, Answer::Nacked(_))) if offered == version);
        let done = |peer: &Peer| peer.active == version || nacked(peer);
        let all_done = members().filter_map(of).all(done);
        let nobody = members().filter_map(of).next().is_none();
        if self.untold && all_done && !nobody {
            self.untold = false;
            let away = members().filter(|name| of(name).is_none()).cloned().collect();
            self.events.push_back(PublisherEvent::Activated { version, away });
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

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let committed = self.version();
        let elements: Vec<String> = self.peers.keys().cloned().collect();
        for element in elements {
            let Some(peer) = self.peers.get_mut(&element) else { continue };
            let session = peer.session;
            let dead = match peer.greeted {
                false => now >= peer.since + PDP_GREETING_WITHIN,
                true => now >= peer.heard + PDP_SILENT_AFTER,
            };
            if dead {
                self.hang_up(now, session, CloseReason::Silent);
                continue;
            }
            if let Some((version, Answer::Activating(since))) = peer.offered
                && now >= since + PDP_ACTIVATE_WITHIN
            {
                peer.offered = Some((version, Answer::Late));
                let (element, nack) = (element.clone(), None);
                self.events.push_back(PublisherEvent::Behind { element, version, nack });
                self.activate(now);
            }
            let again = |(version, answer): &mut (PathVersion, Answer)| {
                let at = match *answer {
                    Answer::Nacked(at) => at,
                    _ => return false,
                };
                *version == committed && now >= at + PDP_REOFFER_AFTER
            };
            let Some(peer) = self.peers.get_mut(&element) else { continue };
            let _asked_again = peer.offered.take_if(again);
            if peer.offered.is_none() {
                // What it could not be given before may be there now.
                self.bring_up(now, &element);
            }
            let Some(peer) = self.peers.get(&element) else { continue };
            if peer.greeted && now >= peer.said + PDP_HEARTBEAT_EVERY {
                self.send(now, &element, &Message::Heartbeat);
            }
        }
        self.weigh(now);
    }

    /// When [`Publisher::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_peer = |peer: &Peer| match peer.greeted {
            false => peer.since + PDP_GREETING_WITHIN,
            true => {
                let alive = (peer.heard + PDP_SILENT_AFTER).min(peer.said + PDP_HEARTBEAT_EVERY);
                match peer.offered {
                    Some((_, Answer::Activating(since))) => alive.min(since + PDP_ACTIVATE_WITHIN),
                    Some((version, Answer::Nacked(at))) if version == self.version() => {
                        alive.min(at + PDP_REOFFER_AFTER)
                    }
                    _ => alive,
                }
            }
        };
        let proposal = self.proposal.as_ref().filter(|proposal| !proposal.committing);
        let deadline = proposal.map(|proposal| proposal.deadline);
        self.peers.values().map(of_peer).chain(deadline).min()
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
