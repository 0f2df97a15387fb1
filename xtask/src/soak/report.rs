//! What a soak found, as JSON: `ringmail.soak/1`, whose schema is in docs/schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::ledger::Ledger;
use super::memory::Memory;

/// What a soak found.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// `ringmail.soak/1`.
    pub(crate) schema: String,
    /// Whether memory did not grow, every packet is accounted for, and no transfer was lost but by a kill.
    pub(crate) passed: bool,
    /// Why not; nothing where it passed.
    pub(crate) failures: Vec<String>,
    /// What events and faults were drawn by.
    pub(crate) seed: u64,
    /// `release` or `dev`.
    pub(crate) build: String,
    /// How long it went.
    pub(crate) seconds: u64,
    /// Faults on every link, in packets of a million and microseconds.
    pub(crate) faults: String,
    /// Rounds of traffic, after each of which every packet was accounted for.
    pub(crate) rounds: u64,
    /// Times that the domain was brought to another file.
    pub(crate) reloads: u64,
    /// Elements that were ended by SIGKILL, in order.
    pub(crate) kills: Vec<Kill>,
    /// Transfers that ended whole and right, by kind.
    pub(crate) transfers: BTreeMap<String, u64>,
    /// Where packets went.
    pub(crate) packets: Packets,
    /// Resident memory of every process.
    pub(crate) memory: BTreeMap<String, Process>,
}

/// What one kill cost.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Kill {
    /// Whom.
    pub(crate) element: String,
    /// Seconds since the soak began.
    pub(crate) at_s: u64,
    /// Seconds until all elements served again.
    pub(crate) whole_after_s: f64,
    /// Packets sent to nobody in that round, less those that the element sent after it was last looked at.
    pub(crate) packets: i64,
    /// Transfers that it cut.
    pub(crate) transfers: u64,
}

/// Where packets went, all elements and all their lives together.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Packets {
    /// Taken from the inner side of an end.
    pub(crate) entered: u64,
    /// Handed to the inner side of an end.
    pub(crate) delivered: u64,
    /// Made by elements.
    pub(crate) originated: u64,
    /// Handed to links.
    pub(crate) handed_to_links: u64,
    /// Received from links.
    pub(crate) received: u64,
    /// Dropped by elements, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Faults that were injected, by kind.
    pub(crate) faults: BTreeMap<String, u64>,
    /// Datagrams that kernels dropped: no room, or nobody there.
    pub(crate) kernel_datagrams: u64,
    /// Lost or made by nobody knows what; 0 in a soak that passes.
    pub(crate) unaccounted: i64,
}

/// The memory of a process.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Process {
    /// Seconds since the soak began, and KiB.
    pub(crate) samples: Vec<(u64, u64)>,
    /// The median of the second third of the soak; left out of a process that was not there in it and in the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) early_kib: Option<u64>,
    /// The median of the last third.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) late_kib: Option<u64>,
    /// Whether it grew by more than a tenth, and by more than 4 MiB.
    pub(crate) grew: bool,
}

impl Report {
    /// Puts in what was counted, and judges.
    pub(crate) fn conclude(&mut self, ledger: &Ledger, memory: &Memory) {
        let sum = |name: &str| ledger.total(name);
        let fault = |kind: &str| (kind.to_owned(), sum(&format!("link_fault_{kind}")));
        let kinds = ["lost", "duplicated", "reordered", "corrupted", "overflowed"];
        self.packets = Packets {
            entered: sum("inner_in_packets"),
            delivered: sum("inner_out_packets"),
            originated: sum("originated_packets"),
            handed_to_links: sum("link_out_packets"),
            received: sum("link_received_packets"),
            dropped: ledger.drops(),
            faults: kinds.map(fault).into(),
            kernel_datagrams: ledger.between().dropped_datagrams.unsigned_abs(),
            unaccounted: self.packets.unaccounted,
        };
        let trends = memory.trends(self.seconds);
        for (process, samples) in &memory.samples {
            let trend = trends.get(&**process);
            if let Some(trend) = trend.filter(|trend| trend.grew) {
                let (early, late) = (trend.early_kib, trend.late_kib);
                self.failures.push(format!("{process} grew from {early} to {late} KiB"));
            }
            let known = Process {
                samples: samples.clone(),
                early_kib: trend.map(|trend| trend.early_kib),
                late_kib: trend.map(|trend| trend.late_kib),
                grew: trend.is_some_and(|trend| trend.grew),
            };
            self.memory.insert(process.clone(), known);
        }
        if self.packets.handed_to_links == 0 {
            self.failures.push("no packet was sent".to_owned());
        }
        self.passed = self.failures.is_empty();
    }

    /// A few lines for people.
    pub(crate) fn text(&self) -> String {
        let Packets { handed_to_links, received, dropped, faults, unaccounted, .. } = &self.packets;
        let list = |all: &BTreeMap<String, u64>| {
            let some = all.iter().filter(|(_, count)| **count > 0);
            some.map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
        };
        let mut text = format!(
            "{} s, seed {}, {} rounds, {} reloads, {} kills\n\
             transfers: {}\n\
             packets: {handed_to_links} handed to links, {received} received, {unaccounted} unaccounted for\n\
             dropped and counted: {}\n\
             faults: {}\n",
            self.seconds,
            self.seed,
            self.rounds,
            self.reloads,
            self.kills.len(),
            list(&self.transfers),
            list(dropped),
            list(faults)
        );
        for (process, known) in &self.memory {
            if let (Some(early), Some(late)) = (known.early_kib, known.late_kib) {
                text += &format!("memory of {process}: {early} then {late} KiB\n");
            }
        }
        text += if self.passed { "passed\n" } else { "FAILED\n" };
        text
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::ledger::Counts;
    use super::*;

    /// `RINGMAIL_UPDATE=1` writes the schema anew.
    #[test]
    fn the_committed_schema_is_up_to_date() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/ringmail.soak.1.json");
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Report)).expect("JSON");
        let schema = schema + "\n";
        if std::env::var_os("RINGMAIL_UPDATE").is_some() {
            std::fs::write(&path, &schema).expect("it can be written");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), schema);
    }

    fn concluded(rss_kib: impl Fn(u64) -> u64, failures: &[&str]) -> Report {
        let (mut ledger, mut memory) = (Ledger::default(), Memory::default());
        let counters = json!([{"name": "link_out_packets", "value": 9}]);
        ledger.note("sf1", 1, Counts::of(&json!({"counters": counters})));
        (0..30).for_each(|at| memory.note("sf1", at * 60, rss_kib(at)));
        let failures = failures.iter().map(|why| (*why).to_owned()).collect();
        let mut report = Report { seconds: 1800, failures, ..Report::default() };
        report.conclude(&ledger, &memory);
        report
    }

    #[test]
    fn growth_or_any_other_failure_is_a_no() {
        assert!(concluded(|_| 9_000, &[]).passed);
        let grown = concluded(|at| 9_000 + at * 900, &[]);
        assert!(!grown.passed && grown.memory["sf1"].grew && grown.failures.len() == 1);
        assert!(grown.text().ends_with("FAILED\n"));
        assert!(!concluded(|_| 9_000, &["3 packets"]).passed);
    }

    #[test]
    fn a_soak_without_a_packet_does_not_pass() {
        let mut report = Report { seconds: 60, ..Report::default() };
        report.conclude(&Ledger::default(), &Memory::default());
        assert!(!report.passed);
    }
}
