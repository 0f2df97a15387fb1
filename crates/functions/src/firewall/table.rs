//! Where connections are remembered: in a table of the firewall's own, or in one for the firewalls of all workers of an
//! element, since the two directions of a connection may come to different workers, and a connection may move.
//!
//! The shared table lies in parts, each behind a lock that is held while one packet is judged, from the look-up to the
//! entry, and never longer: what two workers see of one connection at the same moment is judged one after the other.
//! Workers meet at a lock only when packets of the same part come to both at once, and there are many more parts than
//! workers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use ringmail_dataplane::flow::FlowTable;

use super::connection::Connection;
use super::packet::Key;
use crate::limits;

type Table = FlowTable<Key, Connection>;

/// The connections that a firewall knows.
pub(super) struct Connections {
    places: Places,
    /// When the first packet came: the clock of the entries counts from there.
    began: Arc<OnceLock<Instant>>,
}

enum Places {
    Own(Table),
    Shared {
        shared: Arc<Shared>,
        /// Counts what is the table's and not a worker's: one of the workers does.
        counts: bool,
    },
}

struct Shared {
    parts: Box<[Mutex<Table>]>,
    hasher: ahash::RandomState,
    /// The part that is swept next.
    sweep: AtomicUsize,
}

impl Connections {
    /// For one firewall alone.
    pub(super) fn own(connections: usize, seeds: [u64; 4]) -> Connections {
        let places = Places::Own(Table::new(connections, seeds));
        Connections { places, began: Arc::default() }
    }

    /// One for each of `workers` firewalls that know the same connections.
    pub(super) fn shared(
        connections: usize,
        workers: usize,
        seeds: [u64; 4],
    ) -> impl Iterator<Item = Connections> {
        // So small a table that its parts would differ much in how full they are is left whole.
        let most = (connections / limits::FIREWALL_PART_CONNECTIONS_MIN).max(1);
        let wanted = workers * limits::FIREWALL_PARTS_A_WORKER;
        let parts = wanted.next_power_of_two().min(1 << most.ilog2());
        let part = |number: u64| {
            let seeds = seeds.map(|seed| seed.rotate_left(17) ^ number);
            Mutex::new(Table::new(connections.div_ceil(parts), seeds))
        };
        let [a, b, c, d] = seeds;
        let shared = Arc::new(Shared {
            parts: (0..parts as u64).map(part).collect(),
            hasher: ahash::RandomState::with_seeds(a, b, c, d),
            sweep: AtomicUsize::new(0),
        });
        let began: Arc<OnceLock<Instant>> = Arc::default();
        (0..workers).map(move |worker| Connections {
            places: Places::Shared { shared: Arc::clone(&shared), counts: worker == 0 },
            began: Arc::clone(&began),
        })
    }

    /// Seconds since the first packet.
    pub(super) fn seconds(&self, now: Instant) -> u32 {
        let began = *self.began.get_or_init(|| now);
        now.saturating_duration_since(began).as_secs().try_into().unwrap_or(u32::MAX / 2)
    }

    /// Works on the table that the connection is in, or would be; nobody else does meanwhile.
    #[inline]
    pub(super) fn with<R>(&mut self, key: &Key, work: impl FnOnce(&mut Table) -> R) -> R {
        match &mut self.places {
            Places::Own(table) => work(table),
            Places::Shared { shared, .. } => work(&mut shared.part_of(key)),
        }
    }

    /// Takes out some of those that are too old.
    pub(super) fn sweep(&mut self, now_s: u32) {
        match &mut self.places {
            Places::Own(table) => table.sweep(now_s, limits::SWEEP_ENTRIES),
            Places::Shared { shared, .. } => {
                let next = shared.sweep.fetch_add(1, Ordering::Relaxed);
                lock(&shared.parts[next % shared.parts.len()]).sweep(now_s, limits::SWEEP_ENTRIES);
            }
        }
    }

    /// Connections that are remembered.
    pub(super) fn len(&self) -> usize {
        self.sum(Table::len)
    }

    /// Connections that were forgotten by age.
    pub(super) fn expired(&self) -> u64 {
        self.sum(Table::expired)
    }

    /// Over all parts; at one of the workers that share them, and nothing at the others.
    fn sum<N: std::iter::Sum>(&self, of: impl Fn(&Table) -> N) -> N {
        match &self.places {
            Places::Own(table) => [of(table)].into_iter().sum(),
            Places::Shared { shared, counts: true } => {
                shared.parts.iter().map(|part| of(&lock(part))).sum()
            }
            Places::Shared { counts: false, .. } => [].into_iter().sum(),
        }
    }
}

impl Shared {
    #[inline]
    fn part_of(&self, key: &Key) -> MutexGuard<'_, Table> {
        let hash = self.hasher.hash_one(key) as usize;
        lock(&self.parts[hash & (self.parts.len() - 1)])
    }
}

/// A worker that panicked leaves a table that is whole between any two of its calls.
fn lock(part: &Mutex<Table>) -> MutexGuard<'_, Table> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
