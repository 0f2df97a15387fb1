//! An element's cores: made from domain and path set, one for each worker, with everything but keys.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result};
use ringmail_dataplane::edge::{Edge, Role as EdgeRole};
use ringmail_dataplane::hop::Hop;
use ringmail_dataplane::sa::SaTable;
use ringmail_dataplane_io::Link;
use ringmail_dataplane_io::udp::{UdpConfig, UdpLink};
use ringmail_model::domain::Domain;
use ringmail_model::pathset::{Element, PathSet, Role};

use super::worker::Core;
use super::{attached, plan};
use crate::attach::network;
use crate::random;

/// UDP source ports of workers begin here (the dynamic ports of RFC 6335): RFC 7510 section 3 wants entropy there, and
/// every association its own fixed port.
const FIRST_SOURCE_PORT: u16 = 49_152;

/// The core of one worker of `element`, with its paths. `inner` is given to a gateway or an egress.
///
/// # Errors
/// When domain and path set do not fit together, or a function's settings are refused.
pub(crate) fn core(
    domain: &Domain,
    set: &PathSet,
    element: &Element,
    inner: Option<Box<dyn Link>>,
) -> Result<Core> {
    let edge = |role| -> Result<Edge> {
        let flows = domain.limits.flows as usize;
        Ok(Edge::new(role, element.label, flows, random::seeds()?, SaTable::new(), Instant::now()))
    };
    let mut core = match (element.role, inner) {
        (Role::Gateway, Some(inner)) => Core::Edge(Box::new(edge(EdgeRole::Gateway)?), inner),
        (Role::Egress, Some(inner)) => Core::Edge(Box::new(edge(EdgeRole::Egress)?), inner),
        (Role::Hop, None) => match network::settings(domain, element) {
            Some(settings) => attached::core(domain, element, settings)?,
            None => Core::Hop(Box::new(hop(domain, element)?)),
        },
        (role, _) => anyhow::bail!("{role:?} `{}` has the wrong kind of sides", element.name),
    };
    for config in plan::paths(set, domain, element.id)? {
        core.paths().put(config)?;
    }
    Ok(core)
}

fn hop(domain: &Domain, element: &Element) -> Result<Hop> {
    let function = domain.functions.iter().find(|f| f.name.as_str() == element.name);
    let function = function.with_context(|| format!("no function `{}`", element.name))?;
    let settings = ringmail_functions::Settings::try_from(function)?;
    let served = ringmail_functions::build(&settings, random::seeds()?)?;
    let hop = Hop::new(element.label, function.intrusive, served, SaTable::new());
    Ok(hop.with_flows(domain.limits.flows as usize, random::seeds()?, Instant::now()))
}

/// The UDP link of one worker, in the namespace of the calling thread.
///
/// # Errors
/// When the system refuses a socket.
pub(crate) fn udp_link(set: &PathSet, element: &Element, worker: u16) -> Result<Box<dyn Link>> {
    let peers = plan::neighbours(set, element.id);
    let peers = peers.into_iter().map(|(to, address)| (to, SocketAddr::V4(address))).collect();
    let mut config = UdpConfig::new(SocketAddr::V4(element.link), peers);
    config.source_port = FIRST_SOURCE_PORT + worker;
    let link = UdpLink::open(&config);
    Ok(Box::new(link.with_context(|| format!("no UDP link at {}", element.link))?))
}
