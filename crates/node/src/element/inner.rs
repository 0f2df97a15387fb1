//! The inner side of a gateway or an egress: a TUN, its addresses, and what is routed into it.

use std::fs;
use std::io;
use std::net::IpAddr;

use anyhow::{Context, Result};
use ringmail_dataplane::limits::{HEADROOM_BYTES, TAILROOM_BYTES};
use ringmail_dataplane_io::Link;
use ringmail_dataplane_io::tun::{TunConfig, TunLink};
use ringmail_model::domain::{AttachSettings, Domain};
use ringmail_model::pathset::{Element, PathSet, Role};

use crate::topology::{Cidr, Netlink, Route};

/// The name of the device, in a namespace that has no other of ours.
pub(crate) const DEVICE: &str = "rm-inner";

/// Creates the TUN of `element` in the namespace of the calling thread, one queue a worker, with nothing routed to it.
///
/// # Errors
/// When the system refuses the device.
pub(crate) fn create(
    domain: &Domain,
    set: &PathSet,
    element: &Element,
) -> Result<Vec<Box<dyn Link>>> {
    let ipv4_only = domain.inner_networks().all(|network| network.is_ipv4());
    let kept_off = ipv4_only.then(Ipv6KeptOff::begin).flatten();
    let mtu = set.inner_mtu().context("the path set has no path")?;
    let mut config = TunConfig::new(DEVICE, u32::from(mtu), HEADROOM_BYTES, TAILROOM_BYTES);
    config.queues = usize::from(element.workers.max(1));
    let queues = TunLink::create(&config).context("the TUN could not be made")?;
    drop(kept_off);
    Ok(queues.into_iter().map(|queue| Box::new(queue) as Box<dyn Link>).collect())
}

/// What interfaces are made with, in the namespace of the calling thread.
const IPV6_OFF_BY_DEFAULT: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

/// Keeps IPv6 off interfaces that are made meanwhile, which is the TUN alone. Where nobody uses it, a router would report
/// its multicast groups there (RFC 3810), and each report would count as a packet without a path. A kernel without IPv6
/// has nothing to keep off; one whose settings are protected from this process is left as it is.
struct Ipv6KeptOff {
    before: String,
}

impl Ipv6KeptOff {
    fn begin() -> Option<Ipv6KeptOff> {
        let before = fs::read_to_string(IPV6_OFF_BY_DEFAULT).ok()?;
        match fs::write(IPV6_OFF_BY_DEFAULT, "1") {
            Ok(()) => Some(Ipv6KeptOff { before }),
            Err(error) => {
                tracing::debug!(%error, "IPv6 is not kept off the TUN");
                None
            }
        }
    }
}

impl Drop for Ipv6KeptOff {
    fn drop(&mut self) {
        if let Err(error) = fs::write(IPV6_OFF_BY_DEFAULT, self.before.trim()) {
            tracing::warn!(%error, "interfaces to come have no IPv6");
        }
    }
}

/// The gateway's own addresses on the inner side: the first of each network that the domain gives it. Of two gateways it is
/// the one whose eyes the domain is seen by.
pub(crate) fn gateway_addresses(domain: &Domain) -> Vec<IpAddr> {
    domain.gateway.inner.iter().filter_map(|network| network.host(1)).collect()
}

/// Gives the device its addresses, and routes into it what is reached through chains: the services at the gateway, the
/// gateway's inner addresses at the egress. Works on the namespace of the calling thread.
///
/// # Errors
/// When the system refuses an address or a route.
pub(crate) async fn configure(domain: &Domain, role: Role) -> Result<()> {
    let netlink = Netlink::open()?;
    let device = netlink.interface(DEVICE).await?;
    netlink.set_up(device).await?;
    if role == Role::Gateway {
        for address in gateway_addresses(domain) {
            netlink.add_address(device, Cidr::host(address)).await?;
        }
    }
    add_routes(&netlink, domain, role).await
}

/// Lets the device and its routes serve another version of the domain beside those that run: all of `sets`.
///
/// # Errors
/// When the system refuses a route or the MTU.
pub(crate) async fn adapt(domain: &Domain, role: Role, sets: &[&PathSet]) -> Result<()> {
    set_mtu(sets).await?;
    add_routes(&Netlink::open()?, domain, role).await
}

/// Gives the device the largest MTU that every path of these sets carries.
///
/// # Errors
/// When the system refuses it.
pub(crate) async fn set_mtu(sets: &[&PathSet]) -> Result<()> {
    let mtu = sets.iter().filter_map(|set| set.inner_mtu()).min();
    let mtu = mtu.context("the path set has no path")?;
    let netlink = Netlink::open()?;
    let device = netlink.interface(DEVICE).await?;
    netlink.set_mtu(device, u32::from(mtu)).await.with_context(|| format!("no MTU of {mtu} bytes"))
}

/// Routes that are there already stay as they are.
async fn add_routes(netlink: &Netlink, domain: &Domain, role: Role) -> Result<()> {
    let mut towards: Vec<Cidr> = match role {
        Role::Gateway => {
            domain.services.iter().flat_map(|s| &s.addresses).map(|a| Cidr::host(a.ip())).collect()
        }
        Role::Egress => {
            let attached = domain.functions.iter().filter_map(|f| f.attached.as_ref());
            let answered = attached.flat_map(AttachSettings::answered_at);
            let peers = domain.clients.iter().filter_map(|client| client.wireguard.as_ref());
            let peers = peers.flat_map(|peer| peer.addresses.iter().copied());
            let gateways = domain.inner_networks().filter_map(|network| network.host(1));
            let clients = gateways.chain(peers);
            clients.chain(answered).map(Cidr::host).collect()
        }
        Role::Hop => Vec::new(),
    };
    towards.sort_unstable_by_key(|cidr| cidr.address);
    towards.dedup_by_key(|cidr| cidr.address);
    for to in towards {
        let route = Route { to, via: None, interface: Some(DEVICE.to_owned()) };
        match netlink.add_route(&route).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            added => added.with_context(|| format!("no route to {}", to.address))?,
        }
    }
    Ok(())
}

/// What keeps the device from carrying packets, in the namespace of the calling thread.
pub(crate) async fn trouble() -> Option<String> {
    let up = async { Netlink::open()?.is_up(DEVICE).await };
    match up.await {
        Ok(true) => None,
        Ok(false) => Some(format!("the TUN `{DEVICE}` is down")),
        Err(error) => Some(format!("the TUN `{DEVICE}` cannot be looked at: {error}")),
    }
}
