//! What an element's end begins with: who it is, and what its disk remembers.

use super::super::message::Life;
use crate::domain::Profile;
use crate::ids::PathVersion;
use crate::names::TrustDomain;
use crate::pathset::PublicKey;

/// Who the element is, and whom it believes.
#[derive(Clone, Debug)]
pub struct FollowerConfig {
    /// Its domain.
    pub domain: TrustDomain,
    /// Its name in the path set.
    pub element: String,
    /// The domain's path-signing key.
    pub path_key: PublicKey,
    /// The profiles that it speaks.
    pub profiles: Vec<Profile>,
    /// Random: which life of the element this is.
    pub life: Life,
    /// Random: spreads the dials of many elements.
    pub jitter_seed: u64,
}

/// What the element's disk remembers over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The version that it runs; 0 for none.
    pub active: PathVersion,
    /// The highest version that it has seen; 0 for none.
    pub highest: PathVersion,
    /// [`Documents::fingerprint`] of that one.
    pub fingerprint: [u8; 32],
}

impl Default for Held {
    /// What a new element remembers.
    fn default() -> Held {
        Held { active: PathVersion(0), highest: PathVersion(0), fingerprint: [0; 32] }
    }
}
