//! Gateway, hop and egress in a world that loses, repeats and reorders messages, cuts connections, restarts elements, takes
//! the manager away and withdraws paths; then the faults end and everything must have been agreed on.
//!
//! A failure prints its seed: `RINGMAIL_SIM_SEED=7 cargo test -p ringmail-dataplane --test it sap::simulation` runs it
//! again, `RINGMAIL_SIM_RUNS=10000` runs more of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmail_dataplane::sa::SpiAllocator;
use ringmail_dataplane::sap::{
    AllocateSpi, BootId, Config, Event, Lease, Now, Opener, Place, Sap, SegmentView, SessionId,
    SignedLease, VerifyLease,
};
use ringmail_model::{ElementId, PathDigest, SaSpi, SplitMix64};

use super::support::{START_UNIX_S, Secret, key_hex, segment};

const ELEMENTS: [u16; 3] = [1, 2, 3];
const CHAOS: Duration = Duration::from_secs(150);
const QUIET: Duration = Duration::from_secs(90);
const LEASE_S: u64 = 30;

/// Path 1 forward and path 2 back through the hop, path 3 past it.
fn segments() -> Vec<SegmentView> {
    vec![
        segment(1, 0, 1, 2, 2),
        segment(1, 1, 2, 3, 1),
        segment(2, 0, 3, 2, 1),
        segment(2, 1, 2, 1, 1),
        segment(3, 0, 1, 3, 1),
    ]
}

fn runs() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("RINGMAIL_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("RINGMAIL_SIM_RUNS").unwrap_or(200)).collect(),
    }
}

#[test]
fn whatever_fails_keys_agree_in_the_end_and_none_is_used_twice() {
    let mut total = Tally::default();
    for seed in runs() {
        let _told = TellSeed(seed);
        let mut world = World::new(seed);
        world.run();
        total.add(&world.tally);
    }
    eprintln!("{total:?}");
    assert!(runs().len() < 20 || total.is_plentiful(), "the world is too kind: {total:?}");
}

/// Prints the seed of a run that panics.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("RINGMAIL_SIM_SEED={}", self.0);
        }
    }
}

/// How much of what the runs are for has happened.
#[derive(Debug, Default)]
struct Tally {
    lost: u64,
    repeated: u64,
    cut: u64,
    restarts: u64,
    withdrawals: u64,
    keys: u64,
    replaced: u64,
    lease_stops: u64,
    orphans: u64,
    finished: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        for (sum, more) in self.fields_mut().into_iter().zip(other.fields()) {
            *sum += more;
        }
    }

    fn is_plentiful(&self) -> bool {
        self.fields().iter().all(|count| *count > 10)
    }

    fn fields(&self) -> [u64; 10] {
        [
            self.lost,
            self.repeated,
            self.cut,
            self.restarts,
            self.withdrawals,
            self.keys,
            self.replaced,
            self.lease_stops,
            self.orphans,
            self.finished,
        ]
    }

    fn fields_mut(&mut self) -> [&mut u64; 10] {
        [
            &mut self.lost,
            &mut self.repeated,
            &mut self.cut,
            &mut self.restarts,
            &mut self.withdrawals,
            &mut self.keys,
            &mut self.replaced,
            &mut self.lease_stops,
            &mut self.orphans,
            &mut self.finished,
        ]
    }
}

/// What a simulation draws from its seed.
struct Random(SplitMix64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0.draw()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// An association as a data plane holds it.
#[derive(Clone, Debug)]
struct Installed {
    peer: u16,
    place: Place,
    key: String,
    expires: Instant,
}

struct Element {
    /// Counts its lives.
    life: u8,
    saps: BTreeMap<u16, Sap>,
    inbound: BTreeMap<SaSpi, Installed>,
    outbound: BTreeMap<(u16, SaSpi), Installed>,
    spis: Arc<Mutex<SpiAllocator>>,
    segments: Vec<SegmentView>,
}

struct Spis {
    allocator: Arc<Mutex<SpiAllocator>>,
    random: Random,
}

impl AllocateSpi for Spis {
    fn allocate(&mut self) -> Option<SaSpi> {
        self.allocator.lock().unwrap().allocate(self.random.next() as u32).ok()
    }

    fn release(&mut self, spi: SaSpi) {
        self.allocator.lock().unwrap().release(spi);
    }
}

/// Ed25519 would take most of the time; `leases.rs` and `receiver.rs` use it.
struct ToySigner;

impl VerifyLease for ToySigner {
    fn verify_lease(&self, signed: &SignedLease) -> bool {
        signed.signature == toy_signature(&signed.lease)
    }
}

fn toy_signature(lease: &Lease) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..8].copy_from_slice(&lease.serial.to_be_bytes());
    signature[8..16].copy_from_slice(&lease.not_after_unix_s.to_be_bytes());
    signature
}

/// One connection: element, life and session of both ends.
struct Connection {
    ends: [(u16, u8, SessionId); 2],
    secret: Secret,
    open: bool,
    /// The end that was dialed knows of it.
    accepted: bool,
}

/// A session that is not there yet.
const UNKNOWN: SessionId = SessionId(u64::MAX);

/// What happens later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Deliver { connection: usize, to: usize, bytes: Vec<u8> },
    HangUp { connection: usize, at: usize },
    Dialed { from: u16, life: u8, to: u16 },
    Accepted { connection: usize },
    PlaneInstalled { element: u16, life: u8, peer: u16, spi: SaSpi },
    PlaneStopped { element: u16, life: u8, peer: u16, spi: SaSpi },
    Lease { element: u16, life: u8, digest: PathDigest },
    Fault,
}

struct World {
    random: Random,
    start: Instant,
    passed: Duration,
    elements: BTreeMap<u16, Element>,
    connections: Vec<Connection>,
    queue: BinaryHeap<Reverse<(Duration, u64, Later)>>,
    number: u64,
    /// Chances of a message in 1000.
    loss: u64,
    repetition: u64,
    delay_ms: u64,
    calm: bool,
    manager_away: bool,
    /// Every key that a receiver's data plane has had installed, with its place.
    installed_keys: BTreeMap<String, Place>,
    offered_keys: BTreeMap<String, SaSpi>,
    sealed_keys: BTreeMap<String, SaSpi>,
    /// The latest end that the manager has signed, seconds since 1970.
    granted: BTreeMap<(u16, PathDigest), u64>,
    serial: u64,
    tally: Tally,
}

impl World {
    fn new(seed: u64) -> World {
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

    fn run(&mut self) {
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

    fn now(&self) -> Now {
        Now { instant: self.start + self.passed, unix_s: START_UNIX_S + self.passed.as_secs() }
    }

    fn later(&mut self, wait: Duration, what: Later) {
        self.number += 1;
        self.queue.push(Reverse((self.passed + wait, self.number, what)));
    }

    /// Goes to the next thing that happens, but not past `end`.
    fn step(&mut self, end: Duration) {
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

    fn due(&self, now: Instant) -> Vec<(u16, u16)> {
        let all = self.elements.iter().flat_map(|(id, element)| {
            element.saps.iter().map(move |(peer, sap)| (*id, *peer, sap))
        });
        let due = all.filter(|(.., sap)| sap.poll_timeout(now).is_some_and(|at| at <= now));
        due.map(|(id, peer, _)| (id, peer)).collect()
    }

    fn happens(&mut self, what: Later) {
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

    fn lives(&self, element: u16, life: u8) -> bool {
        self.elements[&element].life == life
    }

    fn dialed(&mut self, from: u16, to: u16) {
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
    fn grant(&mut self, element: u16, digest: PathDigest) {
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

    fn begin_life(&mut self, id: u16, life: u8) {
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

    fn fault(&mut self) {
        if self.calm {
            return;
        }
        let wait = self.random.ms(100, 15_000);
        self.later(wait, Later::Fault);
        let element = ELEMENTS[self.random.below(3) as usize];
        let peer = ELEMENTS[self.random.below(3) as usize];
        match self.random.below(8) {
            0 => {
                self.tally.restarts += 1;
                let life = self.elements[&element].life + 1;
                for connection in 0..self.connections.len() {
                    if self.connections[connection].ends.iter().any(|end| end.0 == element) {
                        self.cut(connection);
                    }
                }
                self.begin_life(element, life);
            }
            1 | 2 => {
                let open = |c: &Connection| c.open;
                let connections: Vec<_> = (0..self.connections.len())
                    .filter(|number| open(&self.connections[*number]))
                    .collect();
                if let Some(pick) = connections.len().checked_sub(1) {
                    let pick = self.random.below(pick as u64 + 1) as usize;
                    self.tally.cut += 1;
                    self.cut(connections[pick]);
                }
            }
            3 => self.manager_away = !self.manager_away,
            4 => {
                let now = self.now().instant;
                self.with(element, peer, |sap| sap.begin_epoch(now));
            }
            5 => {
                let now = self.now().instant;
                // Both at once: a simultaneous open.
                self.with(element, peer, |sap| sap.begin_epoch(now));
                self.with(peer, element, |sap| sap.begin_epoch(now));
            }
            6 => {
                self.tally.withdrawals += 1;
                let kept = self.random.next();
                let all = segments().into_iter().enumerate();
                let some = all.filter(|(number, _)| kept >> number & 3 != 0).map(|(_, view)| view);
                self.set_segments(element, some.collect());
            }
            _ => self.set_segments(element, segments()),
        }
    }

    /// The ends learn of it at different times; one may have to find out by itself.
    fn cut(&mut self, connection: usize) {
        self.connections[connection].open = false;
        for at in [0, 1] {
            let told = self.random.per_mille(800);
            let wait = self.random.ms(0, 3000);
            if told {
                self.later(wait, Later::HangUp { connection, at });
            }
        }
    }

    fn set_segments(&mut self, element: u16, segments: Vec<SegmentView>) {
        let now = self.now().instant;
        for peer in ELEMENTS {
            self.with(element, peer, |sap| sap.set_segments(now, &segments));
        }
        self.elements.get_mut(&element).unwrap().segments = segments;
    }

    /// Calls an agreement whose wishes are asked for later.
    fn without_events(&mut self, element: u16, peer: u16, call: impl FnOnce(&mut Sap)) {
        call(self.elements.get_mut(&element).unwrap().saps.get_mut(&peer).unwrap());
    }

    /// Calls an agreement, then does what it says.
    fn with(&mut self, element: u16, peer: u16, call: impl FnOnce(&mut Sap)) {
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

    fn send(&mut self, element: u16, session: SessionId, peer: u16, bytes: &[u8]) {
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

    fn obey(&mut self, id: u16, peer: u16, event: Event) {
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
                let key = key_hex(&key);
                let twice = self.offered_keys.insert(key.clone(), spi);
                assert!(twice.is_none(), "a receiver was given a key twice");
                let there = element.inbound.insert(spi, Installed { peer, place, key, expires });
                assert!(there.is_none(), "an SPI was given twice");
                self.later(wait, Later::PlaneInstalled { element: id, life, peer, spi });
            }
            Event::InstallOutbound { place, spi, key, expires } => {
                self.tally.keys += 1;
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

    /// Nothing outlives the leases of either end, and a place is sealed for with one key.
    fn check_always(&self) {
        let now = self.now();
        for (id, element) in &self.elements {
            for sa in element.inbound.values().chain(element.outbound.values()) {
                assert!(sa.expires > now.instant, "{id}: {sa:?} outlived its lease");
                let digest = PathDigest([sa.place.path.0 as u8; 32]);
                let granted = |element| self.granted.get(&(element, digest)).copied().unwrap_or(0);
                let end = granted(*id).min(granted(sa.peer)) - START_UNIX_S;
                // The wall clock counts whole seconds.
                let end = self.start + Duration::from_secs(end + 1);
                assert!(sa.expires <= end, "{id}: {sa:?} was never granted for so long");
            }
            let mut places: Vec<_> = element.outbound.values().map(|sa| sa.place).collect();
            let count = places.len();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), count, "{id} seals for one place with two keys");
        }
    }

    /// Every segment and worker has one association, the same at both ends, and nothing else is left.
    fn check_agreed(&self) {
        for view in segments() {
            let (sender, receiver) = (view.sender.0, view.receiver.0);
            for worker in 0..view.sender_workers {
                let is_it = |sa: &&Installed, peer: u16| {
                    sa.peer == peer
                        && (sa.place.path, sa.place.segment) == (view.path, view.index)
                        && sa.place.worker.0 == worker
                };
                let out = &self.elements[&sender].outbound;
                let out: Vec<_> = out.values().filter(|sa| is_it(sa, receiver)).collect();
                let inn = &self.elements[&receiver].inbound;
                let inn: Vec<_> = inn.values().filter(|sa| is_it(sa, sender)).collect();
                let shown =
                    || format!("{view:?} {out:?} {inn:?} {:?}", self.elements[&sender].saps);
                assert_eq!(out.len(), 1, "not agreed on: {}", shown());
                let current = inn.iter().filter(|sa| sa.key == out[0].key).count();
                assert_eq!(current, 1, "the ends differ: {}", shown());
                // A new epoch may just have begun: then the last association drains.
                assert!(inn.len() <= 2, "associations are left over: {}", shown());
            }
        }
    }
}
