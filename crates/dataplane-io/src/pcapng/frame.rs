//! What packets of a link look like in a capture: as they would on a wire, beginning with an IP or an Ethernet header.

use std::net::{IpAddr, SocketAddr};

use ringmail_dataplane::Neighbour;
use ringmail_packet::ethernet::{Address, EtherType};

use super::block::{self, Way};
use crate::checksum;
use crate::ethernet::peers;
use crate::limits::MPLS_UDP_PORT;

/// The longest headers put before a packet: IPv6 and UDP.
pub(super) const HEADERS_BYTES_MAX: usize = 48;

const UDP_HEADER_BYTES: usize = 8;
const UDP: u8 = 17;
const HOP_LIMIT: u8 = 64;

/// How packets of a link become frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// They are IP packets already (TUN).
    Ip,
    /// They are MPLS stacks, which get the IP and UDP headers of RFC 7510 back that the kernel took off, or that a link
    /// in memory never had.
    MplsInUdp {
        /// Where this element receives.
        local: SocketAddr,
        /// The port that it sends from.
        source_port: u16,
        /// Where its neighbours receive. Their packets are shown as coming from [`Framing::REMOTE_PORT`]: which port
        /// they really came from is not known here.
        peers: Vec<(Neighbour, SocketAddr)>,
    },
    /// They are MPLS stacks, which get the Ethernet header back that the link took off.
    MplsInEthernet {
        /// This element's address.
        local: Address,
        /// The VLAN of the link.
        vlan: Option<u16>,
        /// What frames carry: label stacks, or NSH.
        carries: EtherType,
        /// Its neighbours' addresses.
        peers: Vec<(Neighbour, Address)>,
    },
}

impl Framing {
    /// Source port shown for packets of neighbours.
    pub const REMOTE_PORT: u16 = 49_152;

    /// What a capture calls packets that begin so.
    pub(super) fn link_type(&self) -> u16 {
        match self {
            Framing::Ip | Framing::MplsInUdp { .. } => block::LINKTYPE_RAW,
            Framing::MplsInEthernet { .. } => block::LINKTYPE_ETHERNET,
        }
    }

    /// Writes the headers for one packet; returns how many bytes they have.
    pub(super) fn headers(
        &self,
        way: Way,
        neighbour: Option<Neighbour>,
        packet: &[u8],
        out: &mut [u8; HEADERS_BYTES_MAX],
    ) -> usize {
        let (local, source_port, peers) = match self {
            Framing::Ip => return 0,
            Framing::MplsInUdp { local, source_port, peers } => (local, source_port, peers),
            Framing::MplsInEthernet { local, vlan, carries, peers } => {
                let peer = peers.iter().find(|(known, _)| Some(*known) == neighbour);
                // A stranger's address was not kept.
                let peer = peer.map_or(Address::default(), |(_, address)| *address);
                let (to, from) = if way == Way::Out { (peer, *local) } else { (*local, peer) };
                let header = peers::header(to, from, *vlan, *carries);
                out[..header.len()].copy_from_slice(&header);
                return peers::header_bytes(*vlan);
            }
        };
        let peer = neighbour
            .and_then(|neighbour| peers.iter().find(|(known, _)| *known == neighbour))
            .map(|(_, address)| *address);
        // A stranger's address was not kept.
        let nobody = match local {
            SocketAddr::V4(_) => SocketAddr::from(([0; 4], MPLS_UDP_PORT)),
            SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], MPLS_UDP_PORT)),
        };
        let mut ends = [peer.unwrap_or(nobody), *local];
        if way == Way::Out {
            ends.reverse();
        }
        let port = if way == Way::Out { *source_port } else { Framing::REMOTE_PORT };
        ends[0].set_port(port);
        emit(ends[0], ends[1], packet, out)
    }
}

fn emit(
    from: SocketAddr,
    to: SocketAddr,
    packet: &[u8],
    out: &mut [u8; HEADERS_BYTES_MAX],
) -> usize {
    let udp_len = ((UDP_HEADER_BYTES + packet.len()) as u16).to_be_bytes();
    let (ip_len, addresses) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total_len = ((20 + UDP_HEADER_BYTES + packet.len()) as u16).to_be_bytes();
            out[..12].copy_from_slice(&[
                0x45,
                0,
                total_len[0],
                total_len[1],
                0,
                0,
                0x40,
                0,
                HOP_LIMIT,
                UDP,
                0,
                0,
            ]);
            out[12..16].copy_from_slice(&from.octets());
            out[16..20].copy_from_slice(&to.octets());
            let sum = checksum::finish(checksum::sum(&out[..20]));
            out[10..12].copy_from_slice(&sum);
            (20, 12..20)
        }
        (from, to) => {
            out[..8].copy_from_slice(&[0x60, 0, 0, 0, udp_len[0], udp_len[1], UDP, HOP_LIMIT]);
            for (end, at) in [(from, 8), (to, 24)] {
                let octets = match end {
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                    IpAddr::V6(address) => address.octets(),
                };
                out[at..at + 16].copy_from_slice(&octets);
            }
            (40, 8..40)
        }
    };
    let pseudo =
        checksum::sum(&out[addresses]) + checksum::number(u16::from(UDP)) + checksum::word(udp_len);
    let udp = &mut out[ip_len..ip_len + UDP_HEADER_BYTES];
    udp[..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len);
    udp[6..].fill(0);
    // No checksum at all is allowed over IPv4 only (RFC 8200 section 8.1).
    if ip_len == 40 {
        let sum = checksum::finish_nonzero(pseudo + checksum::sum(udp) + checksum::sum(packet));
        udp[6..].copy_from_slice(&sum);
    }
    ip_len + UDP_HEADER_BYTES
}
