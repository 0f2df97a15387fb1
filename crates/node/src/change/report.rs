//! What became of a change of the domain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::Nack;

/// What became of a change of the domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadReport {
    /// The domain's name.
    pub domain: String,
    /// The version of the path set that was tried.
    pub version: u64,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// Whether the domain runs by the new file now. If not, nothing changed.
    pub activated: bool,
    /// What each element answered.
    pub elements: Vec<ElementAnswer>,
}

/// An element's answer to a version of the domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ElementAnswer {
    /// Its name.
    pub element: String,
    /// It is on a machine of its own and was not there to answer; it gets the version when it comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub away: bool,
    /// Why it cannot run the version; left out where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nack: Option<Nack>,
}
