//! Which version each element of a domain on several machines runs, in a status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A domain on several machines, as control sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// The version that counts.
    pub version: u64,
    /// The version that elements are building, if one is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<u64>,
}

/// An element and the version that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionReport {
    /// `away`: element and control have no session; `current`: it runs the version that counts; `idle`: it runs another
    /// one and nothing is under way; `offered`, `staged`, `activating`: a version is on its way.
    pub progress: String,
    /// The version that it runs; 0 for none.
    pub active: u64,
    /// The highest version that it has seen; 0 for none. It takes none below.
    pub highest: u64,
    /// Seconds since control heard of it last; asked of the element itself, since it heard of control. Left out where that
    /// never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_s: Option<u64>,
    /// What it refused last, unless it took a version since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedVersion>,
}

/// An element's no to a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedVersion {
    /// The version.
    pub version: u64,
    /// Why.
    pub reason: String,
    /// How many seconds ago.
    pub ago_s: u64,
}
