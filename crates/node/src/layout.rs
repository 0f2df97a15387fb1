//! The network of a domain on one machine: which namespaces there are and how they are joined.
//!
//! ```text
//!  client1 ─┐                              fabric (bridge)                     ┌─ service a
//!  client2 ─┴─ outside (bridge) ─ gateway ─┤   ├ sf1   ├ sf2   ├─ egress ──────┴─ service b
//! ```
//!
//! Every element has a namespace and a cable to the fabric, in both layouts; in layout `single` only the key agreement
//! uses the fabric, since frames are handed over in memory.

use std::net::IpAddr;

use anyhow::{Context, Result};
use ringmail_model::ElementId;
use ringmail_model::domain::{Domain, STANDBY};
use ringmail_model::mac::MacAddress;
use ringmail_model::net;
use ringmail_model::pathset::{Element, PathSet, Role};
use schemars::JsonSchema;
use serde::Serialize;

use crate::attach::network;
use crate::topology::{Bridge, Cable, Cidr, End, Namespace, Route, Sysctl, Topology};

/// How the elements of a domain share processes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One process, namespace and trust boundary an element.
    #[default]
    Processes,
    /// All elements in one process, frames handed over in memory.
    Single,
}

impl Layout {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Processes => "processes",
            Layout::Single => "single",
        }
    }
}

/// The namespace that holds the bridge between elements.
pub const FABRIC: &str = "fabric";
/// The namespace that holds the bridge between clients and gateway.
pub const OUTSIDE: &str = "outside";
/// The bridge in each of them.
const BRIDGE: &str = "br0";
/// An element's interface to the fabric.
pub const LINK: &str = "link0";
/// The gateway's interface to clients, and a client's to the gateway.
const OUTER: &str = "outer0";

/// Bytes that TCP may buffer where the proxy's connections into the chain end: what bounds the packets that wait inside.
/// No more than an inspection keeps to compare retransmissions with (`STREAM_WINDOW_BYTES` of the functions).
const TCP_BUFFER_BYTES: u32 = 4 << 20;

/// The least MTU of cables to clients and services: a narrow link between elements makes their networks no narrower, but
/// a wide one gains little if they stay narrow.
const ETHERNET_MTU: u32 = 1500;

/// The fabric's end of an element's cable.
pub(crate) fn fabric_port(element: ElementId) -> String {
    format!("e{element}")
}

/// The network of `domain`.
///
/// # Errors
/// When an address lies in none of the domain's networks, which `domain check` says with its line.
pub fn network(domain: &Domain, set: &PathSet) -> Result<Topology> {
    let mut plan = Topology::new(domain.domain.to_string());
    let mtu = u32::from(set.link_mtu);
    let around = mtu.max(ETHERNET_MTU);
    outside(domain, around, &mut plan)?;
    plan.namespaces.push(bridge(FABRIC, mtu));
    for element in &set.elements {
        plan.namespaces.push(namespace(&element.name, element.role));
        let address = within(domain.links.network, (*element.link.ip()).into())?;
        // One that goes and comes again is found at once: neighbours keep what they know of its address.
        let mac = element.mac.unwrap_or_else(|| MacAddress::of_link(*element.link.ip())).bytes();
        let ends = [
            port(FABRIC, &fabric_port(element.id)),
            End { mac: Some(mac), ..end(&element.name, LINK, vec![address]) },
        ];
        plan.cables.push(Cable { mtu, ends });
    }
    inside(domain, set, around, &mut plan)?;
    network::add(domain, set, &mut plan)?;
    Ok(plan)
}

/// Clients and the gateway's outer side.
fn outside(domain: &Domain, mtu: u32, plan: &mut Topology) -> Result<()> {
    plan.namespaces.push(bridge(OUTSIDE, mtu));
    let network = |address: IpAddr| {
        let found = domain.gateway.outside.iter().find(|network| network.contains(address));
        found
            .copied()
            .with_context(|| format!("{address} lies in no outside network of the gateway"))
    };
    let mut addresses = Vec::new();
    for listener in &domain.gateway.listeners {
        let ip = listener.address.ip();
        let address = within(network(ip)?, ip)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    plan.cables
        .push(Cable { mtu, ends: [port(OUTSIDE, "gateway"), end("gateway", OUTER, addresses)] });
    if domain.gateway.standby.is_some() {
        // It has the addresses when somebody gives them to it.
        let ends = [port(OUTSIDE, STANDBY), end(STANDBY, OUTER, Vec::new())];
        plan.cables.push(Cable { mtu, ends });
    }
    for (index, client) in domain.clients.iter().enumerate() {
        let Some(ip) = client.address else { continue };
        let name = client.name.to_string();
        let address = within(network(ip)?, ip)?;
        plan.namespaces.push(Namespace {
            name: name.clone(),
            sysctls: ends_tcp(),
            ..Namespace::default()
        });
        let ends = [port(OUTSIDE, &format!("c{index}")), end(&name, OUTER, vec![address])];
        plan.cables.push(Cable { mtu, ends });
    }
    Ok(())
}

/// Services, each on a cable of its own to its egress.
fn inside(domain: &Domain, set: &PathSet, mtu: u32, plan: &mut Topology) -> Result<()> {
    for (index, service) in domain.services.iter().enumerate() {
        let name = service.name.to_string();
        let egress = set
            .paths
            .iter()
            .find(|path| path.service.as_ref() == Some(&service.name))
            .and_then(|path| set.element(path.end.element))
            .map_or_else(|| "egress".to_owned(), |egress: &Element| egress.name.clone());
        let interface = format!("svc{index}");
        let mut addresses: Vec<IpAddr> =
            service.addresses.iter().map(|address| address.ip()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mut here = Vec::new();
        let mut routers = Vec::new();
        let mut routes = Vec::new();
        for ip in addresses {
            let network = domain.egress.networks.iter().find(|network| network.contains(ip));
            let network =
                *network.with_context(|| format!("{ip} lies in no network of the egress"))?;
            let router = network.host(1).context("a network of the egress has no host")?;
            here.push(within(network, ip)?);
            if !routers.contains(&Cidr::host(router)) {
                routers.push(Cidr::host(router));
                let everywhere =
                    if ip.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
                routes.push(Route::via(Cidr::new(everywhere, 0)?, router));
            }
            let towards =
                Route { to: Cidr::host(ip), via: None, interface: Some(interface.clone()) };
            let namespace = plan.namespaces.iter_mut().find(|n| n.name == egress);
            namespace.with_context(|| format!("no namespace `{egress}`"))?.routes.push(towards);
        }
        let sysctls = ends_tcp();
        plan.namespaces.push(Namespace {
            name: name.clone(),
            routes,
            sysctls,
            ..Namespace::default()
        });
        plan.cables.push(Cable {
            mtu,
            ends: [end(&egress, &interface, routers), end(&name, "eth0", here)],
        });
    }
    Ok(())
}

fn namespace(name: &str, role: Role) -> Namespace {
    let (sysctls, guards) = match role {
        // Nobody outside speaks with an address of the domain's.
        Role::Gateway => (ends_tcp(), Sysctl::own_addresses(OUTER)),
        // To a service leads what a chain delivers, and nothing that comes from the links as it is.
        Role::Egress => (Sysctl::forwarding(), Sysctl::not_from(LINK)),
        Role::Hop => Default::default(),
    };
    Namespace { name: name.to_owned(), sysctls, guards, ..Namespace::default() }
}

fn ends_tcp() -> Vec<Sysctl> {
    Sysctl::tcp_buffers(TCP_BUFFER_BYTES)
}

fn bridge(namespace: &str, mtu: u32) -> Namespace {
    let bridges = vec![Bridge { name: BRIDGE.to_owned(), mtu }];
    let sysctls = Sysctl::bridging();
    Namespace { name: namespace.to_owned(), bridges, sysctls, ..Namespace::default() }
}

fn port(namespace: &str, interface: &str) -> End {
    End { bridge: Some(BRIDGE.to_owned()), ..end(namespace, interface, Vec::new()) }
}

fn end(namespace: &str, interface: &str, addresses: Vec<Cidr>) -> End {
    End {
        namespace: namespace.to_owned(),
        interface: interface.to_owned(),
        addresses,
        ..End::default()
    }
}

fn within(network: net::Cidr, address: IpAddr) -> Result<Cidr> {
    Ok(Cidr::new(address, network.prefix_len())?)
}

#[cfg(test)]
mod tests {
    use ringmail_model::check;
    use ringmail_model::ids::PathVersion;
    use ringmail_model::pathset::Issue;

    use super::*;

    fn campus(link: &str) -> Topology {
        let text = include_str!("../../../examples/campus.yaml");
        let text = text.replace("\n  mtu: 1500", &format!("\n  {link}"));
        let domain = check::load(&text, "campus.yaml").expect("a good domain").domain;
        let issue =
            Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
        network(&domain, &PathSet::compile(&domain, issue).expect("a path set")).expect("a network")
    }

    #[test]
    fn cables_outside_and_to_services_are_as_wide_as_links_and_no_narrower_than_ethernet() {
        for (link, inside, around) in [
            ("mtu: 9000\n  jumbo: true", 9000, 9000),
            ("mtu: 1500", 1500, 1500),
            ("mtu: 1000", 1000, 1500),
        ] {
            let plan = campus(link);
            for cable in &plan.cables {
                let between = cable.ends.iter().any(|end| end.interface == LINK);
                let expected = if between { inside } else { around };
                assert_eq!(cable.mtu, expected, "{link}: {:?}", cable.ends);
            }
            for namespace in &plan.namespaces {
                for bridge in &namespace.bridges {
                    let expected = if namespace.name == FABRIC { inside } else { around };
                    assert_eq!(bridge.mtu, expected, "{link}: {}", namespace.name);
                }
            }
        }
    }
}
