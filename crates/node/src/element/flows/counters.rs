//! What an exporter of flow records did.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn one(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    #[cfg(test)]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($name:ident, $unit:literal, $description:literal;)*) => {
        /// Counted by workers and the exporter.
        #[derive(Debug, Default)]
        pub(crate) struct FlowCounters {
            $(pub(super) $name: Counter,)*
        }

        impl FlowCounters {
            /// Name, unit, description, value of each.
            pub(crate) fn readings(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
                vec![$((stringify!($name), $unit, $description, self.$name.0.load(Relaxed)),)*]
            }
        }
    };
}

counters! {
    flow_records, "records", "Flow records sent to the collector.";
    flow_records_lost, "records", "Flow records left out, because the collector could not be reached or was too slow.";
    flow_events_lost, "events", "Flow records and beginnings of flows that found the exporter's queue full.";
    flow_packets_unmetered, "packets", "Packets that no flow record tells of, because as many flows as possible are under way.";
    flow_records_nameless, "records", "Flow records without the client, because too many flows are remembered.";
    flow_messages, "messages", "Messages of flow records sent to the collector.";
    flow_messages_failed, "messages", "Messages of flow records that the system did not take.";
}
