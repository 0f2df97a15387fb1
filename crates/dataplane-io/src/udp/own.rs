//! The interface that frames come by: the one that has the link address, and no other of the machine.
//!
//! A kernel takes packets for any of its addresses by any of its interfaces (the weak model of RFC 1122 section 3.3.4.2), so
//! somebody outside could send to a gateway's link address. What the machine itself sends comes by the loopback interface.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ringmail_model::defence::{Defence, off};

use crate::packet::sys::cable_with;

/// The loopback interface of every network namespace.
const LOOPBACK: u32 = 1;

/// How long what was found out holds against packets that say otherwise: an interface may be made anew.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Which interface is the link's.
#[derive(Debug)]
pub(super) struct Own {
    local: SocketAddr,
    /// `None`: any will do.
    index: Option<u32>,
    looked: Instant,
}

impl Own {
    pub(super) fn of(local: SocketAddr) -> Own {
        Own { local, index: look(local), looked: Instant::now() }
    }

    /// Whether a datagram that came by this interface may be a neighbour's.
    #[inline]
    pub(super) fn allows(&mut self, interface: Option<u32>) -> bool {
        let (Some(own), Some(interface)) = (self.index, interface) else { return true };
        interface == own || interface == LOOPBACK || self.allows_after_all(interface)
    }

    #[cold]
    fn allows_after_all(&mut self, interface: u32) -> bool {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked) >= LOOK_AGAIN_AFTER {
            (self.index, self.looked) = (look(self.local), now);
        }
        self.index.is_none_or(|own| own == interface) || off(Defence::LinkInterface)
    }
}

/// The interface that has the address; `None` where it is the loopback interface or none at all: then frames come by
/// whatever leads here.
fn look(local: SocketAddr) -> Option<u32> {
    let IpAddr::V4(address) = local.ip() else { return None };
    cable_with(address).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_by_the_links_interface_or_from_this_machine() {
        let local = "192.0.2.77:6635".parse().expect("an address");
        let mut own = Own { local, index: Some(7), looked: Instant::now() };
        assert!(own.allows(Some(7)) && own.allows(Some(LOOPBACK)) && own.allows(None));
        assert!(!own.allows(Some(8)));
        let mut any = Own { index: None, ..own };
        assert!(any.allows(Some(8)));
        let mut loopback = Own::of("127.0.0.1:6635".parse().expect("an address"));
        assert!(loopback.allows(Some(8)));
    }

    #[test]
    fn an_interface_that_was_made_anew_is_found() {
        let local = "192.0.2.77:6635".parse().expect("an address");
        let looked = Instant::now().checked_sub(2 * LOOK_AGAIN_AFTER).expect("the machine is up");
        let mut own = Own { local, index: Some(7), looked };
        // Nobody has the address here, so nobody is refused any more.
        assert!(own.allows(Some(8)));
    }
}
