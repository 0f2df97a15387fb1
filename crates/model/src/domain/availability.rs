//! What becomes of traffic when a replica of a function is dead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the gateway finds out that a replica of a function is dead or slow, and what it does with connections through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Availability {
    /// Milliseconds from one question whether a replica is alive to the next.
    pub probe_every_ms: u32,
    /// Questions in a row without an answer in time after which it counts as dead.
    pub probes_missed: u32,
    /// What becomes of connections through it. Those that begin take another replica anyway.
    pub connections: LostConnections,
}

/// What becomes of connections through a dead replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LostConnections {
    /// They are ended, so that clients begin anew: nothing passes a replica that has not seen its beginning.
    #[default]
    Close,
    /// They go on through another replica. For functions that need not have seen the beginning of a connection.
    Move,
}

impl Default for Availability {
    fn default() -> Availability {
        let connections = LostConnections::default();
        Availability { probe_every_ms: 250, probes_missed: 3, connections }
    }
}
