//! Links, keying and the limits of the data plane.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Label;
use crate::mac::MacAddress;
use crate::metadata::Kind;
use crate::names::Name;
use crate::net::Cidr;
use crate::overhead::EspMode;

/// What stands in front of ESP on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A stack of MPLS labels, one a hop, as in the paper: nothing else says where a packet is on its path.
    Mpls,
    /// A stack of labels and under it a Network Service Header (RFC 8596), which proves the way of each packet and is
    /// authenticated on every link.
    #[default]
    MplsNsh,
    /// The Network Service Header without the labels of hops.
    Nsh,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 3] = [Profile::Mpls, Profile::MplsNsh, Profile::Nsh];

    /// The name in the domain file and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Mpls => "mpls",
            Profile::MplsNsh => "mpls-nsh",
            Profile::Nsh => "nsh",
        }
    }

    /// Whether packets have a Network Service Header.
    pub const fn has_nsh(self) -> bool {
        matches!(self, Profile::MplsNsh | Profile::Nsh)
    }
}

/// The AEAD of every segment. All have the same overhead on the wire.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Suite {
    /// AES-128-GCM (RFC 4106).
    #[default]
    #[serde(rename = "aes-128-gcm")]
    Aes128Gcm,
    /// AES-256-GCM (RFC 4106).
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 7634).
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

/// Where traffic keys come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Keying {
    /// The two ends of each segment agree on keys by the Segment Agreement Protocol.
    #[default]
    Sap,
    /// Static keys, for comparison with the paper and for interoperation. No forward secrecy.
    Psk,
}

/// Settings of `keying: psk`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Psk {
    /// How ESP wraps the inner packet.
    #[serde(default)]
    pub mode: EspMode,
    /// The file that holds the keys, relative to the domain file. Without it they are generated at every start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<PathBuf>,
    /// Makes the same keys of `keys_file` at every start, for a peer that is not ringmail and has the file. Sequence
    /// numbers begin again with each start, under the same keys: nonces repeat, and with them AES-GCM gives away texts
    /// and its authentication.
    #[serde(default, skip_serializing_if = "is_false")]
    pub danger_same_keys_every_start: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How frames travel between elements.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// In UDP (RFC 7510): fast, needs no privilege, crosses routers.
    #[default]
    Udp,
    /// In Ethernet frames of EtherType 0x8847 (RFC 3032), within one broadcast domain: for switches that forward by label.
    Ethernet,
}

/// How an element reaches its interface with links of Ethernet. Neighbours do not see which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkDriver {
    /// By packet sockets: everywhere, any number of workers.
    #[default]
    Packet,
    /// By AF_XDP: a packet costs less, but only root of the machine has it, with one worker and no VLAN.
    Xdp,
}

/// The links between elements: one IPv4 network that all of them share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// The IPv4 network of the fabric; elements without an address of their own get one from it.
    pub network: Cidr,
    /// How frames travel.
    #[serde(default)]
    pub kind: LinkKind,
    /// How elements reach their interfaces with `kind: ethernet`.
    #[serde(default)]
    pub driver: LinkDriver,
    /// The VLAN (IEEE 802.1Q) that frames of `kind: ethernet` are tagged with; without it they have no tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// MAC addresses with `kind: ethernet`, by the element's name. An element that is not named has `02:00` and the four
    /// bytes of its link address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub macs: BTreeMap<Name, MacAddress>,
    /// The link MTU in bytes: no IP packet on a link is longer, nor any label stack with what it covers.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// Allows a link MTU above 1500.
    #[serde(default)]
    pub jumbo: bool,
    /// The UDP destination port of encapsulated packets (RFC 7510).
    #[serde(default = "udp_port")]
    pub udp_port: u16,
    /// The TCP port of each element's control address, where its neighbours agree on keys with it.
    #[serde(default = "control_port")]
    pub control_port: u16,
}

fn mtu() -> u16 {
    1500
}

fn udp_port() -> u16 {
    6635
}

fn control_port() -> u16 {
    6637
}

/// Where services are reached: the end of forward paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// The networks that services live in, at most one of each IP version. The egress is the first host of each.
    pub networks: Vec<Cidr>,
    /// One egress element for each service instead of one for all.
    #[serde(default)]
    pub per_service: bool,
    /// What of a flow's metadata it is told, to pass it on to functions on the way back. Ports it knows anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<Kind>,
    /// Workers, where not the domain's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u16>,
    /// The link address; only where one egress serves all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The label; only where one egress serves all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u32>", range(min = 16, max = 1_048_575))]
    pub label: Option<Label>,
}

/// Sizes and times of the data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Flows that an element remembers.
    pub flows: u32,
    /// Seconds after which an element forgets an idle flow. A TCP connection is remembered for 7,440 s (RFC 5382) at least.
    pub flow_idle_s: u32,
    /// Packets of the anti-replay window of each security association; a power of two.
    pub replay_window_packets: u32,
    /// Seconds that a lease, and with it a security association, lives; renewed at a third.
    pub lease_s: u32,
    /// Seconds after which keys are replaced.
    pub rekey_after_s: u32,
    /// Packets sealed under one key after which keys are replaced, if that comes first.
    pub rekey_after_packets: u64,
    /// Taps of decrypted traffic (`ringmail tap`) that one element serves at a time; 0 refuses all.
    pub taps: u32,
    /// Milliseconds for which connections may go on by a path that a change of the domain took out.
    pub drain_ms: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            flows: 65_536,
            flow_idle_s: 300,
            replay_window_packets: 4096,
            lease_s: 60,
            rekey_after_s: 600,
            rekey_after_packets: 1 << 32,
            taps: 0,
            drain_ms: 30_000,
        }
    }
}
