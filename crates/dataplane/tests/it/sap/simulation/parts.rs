//! What the world is made of: elements with a data plane, connections, and what happens later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmail_dataplane::sa::SpiAllocator;
use ringmail_dataplane::sap::{
    AllocateSpi, Lease, Place, Sap, SegmentView, SessionId, SignedLease, VerifyLease,
};
use ringmail_model::{PathDigest, SaSpi, SplitMix64};

use super::super::support::Secret;

/// What a simulation draws from its seed.
pub(super) struct Random(pub(super) SplitMix64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0.draw()
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    pub(super) fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    pub(super) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// An association as a data plane holds it.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    pub(super) peer: u16,
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) expires: Instant,
}

pub(super) struct Element {
    /// Counts its lives.
    pub(super) life: u8,
    pub(super) saps: BTreeMap<u16, Sap>,
    pub(super) inbound: BTreeMap<SaSpi, Installed>,
    pub(super) outbound: BTreeMap<(u16, SaSpi), Installed>,
    pub(super) spis: Arc<Mutex<SpiAllocator>>,
    pub(super) segments: Vec<SegmentView>,
}

pub(super) struct Spis {
    pub(super) allocator: Arc<Mutex<SpiAllocator>>,
    pub(super) random: Random,
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
pub(super) struct ToySigner;

impl VerifyLease for ToySigner {
    fn verify_lease(&self, signed: &SignedLease) -> bool {
        signed.signature == toy_signature(&signed.lease)
    }
}

pub(super) fn toy_signature(lease: &Lease) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..8].copy_from_slice(&lease.serial.to_be_bytes());
    signature[8..16].copy_from_slice(&lease.not_after_unix_s.to_be_bytes());
    signature
}

/// One connection: element, life and session of both ends.
pub(super) struct Connection {
    pub(super) ends: [(u16, u8, SessionId); 2],
    pub(super) secret: Secret,
    pub(super) open: bool,
    /// The end that was dialed knows of it.
    pub(super) accepted: bool,
}

/// A session that is not there yet.
pub(super) const UNKNOWN: SessionId = SessionId(u64::MAX);

/// What happens later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Later {
    Deliver { connection: usize, to: usize, bytes: Vec<u8> },
    HangUp { connection: usize, at: usize },
    Dialed { from: u16, life: u8, to: u16 },
    Accepted { connection: usize },
    PlaneInstalled { element: u16, life: u8, peer: u16, spi: SaSpi },
    PlaneStopped { element: u16, life: u8, peer: u16, spi: SaSpi },
    Lease { element: u16, life: u8, digest: PathDigest },
    Fault,
}
