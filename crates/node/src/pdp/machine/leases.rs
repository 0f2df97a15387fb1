//! The leases of an element, kept for a restart while control is away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::Result;
use ringmail_dataplane::sap::SignedLease;
use ringmail_model::PathDigest;

use super::super::limits::LEASES_SAVED_WITHIN;
use super::super::store::StateDir;
use super::unix_s;

/// The last lease of each path.
pub(super) struct Leases {
    kept: BTreeMap<PathDigest, SignedLease>,
    /// Paths whose kept lease this life of the runtime has got.
    given: BTreeSet<PathDigest>,
    /// When they have to be on disk.
    unsaved: Option<Instant>,
}

impl Leases {
    pub(super) fn open(dir: &StateDir) -> Result<Leases> {
        Ok(Leases { kept: dir.leases()?, given: BTreeSet::new(), unsaved: None })
    }

    /// A runtime starts that knows none.
    pub(super) fn begin(&mut self) {
        self.given.clear();
    }

    /// A lease came, and is passed on.
    pub(super) fn take(&mut self, lease: SignedLease) {
        let now = unix_s();
        self.kept.retain(|_, kept| kept.lease.not_after_unix_s > now);
        self.given.insert(lease.lease.digest);
        self.kept.insert(lease.lease.digest, lease);
        self.unsaved.get_or_insert(Instant::now() + LEASES_SAVED_WITHIN);
    }

    /// The kept lease of a path, once a life of the runtime: over a restart it counts on, so that control may be away.
    pub(super) fn kept(&mut self, digest: PathDigest) -> Option<&SignedLease> {
        let kept = self.kept.get(&digest)?;
        (kept.lease.not_after_unix_s > unix_s() && self.given.insert(digest)).then_some(kept)
    }

    /// When [`Leases::save`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unsaved
    }

    /// Writes them down, where any are new.
    pub(super) fn save(&mut self, dir: &StateDir) {
        if self.unsaved.take().is_some()
            && let Err(error) = dir.save_leases(&self.kept)
        {
            tracing::error!(error = format!("{error:#}"), "leases are not kept");
        }
    }
}
