//! What a link counts. One worker writes, anybody reads.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal in $unit:literal,)+) => {
        /// One counter of a link.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum LinkCounter { $($(#[doc = $doc])+ $variant,)+ }

        impl LinkCounter {
            /// Every counter, in order.
            pub const ALL: &'static [LinkCounter] = &[$(LinkCounter::$variant,)+];

            /// The name used in reports and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(LinkCounter::$variant => $name,)+ }
            }

            /// What is counted: packets, bytes, datagrams, calls.
            pub const fn unit(self) -> &'static str {
                match self { $(LinkCounter::$variant => $unit,)+ }
            }

            /// One sentence for people.
            pub const fn description(self) -> &'static str {
                match self { $(LinkCounter::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

counters! {
    /// Packets handed to the worker.
    ReceivedPackets = "received_packets" in "packets",
    /// Bytes of the packets handed to the worker.
    ReceivedBytes = "received_bytes" in "bytes",
    /// System calls made to receive, those that found nothing included.
    ReceiveCalls = "receive_calls" in "calls",
    /// GRO datagrams and TSO or USO super-packets that came with several packets in one.
    ReceivedSupers = "received_supers" in "datagrams",
    /// Packets that came inside those.
    ReceivedInSupers = "received_in_supers" in "packets",
    /// Packets that found no room in the batch they came with, and went out with the next.
    ReceivedSpilled = "received_spilled" in "packets",
    /// Packets from an address that is no neighbour of this element.
    ReceivedFromUnknown = "received_from_unknown" in "packets",
    /// Packets that came by another interface than the one with the link address; they are dropped.
    ReceivedElsewhere = "received_elsewhere" in "packets",
    /// Datagrams and super-packets dropped: cut short by the kernel, or no well-formed super-packet.
    ReceivedBad = "received_bad" in "datagrams",
    /// Packets that the kernel dropped, mostly since nobody took them in time; a GRO datagram counts as one.
    ReceivedKernelDrops = "received_kernel_drops" in "packets",
    /// Frames that concern the cable to an attached function alone: address resolution, multicast on it.
    ReceivedOfCable = "received_of_cable" in "packets",
    /// System calls to receive that failed.
    ReceiveErrors = "receive_errors" in "calls",
    /// Packets handed to the kernel or the neighbour.
    SentPackets = "sent_packets" in "packets",
    /// Bytes of the packets handed to the kernel or the neighbour.
    SentBytes = "sent_bytes" in "bytes",
    /// System calls made to send.
    SendCalls = "send_calls" in "calls",
    /// GSO datagrams and coalesced super-packets sent with several packets in one.
    SentSupers = "sent_supers" in "datagrams",
    /// Packets that went out inside those.
    SentInSupers = "sent_in_supers" in "packets",
    /// GSO datagrams that the kernel refused; their packets were sent one by one.
    GsoRefused = "gso_refused" in "datagrams",
    /// Times that a send had to wait for a full queue.
    SendWaits = "send_waits" in "calls",
    /// Packets dropped because the queue stayed full or the system said no.
    SendRefused = "send_refused" in "packets",
    /// System calls to send that failed for another reason than a full queue.
    SendErrors = "send_errors" in "calls",
}

/// The counters of one link.
#[derive(Default)]
pub struct LinkCounters([AtomicU64; LinkCounter::ALL.len()]);

impl LinkCounters {
    /// What was counted so far.
    pub fn get(&self, counter: LinkCounter) -> u64 {
        self.0[counter as usize].load(Ordering::Relaxed)
    }

    /// Every counter with its value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (LinkCounter, u64)> + '_ {
        LinkCounter::ALL.iter().map(|&counter| (counter, self.get(counter)))
    }

    /// Adds. Only the one worker that owns the link may call it: it is no atomic addition, which would cost more.
    pub(crate) fn add(&self, counter: LinkCounter, count: u64) {
        let cell = &self.0[counter as usize];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }
}

impl fmt::Debug for LinkCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().filter(|(_, count)| *count > 0).map(|(c, n)| (c.name(), n)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_a_unit_and_a_sentence() {
        let mut names: Vec<_> = LinkCounter::ALL.iter().map(|counter| counter.name()).collect();
        for (index, counter) in LinkCounter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert!(["packets", "bytes", "calls", "datagrams"].contains(&counter.unit()));
            assert!(counter.description().trim().ends_with('.'));
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LinkCounter::ALL.len());
    }
}
