//! The domain file: everything that one domain is, typed. Unknown keys are refused.
//!
//! The types are plain values; where each of them stood in the text is kept apart ([`Positions`]), so that a domain can
//! also be built in code. `docs/schema/domain.schema.json` is generated from these types.

mod attach;
mod availability;
mod client;
mod credential;
mod decision;
mod firewall;
mod flow_export;
mod function;
mod gateway;
mod hours;
mod link;
mod logger;
mod packets;
mod parse;
mod path;
mod position;
mod proofs;
mod protocol;
mod rate;
mod replicas;
mod rule;
mod schema;
mod service;
mod standby;
mod wireguard;

pub use attach::{AttachSettings, Checksums, Interfaces, Shape, TellApart};
pub use availability::{Availability, LostConnections};
pub use client::{Client, Identity, IdentityError};
pub use credential::{CertificateMatch, NamePattern, NamePatternError, SpiffePattern};
pub use decision::{
    DecisionCache, DecisionPoint, DecisionUrl, OnFailure, PointAddress, PointError,
};
pub use firewall::{
    AddressEntry, AddressSet, EntryError, FirewallAction, FirewallLimits, FirewallRule,
    FirewallSettings, IcmpType, Opener, PortEntry, PortSet, Protocol,
};
pub use flow_export::{FlowExport, FlowTransport, Observer};
pub use function::{
    DpiAction, DpiLimits, DpiRule, DpiSettings, Function, FunctionKind, Pattern, PatternError,
};
pub use gateway::{
    AccessLog, Certificate, CertificateFiles, ClientAuth, Gateway, GatewayLimits, Listener,
    ListenerKind,
};
pub(crate) use hours::HoursTest;
pub use hours::{ClockTime, ClockTimeError, Day, Hours, Zone, ZoneError};
pub use link::{Egress, Keying, Limits, LinkDriver, LinkKind, Links, Profile, Psk, Suite};
pub use logger::{LogKeeping, LogRotation, LogSelector, LoggerSettings};
pub use packets::PacketMatch;
pub use parse::{from_yaml, parse, parse_with_positions};
pub use path::{Path, ReturnPath};
pub use position::{Position, Positions};
pub use proofs::Proofs;
pub use protocol::ApplicationProtocol;
pub use rate::{Per, Rate};
pub(crate) use replicas::numbered;
pub use rule::{BodyMatch, HeaderMatch, Rule, UrlPath, UrlPathError, When};
pub use schema::schema;
pub use service::{ProxyVersion, Service, ServiceTls, Site};
pub(crate) use standby::of_standby;
pub use standby::{STANDBY, Standby};
pub use wireguard::{Peer, PeerKey, PeerKeyError, decode_key, encode_key};

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::integrity::{IntegrityKind, Rfc9145Settings};
use crate::names::TrustDomain;

/// One domain: who may come, what they pass, where they may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "ringmail domain file")]
pub struct Domain {
    /// The SPIFFE trust domain.
    pub domain: TrustDomain,
    /// What stands in front of ESP on the wire.
    #[serde(default)]
    pub profile: Profile,
    /// What covers Network Service Headers on the way between elements.
    #[serde(default)]
    pub integrity: IntegrityKind,
    /// Settings of `integrity: rfc9145`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc9145: Option<Rfc9145Settings>,
    /// The AEAD of every segment.
    #[serde(default)]
    pub suite: Suite,
    /// Where traffic keys come from.
    #[serde(default)]
    pub keying: Keying,
    /// Settings of `keying: psk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psk: Option<Psk>,
    /// Workers (cores) of every element that does not say otherwise.
    #[serde(default = "one_worker")]
    pub workers: u16,
    /// The links between elements.
    pub links: Links,
    /// Where clients arrive.
    pub gateway: Gateway,
    /// Where services are reached.
    pub egress: Egress,
    /// Who may come.
    #[serde(default)]
    pub clients: Vec<Client>,
    /// What can be reached.
    pub services: Vec<Service>,
    /// What packets pass on the way.
    #[serde(default)]
    pub functions: Vec<Function>,
    /// Paths from the gateway to a service.
    pub paths: Vec<Path>,
    /// Paths from a service back to the gateway, where they are not the forward path backwards.
    #[serde(default)]
    pub return_paths: Vec<ReturnPath>,
    /// Who may do what, by which path. The first rule that matches decides; none means no access.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Who else may have to say yes, by the names that rules use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decision_points: Vec<DecisionPoint>,
    /// Where records of flows go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flow_exports: Vec<FlowExport>,
    /// Sizes and times of the data plane.
    #[serde(default)]
    pub limits: Limits,
    /// How dead replicas of functions are found, and what becomes of their connections.
    #[serde(default)]
    pub availability: Availability,
    /// What is kept of the way that packets came.
    #[serde(default)]
    pub proofs: Proofs,
    /// Where metrics and health are served besides the Unix socket in the runtime directory.
    #[serde(default)]
    pub metrics: Metrics,
}

/// Where metrics and health are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// An IP address and a TCP port of this machine, for whoever reaches it: there is no password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<SocketAddr>,
}

fn one_worker() -> u16 {
    1
}
