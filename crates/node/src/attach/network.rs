//! The network around attached functions: a namespace for each, and one cable a side to its hop.

use std::net::IpAddr;

use anyhow::Result;
use ringmail_dataplane::Side;
use ringmail_model::domain::{AttachSettings, Domain, Interfaces, Shape};
use ringmail_model::pathset::{Element, PathSet, Role};

use super::{addresses, behind, interfaces, namespace};
use crate::topology::{Bridge, Cable, Cidr, End, Namespace, Route, Sysctl, Tap, Topology};

/// The bridge of a function of shape `bridge`.
const BRIDGE: &str = "br0";

/// The settings of the attached function that `element` serves, if it serves one.
pub(crate) fn settings<'a>(domain: &'a Domain, element: &Element) -> Option<&'a AttachSettings> {
    let serves = element.role == Role::Hop;
    let mut functions = domain.functions.iter().filter(|_| serves);
    functions.find(|function| function.name.as_str() == element.name)?.attached.as_ref()
}

/// The sides that a function of this shape has.
pub(crate) fn sides(shape: Shape) -> &'static [Side] {
    match shape {
        Shape::OneArmed => &[Side::In],
        Shape::Router | Shape::Bridge => &[Side::In, Side::Out],
    }
}

/// The MTU of a function's interfaces: packets are plain there.
pub(crate) fn inner_mtu(set: &PathSet) -> u32 {
    u32::from(set.inner_mtu().unwrap_or(set.link_mtu))
}

/// Adds the namespaces and cables of all attached functions. The namespaces of their hops are there already.
pub(crate) fn add(domain: &Domain, set: &PathSet, plan: &mut Topology) -> Result<()> {
    let mtu = inner_mtu(set);
    for element in &set.elements {
        let Some(attached) = settings(domain, element) else { continue };
        let function = namespace(&element.name);
        // Nothing but what the function sends is to go over its cables.
        let quiet = Sysctl::wished("net.ipv6.conf.default.disable_ipv6", "1");
        if let Some(hop) = plan.namespaces.iter_mut().find(|hop| hop.name == element.name) {
            hop.sysctls.push(quiet);
        }
        if attached.socket.is_some() {
            plan.namespaces.push(Namespace { name: function, ..Namespace::default() });
            continue;
        }
        if attached.interfaces == Interfaces::Tap {
            taps(element, attached.shape, mtu, plan);
            continue;
        }
        let bridged = attached.shape == Shape::Bridge;
        let bridge = bridged.then(|| Bridge { name: BRIDGE.to_owned(), mtu });
        plan.namespaces.push(Namespace {
            name: function.clone(),
            bridges: bridge.into_iter().collect(),
            taps: Vec::new(),
            routes: routes(domain, attached)?,
            sysctls: Sysctl::forwarding(),
            guards: Vec::new(),
        });
        for side in sides(attached.shape) {
            let [ours, theirs] = interfaces(*side);
            let [our_mac, their_mac] = addresses(element.id, *side);
            let own = match side {
                Side::In => attached.in_addresses(),
                Side::Out => attached.out_addresses(),
            };
            let end = |namespace: &str, interface: &str, mac: [u8; 6]| End {
                namespace: namespace.to_owned(),
                interface: interface.to_owned(),
                mac: Some(mac),
                ..End::default()
            };
            let at_function = End {
                addresses: own.into_iter().map(Cidr::host).collect(),
                bridge: bridged.then(|| BRIDGE.to_owned()),
                ..end(&function, theirs, their_mac.0)
            };
            plan.cables
                .push(Cable { mtu, ends: [end(&element.name, ours, our_mac.0), at_function] });
        }
    }
    Ok(())
}

/// The namespace of a function behind TAPs: a bridge a side, with the cable and the TAP. Nothing in it has an address.
fn taps(element: &Element, shape: Shape, mtu: u32, plan: &mut Topology) {
    let name = namespace(&element.name);
    let quiet = Sysctl::wished("net.ipv6.conf.default.disable_ipv6", "1");
    let sysctls = Sysctl::bridging().into_iter().chain([quiet]).collect();
    let mut function = Namespace { name: name.clone(), sysctls, ..Namespace::default() };
    for side in sides(shape) {
        let [ours, theirs] = interfaces(*side);
        let [cable, bridge] = behind(*side);
        function.bridges.push(Bridge { name: bridge.to_owned(), mtu });
        function.taps.push(Tap { name: theirs.to_owned(), mtu, bridge: bridge.to_owned() });
        let at_hop = End {
            namespace: element.name.clone(),
            interface: ours.to_owned(),
            mac: Some(addresses(element.id, *side)[0].0),
            ..End::default()
        };
        let at_function = End {
            namespace: name.clone(),
            interface: cable.to_owned(),
            bridge: Some(bridge.to_owned()),
            ..End::default()
        };
        plan.cables.push(Cable { mtu, ends: [at_hop, at_function] });
    }
    plan.namespaces.push(function);
}

/// Towards clients everything that the gateway sends from, towards the service the rest.
fn routes(domain: &Domain, attached: &AttachSettings) -> Result<Vec<Route>> {
    let out = match attached.shape {
        Shape::Bridge => return Ok(Vec::new()),
        Shape::OneArmed => Side::In,
        Shape::Router => Side::Out,
    };
    let mut routes = Vec::new();
    let mut lead = |to: Cidr, side| {
        let interface = Some(interfaces(side)[1].to_owned());
        routes.push(Route { to, via: None, interface });
    };
    let mut families = Vec::new();
    for network in domain.inner_networks() {
        let address = network.network();
        lead(Cidr::new(address, network.prefix_len())?, Side::In);
        if !families.contains(&address.is_ipv4()) {
            families.push(address.is_ipv4());
            let any = if address.is_ipv4() { IpAddr::from([0; 4]) } else { [0u16; 8].into() };
            lead(Cidr::new(any, 0)?, out);
        }
    }
    Ok(routes)
}
