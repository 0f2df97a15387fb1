//! The world: what was put off happens in its time, drivers do what their agreements say.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmail_dataplane::sa::SpiAllocator;
use ringmail_dataplane::sap::{
    BootId, Config, Event, Lease, Now, Opener, Place, Sap, SegmentView, SessionId, Use,
};
use ringmail_model::{ElementId, PathDigest, SaSpi, SplitMix64};

use super::super::support::{START_UNIX_S, Secret, key_hex};
use super::parts::{
    Connection, Element, Installed, Later, Random, Spis, ToySigner, UNKNOWN, toy_signature,
};
use super::tally::Tally;
use super::{CHAOS, ELEMENTS, LEASE_S, QUIET, segments};

pub(super) struct World {
    pub(super) random: Random,
    pub(super) start: Instant,
    pub(super) passed: Duration,
    pub(super) elements: BTreeMap<u16, Element>,
    pub(super) connections: Vec<Connection>,
    pub(super) queue: BinaryHeap<Reverse<(Duration, u64, Later)>>,
    pub(super) number: u64,
    /// Chances of a message in 1000.
    pub(super) loss: u64,
    pub(super) repetition: u64,
    pub(super) delay_ms: u64,
    pub(super) calm: bool,
    pub(super) manager_away: bool,
    /// Every key that a receiver's data plane has had installed, with its place.
    pub(super) installed_keys: BTreeMap<String, Place>,
    pub(super) offered_keys: BTreeMap<String, SaSpi>,
    pub(super) sealed_keys: BTreeMap<String, SaSpi>,
    /// The latest end that the manager has signed, seconds since 1970.
    pub(super) granted: BTreeMap<(u16, PathDigest), u64>,
    pub(super) serial: u64,
    pub(super) tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut random = Random(SplitMix64(seed));
        let (loss, repetition) = (random.below(300), random.below(300));
        let delay_ms = 1 + random.below(2000);
        let mut world = World {
            random,
            start: Instant::now(),
            passed: Duration::ZERO,
            elements: BTreeMap::new(),
            connections: Vec::new(),
            queue: BinaryHeap::new(),
            number: 0,
            loss,
            repetition,
            delay_ms,
            calm: false,
            manager_away: false,
            installed_keys: BTreeMap::new(),
            offered_keys: BTreeMap::new(),
            sealed_keys: BTreeMap::new(),
            granted: BTreeMap::new(),
            serial: 0,
            tally: Tally::default(),
        };
        for element in ELEMENTS {
            world.begin_life(element, 0);
        }
        world.later(Duration::from_secs(5), Later::Fault);
        world
    }

    pub(super) fn run(&mut self) {
        while self.passed < CHAOS {
            self.step(CHAOS);
        }
        self.calm = true;
        self.manager_away = false;
        for element in ELEMENTS {
            self.set_segments(element, segments());
        }
        while self.passed < CHAOS + QUIET {
            self.step(CHAOS + QUIET);
        }
        self.check_agreed();
    }

    pub(super) fn now(&self) -> Now {
        Now { instant: self.start + self.passed, unix_s: START_UNIX_S + self.passed.as_secs() }
    }

    pub(super) fn later(&mut self, wait: Duration, what: Later) {
        self.number += 1;
        self.queue.push(Reverse((self.passed + wait, self.number, what)));
    }

    /// Goes to the next thing that happens, but not past `end`.
    pub(super) fn step(&mut self, end: Duration) {
        let now = self.now().instant;
        let saps = self.elements.values().flat_map(|element| element.saps.values());
        let timer = saps.filter_map(|sap| sap.poll_timeout(now)).min();
        let timer = timer.map(|at| at.saturating_duration_since(self.start));
        let event = self.queue.peek().map(|Reverse((at, ..))| *at);
        let next = [timer, event, Some(end)].into_iter().flatten().min().unwrap_or(end);
        self.passed = self.passed.max(next);
        if timer.is_some_and(|at| at <= self.passed) {
            let now = self.now().instant;
            for (element, peer) in self.due(now) {
                self.with(element, peer, |sap| sap.handle_timeout(now));
            }
        } else if event.is_some_and(|at| at <= self.passed)
            && let Some(Reverse((_, _, what))) = self.queue.pop()
        {
            self.happens(what);
        }
        self.check_always();
    }

    pub(super) fn due(&self, now: Instant) -> Vec<(u16, u16)> {
        let all = self.elements.iter().flat_map(|(id, element)| {
            element.saps.iter().map(move |(peer, sap)| (*id, *peer, sap))
        });
        let due = all.filter(|(.., sap)| sap.poll_timeout(now).is_some_and(|at| at <= now));
        due.map(|(id, peer, _)| (id, peer)).collect()
    }

    pub(super) fn happens(&mut self, what: Later) {
        let now = self.now();
        match what {
            Later::Deliver { connection, to, bytes } => {
                let Connection { ends, secret, accepted, open } = &self.connections[connection];
                if to == 1 && !accepted {
                    if *open {
                        let soon = Duration::from_millis(10);
                        self.later(soon, Later::Deliver { connection, to, bytes });
                    }
                    return;
                }
                let (element, life, session) = ends[to];
                let peer = ends[1 - to].0;
                let secret = Secret(secret.0);
                if self.lives(element, life) {
                    self.with(element, peer, |sap| {
                        let handled = sap.handle_message(now, session, &bytes, &secret);
                        handled.unwrap_or_else(|fault| panic!("an honest {peer}: {fault}"));
                    });
                }
            }
            Later::HangUp { connection, at } => {
                let ends = self.connections[connection].ends;
                let (element, life, session) = ends[at];
                if self.lives(element, life) && session != UNKNOWN {
                    let lost = |sap: &mut Sap| sap.session_lost(now.instant, session);
                    self.with(element, ends[1 - at].0, lost);
                }
            }
            Later::Accepted { connection } => {
                let [(from, ..), (element, life, _)] = self.connections[connection].ends;
                if self.connections[connection].open && self.lives(element, life) {
                    let mut session = UNKNOWN;
                    let open =
                        |sap: &mut Sap| session = sap.open_session(now.instant, Opener::Peer);
                    self.without_events(element, from, open);
                    self.connections[connection].ends[1].2 = session;
                    self.connections[connection].accepted = true;
                    self.with(element, from, |_| ());
                }
            }
            Later::Dialed { from, life, to } => {
                if self.lives(from, life) {
                    self.dialed(from, to);
                }
            }
            Later::PlaneInstalled { element, life, peer, spi } => {
                if self.lives(element, life) {
                    if let Some(sa) = self.elements[&element].inbound.get(&spi) {
                        self.installed_keys.insert(sa.key.clone(), sa.place);
                    }
                    self.with(element, peer, |sap| sap.installed(now.instant, spi));
                }
            }
            Later::PlaneStopped { element, life, peer, spi } => {
                if self.lives(element, life) {
                    self.with(element, peer, |sap| sap.stopped(now.instant, spi, 1));
                }
            }
            Later::Lease { element, life, digest } => {
                if self.lives(element, life) && !self.manager_away {
                    self.grant(element, digest);
                }
            }
            Later::Fault => self.fault(),
        }
    }

    pub(super) fn lives(&self, element: u16, life: u8) -> bool {
        self.elements[&element].life == life
    }

    pub(super) fn dialed(&mut self, from: u16, to: u16) {
        let now = self.now().instant;
        if !self.calm && self.random.per_mille(200) {
            self.with(from, to, |sap| sap.dial_failed(now));
            return;
        }
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&self.random.next().to_be_bytes());
        let mut session = UNKNOWN;
        self.without_events(from, to, |sap| session = sap.open_session(now, Opener::Us));
        let life = |element| self.elements[&element].life;
        let ends = [(from, life(from), session), (to, life(to), UNKNOWN)];
        let connection = self.connections.len();
        self.connections.push(Connection {
            ends,
            secret: Secret(secret),
            open: true,
            accepted: false,
        });
        let wait = self.random.ms(0, if self.calm { 20 } else { 1000 });
        self.later(wait, Later::Accepted { connection });
        self.with(from, to, |_| ());
    }

    /// The manager signs a lease, and every agreement of the element gets it.
    pub(super) fn grant(&mut self, element: u16, digest: PathDigest) {
        let now = self.now();
        self.serial += 1;
        let not_after_unix_s = now.unix_s + LEASE_S;
        let (id, serial) = (ElementId(element), self.serial);
        let lease = Lease { element: id, digest, not_after_unix_s, serial };
        let lease = lease.signed(toy_signature(&lease));
        self.granted.insert((element, digest), not_after_unix_s);
        for peer in ELEMENTS {
            self.with(element, peer, |sap| {
                let _ = sap.set_lease(now, &lease);
            });
        }
    }

    pub(super) fn begin_life(&mut self, id: u16, life: u8) {
        let spis = Arc::new(Mutex::new(SpiAllocator::new()));
        let mut saps = BTreeMap::new();
        for peer in ELEMENTS.into_iter().filter(|peer| *peer != id) {
            let random = Random(SplitMix64(self.random.next()));
            let allocator = Box::new(Spis { allocator: spis.clone(), random });
            let mut boot = [life; 16];
            boot[0] = id as u8;
            let (element, peer_id, boot) = (ElementId(id), ElementId(peer), BootId(boot));
            let mut config = Config::new(element, peer_id, boot, Box::new(ToySigner), allocator);
            config.segments = segments();
            config.epoch_lifetime = Duration::from_secs(40);
            config.jitter_seed = self.random.next();
            saps.insert(peer, Sap::new(self.now().instant, config));
        }
        let (inbound, outbound) = (BTreeMap::new(), BTreeMap::new());
        let element = Element { life, saps, inbound, outbound, spis, segments: segments() };
        self.elements.insert(id, element);
        for peer in ELEMENTS {
            self.with(id, peer, |_| ());
        }
    }

    pub(super) fn set_segments(&mut self, element: u16, segments: Vec<SegmentView>) {
        let now = self.now().instant;
        for peer in ELEMENTS {
            self.with(element, peer, |sap| sap.set_segments(now, &segments));
        }
        self.elements.get_mut(&element).unwrap().segments = segments;
    }

    /// Calls an agreement whose wishes are asked for later.
    pub(super) fn without_events(&mut self, element: u16, peer: u16, call: impl FnOnce(&mut Sap)) {
        call(self.elements.get_mut(&element).unwrap().saps.get_mut(&peer).unwrap());
    }

    /// Calls an agreement, then does what it says.
    pub(super) fn with(&mut self, element: u16, peer: u16, call: impl FnOnce(&mut Sap)) {
        let Some(sap) = self.elements.get_mut(&element).and_then(|e| e.saps.get_mut(&peer)) else {
            return;
        };
        call(sap);
        let mut transmits = Vec::new();
        let mut events = Vec::new();
        while let Some(transmit) = sap.poll_transmit() {
            transmits.push(transmit);
        }
        while let Some(event) = sap.poll_event() {
            events.push(event);
        }
        for transmit in transmits {
            self.send(element, transmit.session, peer, &transmit.bytes);
        }
        for event in events {
            self.obey(element, peer, event);
        }
    }

    pub(super) fn send(&mut self, element: u16, session: SessionId, peer: u16, bytes: &[u8]) {
        let life = self.elements[&element].life;
        let end = (element, life, session);
        let found = self.connections.iter().enumerate().rev().find_map(|(number, connection)| {
            let [a, b] = connection.ends;
            let from = if a == end && b.0 == peer {
                0
            } else if b == end && a.0 == peer {
                1
            } else {
                return None;
            };
            connection.open.then_some((number, 1 - from))
        });
        let Some((connection, to)) = found else { return };
        let copies = match self.calm {
            true => 1,
            false if self.random.per_mille(self.loss) => 0,
            false => 1 + u64::from(self.random.per_mille(self.repetition)),
        };
        self.tally.lost += u64::from(copies == 0);
        self.tally.repeated += u64::from(copies == 2);
        for _ in 0..copies {
            let most = if self.calm { 10 } else { self.delay_ms };
            let wait = self.random.ms(0, most + 1);
            self.later(wait, Later::Deliver { connection, to, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn obey(&mut self, id: u16, peer: u16, event: Event) {
        let life = self.elements[&id].life;
        let wait = self.random.ms(0, if self.calm { 20 } else { 3000 });
        let element = self.elements.get_mut(&id).unwrap();
        match event {
            Event::Dial => self.later(wait, Later::Dialed { from: id, life, to: peer }),
            Event::Established { .. } => {}
            Event::EndSession { session, .. } => {
                let is_it = |c: &Connection| {
                    c.ends.contains(&(id, life, session)) && c.ends.iter().any(|end| end.0 == peer)
                };
                if let Some(connection) = self.connections.iter().position(is_it)
                    && self.connections[connection].open
                {
                    self.connections[connection].open = false;
                    let at = usize::from(self.connections[connection].ends[0].0 == id);
                    self.later(wait, Later::HangUp { connection, at });
                }
            }
            Event::InstallInbound { place, spi, key, expires } => {
                assert_eq!(key.usage(), place.usage, "a key of another use");
                let key = key_hex(&key);
                let twice = self.offered_keys.insert(key.clone(), spi);
                assert!(twice.is_none(), "a receiver was given a key twice");
                let there = element.inbound.insert(spi, Installed { peer, place, key, expires });
                assert!(there.is_none(), "an SPI was given twice");
                self.later(wait, Later::PlaneInstalled { element: id, life, peer, spi });
            }
            Event::InstallOutbound { place, spi, key, expires } => {
                self.tally.keys += 1;
                self.tally.keys_beside_esp += u64::from(place.usage != Use::Esp);
                assert_eq!(key.usage(), place.usage, "a key of another use");
                let key = key_hex(&key);
                assert_eq!(self.installed_keys.get(&key), Some(&place), "sent before installed");
                let twice = self.sealed_keys.insert(key.clone(), spi);
                assert!(twice.is_none(), "a key began to count again");
                element.outbound.insert((peer, spi), Installed { peer, place, key, expires });
            }
            Event::RenewInbound { spi, expires } => {
                element.inbound.get_mut(&spi).unwrap().expires = expires;
            }
            Event::RenewOutbound { spi, expires, .. } => {
                element.outbound.get_mut(&(peer, spi)).unwrap().expires = expires;
            }
            Event::RemoveInbound { spi, cause, .. } => {
                match cause.to_string().as_str() {
                    "orphaned" => self.tally.orphans += 1,
                    "lease expired" => self.tally.lease_stops += 1,
                    "finished by the sender" => self.tally.finished += 1,
                    _ => {}
                }
                assert!(element.inbound.remove(&spi).is_some());
                element.spis.lock().unwrap().release(spi);
            }
            Event::StopSending { spi, cause, .. } => {
                self.tally.replaced += u64::from(cause.to_string() == "replaced");
                assert!(element.outbound.remove(&(peer, spi)).is_some());
                self.later(wait, Later::PlaneStopped { element: id, life, peer, spi });
            }
            Event::RenewLease { digest, .. } => {
                self.later(wait, Later::Lease { element: id, life, digest });
            }
        }
    }
}
