//! How many connections there are: in all, in a handshake, and of each client. Shared by workers.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use crate::limits::Limits;
use crate::service_io::Open;

/// The counts and their limits.
#[derive(Debug)]
pub(crate) struct Census {
    limits: Arc<Limits>,
    all: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
    clients: Mutex<HashMap<Arc<str>, usize>>,
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
}

impl Census {
    pub(crate) fn new(limits: &Arc<Limits>) -> Arc<Census> {
        Arc::new(Census {
            limits: Arc::clone(limits),
            all: Arc::default(),
            handshakes: Arc::default(),
            clients: Mutex::default(),
        })
    }

    /// A place, unless all are taken.
    pub(crate) fn admit(self: &Arc<Census>) -> Option<Place> {
        let open = Open::one_of(&self.all, self.limits.connections)?;
        Some(Place { census: Arc::clone(self), _open: open })
    }

    fn with_clients<T>(&self, then: impl FnOnce(&mut HashMap<Arc<str>, usize>) -> T) -> T {
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

    /// A place among the connections of `client`.
    pub(crate) fn for_client(&self, client: &Arc<str>) -> Option<OfClient> {
        self.census.with_clients(|clients| {
            let count = clients.entry(Arc::clone(client)).or_default();
            if *count >= self.census.limits.connections_per_client {
                return None;
            }
            *count += 1;
            Some(OfClient { census: Arc::clone(&self.census), client: Arc::clone(client) })
        })
    }
}

impl Drop for OfClient {
    fn drop(&mut self) {
        self.census.with_clients(|clients| {
            if let Some(count) = clients.get_mut(&self.client) {
                *count -= 1;
                if *count == 0 {
                    clients.remove(&self.client);
                }
            }
        });
    }
}
