//! How many connections there are: in all, in a handshake, from each address and of each client. Shared by workers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringmail_model::defence::{Defence, off};

use crate::limits::Limits;
use crate::service_io::Open;

/// The counts and their limits.
#[derive(Debug)]
pub(crate) struct Census {
    limits: Arc<Limits>,
    all: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
    clients: Mutex<HashMap<Arc<str>, Of>>,
    /// Handshakes under way, by where they come from.
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// What one client has.
#[derive(Debug, Default)]
struct Of {
    connections: usize,
    requests: Arc<AtomicUsize>,
}

/// A connection's place among all.
#[derive(Debug)]
pub(crate) struct Place {
    census: Arc<Census>,
    _open: Open,
}

/// A connection's place among its client's.
#[derive(Debug)]
pub(crate) struct OfClient {
    census: Arc<Census>,
    client: Arc<str>,
    /// Its requests under way.
    pub(crate) requests: Arc<AtomicUsize>,
}

/// A handshake's place among those of its address.
#[derive(Debug)]
pub(crate) struct OfAddress {
    census: Arc<Census>,
    address: IpAddr,
}

impl Census {
    pub(crate) fn new(limits: &Arc<Limits>) -> Arc<Census> {
        Arc::new(Census {
            limits: Arc::clone(limits),
            all: Arc::default(),
            handshakes: Arc::default(),
            clients: Mutex::default(),
            addresses: Mutex::default(),
        })
    }

    /// A place, unless all are taken.
    pub(crate) fn admit(self: &Arc<Census>) -> Option<Place> {
        let open = Open::one_of(&self.all, self.limits.connections)?;
        Some(Place { census: Arc::clone(self), _open: open })
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_clients<T>(&self, then: impl FnOnce(&mut HashMap<Arc<str>, Of>) -> T) -> T {
        match self.clients.lock() {
            Ok(mut clients) => then(&mut clients),
            Err(poisoned) => then(&mut poisoned.into_inner()),
        }
    }
}

impl Place {
    /// A place among the handshakes under way.
    pub(crate) fn for_handshake(&self) -> Option<Open> {
        Open::one_of(&self.census.handshakes, self.census.limits.handshakes)
    }

    /// A place among the handshakes of an address.
    pub(crate) fn for_handshake_from(&self, address: IpAddr) -> Option<OfAddress> {
        let address = network(address);
        let mut addresses = self.census.addresses();
        let count = addresses.entry(address).or_default();
        // One that is full is there already: nothing is left behind by a no.
        let full = *count >= self.census.limits.handshakes_per_address;
        if full && !off(Defence::AddressHandshakes) {
            return None;
        }
        *count += 1;
        Some(OfAddress { census: Arc::clone(&self.census), address })
    }

    /// A place among the connections of `client`.
    pub(crate) fn for_client(&self, client: &Arc<str>) -> Option<OfClient> {
        self.census.with_clients(|clients| {
            let of = clients.entry(Arc::clone(client)).or_default();
            let full = of.connections >= self.census.limits.connections_per_client;
            if full && !off(Defence::ClientConnections) {
                return None;
            }
            of.connections += 1;
            let requests = Arc::clone(&of.requests);
            let census = Arc::clone(&self.census);
            Some(OfClient { census, client: Arc::clone(client), requests })
        })
    }
}

impl Drop for OfClient {
    fn drop(&mut self) {
        self.census.with_clients(|clients| {
            if let Some(of) = clients.get_mut(&self.client) {
                of.connections -= 1;
                if of.connections == 0 {
                    clients.remove(&self.client);
                }
            }
        });
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut addresses = self.census.addresses();
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

/// Whom an address is counted with: an IPv6 host has as many addresses as it likes in its network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_counted_by_address_and_nothing_is_left_behind() {
        let limits = Arc::new(Limits { handshakes_per_address: 2, ..Limits::default() });
        let census = Census::new(&limits);
        let place = census.admit().expect("a place");
        let from = |address: &str| place.for_handshake_from(address.parse().expect(address));
        let held = [from("192.0.2.1"), from("::ffff:192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(from("192.0.2.1").is_none(), "an address in either form");
        assert!(from("192.0.2.2").is_some());
        let six = [from("2001:db8::1"), from("2001:db8::ffff:2")];
        assert!(from("2001:db8::3").is_none() && six.iter().all(Option::is_some));
        assert!(from("2001:db8:0:1::1").is_some());
        drop((held, six));
        assert!(census.addresses().is_empty());
        assert!(from("192.0.2.1").is_some());
    }
}
