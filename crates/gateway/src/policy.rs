//! The rules in force, swapped as one: a request that begins after a swap sees only the new ones.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use ringmail_model::PathVersion;
use ringmail_model::rules::{Headers, RuleSet};

use crate::decision::DecisionPoints;
use crate::leg::Services;

/// What the gateway may do, at one version of the path set.
#[derive(Debug)]
pub struct Policy {
    /// The version; connections to services are not shared across versions.
    pub version: PathVersion,
    /// The rules.
    pub rules: RuleSet,
    /// How services are spoken to.
    pub services: Services,
    /// Who else is asked.
    pub decision_points: DecisionPoints,
}

/// The handle through which a policy is replaced while requests run.
pub type PolicyHandle = Arc<ArcSwap<Policy>>;

impl Policy {
    /// The handle to give to a gateway, and to store later policies in.
    pub fn into_handle(self) -> PolicyHandle {
        Arc::new(ArcSwap::from_pointee(self))
    }
}

/// Header fields as rules read them.
pub(crate) struct Fields<'a>(pub(crate) &'a HeaderMap);

impl Headers for Fields<'_> {
    fn for_each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.0.get_all(name).iter().for_each(|value| visit(value.as_bytes()));
    }
}
