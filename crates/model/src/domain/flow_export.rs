//! Where records of flows go (IPFIX, RFC 7011).

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Has an end of chains export a record of each flow. Traffic never waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowExport {
    /// Who observes: the gateway, which knows clients and rules, or every egress.
    #[serde(default)]
    pub from: Observer,
    /// The collector, such as 192.0.2.60:4739; it is reached from where the observer's own connections begin.
    #[schemars(with = "String")]
    pub collector: SocketAddr,
    /// How messages travel.
    #[serde(default)]
    pub transport: FlowTransport,
    /// Seconds without a packet after which a flow is over.
    #[serde(default = "fifteen")]
    pub idle_timeout_s: u32,
    /// Seconds after which a flow that goes on has a record.
    #[serde(default = "sixty")]
    pub active_timeout_s: u32,
    /// Bytes of a message at most; over UDP it should fit the way to the collector unfragmented.
    #[serde(default = "fourteen_hundred")]
    pub message_bytes: u16,
    /// Whose private information elements path, rule, service and proof are. The default is the number for documentation
    /// (RFC 5612); write your own where the collector has others of that number.
    #[serde(default = "documentation")]
    pub enterprise: u32,
}

/// Who observes flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Observer {
    /// The gateway.
    #[default]
    Gateway,
    /// Every egress.
    Egress,
}

/// How messages of flow records travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowTransport {
    /// Datagrams; templates are sent again each minute.
    #[default]
    Udp,
    /// A connection, opened again when it ends.
    Tcp,
}

fn fifteen() -> u32 {
    15
}

fn sixty() -> u32 {
    60
}

fn fourteen_hundred() -> u16 {
    1_400
}

fn documentation() -> u32 {
    32_473
}
