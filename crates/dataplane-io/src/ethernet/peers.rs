//! The neighbours of an Ethernet link: by index when sending, by MAC address when receiving.

use ringmail_dataplane::Neighbour;
use ringmail_packet::ethernet::{self, Address, EtherType};
use ringmail_packet::vlan;

/// The longest header before a label stack: Ethernet's and a tag.
pub(crate) const HEADER_BYTES_MAX: usize = ethernet::HEADER_LEN_BYTES + vlan::HEADER_LEN_BYTES;

/// What stands before the packets of a link, towards each neighbour.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    by_neighbour: Vec<Option<[u8; HEADER_BYTES_MAX]>>,
    by_address: Vec<(Address, Neighbour)>,
    last: Option<(Address, Neighbour)>,
    header_bytes: usize,
}

impl Peers {
    /// `own` is the address that frames come from, `carries` what is in them; with a VLAN they are tagged.
    pub(crate) fn new(
        own: Address,
        vlan: Option<u16>,
        carries: EtherType,
        peers: &[(Neighbour, Address)],
    ) -> Peers {
        let len = peers.iter().map(|(neighbour, _)| usize::from(neighbour.0) + 1).max();
        let mut by_neighbour = vec![None; len.unwrap_or(0)];
        let mut by_address = Vec::with_capacity(peers.len());
        for (neighbour, address) in peers {
            by_neighbour[usize::from(neighbour.0)] = Some(header(*address, own, vlan, carries));
            by_address.push((*address, *neighbour));
        }
        by_address.sort_unstable();
        Peers { by_neighbour, by_address, last: None, header_bytes: header_bytes(vlan) }
    }

    /// What stands before a packet to this neighbour.
    pub(crate) fn header(&self, neighbour: Neighbour) -> Option<&[u8]> {
        let header = self.by_neighbour.get(usize::from(neighbour.0))?.as_ref()?;
        Some(&header[..self.header_bytes])
    }

    /// Which neighbour has this address: the lowest index, should several share it.
    pub(crate) fn neighbour(&mut self, address: Address) -> Option<Neighbour> {
        if let Some((last, neighbour)) = self.last
            && last == address
        {
            return Some(neighbour);
        }
        let at = self.by_address.partition_point(|(known, _)| *known < address);
        let found = self.by_address.get(at).filter(|(known, _)| *known == address)?;
        self.last = Some(*found);
        Some(found.1)
    }
}

/// Bytes of a header.
pub(crate) fn header_bytes(vlan: Option<u16>) -> usize {
    ethernet::HEADER_LEN_BYTES + vlan.map_or(0, |_| vlan::HEADER_LEN_BYTES)
}

/// An Ethernet header (RFC 3032 section 5, RFC 8300 section 3), and a tag of IEEE 802.1Q behind it where there is a VLAN.
pub(crate) fn header(
    to: Address,
    from: Address,
    vlan: Option<u16>,
    carries: EtherType,
) -> [u8; HEADER_BYTES_MAX] {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let mut frame = ethernet::Packet::new_unchecked(&mut bytes[..]);
    frame.set_dst_addr(to);
    frame.set_src_addr(from);
    match vlan {
        None => frame.set_ethertype(carries),
        Some(id) => {
            frame.set_ethertype(EtherType::VLAN);
            let mut tag = vlan::Packet::new_unchecked(frame.payload_mut());
            tag.set_id(id);
            tag.set_ethertype(carries);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Address = Address([2, 0, 0, 0, 0, 1]);

    fn peer(last: u8) -> Address {
        Address([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn neighbours_are_found_by_address_and_by_index() {
        let known = [(Neighbour(4), peer(2)), (Neighbour(1), peer(3)), (Neighbour(7), peer(2))];
        let mut peers = Peers::new(OWN, None, EtherType::MPLS, &known);
        for _ in 0..2 {
            assert_eq!(peers.neighbour(peer(2)), Some(Neighbour(4)));
            assert_eq!(peers.neighbour(peer(3)), Some(Neighbour(1)));
            assert_eq!(peers.neighbour(peer(4)), None);
        }
        let wanted = [2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 1, 0x88, 0x47];
        assert_eq!(peers.header(Neighbour(1)), Some(&wanted[..]));
        assert!(peers.header(Neighbour(0)).is_none() && peers.header(Neighbour(8)).is_none());
    }

    #[test]
    fn a_vlan_is_tagged() {
        let peers = Peers::new(OWN, Some(0x123), EtherType::MPLS, &[(Neighbour(0), peer(2))]);
        let wanted = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0x01, 0x23, 0x88, 0x47];
        assert_eq!(peers.header(Neighbour(0)), Some(&wanted[..]));
    }
}
