//! Interfaces, addresses and routes of the network namespace in which this was opened (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridgePort, InfoData, InfoPortData, InfoVeth,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteScope};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::task::JoinHandle;

use super::plan::{Bridge, Cidr, Route};

/// A socket to the kernel's routing tables, in one namespace. Needs a tokio runtime.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

/// The index of an interface within its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceIndex(u32);

impl Netlink {
    /// Opens a socket in the calling thread's namespace, where it stays.
    ///
    /// # Errors
    /// The kernel has no rtnetlink, or no file descriptor is left.
    pub fn open() -> io::Result<Netlink> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Netlink { handle, connection: tokio::spawn(connection) })
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// There is none ([`io::ErrorKind::NotFound`] or `ENODEV`).
    pub async fn interface(&self, name: &str) -> io::Result<InterfaceIndex> {
        Ok(InterfaceIndex(self.link(name).await?.header.index))
    }

    /// Makes a bridge without spanning tree and multicast snooping, and brings it up.
    ///
    /// # Errors
    /// The name is taken, the right is missing, or the kernel has no bridges.
    pub async fn add_bridge(&self, bridge: &Bridge) -> io::Result<()> {
        let message = LinkBridge::new(&bridge.name)
            .mtu(bridge.mtu)
            .stp_state(BridgeStpState::Disabled)
            .mcast_snooping(false)
            .forward_delay(0)
            .build();
        self.handle.link().add(message).execute().await.map_err(to_io)
    }

    /// Makes a veth pair: one end here, the other in another namespace. Both are down.
    ///
    /// # Errors
    /// A name is taken, the right is missing in one of both, or the kernel has no veth.
    pub async fn add_veth(
        &self,
        here: VethEnd<'_>,
        there: VethEnd<'_>,
        other: BorrowedFd<'_>,
        mtu: u32,
    ) -> io::Result<()> {
        let mut peer = LinkMessageBuilder::<LinkUnspec>::new().name(there.name).mtu(mtu);
        if let Some(mac) = there.mac {
            peer = peer.address(mac.to_vec());
        }
        let peer = peer.setns_by_fd(other.as_fd().as_raw_fd()).build();
        let mut end = LinkMessageBuilder::<LinkVeth>::new(here.name, there.name)
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        if let Some(mac) = here.mac {
            end = end.address(mac.to_vec());
        }
        self.handle.link().add(end.build()).execute().await.map_err(to_io)
    }

    /// Removes an interface; of a veth pair both ends.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn remove(&self, interface: &str) -> io::Result<()> {
        let InterfaceIndex(index) = self.interface(interface).await?;
        self.handle.link().del(index).execute().await.map_err(to_io)
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// The right is missing, or the interface is gone.
    pub async fn set_up(&self, interface: InterfaceIndex) -> io::Result<()> {
        self.set(LinkUnspec::new_with_index(interface.0).up().build()).await
    }

    /// Sets the MTU, in bytes.
    ///
    /// # Errors
    /// The interface cannot have this one.
    pub async fn set_mtu(&self, interface: InterfaceIndex, mtu: u32) -> io::Result<()> {
        self.set(LinkUnspec::new_with_index(interface.0).mtu(mtu).build()).await
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// Either is missing.
    pub async fn set_bridge(&self, port: InterfaceIndex, bridge: InterfaceIndex) -> io::Result<()> {
        self.set(LinkUnspec::new_with_index(port.0).controller(bridge.0).build()).await
    }

    /// Adds an address; one of IPv6 is usable at once.
    ///
    /// # Errors
    /// It is there already, or the kernel lacks its family.
    pub async fn add_address(&self, interface: InterfaceIndex, cidr: Cidr) -> io::Result<()> {
        let mut request = self.handle.address().add(interface.0, cidr.address, cidr.prefix_len);
        if cidr.address.is_ipv6() {
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await.map_err(to_io)
    }

    /// Adds a route to the main table.
    ///
    /// # Errors
    /// It is there already, its interface is missing, or its next hop is not on a link.
    pub async fn add_route(&self, route: &Route) -> io::Result<()> {
        let oif = match &route.interface {
            Some(name) => Some(self.interface(name).await?),
            None => None,
        };
        let mut message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network(route.to), route.to.prefix_len)
            .map_err(io::Error::other)?;
        match route.via {
            Some(via) => message = message.gateway(via).map_err(io::Error::other)?,
            None => message.get_mut().header.scope = RouteScope::Link,
        }
        if let Some(oif) = oif {
            message.get_mut().attributes.push(RouteAttribute::Oif(oif.0));
        }
        self.handle.route().add(message.build()).execute().await.map_err(to_io)
    }

    /// Whether an interface carries frames: its link is up and, where it is a bridge's port, the port forwards.
    ///
    /// # Errors
    /// The interface is gone.
    pub async fn carries(&self, name: &str) -> io::Result<bool> {
        let link = self.link(name).await?;
        let up = link.attributes.contains(&LinkAttribute::OperState(State::Up));
        Ok(up && port_state(&link).is_none_or(|state| state == BridgePortState::Forwarding))
    }

    /// Whether an interface was brought up (IFF_UP), whatever its link says.
    ///
    /// # Errors
    /// The interface is gone.
    pub async fn is_up(&self, name: &str) -> io::Result<bool> {
        Ok(self.link(name).await?.header.flags.contains(LinkFlags::Up))
    }

    async fn set(&self, message: LinkMessage) -> io::Result<()> {
        self.handle.link().set(message).execute().await.map_err(to_io)
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The name of the interface with this index.
    pub(super) async fn name(&self, index: u32) -> Option<String> {
        let mut found = self.handle.link().get().match_index(index).execute();
        let link = found.try_next().await.ok()??;
        link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        })
    }

    pub(super) async fn link(&self, name: &str) -> io::Result<LinkMessage> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        found.try_next().await.map_err(to_io)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// One end of a veth pair that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// The interface's name.
    pub name: &'a str,
    /// The kernel picks one where it is not given.
    pub mac: Option<[u8; 6]>,
}

fn port_state(link: &LinkMessage) -> Option<BridgePortState> {
    let infos = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    })?;
    let port = infos.iter().find_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(port)) => Some(port),
        _ => None,
    })?;
    port.iter().find_map(|item| match item {
        InfoBridgePort::State(state) => Some(*state),
        _ => None,
    })
}

/// The kernel refuses a route whose destination has bits behind its prefix.
pub(super) fn network(cidr: Cidr) -> IpAddr {
    match cidr.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(cidr.prefix_len)).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(cidr.prefix_len)).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

pub(super) fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn a_network_has_no_bits_behind_its_prefix() {
        for (cidr, wanted) in [
            ("10.1.2.3/8", "10.0.0.0"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("10.1.2.3/0", "0.0.0.0"),
            ("fd00::1:2/64", "fd00::"),
            ("fd00::1/0", "::"),
            ("fd00::1/128", "fd00::1"),
        ] {
            assert_eq!(network(cidr.parse().unwrap()).to_string(), wanted, "{cidr}");
        }
    }
}
