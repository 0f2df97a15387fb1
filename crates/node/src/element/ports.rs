//! Source ports of the gateway's connections to services: one connection a port and destination, and none again before
//! the last one's TIME_WAIT is over at both ends.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The ports that are given out; those below are left to the system's own choice.
const PORTS: RangeInclusive<u16> = 16_384..=65_535;

/// How long a port rests after its connection: longer than Linux keeps TIME_WAIT (60 s), and the flow's entry with it.
pub(crate) const REST: Duration = Duration::from_secs(75);

/// The ports towards every destination.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    towards: HashMap<SocketAddr, Towards>,
}

#[derive(Debug)]
struct Towards {
    /// Never given out so far: from here on.
    fresh: Option<u16>,
    /// Given back, the oldest first.
    resting: VecDeque<(u16, Instant)>,
}

impl Ports {
    /// A port towards `destination`, or none if all are taken or at rest.
    pub(crate) fn take(&mut self, destination: SocketAddr, now: Instant) -> Option<u16> {
        let fresh = Towards { fresh: Some(*PORTS.start()), resting: VecDeque::new() };
        let towards = self.towards.entry(destination).or_insert(fresh);
        if let Some((port, _)) = towards.resting.pop_front_if(|(_, given)| now >= *given + REST) {
            return Some(port);
        }
        let port = towards.fresh?;
        towards.fresh = port.checked_add(1);
        Some(port)
    }

    /// Gives a port back; it rests first.
    pub(crate) fn give_back(&mut self, destination: SocketAddr, port: u16, now: Instant) {
        if let Some(towards) = self.towards.get_mut(&destination) {
            towards.resting.push_back((port, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_rests_before_it_is_given_out_again() {
        let (mut ports, now) = (Ports::default(), Instant::now());
        let service = SocketAddr::from(([10, 79, 0, 10], 80));
        let all: Vec<u16> = std::iter::from_fn(|| ports.take(service, now)).collect();
        assert_eq!(all.len(), PORTS.count());
        ports.give_back(service, all[7], now);
        assert_eq!(ports.take(service, now + REST - Duration::from_secs(1)), None);
        assert_eq!(ports.take(service, now + REST), Some(all[7]));
        assert_eq!(ports.take(service, now + REST), None);
    }

    #[test]
    fn destinations_do_not_share_ports() {
        let (mut ports, now) = (Ports::default(), Instant::now());
        let one = ports.take(SocketAddr::from(([10, 79, 0, 10], 80)), now);
        assert_eq!(one, ports.take(SocketAddr::from(([10, 79, 0, 11], 80)), now));
    }
}
