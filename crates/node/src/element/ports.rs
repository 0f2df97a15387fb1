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
    /// Where they begin, in each life of the gateway elsewhere: services and firewalls still know connections of the life
    /// before.
    first: u16,
    towards: HashMap<SocketAddr, Towards>,
}

#[derive(Debug)]
struct Towards {
    /// So many were given out for the first time.
    given: usize,
    /// Given back, the oldest first.
    resting: VecDeque<(u16, Instant)>,
}

impl Ports {
    /// Ports that begin at a place that `random` says.
    pub(crate) fn beginning(random: u16) -> Ports {
        Ports { first: random, towards: HashMap::new() }
    }

    /// A port towards `destination`, or none if all are taken or at rest.
    pub(crate) fn take(&mut self, destination: SocketAddr, now: Instant) -> Option<u16> {
        let fresh = Towards { given: 0, resting: VecDeque::new() };
        let towards = self.towards.entry(destination).or_insert(fresh);
        if let Some((port, _)) = towards.resting.pop_front_if(|(_, given)| now >= *given + REST) {
            return Some(port);
        }
        if towards.given == PORTS.count() {
            return None;
        }
        let place = (usize::from(self.first) + towards.given) % PORTS.count();
        towards.given += 1;
        let mut ports = PORTS;
        ports.nth(place)
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
    fn each_life_begins_elsewhere_and_has_all_ports() {
        let (now, service) = (Instant::now(), SocketAddr::from(([10, 79, 0, 10], 80)));
        let all = |random| -> Vec<u16> {
            let mut ports = Ports::beginning(random);
            std::iter::from_fn(|| ports.take(service, now)).collect()
        };
        let (one, other) = (all(7), all(u16::MAX));
        assert_ne!(one[0], other[0]);
        let sorted = |mut ports: Vec<u16>| {
            ports.sort_unstable();
            ports
        };
        assert_eq!(sorted(one), PORTS.collect::<Vec<_>>());
        assert_eq!(sorted(other), PORTS.collect::<Vec<_>>());
    }

    #[test]
    fn destinations_do_not_share_ports() {
        let (mut ports, now) = (Ports::default(), Instant::now());
        let one = ports.take(SocketAddr::from(([10, 79, 0, 10], 80)), now);
        assert_eq!(one, ports.take(SocketAddr::from(([10, 79, 0, 11], 80)), now));
    }
}
