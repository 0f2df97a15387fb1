//! Two cores, a virtual clock, and messages that a test moves by hand.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ringmail_dataplane::keys::danger_wireshark_line;
use ringmail_dataplane::sa::{SegmentIndex, Suite};
use ringmail_dataplane::sap::message::{Hello, Installed, Offer};
use ringmail_dataplane::sap::{
    AgreedKey, AllocateSpi, BootId, Config, Event, ExportFailed, Exporter, Lease, LeaseError,
    Message, Now, Opener, PathKey, Place, Profile, Sap, SegmentView, SessionId, SignedLease, Use,
    Violation,
};
use ringmail_model::{ElementId, PathDigest, PathId, SaSpi, WorkerId};

pub(super) const START_UNIX_S: u64 = 1_800_000_000;
pub(super) const LEASE_S: u64 = 60;

/// The domain's path-signing key of all tests.
pub(super) fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
}

pub(super) fn path_key() -> PathKey {
    PathKey(signer().public_key().as_ref().try_into().unwrap())
}

pub(super) fn sign(lease: Lease) -> SignedLease {
    lease.signed(signer().sign(&lease.signed_bytes()).as_ref().try_into().unwrap())
}

pub(super) fn digest(path: u32) -> PathDigest {
    PathDigest([path as u8; 32])
}

pub(super) fn segment(
    path: u32,
    index: u8,
    sender: u16,
    receiver: u16,
    workers: u16,
) -> SegmentView {
    relation(Use::Esp, path, index, sender, receiver, workers)
}

pub(super) fn relation(
    usage: Use,
    path: u32,
    index: u8,
    sender: u16,
    receiver: u16,
    workers: u16,
) -> SegmentView {
    SegmentView {
        path: PathId(path),
        digest: digest(path),
        usage,
        index: SegmentIndex(index),
        profile: Profile::Mpls,
        suite: Suite::Aes128Gcm,
        sender: ElementId(sender),
        receiver: ElementId(receiver),
        sender_workers: workers,
    }
}

/// A place of path 1, segment 0.
pub(super) fn place(worker: u16) -> Place {
    place_of(Use::Esp, worker)
}

pub(super) fn place_of(usage: Use, worker: u16) -> Place {
    Place { path: PathId(1), usage, segment: SegmentIndex(0), worker: WorkerId(worker) }
}

/// The key, and its salt if it has one, in hex.
pub(super) fn key_hex(key: &AgreedKey) -> String {
    let key = match key {
        AgreedKey::Esp(key) | AgreedKey::Metadata(key) => key,
        AgreedKey::Link(key) | AgreedKey::Proof(key) => {
            let digits = key.danger_bytes().map(|byte| format!("{byte:02x}"));
            return format!("\"0x{}\"", digits.concat());
        }
    };
    let address = std::net::IpAddr::from([0, 0, 0, 0]);
    let line = danger_wireshark_line(address, address, SaSpi(0), key);
    line.split(',').nth(5).unwrap().to_owned()
}

/// SPIs in order: easy to read in a failure.
pub(super) struct Counting(pub u32);

impl AllocateSpi for Counting {
    fn allocate(&mut self) -> Option<SaSpi> {
        self.0 += 1;
        Some(SaSpi(self.0))
    }

    fn release(&mut self, _: SaSpi) {}
}

/// An exporter like that of TLS: HMAC-SHA-256 under a secret of the session.
pub(super) struct Secret(pub [u8; 32]);

impl Exporter for Secret {
    fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), ExportFailed> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        for (number, chunk) in out.chunks_mut(32).enumerate() {
            let mut hmac = hmac::Context::with_key(&key);
            hmac.update(&[label.len() as u8, number as u8]);
            hmac.update(label);
            hmac.update(context);
            chunk.copy_from_slice(&hmac.sign().as_ref()[..chunk.len()]);
        }
        Ok(())
    }
}

/// An event in a form that tests compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Dial,
    Established(u32),
    Ended(String),
    InstallInbound(Place, SaSpi),
    InstallOutbound(Place, SaSpi),
    RemoveInbound(SaSpi, String, Option<u64>),
    StopSending(SaSpi, String),
    RenewInbound(SaSpi, Duration),
    RenewOutbound(SaSpi, Duration),
    RenewLease(u32),
}

pub(super) struct End {
    pub(super) id: u16,
    pub(super) sap: Sap,
    /// What came out and was not looked at.
    pub(super) seen: Vec<Seen>,
    pub(super) keys_in: BTreeMap<SaSpi, String>,
    pub(super) keys_out: BTreeMap<SaSpi, String>,
    /// Messages that wait to be moved, with the link that they take.
    pub(super) outgoing: VecDeque<(usize, Message)>,
    sessions: BTreeMap<SessionId, usize>,
    serial: u64,
}

/// One connection: the session at either end, and its secret.
struct Link {
    sessions: [SessionId; 2],
    secret: Secret,
    /// Ends that began another life since.
    gone: [bool; 2],
}

/// Elements 1 and 2. What the data plane does, it does at once, unless `acks` is off.
pub(super) struct Pair {
    pub(super) start: Instant,
    pub(super) passed: Duration,
    pub(super) ends: [End; 2],
    pub(super) acks: bool,
    links: Vec<Link>,
}

pub(super) fn end(now: Instant, id: u16, peer: u16, boot: u8, segments: Vec<SegmentView>) -> End {
    let spis = Box::new(Counting(u32::from(id) * 0x1000 + u32::from(boot) * 0x10_0000));
    end_with(now, id, peer, boot, segments, spis)
}

pub(super) fn end_with(
    now: Instant,
    id: u16,
    peer: u16,
    boot: u8,
    segments: Vec<SegmentView>,
    spis: Box<dyn AllocateSpi + Send>,
) -> End {
    let (element, peer) = (ElementId(id), ElementId(peer));
    let mut config = Config::new(element, peer, BootId([boot; 16]), Box::new(path_key()), spis);
    config.segments = segments;
    End {
        id,
        sap: Sap::new(now, config),
        seen: Vec::new(),
        keys_in: BTreeMap::new(),
        keys_out: BTreeMap::new(),
        outgoing: VecDeque::new(),
        sessions: BTreeMap::new(),
        serial: 0,
    }
}

impl Pair {
    /// Two elements with these segments between them, leases in hand, not connected.
    pub(super) fn new(segments: &[SegmentView]) -> Pair {
        let mut pair = Pair::without_leases(segments);
        pair.renew_leases(0);
        pair.renew_leases(1);
        pair
    }

    pub(super) fn without_leases(segments: &[SegmentView]) -> Pair {
        let start = Instant::now();
        let ends = [(1, 2), (2, 1)].map(|(id, peer)| end(start, id, peer, 1, segments.to_vec()));
        let mut pair = Pair { start, passed: Duration::ZERO, ends, acks: true, links: Vec::new() };
        pair.collect();
        pair.clear();
        pair
    }

    /// Element 1 sends to element 2 with one worker; connected, and everything agreed.
    pub(super) fn sending() -> Pair {
        let mut pair = Pair::new(&[segment(1, 0, 1, 2, 1)]);
        pair.connect(0);
        pair.settle();
        pair
    }

    pub(super) fn now(&self) -> Now {
        Now { instant: self.start + self.passed, unix_s: START_UNIX_S + self.passed.as_secs() }
    }

    pub(super) fn lease(&self, element: u16, path: u32, left_s: u64, serial: u64) -> SignedLease {
        sign(Lease {
            element: ElementId(element),
            digest: digest(path),
            not_after_unix_s: self.now().unix_s + left_s,
            serial,
        })
    }

    /// Gives an end new leases for paths 1 and 2.
    pub(super) fn renew_leases(&mut self, who: usize) {
        self.ends[who].serial += 1;
        for path in [1, 2] {
            let lease = self.lease(self.ends[who].id, path, LEASE_S, self.ends[who].serial);
            let now = self.now();
            let taken = self.ends[who].sap.set_lease(now, &lease);
            assert!(matches!(taken, Ok(()) | Err(LeaseError::AnotherPath(_))), "{taken:?}");
        }
        self.collect();
    }

    /// A connection that `who` opened.
    pub(super) fn connect(&mut self, who: usize) -> usize {
        let link = self.links.len();
        let sessions = [0, 1].map(|end| self.open(end, link, who));
        self.link(sessions);
        link
    }

    /// Both open a connection at the same moment, and each knows of its own first. Returns that of element 1 and that of
    /// element 2.
    pub(super) fn connect_crosswise(&mut self) -> [usize; 2] {
        let [first, second] = [self.links.len(), self.links.len() + 1];
        let at_0 = [self.open(0, first, 0), self.open(0, second, 1)];
        let at_1 = [self.open(1, second, 1), self.open(1, first, 0)];
        self.link([at_0[0], at_1[1]]);
        self.link([at_0[1], at_1[0]]);
        [first, second]
    }

    fn open(&mut self, end: usize, link: usize, opener: usize) -> SessionId {
        let now = self.now().instant;
        let opener = if end == opener { Opener::Us } else { Opener::Peer };
        let session = self.ends[end].sap.open_session(now, opener);
        self.ends[end].sessions.insert(session, link);
        session
    }

    fn link(&mut self, sessions: [SessionId; 2]) {
        let mut secret = [0x5e; 32];
        secret[0] = self.links.len() as u8;
        self.links.push(Link { sessions, secret: Secret(secret), gone: [false; 2] });
        self.collect();
    }

    /// Both ends learn that a connection is gone.
    pub(super) fn cut(&mut self, link: usize) {
        self.cut_at(0, link);
        self.cut_at(1, link);
    }

    pub(super) fn cut_at(&mut self, who: usize, link: usize) {
        let now = self.now().instant;
        let session = self.links[link].sessions[who];
        self.ends[who].sap.session_lost(now, session);
        self.ends[who].outgoing.retain(|(through, _)| *through != link);
        self.ends[1 - who].outgoing.retain(|(through, _)| *through != link);
        self.collect();
    }

    /// The second life of an end: everything that it knew is gone, its connections too.
    pub(super) fn restart(&mut self, who: usize, segments: &[SegmentView]) {
        let id = self.ends[who].id;
        let serial = self.ends[who].serial;
        let peer = self.ends[1 - who].id;
        self.ends[who] = end(self.now().instant, id, peer, 2, segments.to_vec());
        self.ends[who].serial = serial;
        self.renew_leases(who);
        self.ends[who].seen.clear();
        for link in &mut self.links {
            link.gone[who] = true;
        }
    }

    /// Gives `to` a message as if the other end had sent it through `link`.
    pub(super) fn give(
        &mut self,
        to: usize,
        link: usize,
        message: Message,
    ) -> Result<(), Violation> {
        self.give_bytes(to, link, &message.encode())
    }

    pub(super) fn give_bytes(
        &mut self,
        to: usize,
        link: usize,
        bytes: &[u8],
    ) -> Result<(), Violation> {
        let now = self.now();
        let Link { sessions, secret, gone } = &self.links[link];
        if gone[to] {
            return Ok(());
        }
        let given = self.ends[to].sap.handle_message(now, sessions[to], bytes, secret);
        self.collect();
        given
    }

    /// Moves the oldest message that `from` has sent, and returns it.
    pub(super) fn deliver(&mut self, from: usize) -> Option<Message> {
        let (link, message) = self.ends[from].outgoing.pop_front()?;
        self.give(1 - from, link, message).unwrap();
        Some(message)
    }

    /// Loses everything that is under way.
    pub(super) fn lose(&mut self) {
        self.ends[0].outgoing.clear();
        self.ends[1].outgoing.clear();
    }

    /// Moves messages until there are none.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.deliver(0).is_none() && self.deliver(1).is_none() {
                return;
            }
        }
        panic!("the two never fall silent");
    }

    /// Lets time pass, timers and all; messages move.
    pub(super) fn pass(&mut self, time: Duration) {
        self.pass_with(time, true);
    }

    /// Lets time pass; messages stay where they are.
    pub(super) fn pass_unmoved(&mut self, time: Duration) {
        self.pass_with(time, false);
    }

    fn pass_with(&mut self, time: Duration, moved: bool) {
        self.collect();
        if moved {
            self.settle();
        }
        let end = self.passed + time;
        loop {
            let now = self.now().instant;
            let due = self.ends.iter().filter_map(|end| end.sap.poll_timeout(now)).min();
            let next = due.map_or(end, |due| due.saturating_duration_since(self.start));
            self.passed = next.clamp(self.passed, end);
            let now = self.now().instant;
            for end in &mut self.ends {
                end.sap.handle_timeout(now);
                assert!(end.sap.poll_timeout(now).is_none_or(|at| at > now), "{:?}", end.sap);
            }
            self.collect();
            if moved {
                self.settle();
            }
            if self.passed == end {
                return;
            }
        }
    }

    /// The data plane of `who` has installed what it was given.
    pub(super) fn ack_install(&mut self, who: usize, spi: SaSpi) {
        let now = self.now().instant;
        self.ends[who].sap.installed(now, spi);
        self.collect();
    }

    /// Takes what has happened at `who` since the last call.
    pub(super) fn seen(&mut self, who: usize) -> Vec<Seen> {
        std::mem::take(&mut self.ends[who].seen)
    }

    pub(super) fn clear(&mut self) {
        self.ends[0].seen.clear();
        self.ends[1].seen.clear();
    }

    /// The messages that `who` has sent and that were not moved.
    pub(super) fn sent(&mut self, who: usize) -> Vec<Message> {
        self.ends[who].outgoing.drain(..).map(|(_, message)| message).collect()
    }

    /// An OFFER for path 1 as element 1 makes it.
    pub(super) fn offer(&self, offer: u32) -> Offer {
        Offer {
            offer: ringmail_dataplane::sap::message::OfferId(offer),
            epoch: self.ends[1].sap.epoch().unwrap(),
            digest: digest(1),
            usage: Use::Esp,
            segment: SegmentIndex(0),
            profile: Profile::Mpls.code(),
            suite: 1,
            worker: WorkerId(0),
            lease: self.lease(1, 1, LEASE_S, 1),
        }
    }

    /// An INSTALLED for path 1 as element 2 says it.
    pub(super) fn installed(&self, offer: u32, spi: u32) -> Installed {
        Installed {
            offer: ringmail_dataplane::sap::message::OfferId(offer),
            spi: SaSpi(spi),
            lease: self.lease(2, 1, LEASE_S, 1),
        }
    }

    pub(super) fn hello(&self, element: u16, boot: u8, epoch: u32) -> Hello {
        Hello {
            element: ElementId(element),
            boot: BootId([boot; 16]),
            epoch: ringmail_model::Epoch(epoch),
            heard: true,
        }
    }

    /// Takes events and messages out of both cores, and acts as their data planes.
    fn collect(&mut self) {
        for who in [0, 1] {
            while self.collect_one(who) {}
        }
    }

    fn collect_one(&mut self, who: usize) -> bool {
        let now = self.now().instant;
        let end = &mut self.ends[who];
        while let Some(transmit) = end.sap.poll_transmit() {
            let message = Message::decode(&transmit.bytes).unwrap();
            if let Some(link) = end.sessions.get(&transmit.session) {
                end.outgoing.push_back((*link, message));
            }
        }
        let Some(event) = end.sap.poll_event() else { return false };
        let left = |expires: Instant| expires.saturating_duration_since(now);
        let seen = match event {
            Event::Dial => Seen::Dial,
            Event::Established { epoch, .. } => Seen::Established(epoch.0),
            Event::EndSession { reason, .. } => Seen::Ended(reason.to_string()),
            Event::InstallInbound { place, spi, key, .. } => {
                assert_eq!(key.usage(), place.usage);
                end.keys_in.insert(spi, key_hex(&key));
                if self.acks {
                    end.sap.installed(now, spi);
                }
                Seen::InstallInbound(place, spi)
            }
            Event::InstallOutbound { place, spi, key, .. } => {
                assert_eq!(key.usage(), place.usage);
                end.keys_out.insert(spi, key_hex(&key));
                Seen::InstallOutbound(place, spi)
            }
            Event::RemoveInbound { spi, cause, last_sequence } => {
                end.keys_in.remove(&spi);
                Seen::RemoveInbound(spi, cause.to_string(), last_sequence)
            }
            Event::StopSending { spi, cause, .. } => {
                end.keys_out.remove(&spi);
                if self.acks {
                    end.sap.stopped(now, spi, 42);
                }
                Seen::StopSending(spi, cause.to_string())
            }
            Event::RenewInbound { spi, expires } => Seen::RenewInbound(spi, left(expires)),
            Event::RenewOutbound { spi, expires, .. } => Seen::RenewOutbound(spi, left(expires)),
            Event::RenewLease { path, .. } => Seen::RenewLease(path.0),
        };
        end.seen.push(seen);
        true
    }
}
