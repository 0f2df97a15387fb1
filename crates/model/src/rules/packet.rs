//! Rules asked once for a flow of packets that an authenticated client sends (listeners of kind `wireguard`).
//!
//! Only a rule with `packets` holds, and only where its service may be reached at the destination: the others were written
//! for requests and connections, and would let through what they never saw.

use std::net::IpAddr;

use super::compile::{Compiled, holds, same_identity};
use super::explain::{Explanation, RuleOutcome};
use super::strict::Circumstances;
use super::{CertificateFacts, Condition, Decision, Denied, RuleSet};
use crate::domain::{AddressEntry, PacketMatch, PortEntry, Service};
use crate::net::Cidr;

/// What is known of a packet that begins a flow.
#[derive(Clone, Copy, Debug)]
pub struct PacketFacts<'a> {
    /// The client's identity, as in [`super::RequestFacts`].
    pub client: &'a str,
    /// Where the client comes from, outside.
    pub source: IpAddr,
    /// Where the packet goes, inside.
    pub destination: IpAddr,
    /// The transport protocol, behind all extension headers.
    pub protocol: u8,
    /// Source and destination port; `None` where the protocol has none.
    pub ports: Option<(u16, u16)>,
    /// The DS field's six bits.
    pub dscp: u8,
    /// What time it is.
    pub now_unix_s: u64,
}

/// The conditions of a rule on packets.
#[derive(Clone, Debug)]
pub(super) struct Packets {
    /// What the service may be reached at; a port where it is one of its `addresses`.
    reach: Vec<(Cidr, Option<u16>)>,
    protocols: Option<Vec<u8>>,
    ports: Option<Vec<(u16, u16)>>,
    source_ports: Option<Vec<(u16, u16)>>,
    destinations: Option<Vec<Cidr>>,
    dscp: Option<Vec<u8>>,
}

impl Packets {
    pub(super) fn of(wanted: &PacketMatch, service: Option<&Service>) -> Packets {
        // Names of sets are refused by `check`; here they hold for nothing.
        let range = |entry: &PortEntry| match entry {
            PortEntry::Range(first, last) => Some((*first, *last)),
            PortEntry::Set(_) => None,
        };
        let network = |entry: &AddressEntry| match entry {
            AddressEntry::Network(network) => Some(*network),
            AddressEntry::Set(_) => None,
        };
        let ranges = |entries: &Option<Vec<PortEntry>>| {
            entries.as_ref().map(|all| all.iter().filter_map(range).collect())
        };
        let destinations = wanted.destinations.as_ref();
        Packets {
            reach: service.map(reach).unwrap_or_default(),
            protocols: wanted.protocols.as_ref().map(|all| all.iter().map(|p| p.0).collect()),
            ports: ranges(&wanted.ports),
            source_ports: ranges(&wanted.source_ports),
            destinations: destinations.map(|all| all.iter().filter_map(network).collect()),
            dscp: wanted.dscp.clone(),
        }
    }

    /// The first condition that does not hold.
    fn refuses(&self, facts: &PacketFacts<'_>) -> Option<Condition<'static>> {
        let (to, ports) = (facts.destination, facts.ports);
        let reaches = |(network, port): &(Cidr, Option<u16>)| {
            network.contains(to) && port.is_none_or(|port| ports.is_some_and(|p| p.1 == port))
        };
        let within = |ranges: &Option<Vec<(u16, u16)>>, port: Option<u16>| {
            holds(ranges, |(first, last)| port.is_some_and(|p| (*first..=*last).contains(&p)))
        };
        if !self.reach.iter().any(reaches) {
            Some(Condition::Reach)
        } else if !holds(&self.protocols, |protocol| *protocol == facts.protocol) {
            Some(Condition::Protocol)
        } else if !within(&self.ports, ports.map(|p| p.1))
            || !within(&self.source_ports, ports.map(|p| p.0))
        {
            Some(Condition::Ports)
        } else if !holds(&self.destinations, |network| network.contains(to)) {
            Some(Condition::Destination)
        } else if !holds(&self.dscp, |dscp| *dscp == facts.dscp) {
            Some(Condition::Dscp)
        } else {
            None
        }
    }
}

/// What packets may reach of a service: its addresses at their ports, its networks by any protocol.
fn reach(service: &Service) -> Vec<(Cidr, Option<u16>)> {
    let host = |ip: IpAddr| Cidr::around(ip, if ip.is_ipv4() { 32 } else { 128 });
    let addresses = service.addresses.iter();
    let addresses = addresses.filter_map(|at| Some((host(at.ip())?, Some(at.port()))));
    addresses.chain(service.networks.iter().map(|network| (*network, None))).collect()
}

impl RuleSet {
    /// What the rules say of a flow of packets. Never asks for a body, and allocates nothing.
    pub fn evaluate_packet(&self, facts: &PacketFacts<'_>) -> Decision<'_> {
        let mut reason = Denied::NoRule;
        for rule in self.rules() {
            match rule.refuses_packet(facts) {
                None => return rule.allow(),
                Some(condition) => reason = condition.of_circumstances(reason),
            }
        }
        Decision::Deny { reason }
    }

    /// Whether a rule looks at the DS field, so that packets of one flow may be judged apart.
    pub fn looks_at_dscp(&self) -> bool {
        let mut packets = self.rules().iter().filter_map(|rule| rule.packets.as_ref());
        packets.any(|packets| packets.dscp.is_some())
    }

    /// Whether a rule on packets looks at the clock, so that what it allowed may end while it goes on.
    pub fn looks_at_time(&self) -> bool {
        self.rules().iter().any(|rule| rule.packets.is_some() && rule.strict.looks_at_time())
    }

    /// The same, and why. For people and tests: it allocates.
    pub fn explain_packet(&self, facts: &PacketFacts<'_>) -> Explanation<'_> {
        let mut rules = Vec::new();
        for rule in self.rules() {
            let failed = rule.refuses_packet(facts);
            rules.push(RuleOutcome { rule: &rule.name, failed });
            if failed.is_none() {
                break;
            }
        }
        Explanation { decision: self.evaluate_packet(facts), rules }
    }
}

impl Compiled {
    /// The first condition that does not hold.
    fn refuses_packet(&self, facts: &PacketFacts<'_>) -> Option<Condition<'_>> {
        let source = facts.source.to_canonical();
        let Some(packets) = &self.packets else { return Some(Condition::NoPackets) };
        if self.of_requests
            || self.server_names.is_some()
            || self.protocols.is_some()
            || self.ask.is_some()
        {
            // `check` refuses it: packets have none of these, and wait for nobody.
            Some(Condition::NoPackets)
        } else if !holds(&self.clients, |id| same_identity(id, facts.client)) {
            Some(Condition::Client)
        } else if !holds(&self.sources, |cidr| cidr.contains(source)) {
            Some(Condition::Source)
        } else if let Some(failed) = packets.refuses(facts) {
            Some(failed)
        } else {
            // Who comes by WireGuard shows no certificate.
            let certificate = CertificateFacts::default();
            self.strict.failed(Circumstances { certificate, now_unix_s: facts.now_unix_s }).next()
        }
    }
}
