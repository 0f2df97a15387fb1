//! What is known of a host, and what one can see of it.

use std::time::Instant;

use ringmail_model::Name;

use super::effect::HostRecord;
use super::merkle::Hash;
use super::subject::{Serial, Standing};

/// How a host or function stands, and since when.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub(super) standing: Standing,
    pub(super) refusals: u32,
    /// An operator put it there: evidence alone does not bring it back.
    pub(super) held: bool,
    /// An operator lets it come back as soon as its evidence is good.
    pub(super) pardoned: bool,
    pub(super) cause: String,
    pub(super) since_unix_ms: u64,
    /// The last evidence, while it is good; forgotten over a restart.
    pub(super) attested: Option<Attested>,
    /// The number of the newest nonce whose evidence was judged.
    pub(super) judged: u64,
    pub(super) live: Vec<Live>,
    /// It was taken out of its paths, and not let in again.
    pub(super) withdrawn: bool,
}

/// Good evidence.
#[derive(Clone, Debug)]
pub(super) struct Attested {
    pub(super) at: Instant,
    pub(super) at_unix_ms: u64,
    pub(super) evidence: Hash,
    /// SHA-256 of the public key that it vouches for.
    pub(super) key: Option<Hash>,
}

/// A certificate that holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) serial: Serial,
    pub(super) not_after_unix_s: u64,
}

/// A host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) anchor: Hash,
    pub(super) trust: Trust,
    /// From when on its silence counts.
    pub(super) heard: Instant,
    /// When that reaches the next stage.
    pub(super) due: Option<Instant>,
    /// Certificates of its agent.
    pub(super) agent_live: Vec<Live>,
}

/// A host as reports show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostView {
    /// What is remembered.
    pub record: HostRecord,
    /// When its last evidence was found good, in milliseconds since 1970; not known after a restart.
    pub attested_unix_ms: Option<u64>,
    /// Certificates that hold, its agent's left out.
    pub certificates: usize,
    /// Its functions.
    pub functions: Vec<Name>,
}

impl Trust {
    pub(super) fn new(standing: Standing, cause: &str, since_unix_ms: u64) -> Trust {
        Trust {
            standing,
            refusals: 0,
            held: false,
            pardoned: false,
            cause: cause.to_owned(),
            since_unix_ms,
            attested: None,
            judged: 0,
            live: Vec::new(),
            withdrawn: false,
        }
    }
}

impl Host {
    pub(super) fn record(&self, name: &Name) -> HostRecord {
        let Trust { standing, refusals, held, cause, since_unix_ms, .. } = &self.trust;
        HostRecord {
            name: name.clone(),
            standing: *standing,
            anchor: self.anchor,
            refusals: *refusals,
            held: *held,
            cause: cause.clone(),
            since_unix_ms: *since_unix_ms,
        }
    }
}

/// Forgets what ran out.
pub(super) fn prune(live: &mut Vec<Live>, now_unix_s: u64) {
    live.retain(|certificate| certificate.not_after_unix_s >= now_unix_s);
}
