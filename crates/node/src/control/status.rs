//! What an element says about itself when it is asked.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An element as of now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ElementStatus {
    /// `gateway`, `hop` or `egress`.
    pub role: String,
    /// What kind of function a hop serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// What keeps it from serving all of its paths; nothing once it is ready.
    #[serde(default)]
    pub not_ready: Vec<String>,
    /// The version of the path set that is active.
    pub version: u64,
    /// The epochs of its keys, by neighbour; none with keying `psk`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<EpochStatus>,
    /// Of the gateway: the hops on paths over replicas, and whether they are alive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaStatus>,
    /// The paths that it stands on.
    pub paths: Vec<PathStatus>,
    /// Everything that it counts, drops excepted.
    pub counters: Vec<Counter>,
    /// How long batches were inside, from their receipt until they were sent: at place `n` those below 2^n nanoseconds
    /// that are in no place before. One batch in sixteen is looked at.
    #[serde(default)]
    pub inside_ns_log2: Vec<u64>,
    /// The sum of those times, in nanoseconds.
    #[serde(default)]
    pub inside_ns_sum: u64,
    /// Of the gateway: how long requests took, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestTimes>,
    /// Packets that went nowhere, by reason; reasons without a packet are left out.
    pub drops: Vec<Drops>,
}

/// A path at one element.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathStatus {
    /// The path's name.
    pub name: String,
    /// `forward` or `return`.
    pub direction: String,
    /// `ready`; `no keys` towards the next element that holds plaintext; `staged`, not active yet; or `draining`, for what
    /// began on it.
    pub state: String,
    /// Other versions of it that run beside: one that is staged, and those that drain. Their packets count here, too.
    #[serde(default)]
    pub others: u32,
    /// Packets of this path that passed.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Packets that came in; none where the path begins.
    #[serde(default)]
    pub packets_in: u64,
    /// Bytes of those packets.
    #[serde(default)]
    pub bytes_in: u64,
    /// Packets that went on; none where the path ends.
    #[serde(default)]
    pub packets_out: u64,
    /// Bytes of those packets.
    #[serde(default)]
    pub bytes_out: u64,
    /// The path by which answers come, of a forward path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_path: Option<String>,
    /// The element's place on the path: 0 where it begins.
    #[serde(default)]
    pub hop: u32,
    /// Seconds until the first association in use fails closed; absent where none is, or its lease never ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<f64>,
    /// Where the path ends: packets by what their proofs of transit said. Empty elsewhere, and where packets have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<ProofCount>,
}

/// Packets of a path of which its end says the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofCount {
    /// `proved`, or why it is not: `wrong_tag`, `unknown_key`, `unknown_origin`, `repeated` or `too_old`.
    pub verdict: String,
    /// Of what is proved, the position of the element from which on it is: 0 is where the path begins, others are hops that
    /// made the packets themselves.
    #[serde(default)]
    pub from: u32,
    /// Since the element started.
    pub packets: u64,
}

impl ProofCount {
    /// Whether these packets came the way that they should.
    pub fn is_proved(&self) -> bool {
        self.verdict == "proved"
    }
}

/// How long requests took, from the head of a request to that of its answer; refused ones left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestTimes {
    /// The path's name.
    pub path: String,
    /// At place `n` those below 2^n microseconds that are in no place before.
    pub us_log2: Vec<u64>,
    /// Their sum, in microseconds.
    pub us_sum: u64,
}

/// The keys that an element has in common with one neighbour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EpochStatus {
    /// The neighbour's name.
    pub neighbour: String,
    /// Which epoch it is; absent while they do not agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Seconds since it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<f64>,
}

/// A hop that the gateway asks whether it is alive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaStatus {
    /// Its name.
    pub element: String,
    /// `up`; `down`: connections that begin take others; `unknown`: it was not asked for long enough.
    pub state: String,
    /// Seconds since it is so.
    pub since_s: f64,
}

/// New keys of an element and one neighbour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rekeyed {
    /// The neighbour's name.
    pub neighbour: String,
    /// The new epoch; absent if it is not in use everywhere in time. What is not replaced goes on until its lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Associations of that epoch by which the element sends.
    pub sending: u64,
    /// Those by which it receives.
    pub receiving: u64,
}

/// The revocation lists of one of the gateway's listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerLists {
    /// The listener's name.
    pub listener: String,
    /// Where they are read from.
    pub files: Vec<PathBuf>,
    /// Certificates that the lists in force revoke.
    pub revoked: u64,
    /// Why what the files hold now is not in force; then the lists of before are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
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
    /// Whether it is a value of now, which may fall.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gauge: bool,
    /// Since the element started, or now.
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
