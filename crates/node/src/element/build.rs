//! An element's cores: made from domain and path set, one for each worker, with everything but keys.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ringmail_dataplane::edge::{Edge, Role as EdgeRole};
use ringmail_dataplane::hop::Hop;
use ringmail_dataplane::nsh::{Origin, Seen};
use ringmail_dataplane::paths::PathTable;
use ringmail_dataplane::sa::SaTable;
use ringmail_dataplane::{Function, Neighbour};
use ringmail_dataplane_io::ethernet::{EthernetConfig, EthernetLink};
use ringmail_dataplane_io::troubled::Troubled;
use ringmail_dataplane_io::udp::{UdpConfig, UdpLink};
use ringmail_dataplane_io::xdp::{XdpConfig, XdpLink};
use ringmail_dataplane_io::{Link, packet};
use ringmail_functions::Settings;
use ringmail_model::domain::{self, Domain, LinkDriver, Profile};
use ringmail_model::pathset::{Element, LinkSet, PathSet, Role};
use ringmail_model::{ElementId, WorkerId};
use ringmail_packet::ethernet::{Address, EtherType};

use super::legend::Legend;
use super::logfile::Logged;
use super::trouble::Trouble;
use super::worker::Core;
use super::{attached, plan};
use crate::attach::network;
use crate::random;

/// UDP source ports of workers begin here (the dynamic ports of RFC 6335): RFC 7510 section 3 wants entropy there, and
/// every association its own fixed port.
const FIRST_SOURCE_PORT: u16 = 49_152;

/// The cores of the workers of a gateway or an egress, one for each inner side, with their paths.
///
/// # Errors
/// When domain and path set do not fit together.
pub(crate) fn edges(
    domain: &Domain,
    set: &PathSet,
    element: &Element,
    inner: Vec<Box<dyn Link>>,
) -> Result<Vec<Core>> {
    let role = match element.role {
        Role::Gateway => EdgeRole::Gateway,
        Role::Egress => EdgeRole::Egress,
        Role::Hop => anyhow::bail!("`{}` is a hop and has no inner side", element.name),
    };
    let form = plan::form(set, element);
    let edge = |inner| {
        let (flows, seeds) = (domain.limits.flows as usize, random::seeds()?);
        let mut edge = Edge::new(role, form, flows, seeds, SaTable::new(), Instant::now());
        edge.set_link_port(domain.links.udp_port);
        Ok(Core::Edge(Box::new(edge), inner))
    };
    let cores = inner.into_iter().map(edge).collect::<Result<_>>()?;
    with_paths(cores, domain, set, element)
}

/// The cores of a hop's workers, with their paths.
///
/// # Errors
/// When domain and path set do not fit together, or a function's settings are refused.
pub(crate) fn hops(domain: &Domain, set: &PathSet, element: &Element) -> Result<Vec<Core>> {
    let cores = match network::settings(domain, element) {
        Some(settings) => vec![attached::core(domain, set, element, settings)?],
        None => built_in(domain, set, element)?,
    };
    with_paths(cores, domain, set, element)
}

/// Gives all workers of an element its paths. Each begins proofs for itself, and all know of those that came.
fn with_paths(
    mut cores: Vec<Core>,
    domain: &Domain,
    set: &PathSet,
    element: &Element,
) -> Result<Vec<Core>> {
    let (life, seen) = (random::bytes()?, Seen::default());
    let paths = plan::paths(set, domain, element.id)?;
    for (worker, core) in (0..).map(WorkerId).zip(&mut cores) {
        core.set_flow_idle_s(domain.limits.flow_idle_s);
        let origin = Origin::new(element.id, worker, life);
        *core.paths() = PathTable::default().with_proofs(origin, seen.clone());
        core.show_time();
        for config in &paths {
            core.paths().put(config.clone())?;
        }
    }
    Ok(cores)
}

fn built_in(domain: &Domain, set: &PathSet, element: &Element) -> Result<Vec<Core>> {
    let function = domain.functions.iter().find(|f| f.name.as_str() == element.name);
    let function = function.with_context(|| format!("no function `{}`", element.name))?;
    let legend = Legend::new([set], element.id);
    let served = functions_of(function, &legend, usize::from(element.workers.max(1)))?;
    let form = plan::form(set, element);
    let hop = |served| Hop::new(form, function.intrusive, served, SaTable::new());
    let mut hops: Vec<Hop> = served.into_iter().map(hop).collect();
    // One of them remembers connections, for all.
    if let Some(first) = hops.pop() {
        let flows = domain.limits.flows as usize;
        let first = first.with_flows(flows, random::seeds()?, Instant::now());
        hops = hops.into_iter().map(|hop| hop.with_flows_of(&first)).collect();
        hops.insert(0, first);
    }
    Ok(hops.into_iter().map(|hop| Core::Hop(Box::new(hop))).collect())
}

/// The link of one worker, of the kind that the path set says, in the namespace of the calling thread.
///
/// # Errors
/// When the system refuses a socket, or the element's interface is not as the path set says.
pub(crate) fn link(
    driver: LinkDriver,
    set: &PathSet,
    element: &Element,
    worker: u16,
) -> Result<Box<dyn Link>> {
    let link = match set.link {
        LinkSet::Udp => udp_link(set, element, worker)?,
        LinkSet::Ethernet { vlan } => ethernet_link(driver, set, element, vlan)?,
    };
    Ok(match Trouble::wanted()? {
        None => link,
        Some(Trouble { seed, faults }) => {
            // Every link has faults of its own.
            let seed = seed ^ (u64::from(element.id.0) << 16 | u64::from(worker)) << 32;
            Box::new(Troubled::new(link, seed, faults))
        }
    })
}

fn ethernet_link(
    driver: LinkDriver,
    set: &PathSet,
    element: &Element,
    vlan: Option<u16>,
) -> Result<Box<dyn Link>> {
    let address = *element.link.ip();
    let interface = packet::interface_of(address);
    let interface = interface.with_context(|| format!("no interface has the address {address}"))?;
    let stations = plan::stations(set, element.id);
    let refused = || format!("no Ethernet link on {interface}");
    let (link, address, mtu_bytes): (Box<dyn Link>, Address, usize) = match driver {
        LinkDriver::Packet => {
            let mut config = EthernetConfig::new(&interface, stations);
            (config.vlan, config.carries) = (vlan, carries(set));
            // The interface is this element's alone, and so are the numbers of its groups.
            config.fanout = (element.workers > 1).then_some(1);
            let link = EthernetLink::open(&config).with_context(refused)?;
            let (address, mtu_bytes) = (link.address(), link.mtu_bytes());
            (Box::new(link), address, mtu_bytes)
        }
        LinkDriver::Xdp => {
            // What `domain check` said already: one worker, no VLAN.
            ensure!(
                element.workers <= 1 && vlan.is_none(),
                "`driver: xdp` has one worker and no VLAN"
            );
            let config =
                XdpConfig { carries: carries(set), ..XdpConfig::new(&interface, stations) };
            let link = XdpLink::open(&config).with_context(refused)?;
            tracing::info!(interface, mode = ?link.mode(), "AF_XDP");
            let (address, mtu_bytes) = (link.address(), link.mtu_bytes());
            (Box::new(link), address, mtu_bytes)
        }
    };
    let wanted = element.mac.map(|mac| Address(mac.bytes()));
    ensure!(
        wanted == Some(address),
        "{interface} has the MAC address {}, not that of `{}` in the domain file: write it under \
         `links.macs`, or set it with `ip link set {interface} address …`",
        address,
        element.name
    );
    ensure!(
        mtu_bytes >= usize::from(set.link_mtu),
        "{interface} has an MTU of {} bytes, less than the link MTU of {}: raise it with `ip link \
         set {interface} mtu …`, or lower `links.mtu`",
        mtu_bytes,
        set.link_mtu
    );
    Ok(link)
}

/// What frames of Ethernet carry.
fn carries(set: &PathSet) -> EtherType {
    match set.profile {
        Profile::Mpls | Profile::MplsNsh => EtherType::MPLS,
        Profile::Nsh => EtherType::NSH,
    }
}

/// Each worker's instance of a function; a logger calls paths as the legend does.
///
/// # Errors
/// When its settings are refused, or its files cannot be written.
pub(crate) fn functions_of(
    function: &domain::Function,
    legend: &Legend,
    workers: usize,
) -> Result<Vec<Box<dyn Function>>> {
    let settings = Settings::try_from(function)?;
    if let (Settings::Logger(settings), Some(files)) = (&settings, &function.logger) {
        let logged = |_| -> Result<Box<dyn Function>> {
            Ok(Box::new(Logged::start(&function.name, settings, files, legend.clone())?))
        };
        return (0..workers).map(logged).collect();
    }
    let seeds = (0..workers).map(|_| random::seeds()).collect::<Result<Vec<_>, _>>()?;
    Ok(ringmail_functions::build_each(&settings, &seeds)?)
}

/// Settings for a function that runs already and keeps what it remembers; `None` for one that takes none in place.
///
/// # Errors
/// When they are refused.
pub(crate) fn settings_of(function: &domain::Function) -> Result<Option<Box<dyn Any + Send>>> {
    Ok(ringmail_functions::settings_in_place(&Settings::try_from(function)?)?)
}

/// Where the neighbours of an element receive, as its link takes it.
pub(crate) fn peers(set: &PathSet, element: ElementId) -> Vec<(Neighbour, SocketAddr)> {
    let peers = plan::neighbours(set, element).into_iter();
    peers.map(|(to, address)| (to, SocketAddr::V4(address))).collect()
}

/// The UDP link of one worker, in the namespace of the calling thread.
///
/// # Errors
/// When the system refuses a socket.
fn udp_link(set: &PathSet, element: &Element, worker: u16) -> Result<Box<dyn Link>> {
    let mut config = UdpConfig::new(SocketAddr::V4(element.link), peers(set, element.id));
    config.source_port = FIRST_SOURCE_PORT + worker;
    let link = UdpLink::open(&config);
    Ok(Box::new(link.with_context(|| format!("no UDP link at {}", element.link))?))
}
