//! Conditions on packets, for what comes by listeners of kind `wireguard`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AddressEntry, PortEntry, Protocol};

/// Conditions on the packets of a flow; a list that is not given always holds, of one that is given an entry must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PacketMatch {
    /// Protocols, behind all extension headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<Protocol>>,
    /// Ports that the client sends to; of TCP, UDP and SCTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortEntry>>,
    /// Ports that the client sends from; of TCP, UDP and SCTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<Vec<PortEntry>>,
    /// Addresses and prefixes that the client sends to. The service's own narrow them further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destinations: Option<Vec<AddressEntry>>,
    /// Values of the DS field (RFC 2474): 0 to 63.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<Vec<u8>>,
}
