//! Paths: which functions in which order, each direction apart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::Name;

/// A path from the gateway through functions to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Path {
    /// The name that rules use.
    pub name: Name,
    /// The functions in order; each at most once, since a function would take the second pass for a retransmission.
    pub hops: Vec<Name>,
    /// The service at the end.
    pub service: Name,
    /// The return path, by name. Without it replies take the same functions backwards.
    #[serde(default, rename = "return", skip_serializing_if = "Option::is_none")]
    pub return_path: Option<Name>,
    /// The path that this one was made of, because functions on it have replicas.
    #[serde(skip)]
    pub replica_of: Option<Name>,
    /// Whether it begins at the standby gateway; such paths are written out beside the gateway's.
    #[serde(skip)]
    pub standby: bool,
}

/// A path from a service through functions back to the gateway. Several forward paths of one egress may share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReturnPath {
    /// The name that paths use.
    pub name: Name,
    /// The functions in order, from the service on.
    pub hops: Vec<Name>,
    /// Whether it ends at the standby gateway.
    #[serde(skip)]
    pub standby: bool,
}
