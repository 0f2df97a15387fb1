//! The conservation law of packets: what goes into an element comes out of it or is counted as dropped, and what one hands
//! to a link arrives at another or is counted as lost.
//!
//! An element counts in its process, and a new life of it begins at zero: lives are kept apart. The law holds for each:
//!
//! ```text
//!   link_in + inner_in + originated = link_out + inner_out + drops                          inside
//!   link_out = sent + refused + lost - duplicated + overflowed + held                       at its link, with faults
//! ```
//!
//! and, once nothing is on its way, for all of them together:
//!
//! ```text
//!   sum of sent = sum of received + what kernels dropped                                    between
//! ```
//!
//! A kernel counts datagrams, which carry up to 64 packets. What a life counted after it was last looked at, and what was
//! sent to nobody, is what a kill costs: it is told, not judged.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Packets that one datagram of the kernel's may carry (UDP_SEGMENT).
const PACKETS_A_DATAGRAM: i64 = 64;

/// What one life of an element counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    counters: BTreeMap<String, u64>,
    pub(crate) drops: BTreeMap<String, u64>,
}

/// All lives of all elements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    lives: BTreeMap<(String, u64), Counts>,
    /// Those that were there when elements were looked at last.
    living: BTreeSet<(String, u64)>,
    /// Datagrams that the kernel dropped, by namespace.
    kernels: BTreeMap<u64, u64>,
}

/// What does not add up in one life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leak {
    pub(crate) element: String,
    /// `inside` or `link`.
    pub(crate) place: &'static str,
    /// In minus out.
    pub(crate) packets: i64,
}

/// What all lives together say at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Between {
    /// Sent and not received.
    pub(crate) missing: i64,
    /// Datagrams that kernels and links dropped and counted.
    pub(crate) dropped_datagrams: i64,
}

impl Counts {
    /// From an element of `ringmail status --output json`.
    pub(crate) fn of(status: &Value) -> Counts {
        let all = |list: &str, key: &str, value: &str| {
            let entries = status[list].as_array().into_iter().flatten();
            let pair =
                |entry: &Value| Some((entry[key].as_str()?.to_owned(), entry[value].as_u64()?));
            entries.filter_map(pair).collect::<BTreeMap<_, _>>()
        };
        Counts {
            counters: all("counters", "name", "value"),
            drops: all("drops", "reason", "packets"),
        }
    }

    pub(crate) fn get(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    fn sum(&self, names: &[&str]) -> i64 {
        names.iter().map(|name| self.get(name) as i64).sum()
    }

    /// In minus out, inside.
    fn inside(&self) -> i64 {
        let drops: u64 = self.drops.values().sum();
        self.sum(&["link_in_packets", "inner_in_packets", "originated_packets"])
            - self.sum(&["link_out_packets", "inner_out_packets"])
            - drops as i64
    }

    /// In minus out, at the link.
    fn at_link(&self) -> i64 {
        self.sum(&["link_out_packets", "link_fault_duplicated"])
            - self.sum(&["link_sent_packets", "link_send_refused", "link_fault_lost"])
            - self.sum(&["link_fault_overflowed", "link_fault_held"])
    }
}

impl Ledger {
    /// Elements are looked at: who is not noted from here on is there no more.
    pub(crate) fn begin_look(&mut self) {
        self.living.clear();
    }

    /// What a life has counted by now.
    pub(crate) fn note(&mut self, element: &str, pid: u64, counts: Counts) {
        self.living.insert((element.to_owned(), pid));
        self.lives.insert((element.to_owned(), pid), counts);
    }

    /// How many datagrams the kernel of a namespace has dropped by now.
    pub(crate) fn note_kernel(&mut self, namespace: u64, datagrams: u64) {
        self.kernels.insert(namespace, datagrams);
    }

    /// What does not add up within lives.
    pub(crate) fn leaks(&self) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for ((element, _), counts) in &self.lives {
            for (place, packets) in [("inside", counts.inside()), ("link", counts.at_link())] {
                if packets != 0 {
                    leaks.push(Leak { element: element.clone(), place, packets });
                }
            }
        }
        leaks
    }

    /// What is missing between lives.
    pub(crate) fn between(&self) -> Between {
        let sum = |name: &str| self.total(name) as i64;
        let kernels: u64 = self.kernels.values().sum();
        Between {
            missing: sum("link_sent_packets") - sum("link_received_packets"),
            dropped_datagrams: kernels as i64 + sum("link_received_bad"),
        }
    }

    /// A counter over all lives.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.lives.values().map(|counts| counts.get(name)).sum()
    }

    /// Packets that elements hold back on purpose now. What one held that was ended is gone with it.
    pub(crate) fn held(&self) -> u64 {
        let living = self.lives.iter().filter(|(life, _)| self.living.contains(*life));
        living.map(|(_, counts)| counts.get("link_fault_held")).sum()
    }

    /// Drops over all lives, by reason.
    pub(crate) fn drops(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (reason, packets) in self.lives.values().flat_map(|counts| &counts.drops) {
            *all.entry(reason.clone()).or_default() += packets;
        }
        all
    }
}

impl Between {
    /// What went missing since `before` for which no kernel's drop can stand. Negative: more came than was sent.
    pub(crate) fn unaccounted_since(&self, before: &Between) -> i64 {
        let missing = self.missing - before.missing;
        let dropped = self.dropped_datagrams - before.dropped_datagrams;
        if missing < dropped {
            return missing - dropped;
        }
        (missing - dropped * PACKETS_A_DATAGRAM).max(0)
    }
}

/// UDP datagrams that a kernel dropped, from /proc/PID/net/snmp: nobody listened, no room, a bad checksum.
pub(crate) fn kernel_drops(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let pairs = names.split_whitespace().zip(values.split_whitespace());
    // InErrors holds RcvbufErrors and InCsumErrors.
    let dropped = pairs.filter(|(name, _)| ["NoPorts", "InErrors"].contains(name));
    dropped.map(|(_, value)| value.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counts(pairs: &[(&str, u64)], drops: &[(&str, u64)]) -> Counts {
        let list = |pairs: &[(&str, u64)], key: &str, value: &str| -> Vec<Value> {
            pairs.iter().map(|(name, count)| json!({key: name, value: count})).collect()
        };
        Counts::of(&json!({
            "counters": list(pairs, "name", "value"),
            "drops": list(drops, "reason", "packets"),
        }))
    }

    fn whole() -> Counts {
        let pairs = [
            ("link_in_packets", 10),
            ("inner_in_packets", 5),
            ("originated_packets", 1),
            ("link_out_packets", 9),
            ("inner_out_packets", 4),
            ("link_sent_packets", 7),
            ("link_fault_lost", 3),
            ("link_fault_duplicated", 2),
            ("link_fault_held", 1),
            ("link_received_packets", 10),
        ];
        counts(&pairs, &[("replayed", 2), ("bad_icv", 1)])
    }

    #[test]
    fn what_adds_up_does_not_leak() {
        let mut ledger = Ledger::default();
        ledger.note("sf1", 1, whole());
        assert_eq!(ledger.leaks(), []);
        assert_eq!(ledger.drops().values().sum::<u64>(), 3);
    }

    #[test]
    fn one_packet_too_few_is_found_wherever_it_is() {
        for (name, place, packets) in [
            ("link_in_packets", "inside", -1),
            ("inner_out_packets", "inside", 1),
            ("link_sent_packets", "link", 1),
            ("link_fault_lost", "link", 1),
        ] {
            let mut counts = whole();
            *counts.counters.get_mut(name).expect("it is there") -= 1;
            let mut ledger = Ledger::default();
            ledger.note("sf1", 1, counts);
            let leak = Leak { element: "sf1".to_owned(), place, packets };
            assert_eq!(ledger.leaks(), [leak], "{name}");
        }
        let mut counts = whole();
        counts.drops.remove("bad_icv");
        let mut ledger = Ledger::default();
        ledger.note("sf1", 1, counts);
        assert_eq!(ledger.leaks().len(), 1);
    }

    #[test]
    fn a_new_life_counts_beside_the_old() {
        let mut ledger = Ledger::default();
        let sent = |packets| counts(&[("link_sent_packets", packets)], &[]);
        ledger.note("sf1", 1, sent(5));
        ledger.note("sf1", 1, sent(7));
        ledger.note("sf1", 2, sent(3));
        assert_eq!(ledger.total("link_sent_packets"), 10);
    }

    #[test]
    fn what_a_life_held_back_that_ended_is_waited_for_by_nobody() {
        let mut ledger = Ledger::default();
        let held = |packets| counts(&[("link_fault_held", packets)], &[]);
        ledger.begin_look();
        ledger.note("sf1", 1, held(5));
        assert_eq!(ledger.held(), 5);
        ledger.begin_look();
        ledger.note("sf1", 2, held(1));
        assert_eq!(ledger.held(), 1);
    }

    #[test]
    fn what_kernels_dropped_stands_for_up_to_64_packets_each_and_no_more() {
        let at = |missing, dropped_datagrams| Between { missing, dropped_datagrams };
        let before = at(5, 1);
        for (after, unaccounted) in [
            (at(5, 1), 0),
            (at(6, 1), 1),
            (at(6, 2), 0),
            (at(5 + 64, 2), 0),
            (at(5 + 65, 2), 1),
            (at(4, 1), -1),
            (at(5, 2), -1),
        ] {
            assert_eq!(after.unaccounted_since(&before), unaccounted, "{after:?}");
        }
    }

    #[test]
    fn kernels_say_what_they_dropped() {
        let snmp = "Tcp: A\nTcp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 9 2 4 8 3\n";
        assert_eq!(kernel_drops(snmp), Some(6));
        assert_eq!(kernel_drops("Tcp: A\n"), None);
    }
}
