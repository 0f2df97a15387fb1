//! What an element says about itself when it is asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An element as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ElementStatus {
    /// `gateway`, `hop` or `egress`.
    pub role: String,
    /// The paths that it stands on.
    pub paths: Vec<PathStatus>,
    /// Everything that it counts, drops excepted.
    pub counters: Vec<Counter>,
    /// Packets that went nowhere, by reason; reasons without a packet are left out.
    pub drops: Vec<Drops>,
}

/// A path at one element.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathStatus {
    /// The path's name.
    pub name: String,
    /// `forward` or `return`.
    pub direction: String,
    /// Whether keys stand towards the next and from the previous element that hold plaintext.
    pub state: String,
    /// Packets of this path that passed.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}

/// One counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counter {
    /// E.g. `link_received`.
    pub name: String,
    /// E.g. `packets`.
    pub unit: String,
    /// One sentence.
    pub description: String,
    /// Since the element started.
    pub value: u64,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drops {
    /// E.g. `replayed`.
    pub reason: String,
    /// One sentence.
    pub description: String,
    /// Since the element started.
    pub packets: u64,
}
