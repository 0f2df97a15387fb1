//! What a firewall is told when it is built: sets are resolved, names of protocols and types are numbers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ringmail_model::Cidr;
use ringmail_model::domain::{FirewallAction, Opener};

use crate::limits;
use crate::settings::{BuildError, in_range};

/// Settings of the function `firewall`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallSettings {
    /// The first that matches decides. An action names its rule by the index here; one more is the default.
    pub rules: Vec<FirewallRule>,
    /// What becomes of a connection that no rule speaks of.
    pub default: FirewallAction,
    /// Whether such connections are reported.
    pub log_default: bool,
    /// Whether TCP connections whose beginning was not seen are judged like new ones.
    pub pick_up: bool,
    /// Whether packets are seen whole; if not, outer headers alone.
    pub intrusive: bool,
    /// Connections remembered at one time.
    pub connections: usize,
}

/// One rule. A condition that is `None` always holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallRule {
    /// What counters and reports call it.
    pub name: String,
    /// Who opens the connection.
    pub from: Opener,
    /// Addresses of who opens it.
    pub sources: Option<Vec<Cidr>>,
    /// Addresses of who is to answer.
    pub destinations: Option<Vec<Cidr>>,
    /// Transport protocols.
    pub protocols: Option<Vec<u8>>,
    /// Ports of who opens it, first and last of each range.
    pub source_ports: Option<Vec<(u16, u16)>>,
    /// Ports of who is to answer, first and last of each range.
    pub ports: Option<Vec<(u16, u16)>>,
    /// Protocol and type of ICMP messages.
    pub icmp_types: Option<Vec<(u8, u8)>>,
    /// Whose it is, as rules write identities.
    pub identities: Option<Vec<String>>,
    /// The tenant of whom it is.
    pub tenants: Option<Vec<String>>,
    /// What becomes of it.
    pub action: FirewallAction,
    /// Whether each connection that it decides over is reported.
    pub log: bool,
}

impl FirewallRule {
    /// A rule without conditions.
    pub fn any(name: &str, action: FirewallAction) -> FirewallRule {
        FirewallRule {
            name: name.to_owned(),
            from: Opener::Any,
            sources: None,
            destinations: None,
            protocols: None,
            source_ports: None,
            ports: None,
            icmp_types: None,
            identities: None,
            tenants: None,
            action,
            log: false,
        }
    }
}

impl FirewallSettings {
    /// These rules, seeing plaintext; what none of them speaks of is dropped.
    pub fn new(rules: Vec<FirewallRule>) -> FirewallSettings {
        FirewallSettings {
            rules,
            default: FirewallAction::Drop,
            log_default: false,
            pick_up: false,
            intrusive: true,
            connections: limits::FIREWALL_CONNECTIONS,
        }
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        if self.rules.len() > limits::FIREWALL_RULES {
            return Err(BuildError::TooManyFirewallRules { count: self.rules.len() });
        }
        in_range("connections", self.connections, 1, limits::FIREWALL_CONNECTIONS_MAX)?;
        let mut names = BTreeSet::new();
        match self.rules.iter().find(|rule| !names.insert(&rule.name)) {
            Some(rule) => Err(BuildError::SameName { rule: rule.name.clone() }),
            None => Ok(()),
        }
    }
}

/// First and last address of a prefix, in the bits of its IP version.
pub(super) fn bounds(network: Cidr) -> (u128, u128) {
    let (bits, width): (u128, u32) = match network.network() {
        IpAddr::V4(v4) => (v4.to_bits().into(), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let host_bits = width - u32::from(network.prefix_len());
    let hosts = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
    (bits, bits | hosts)
}
