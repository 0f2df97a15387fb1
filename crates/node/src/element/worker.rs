//! A worker: one thread that owns one or more elements' cores with their links, and drives them.
//!
//! In layout `processes` a worker has one station. In layout `single` it has all of them, joined by links in memory, and
//! goes round until none has anything left to do.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmail_dataplane::attach::Attached;
use ringmail_dataplane::edge::Edge;
use ringmail_dataplane::hop::Hop;
use ringmail_dataplane::paths::PathTable;
use ringmail_dataplane::sa::SaTable;
use ringmail_dataplane::{Batch, Form, Side};
use ringmail_dataplane_io::poll::{Poller, Waker};
use ringmail_dataplane_io::{Link, LinkCounters};

use super::alerts;
use super::command::{Command, Outcome};
use super::flows::Metering;
use super::report::Report;
use super::watch::{self, Watching};

/// How long a worker without traffic sleeps before it lets its state age.
const TICK: Duration = Duration::from_millis(200);

/// Bytes of a worker's batches: two GRO datagrams, or a super-packet cut into packets with room around each.
pub(crate) const BATCH_BYTES: usize = 4 * 65_536;

/// Times from a nanosecond to two seconds; longer ones are in the last bucket.
const STAY_BUCKETS: usize = 32;

/// One batch in so many is timed.
const STAY_NOTED_EVERY: u32 = 16;

/// Batches that a station takes from one side before it looks at the other and at its commands.
const BATCHES_A_TURN: usize = 8;

/// What an element does with packets.
pub(crate) enum Core {
    /// A gateway or an egress, with its inner side.
    Edge(Box<Edge>, Box<dyn Link>),
    /// A hop.
    Hop(Box<Hop>),
    /// A hop with an attached function, and a link to each of the function's sides.
    Attached(Box<Attached>, Vec<(Side, Box<dyn Link>)>),
}

/// The counters of an element's links.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) link: Arc<LinkCounters>,
    /// The inner side, or the sides of an attached function.
    pub(crate) inner: Vec<Arc<LinkCounters>>,
}

/// How long batches are inside, as a histogram over powers of two of a nanosecond.
#[derive(Debug, Default)]
pub(crate) struct Stay {
    batches: u32,
    pub(crate) buckets: [u64; STAY_BUCKETS],
    pub(crate) sum_ns: u64,
}

impl Stay {
    /// Notes a batch that came at `came` and is sent now; most are passed over, since a look at the clock costs.
    fn note(&mut self, came: Instant) {
        self.batches = self.batches.wrapping_add(1);
        if self.batches.is_multiple_of(STAY_NOTED_EVERY) {
            let ns = u64::try_from(came.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let bucket = (u64::BITS - ns.leading_zeros()) as usize;
            self.buckets[bucket.min(STAY_BUCKETS - 1)] += 1;
            self.sum_ns = self.sum_ns.wrapping_add(ns);
        }
    }
}

/// An element's core with its links and its commands.
pub(crate) struct Station {
    core: Core,
    link: Box<dyn Link>,
    links: Links,
    commands: mpsc::Receiver<Command>,
    /// Other workers of the element, where replies to what came here may meet them.
    siblings: Vec<Handle>,
    batch: Batch,
    made: Batch,
    /// Who looks on; hardly ever there.
    watching: Option<Box<Watching>>,
    /// Counts flows, where records of them are wanted; only at an edge.
    metering: Option<Box<Metering>>,
    stay: Stay,
    /// It was told to stop while it was at something.
    over: bool,
}

/// The way to give a station commands from other threads.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) waker: Waker,
}

impl Handle {
    /// Gives a command and wakes the worker. A worker that ended drops it, and with it the sender of its answer.
    pub(crate) fn give(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }
}

impl Station {
    /// A station, and the handle to give it commands.
    pub(crate) fn new(core: Core, link: Box<dyn Link>, waker: &Waker) -> (Station, Handle) {
        let (sender, commands) = mpsc::channel();
        let batch = || Batch::with_capacity_bytes(BATCH_BYTES);
        let inner = match &core {
            Core::Edge(_, inner) => vec![inner.counters().clone()],
            Core::Hop(_) => Vec::new(),
            Core::Attached(_, sides) => {
                sides.iter().map(|(_, link)| link.counters().clone()).collect()
            }
        };
        let links = Links { link: link.counters().clone(), inner };
        let (batch, made) = (batch(), batch());
        let station = Station {
            core,
            link,
            links,
            commands,
            siblings: Vec::new(),
            batch,
            made,
            watching: None,
            metering: None,
            stay: Stay::default(),
            over: false,
        };
        (station, Handle { commands: sender, waker: waker.clone() })
    }

    /// What to wait for.
    fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let inner: Vec<_> = match &self.core {
            Core::Edge(_, inner) => inner.fd().into_iter().collect(),
            Core::Hop(_) => Vec::new(),
            Core::Attached(_, sides) => sides.iter().filter_map(|(_, link)| link.fd()).collect(),
        };
        self.link.fd().into_iter().chain(inner)
    }

    /// Does what is there to do, up to a turn's worth. Whether there was anything.
    fn turn(&mut self) -> io::Result<bool> {
        let mut worked = false;
        for _ in 0..BATCHES_A_TURN {
            let from_link = self.take_from_link()?;
            let from_inner = self.take_from_inner()?;
            if !from_link && !from_inner {
                break;
            }
            worked = true;
        }
        Ok(worked)
    }

    fn take_from_link(&mut self) -> io::Result<bool> {
        if self.link.recv(&mut self.batch)? == 0 {
            return Ok(false);
        }
        let now = Instant::now();
        if let Some(watching) = &mut self.watching {
            watching.came_by_link(now, &mut self.core, &self.batch);
        }
        match &mut self.core {
            Core::Hop(hop) => hop.handle_link(now, &mut self.batch, &mut self.made),
            Core::Edge(edge, _) => {
                edge.handle_link(now, &mut self.batch);
                if let Some(metering) = &mut self.metering {
                    metering.delivered(now, edge, &self.batch);
                }
            }
            Core::Attached(hop, _) => hop.handle_link(now, &mut self.batch),
        }
        if let Some(watching) = &mut self.watching {
            let edge = match &self.core {
                Core::Edge(edge, _) => Some(&**edge),
                _ => None,
            };
            watching.decided(edge, &self.batch);
        }
        match &mut self.core {
            Core::Hop(_) => {
                let _sent = self.link.send(&mut self.batch)?;
                if !self.made.is_empty() {
                    let _sent = self.link.send(&mut self.made)?;
                }
            }
            Core::Edge(edge, inner) => {
                // Before the packets: the first reply may be quick.
                if !edge.learned().is_empty() {
                    for sibling in &self.siblings {
                        sibling.give(Command::Learned(edge.learned().into()));
                    }
                }
                let _sent = inner.send(&mut self.batch)?;
            }
            Core::Attached(_, sides) => {
                for (_, side) in sides {
                    let _sent = side.send(&mut self.batch)?;
                }
            }
        }
        self.stay.note(now);
        if let Some(watching) = &mut self.watching {
            watching.sent(&self.batch);
        }
        Ok(true)
    }

    fn take_from_inner(&mut self) -> io::Result<bool> {
        if let Core::Edge(_, inner) = &mut self.core {
            if inner.recv(&mut self.batch)? == 0 {
                return Ok(false);
            }
            // Whoever gave these packets gave their flows a path before.
            self.over |= !self.obey();
        }
        let Station { core, link, batch, watching, metering, stay, .. } = self;
        let mut worked = false;
        // What came in plain goes out over the link.
        let mut leave = |now, batch: &mut Batch, watching: &mut Option<Box<Watching>>| {
            if let Some(watching) = watching {
                watching.decided(None, batch);
            }
            let sent = link.send(batch);
            stay.note(now);
            if let Some(watching) = watching {
                watching.sent(batch);
            }
            worked = true;
            sent.map(drop)
        };
        match core {
            Core::Hop(_) => {}
            Core::Edge(edge, _) => {
                let now = Instant::now();
                if let Some(watching) = watching {
                    watching.came_plain(now, Some(edge), batch);
                }
                if let Some(metering) = metering {
                    metering.came_plain(batch);
                }
                edge.handle_inner(now, batch);
                if let Some(metering) = metering {
                    metering.sealed(now, edge, batch);
                }
                leave(now, batch, watching)?;
            }
            Core::Attached(hop, sides) => {
                for (side, link) in sides {
                    if link.recv(batch)? > 0 {
                        let now = Instant::now();
                        if let Some(watching) = watching {
                            watching.came_plain(now, None, batch);
                        }
                        hop.handle_function(now, *side, batch);
                        leave(now, batch, watching)?;
                    }
                }
            }
        }
        Ok(worked)
    }

    /// Carries out the commands that wait. False when nobody can give any more.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => match self.carry_out(command) {
                    Outcome::Done => {}
                    Outcome::Siblings(siblings) => self.share_with(siblings),
                    Outcome::Stop => return false,
                },
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn share_with(&mut self, siblings: Vec<Handle>) {
        if let Core::Edge(edge, _) = &mut self.core {
            edge.share();
        }
        self.siblings = siblings;
    }

    fn carry_out(&mut self, command: Command) -> Outcome {
        match command {
            Command::Watch(asked) => watch::obey(&mut self.watching, asked, &mut self.core),
            Command::Meter(metering) => self.metering = metering,
            Command::Report(answer) => {
                self.link.count_kernel_drops();
                let _gone = answer.send(Report::of(
                    &mut self.core,
                    &self.links,
                    self.link.faults(),
                    &self.stay,
                ));
            }
            other => return other.carry_out(&mut self.core, &mut self.link),
        }
        Outcome::Done
    }

    fn tick(&mut self, now: Instant) {
        self.core.show_time();
        match &mut self.core {
            Core::Attached(hop, _) => hop.handle_timeout(now),
            Core::Hop(hop) => {
                hop.handle_timeout(now);
                alerts::write(hop.function());
            }
            Core::Edge(edge, _) => {
                edge.handle_timeout(now);
                if let Some(metering) = &mut self.metering {
                    metering.tick(now);
                }
            }
        }
    }
}

impl Core {
    pub(crate) fn paths(&mut self) -> &mut PathTable {
        match self {
            Core::Edge(edge, _) => &mut edge.paths,
            Core::Hop(hop) => &mut hop.paths,
            Core::Attached(hop, _) => &mut hop.paths,
        }
    }

    /// Says what time it is, which cores do not look up; clocks are set now and then.
    pub(crate) fn show_time(&mut self) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.paths().clock().set(Instant::now(), since_epoch);
    }

    /// For so many seconds an idle flow is remembered. What a hop remembers of connections follows TCP alone.
    pub(crate) fn set_flow_idle_s(&mut self, seconds: u32) {
        match self {
            Core::Edge(edge, _) => edge.set_flow_idle_s(seconds),
            Core::Hop(_) => {}
            Core::Attached(hop, _) => hop.set_flow_idle_s(seconds),
        }
    }

    /// How frames of the element begin.
    pub(crate) fn form(&self) -> Form {
        match self {
            Core::Edge(edge, _) => edge.form(),
            Core::Hop(hop) => hop.form(),
            Core::Attached(hop, _) => hop.form(),
        }
    }

    pub(crate) fn inbound(&mut self) -> &mut SaTable {
        match self {
            Core::Edge(edge, _) => &mut edge.inbound,
            Core::Hop(hop) => &mut hop.inbound,
            Core::Attached(hop, _) => &mut hop.inbound,
        }
    }
}

/// Drives stations until one of them is told to stop. `poller` is the one whose waker they were made with.
///
/// # Errors
/// An error of a link that concerns more than one packet; all stations of the worker stop with it.
pub(crate) fn run(mut stations: Vec<Station>, poller: &Poller) -> io::Result<()> {
    for (token, fd) in stations.iter().flat_map(Station::fds).enumerate() {
        poller.add(fd, token as u64)?;
    }
    let mut ticked = Instant::now();
    loop {
        let mut worked = false;
        for station in &mut stations {
            if !station.obey() {
                return Ok(());
            }
            worked |= station.turn()?;
            if station.over {
                return Ok(());
            }
        }
        let now = Instant::now();
        if now.saturating_duration_since(ticked) >= TICK {
            ticked = now;
            stations.iter_mut().for_each(|station| station.tick(now));
        }
        if !worked {
            let due = stations.iter().filter_map(|station| station.link.due_in());
            poller.wait(Some(due.min().map_or(TICK, |due| due.min(TICK))))?;
        }
    }
}
