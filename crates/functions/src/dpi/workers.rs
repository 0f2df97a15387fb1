//! One `dpi` for all workers of an element: which worker of a hop gets a packet depends on who sent it, so that the two
//! directions of a connection come to different ones, and a connection may move between two of its packets.
//!
//! Connections lie in parts, each with streams, room and matcher of its own, behind a lock that is held while one packet is
//! inspected and never longer. There are more parts than workers, so that two seldom want the same one at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ringmail_dataplane::function::{Alert, FunctionCounter};
use ringmail_dataplane::{Function, FunctionBatch};

use super::inner::Inner;
use super::{Dpi, counters};
use crate::limits;
use crate::settings::{BuildError, DpiSettings};

/// The function `dpi` as one of several workers has it.
#[derive(Debug)]
pub struct DpiWorker {
    shared: Arc<Parts>,
    /// Which of how many workers this is; the first one counts for all.
    own: usize,
    workers: usize,
}

#[derive(Debug)]
struct Parts {
    parts: Box<[Mutex<Dpi>]>,
    hasher: ahash::RandomState,
    rules: Vec<String>,
}

impl Dpi {
    /// One for each of `workers` workers. Together they have as much room as so many that know nothing of each other.
    ///
    /// # Errors
    /// As [`Dpi::new`].
    pub fn for_workers(
        settings: &DpiSettings,
        workers: usize,
        seeds: [u64; 4],
    ) -> Result<Vec<DpiWorker>, BuildError> {
        let parts = workers * limits::DPI_PARTS_A_WORKER;
        let share = |of: usize| of.div_ceil(limits::DPI_PARTS_A_WORKER);
        let each = DpiSettings {
            connections: share(settings.connections),
            stream_bytes: share(settings.stream_bytes),
            ..settings.clone()
        };
        let part = |number: usize| {
            let seeds = seeds.map(|seed| seed.rotate_left(17) ^ number as u64);
            Dpi::new(&each, seeds).map(Mutex::new)
        };
        let [a, b, c, d] = seeds;
        let shared = Arc::new(Parts {
            parts: (0..parts).map(part).collect::<Result<_, _>>()?,
            hasher: ahash::RandomState::with_seeds(a, b, c, d),
            rules: settings.rules.iter().map(|rule| rule.name.clone()).collect(),
        });
        let worker = |own| DpiWorker { shared: Arc::clone(&shared), own, workers };
        Ok((0..workers).map(worker).collect())
    }
}

impl DpiWorker {
    /// The part that a packet's connection is in; what has none may be anywhere.
    fn part_of(&self, inner: Option<&Inner<'_>>) -> MutexGuard<'_, Dpi> {
        let parts = &self.shared.parts;
        let number = match inner {
            Some(Inner::Tcp(segment)) => self.shared.hasher.hash_one(segment.connection) as usize,
            _ => self.own,
        };
        lock(&parts[number % parts.len()])
    }
}

impl Function for DpiWorker {
    fn handle_batch(&mut self, now: Instant, packets: &mut FunctionBatch<'_>) {
        for nth in 0..packets.len() {
            let (packet, path) = (packets.packet(nth), packets.path(nth));
            let inner = Inner::parse(packet);
            let mut part = self.part_of(inner.as_ref().ok());
            let now_s = part.seconds(now);
            let action = part.inspect(now_s, packet, inner, path);
            drop(part);
            packets.set_action(nth, action);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let own = self.shared.parts.iter().skip(self.own).step_by(self.workers);
        own.for_each(|part| lock(part).handle_timeout(now));
    }

    fn counters(&self) -> Vec<FunctionCounter> {
        let mut parts = self.shared.parts.iter().map(|part| counters::of(&lock(part)));
        let mut sum = parts.next().unwrap_or_default();
        if self.own > 0 {
            sum.iter_mut().for_each(|counter| counter.value = 0);
            return sum;
        }
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(counter, of)| counter.value += of.value);
        }
        sum
    }

    fn gauges(&self) -> &'static [&'static str] {
        counters::GAUGES
    }

    fn drain_alerts(&mut self, sink: &mut dyn FnMut(Alert)) {
        // A part that is busy is drained by who works on it.
        for part in self.shared.parts.iter().filter_map(|part| part.try_lock().ok()) {
            let mut part = part;
            part.drain_alerts(sink);
        }
    }

    fn rule_name(&self, rule: u32) -> Option<&str> {
        self.shared.rules.get(rule as usize).map(String::as_str)
    }
}

/// A worker that panicked takes its element down; until then the others find a part as it was left.
fn lock(part: &Mutex<Dpi>) -> MutexGuard<'_, Dpi> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
