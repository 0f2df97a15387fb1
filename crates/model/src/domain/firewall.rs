//! Settings of `kind: firewall`: who may open which connections.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Identity;
use crate::names::{Name, shorten};
use crate::net::Cidr;

/// Settings of `kind: firewall`. Rules decide over the first packet of a connection; what belongs to it then passes both
/// ways, and so do ICMP errors about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallSettings {
    /// What becomes of a connection that no rule speaks of.
    #[serde(default)]
    pub default: FirewallAction,
    /// Whether such connections are reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log: bool,
    /// Whether a TCP connection whose beginning was not seen, as after a restart, is judged by the rules like a new one.
    /// If not, its packets are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pick_up: bool,
    /// Addresses under a name, for rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub address_sets: Vec<AddressSet>,
    /// Ports under a name, for rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_sets: Vec<PortSet>,
    /// The first rule that matches decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<FirewallRule>,
    /// What it may remember.
    #[serde(default)]
    pub limits: FirewallLimits,
}

/// Addresses under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressSet {
    /// The name that rules use.
    pub name: Name,
    /// Addresses and prefixes, IPv4 and IPv6.
    pub addresses: Vec<AddressEntry>,
}

/// Ports under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortSet {
    /// The name that rules use.
    pub name: Name,
    /// Ports and ranges of ports.
    pub ports: Vec<PortEntry>,
}

/// One rule. A condition that is not written always holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallRule {
    /// The name in counters and reports.
    pub name: Name,
    /// Who opens the connection.
    #[serde(default)]
    pub from: Opener,
    /// Addresses of who opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<AddressEntry>>,
    /// Addresses of who is to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destinations: Option<Vec<AddressEntry>>,
    /// Protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<Protocol>>,
    /// Ports of who opens it; of TCP, UDP and SCTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<Vec<PortEntry>>,
    /// Ports of who is to answer; of TCP, UDP and SCTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortEntry>>,
    /// Types of ICMP messages. Answers and errors need none: they pass with what they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_types: Option<Vec<IcmpType>>,
    /// Whose it is, as the gateway tells a function that is granted `metadata: [identity]`: a SPIFFE id, `dns:NAME` or
    /// `email:ADDRESS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Vec<Identity>>,
    /// The tenant of whom it is, for a function that is granted `metadata: [tenant]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<Name>>,
    /// What becomes of it.
    pub action: FirewallAction,
    /// Whether each connection that it decides over is reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log: bool,
}

/// What becomes of a connection.
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
pub enum FirewallAction {
    /// It passes.
    Allow,
    /// Its packets are dropped in silence.
    #[default]
    Drop,
    /// Its packets are dropped, and their sender is told: by a TCP reset, or by an ICMP error.
    Reject,
}

/// Who opens a connection.
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
pub enum Opener {
    /// The side of the gateway: its first packet comes on a path to a service.
    #[default]
    Client,
    /// The side of the service: its first packet comes on a return path.
    Service,
    /// Either.
    Any,
}

/// What a firewall may remember.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FirewallLimits {
    /// Connections at one time, of all protocols together. New ones find no room beyond that; those that are there stay.
    pub connections: u32,
}

impl Default for FirewallLimits {
    fn default() -> FirewallLimits {
        FirewallLimits { connections: 65_536 }
    }
}

/// An address, a prefix, or the name of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressEntry {
    /// These addresses; one alone is a prefix of full length.
    Network(Cidr),
    /// Those of a set.
    Set(Name),
}

/// A port, a range of ports, or the name of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEntry {
    /// From the first to the last, both included.
    Range(u16, u16),
    /// Those of a set.
    Set(Name),
}

/// A transport protocol, by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

/// A type of ICMP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IcmpType {
    /// 8 in ICMP, 128 in ICMPv6.
    EchoRequest,
    /// 13 in ICMP.
    TimestampRequest,
    /// This type.
    Number(u8),
}

const PROTOCOLS: [(&str, u8); 8] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("sctp", 132),
];

const ICMP_TYPES: [(&str, IcmpType); 2] =
    [("echo-request", IcmpType::EchoRequest), ("timestamp-request", IcmpType::TimestampRequest)];

/// Why an entry of a firewall's list is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// No address.
    #[error(
        "`{0}` is no address; write one like 10.79.0.10, a prefix like 10.79.0.0/24, or the name of a set"
    )]
    Address(String),
    /// A prefix that is wrong.
    #[error(transparent)]
    Prefix(#[from] crate::net::CidrError),
    /// No port.
    #[error("`{0}` is no port; write one like 443, a range like 8000-8999, or the name of a set")]
    Port(String),
    /// A range that ends before it begins.
    #[error("the range `{0}` ends before it begins; write the smaller port first")]
    Backwards(String),
    /// No protocol.
    #[error(
        "`{0}` is no protocol; write tcp, udp, icmp, icmpv6, sctp, esp, ah, gre or a number from 0 to 255"
    )]
    Protocol(String),
    /// No type.
    #[error(
        "`{0}` is no ICMP type; write echo-request, timestamp-request or a number from 0 to 255"
    )]
    IcmpType(String),
}

impl FromStr for AddressEntry {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<AddressEntry, EntryError> {
        if text.contains('/') {
            return Ok(AddressEntry::Network(text.parse()?));
        }
        let wrong = || EntryError::Address(shorten(text));
        if text.contains(['.', ':']) {
            let address: IpAddr = text.parse().map_err(|_| wrong())?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Ok(AddressEntry::Network(Cidr::around(address, bits).ok_or_else(wrong)?));
        }
        text.parse().map(AddressEntry::Set).map_err(|_| wrong())
    }
}

impl fmt::Display for AddressEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressEntry::Network(network) => network.fmt(f),
            AddressEntry::Set(name) => name.fmt(f),
        }
    }
}

impl FromStr for PortEntry {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<PortEntry, EntryError> {
        let wrong = || EntryError::Port(shorten(text));
        let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        if !text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            return text.parse().map(PortEntry::Set).map_err(|_| wrong());
        }
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if last < first {
            return Err(EntryError::Backwards(text.to_owned()));
        }
        Ok(PortEntry::Range(first, last))
    }
}

impl fmt::Display for PortEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortEntry::Range(first, last) if first == last => first.fmt(f),
            PortEntry::Range(first, last) => write!(f, "{first}-{last}"),
            PortEntry::Set(name) => name.fmt(f),
        }
    }
}

impl FromStr for Protocol {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Protocol, EntryError> {
        let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        let number = named.or_else(|| text.parse().ok());
        number.map(Protocol).ok_or_else(|| EntryError::Protocol(shorten(text)))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for IcmpType {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<IcmpType, EntryError> {
        let named = ICMP_TYPES.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        let kind = named.or_else(|| text.parse().ok().map(IcmpType::Number));
        kind.ok_or_else(|| EntryError::IcmpType(shorten(text)))
    }
}

impl fmt::Display for IcmpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, ICMP_TYPES.iter().find(|(_, kind)| kind == self)) {
            (_, Some((name, _))) => f.write_str(name),
            (IcmpType::Number(number), None) => number.fmt(f),
            _ => Err(fmt::Error),
        }
    }
}

/// Reads and writes an entry as a text; a number without quotes is one, too.
macro_rules! entry {
    ($type:ty, $name:literal, $pattern:literal, $about:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text = self.to_string();
                match text.parse::<u16>() {
                    Ok(number) if number.to_string() == text => serializer.serialize_u16(number),
                    _ => serializer.serialize_str(&text),
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                struct Reader;

                impl Visitor<'_> for Reader {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($about)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }

                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                deserializer.deserialize_any(Reader)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": ["string", "integer"],
                    "description": $about,
                    "pattern": $pattern,
                })
            }
        }
    };
}

entry!(
    AddressEntry,
    "AddressEntry",
    "^([0-9a-fA-F.:]+(/[0-9]{1,3})?|[a-z0-9-]+)$",
    "An address such as 10.79.0.10, a prefix such as 10.79.0.0/24 or fd00:79::/64, or the name of a set."
);
entry!(
    PortEntry,
    "PortEntry",
    "^([0-9]{1,5}(-[0-9]{1,5})?|[a-z0-9-]+)$",
    "A port such as 443, a range such as 8000-8999, or the name of a set."
);
entry!(
    Protocol,
    "Protocol",
    "^(tcp|udp|icmp|icmpv6|sctp|esp|ah|gre|[0-9]{1,3})$",
    "A protocol by its name (tcp, udp, icmp, icmpv6, sctp, esp, ah, gre) or its number."
);
entry!(
    IcmpType,
    "IcmpType",
    "^(echo-request|timestamp-request|[0-9]{1,3})$",
    "A type of ICMP messages: echo-request, timestamp-request or a number."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_print_as_they_are_read() {
        for text in ["10.0.0.0/8", "fd00::/64", "web-servers"] {
            assert_eq!(text.parse::<AddressEntry>().expect(text).to_string(), text);
        }
        assert_eq!("10.0.0.1".parse::<AddressEntry>().expect("one").to_string(), "10.0.0.1/32");
        for text in ["80", "8000-8999", "web"] {
            assert_eq!(text.parse::<PortEntry>().expect(text).to_string(), text);
        }
        for text in ["tcp", "icmpv6", "99"] {
            assert_eq!(text.parse::<Protocol>().expect(text).to_string(), text);
        }
        for text in ["echo-request", "timestamp-request", "42"] {
            assert_eq!(text.parse::<IcmpType>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_entry_says_what_to_write() {
        assert!("10.0.0.300".parse::<AddressEntry>().is_err());
        assert!("10.0.0.1/24".parse::<AddressEntry>().is_err());
        assert!("Web".parse::<AddressEntry>().is_err());
        for text in ["70000", "9-8", "1-2-3", "-", ""] {
            assert!(text.parse::<PortEntry>().is_err(), "{text}");
        }
        assert!("256".parse::<Protocol>().is_err());
        assert!("pong".parse::<IcmpType>().is_err());
    }
}
