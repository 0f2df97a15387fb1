//! Control and many elements at once: connections break between any two messages, both ends restart with what their disks
//! hold, elements refuse, versions come one after the other. `RINGMAIL_SIM_RUNS` runs more seeds, `RINGMAIL_SIM_SEED` one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ringmail_model::domain::Domain;
use ringmail_model::pathset::Issue;
use ringmail_model::pdp::{
    Absent, Documents, Follower, FollowerEvent, Held, Nack, Progress, Proposing, Published,
    Publisher, PublisherConfig, PublisherEvent, SessionId, Standing,
};
use ringmail_model::{PathSet, PathVersion, SplitMix64};

use super::{Clock, NOW_UNIX_S, config, documents, domain, members};
use crate::examples::ISSUE;

const FUNCTIONS: usize = 18;
const STEPS: usize = 600;

/// What a simulation draws from its seed.
struct Dice(SplitMix64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0.below(most as u64) as usize
    }

    fn one_in(&mut self, most: usize) -> bool {
        self.below(most) == 0
    }
}

struct Link {
    session: SessionId,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Arc<[u8]>>,
}

struct Element {
    name: String,
    follower: Follower,
    /// What its disk holds.
    disk: Held,
    link: Option<Link>,
    /// The highest version that it was to build.
    seen: PathVersion,
    /// Versions that are being built.
    building: VecDeque<PathVersion>,
    activating: Option<PathVersion>,
}

struct World {
    dice: Dice,
    clock: Clock,
    publisher: Publisher,
    /// What control's disk holds: the version that counts.
    disk: u64,
    newest: u64,
    sessions: u64,
    elements: Vec<Element>,
    faults: bool,
    absent: Absent,
    /// Every version that ever came to count.
    counted: BTreeSet<u64>,
}

/// Signed documents of each version, made once for all runs.
struct Press {
    domain: Domain,
    made: BTreeMap<u64, Documents>,
}

impl Press {
    fn published(&mut self, version: u64) -> Published {
        let domain = &self.domain;
        let made = self.made.entry(version).or_insert_with(|| documents(domain, version));
        let last = ["gateway".to_owned()];
        Published::new(PathVersion(version), made.clone(), members(domain), last).expect("it fits")
    }
}

impl World {
    fn new(seed: u64, press: &mut Press) -> World {
        let mut dice = Dice(SplitMix64(seed));
        let clock = Clock::new();
        let absent = if dice.one_in(3) { Absent::Refuse } else { Absent::GoOn };
        let config = PublisherConfig { life: [0; 16], absent };
        let publisher = Publisher::new(config, Some(press.published(1)));
        let element = |name: String| Element {
            follower: Follower::new(clock.0, super::config(&name), Held::default()),
            name,
            disk: Held::default(),
            link: None,
            seen: PathVersion(0),
            building: VecDeque::new(),
            activating: None,
        };
        let elements = members(&press.domain).into_iter().map(element).collect();
        World {
            dice,
            clock,
            publisher,
            disk: 1,
            newest: 1,
            sessions: 0,
            elements,
            faults: true,
            absent,
            counted: BTreeSet::from([1]),
        }
    }

    fn step(&mut self, press: &mut Press) {
        let now = self.clock.turn(Duration::from_millis(self.dice.0.below(400)));
        if self.faults {
            self.disturb(press);
        }
        for index in 0..self.elements.len() {
            self.work(index);
        }
        self.publisher.handle_timeout(now);
        self.distribute(press);
        self.check();
    }

    /// What goes wrong, and what the operator does.
    fn disturb(&mut self, press: &mut Press) {
        let now = self.clock.0;
        if self.dice.one_in(12) {
            let index = self.dice.below(self.elements.len());
            self.cut(index);
        }
        if self.dice.one_in(40) {
            let index = self.dice.below(self.elements.len());
            self.cut(index);
            let element = &mut self.elements[index];
            element.follower = Follower::new(now, config(&element.name), element.disk);
            element.building.clear();
            element.seen = element.disk.highest;
            element.activating = None;
        }
        if self.dice.one_in(120) {
            for index in 0..self.elements.len() {
                self.cut(index);
            }
            let config = PublisherConfig { life: [1; 16], absent: self.absent };
            self.publisher = Publisher::new(config, Some(press.published(self.disk)));
        }
        if self.dice.one_in(50) {
            self.newest += 1;
            let hows = [Proposing::InPlace, Proposing::MayRestart, Proposing::Trial];
            let how = hows[self.dice.below(hows.len())];
            self.publisher.propose(now, press.published(self.newest), how);
        }
    }

    fn cut(&mut self, index: usize) {
        let now = self.clock.0;
        let element = &mut self.elements[index];
        let Some(mut link) = element.link.take() else { return };
        // What was under way may still arrive, up to some message, in either direction.
        for _ in 0..self.dice.below(link.up.len() + 1) {
            let bytes = link.up.pop_front().expect("counted");
            self.publisher.handle_message(now, 0, link.session, &bytes[4..]);
        }
        for _ in 0..self.dice.below(link.down.len() + 1) {
            let bytes = link.down.pop_front().expect("counted");
            element.follower.handle_message(now, NOW_UNIX_S, &bytes[4..]);
        }
        element.follower.disconnected(now);
        // Control may notice much later.
        if self.dice.one_in(2) {
            self.publisher.disconnected(now, link.session);
        }
    }

    fn work(&mut self, index: usize) {
        let now = self.clock.0;
        let unreachable = self.faults && self.dice.one_in(4);
        let element = &mut self.elements[index];
        element.follower.handle_timeout(now);
        if let Some(link) = &mut element.link {
            for _ in 0..self.dice.below(4) {
                let Some(bytes) = link.down.pop_front() else { break };
                element.follower.handle_message(now, NOW_UNIX_S, &bytes[4..]);
            }
        }
        if self.dice.one_in(2)
            && let Some(version) = element.building.pop_front()
        {
            if self.faults && self.dice.one_in(60) {
                let reason = [Nack::Unbuildable, Nack::NoKeys][self.dice.below(2)];
                element.follower.not_staged(now, version, reason, "no".to_owned());
            } else {
                element.follower.staged(now, version);
            }
        }
        if self.dice.one_in(2)
            && let Some(version) = element.activating.take()
        {
            // On disk first, so that a crash in between activates it again.
            element.disk = Held { active: version, ..element.follower.held() };
            element.follower.activated(now, version);
        }
        while let Some(event) = element.follower.poll_event() {
            match event {
                FollowerEvent::Dial if unreachable => element.follower.disconnected(now),
                FollowerEvent::Dial => {
                    self.sessions += 1;
                    let session = SessionId(self.sessions);
                    let (up, down) = (VecDeque::new(), VecDeque::new());
                    element.link = Some(Link { session, up, down });
                    self.publisher.connected(now, session, &element.name);
                    element.follower.connected(now);
                }
                FollowerEvent::HangUp(_) => {
                    if let Some(link) = element.link.take() {
                        self.publisher.disconnected(now, link.session);
                    }
                }
                FollowerEvent::Stage { set, .. } => {
                    assert!(set.version > element.disk.active, "it went back");
                    assert!(set.version >= element.seen, "it took what is lower");
                    element.seen = set.version;
                    element.disk = Held { active: element.disk.active, ..element.follower.held() };
                    element.building.push_back(set.version);
                }
                FollowerEvent::Activate(version) => element.activating = Some(version),
                FollowerEvent::Abandon(version) => {
                    element.building.retain(|building| *building != version);
                    assert_ne!(element.activating, Some(version));
                }
                _ => {}
            }
        }
        while let Some(bytes) = element.follower.poll_transmit() {
            if let Some(link) = &mut element.link {
                link.up.push_back(bytes);
            }
        }
        let Some(session) = element.link.as_ref().map(|link| link.session) else { return };
        for _ in 0..self.dice.below(4) {
            let link = self.elements[index].link.as_mut().expect("it has one");
            let Some(bytes) = link.up.pop_front() else { break };
            self.publisher.handle_message(now, 0, session, &bytes[4..]);
        }
    }

    /// Control's driver.
    fn distribute(&mut self, press: &mut Press) {
        let now = self.clock.0;
        loop {
            while let Some((session, bytes)) = self.publisher.poll_transmit() {
                let mut links = self.elements.iter_mut().filter_map(|e| e.link.as_mut());
                if let Some(link) = links.find(|link| link.session == session) {
                    link.down.push_back(bytes);
                }
            }
            let Some(event) = self.publisher.poll_event() else { break };
            match event {
                PublisherEvent::Commit(version) => {
                    self.disk = version.0;
                    self.counted.insert(version.0);
                    // A crash right here must not lose it.
                    if self.faults && self.dice.one_in(10) {
                        for index in 0..self.elements.len() {
                            self.cut(index);
                        }
                        let config = PublisherConfig { life: [1; 16], absent: self.absent };
                        self.publisher = Publisher::new(config, Some(press.published(self.disk)));
                    } else {
                        self.publisher.committed(now, version);
                    }
                }
                PublisherEvent::Reissue { seen, .. } => {
                    self.newest = self.newest.max(seen.0) + 1;
                    self.disk = self.newest;
                    self.counted.insert(self.disk);
                    self.publisher.reissue(now, press.published(self.newest));
                }
                PublisherEvent::HangUp { session, .. } => {
                    for element in &mut self.elements {
                        if element.link.as_ref().is_some_and(|link| link.session == session) {
                            element.link = None;
                            element.follower.disconnected(now);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// What holds at every step.
    fn check(&self) {
        for element in &self.elements {
            let (held, disk) = (element.follower.held(), element.disk);
            for active in [held.active, disk.active, element.activating.unwrap_or(held.active)] {
                let ever = active.0 == 0 || self.counted.contains(&active.0);
                assert!(ever, "{} runs version {active}, which never counted", element.name);
            }
            assert!(held.active <= held.highest && disk.active <= disk.highest);
        }
    }
}

fn run(seed: u64, press: &mut Press) {
    let mut world = World::new(seed, press);
    for _ in 0..STEPS {
        world.step(press);
    }
    world.faults = false;
    // Long enough for a version to be signed anew, and for every wait before a dial.
    for _ in 0..STEPS * 2 {
        world.step(press);
    }
    let version = world.publisher.version();
    assert_eq!(version.0, world.disk);
    for Standing { element, progress, active, .. } in world.publisher.standings() {
        let refused = progress == Progress::Idle;
        assert!(
            active == version || refused,
            "{element} is at {active} of {version}: {progress:?}"
        );
        assert!(!refused, "{element}: a refusal of before is not final without faults");
    }
    assert_eq!(world.publisher.proposed(), None);
}

#[test]
fn everybody_comes_to_what_counts_and_nobody_runs_anything_else() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut press = Press { domain: domain(FUNCTIONS), made: BTreeMap::new() };
    let seeds = match number("RINGMAIL_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGMAIL_SIM_RUNS").unwrap_or(40),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(seed, &mut press);
        }));
        if let Err(panic) = outcome {
            eprintln!("RINGMAIL_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
    let issue = Issue { version: PathVersion(1), ..ISSUE };
    assert!(PathSet::compile(&press.domain, issue).is_ok_and(|set| set.elements.len() > 15));
}
