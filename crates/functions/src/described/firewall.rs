//! A firewall's settings as the domain file describes them: sets become their entries, names become numbers.

use ringmail_model::Cidr;
use ringmail_model::domain::{self, AddressEntry, IcmpType, PortEntry};
use ringmail_model::names::Name;
use ringmail_packet::ip::protocol;

use crate::firewall::{FirewallRule, FirewallSettings};
use crate::settings::BuildError;

pub(super) fn settings(
    described: &domain::FirewallSettings,
    intrusive: bool,
) -> Result<FirewallSettings, BuildError> {
    let rules = described.rules.iter().map(|rule| self::rule(described, rule));
    Ok(FirewallSettings {
        default: described.default,
        log_default: described.log,
        pick_up: described.pick_up,
        intrusive,
        connections: described.limits.connections as usize,
        ..FirewallSettings::new(rules.collect::<Result<_, _>>()?)
    })
}

fn rule(
    all: &domain::FirewallSettings,
    rule: &domain::FirewallRule,
) -> Result<FirewallRule, BuildError> {
    let protocols: Option<Vec<u8>> =
        rule.protocols.as_ref().map(|these| these.iter().map(|protocol| protocol.0).collect());
    let types = rule.icmp_types.as_ref().map(|types| {
        let icmp = protocols.iter().flatten().copied();
        let icmp = icmp.filter(|p| matches!(*p, protocol::ICMP | protocol::ICMPV6));
        icmp.flat_map(|protocol| types.iter().filter_map(move |kind| icmp_type(protocol, *kind)))
            .collect()
    });
    Ok(FirewallRule {
        name: rule.name.to_string(),
        from: rule.from,
        sources: networks(all, rule.sources.as_deref())?,
        destinations: networks(all, rule.destinations.as_deref())?,
        protocols,
        source_ports: ports(all, rule.source_ports.as_deref())?,
        ports: ports(all, rule.ports.as_deref())?,
        icmp_types: types,
        identities: rule.identities.as_ref().map(|these| texts(these)),
        tenants: rule.tenants.as_ref().map(|these| texts(these)),
        action: rule.action,
        log: rule.log,
    })
}

fn texts<T: ToString>(these: &[T]) -> Vec<String> {
    these.iter().map(T::to_string).collect()
}

fn icmp_type(protocol: u8, kind: IcmpType) -> Option<(u8, u8)> {
    let number = match (kind, protocol) {
        (IcmpType::EchoRequest, protocol::ICMP) => 8,
        (IcmpType::EchoRequest, _) => 128,
        (IcmpType::TimestampRequest, protocol::ICMP) => 13,
        (IcmpType::TimestampRequest, _) => return None,
        (IcmpType::Number(number), _) => number,
    };
    Some((protocol, number))
}

fn networks(
    all: &domain::FirewallSettings,
    entries: Option<&[AddressEntry]>,
) -> Result<Option<Vec<Cidr>>, BuildError> {
    let Some(entries) = entries else { return Ok(None) };
    let mut networks = Vec::new();
    for entry in entries {
        match entry {
            AddressEntry::Network(network) => networks.push(*network),
            AddressEntry::Set(name) => {
                let set = all.address_sets.iter().find(|set| set.name == *name);
                for entry in &set.ok_or_else(|| unknown(name))?.addresses {
                    match entry {
                        AddressEntry::Network(network) => networks.push(*network),
                        AddressEntry::Set(name) => return Err(unknown(name)),
                    }
                }
            }
        }
    }
    Ok(Some(networks))
}

fn ports(
    all: &domain::FirewallSettings,
    entries: Option<&[PortEntry]>,
) -> Result<Option<Vec<(u16, u16)>>, BuildError> {
    let Some(entries) = entries else { return Ok(None) };
    let mut ports = Vec::new();
    for entry in entries {
        match entry {
            PortEntry::Range(first, last) => ports.push((*first, *last)),
            PortEntry::Set(name) => {
                let set = all.port_sets.iter().find(|set| set.name == *name);
                for entry in &set.ok_or_else(|| unknown(name))?.ports {
                    match entry {
                        PortEntry::Range(first, last) => ports.push((*first, *last)),
                        PortEntry::Set(name) => return Err(unknown(name)),
                    }
                }
            }
        }
    }
    Ok(Some(ports))
}

fn unknown(name: &Name) -> BuildError {
    BuildError::UnknownSet { set: name.to_string() }
}

#[cfg(test)]
mod tests {
    use ringmail_model::domain::{FirewallAction, Function, Opener};

    use super::*;
    use crate::Settings;

    const CAMPUS: &str = include_str!("../../../../examples/campus.yaml");

    #[test]
    fn every_setting_of_the_domain_file_arrives() {
        let (before, rest) = CAMPUS.split_once("    kind: dpi\n").expect("the dpi");
        let (_, after) = rest.split_once("paths:\n").expect("paths");
        let text = format!(
            "{before}    kind: firewall
    intrusive: true
    firewall:
      default: reject
      log: true
      pick_up: true
      address_sets: [{{name: servers, addresses: [10.79.0.10, fd00::/64]}}]
      port_sets: [{{name: web, ports: [80, 8000-8999]}}]
      rules:
        - name: web
          from: any
          sources: [10.78.0.0/24]
          destinations: [servers]
          protocols: [tcp, 17]
          source_ports: [1024-65535]
          ports: [web, 443]
          action: allow
          log: true
        - name: ping
          protocols: [icmp, icmpv6]
          icmp_types: [echo-request]
          action: drop
      limits: {{connections: 5}}
paths:\n{after}"
        );
        let domain = ringmail_model::check::load(&text, "test").expect("a good domain").domain;
        let function: &Function = &domain.functions[1];
        let cidr = |text: &str| text.parse::<Cidr>().expect("a prefix");
        let web = FirewallRule {
            from: Opener::Any,
            sources: Some(vec![cidr("10.78.0.0/24")]),
            destinations: Some(vec![cidr("10.79.0.10/32"), cidr("fd00::/64")]),
            protocols: Some(vec![6, 17]),
            source_ports: Some(vec![(1024, 65535)]),
            ports: Some(vec![(80, 80), (8000, 8999), (443, 443)]),
            log: true,
            ..FirewallRule::any("web", FirewallAction::Allow)
        };
        let ping = FirewallRule {
            from: Opener::Client,
            protocols: Some(vec![1, 58]),
            icmp_types: Some(vec![(1, 8), (58, 128)]),
            ..FirewallRule::any("ping", FirewallAction::Drop)
        };
        let expected = FirewallSettings {
            default: FirewallAction::Reject,
            log_default: true,
            pick_up: true,
            connections: 5,
            ..FirewallSettings::new(vec![web, ping])
        };
        assert_eq!(Settings::try_from(function), Ok(Settings::Firewall(expected)));
    }
}
