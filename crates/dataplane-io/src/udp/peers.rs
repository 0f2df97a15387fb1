//! The neighbours of a UDP link: by index when sending, by address when receiving.

use std::net::{IpAddr, SocketAddr};

use ringmail_dataplane::Neighbour;
use socket2::SockAddr;

/// Who receives where, and who an address is.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_neighbour: Vec<Option<SockAddr>>,
    by_address: Vec<(IpAddr, Neighbour)>,
    last: Option<(IpAddr, Neighbour)>,
}

impl Peers {
    pub(super) fn new(peers: &[(Neighbour, SocketAddr)]) -> Peers {
        let len =
            peers.iter().map(|(neighbour, _)| usize::from(neighbour.0) + 1).max().unwrap_or(0);
        let mut by_neighbour = vec![None; len];
        let mut by_address = Vec::with_capacity(peers.len());
        for (neighbour, address) in peers {
            by_neighbour[usize::from(neighbour.0)] = Some(SockAddr::from(*address));
            by_address.push((address.ip().to_canonical(), *neighbour));
        }
        by_address.sort_unstable();
        Peers { by_neighbour, by_address, last: None }
    }

    /// One more than the highest index of a neighbour.
    pub(super) fn bound(&self) -> usize {
        self.by_neighbour.len()
    }

    /// Where this neighbour receives.
    pub(super) fn address(&self, neighbour: Neighbour) -> Option<&SockAddr> {
        self.by_neighbour.get(usize::from(neighbour.0))?.as_ref()
    }

    /// Which neighbour sends from this address: the lowest index, should several share it.
    pub(super) fn neighbour(&mut self, address: IpAddr) -> Option<Neighbour> {
        let address = address.to_canonical();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_found_by_address_and_by_index() {
        let peers = ["10.0.0.2:6635", "[fd00::3]:6635", "10.0.0.2:7000"]
            .map(|address| address.parse::<SocketAddr>().unwrap());
        let mut table = Peers::new(&[
            (Neighbour(4), peers[0]),
            (Neighbour(1), peers[1]),
            (Neighbour(7), peers[2]),
        ]);
        for _ in 0..2 {
            assert_eq!(table.neighbour(peers[0].ip()), Some(Neighbour(4)));
            assert_eq!(table.neighbour(peers[1].ip()), Some(Neighbour(1)));
            assert_eq!(table.neighbour("10.0.0.3".parse().unwrap()), None);
        }
        assert_eq!(table.neighbour("::ffff:10.0.0.2".parse().unwrap()), Some(Neighbour(4)));
        assert_eq!(table.address(Neighbour(1)).unwrap().as_socket(), Some(peers[1]));
        assert!(table.address(Neighbour(0)).is_none() && table.address(Neighbour(8)).is_none());
        assert_eq!(table.bound(), 8);
    }
}
