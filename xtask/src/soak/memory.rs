//! Memory of the processes over time, and whether it grew.

use std::collections::BTreeMap;

/// Less than this is no growth: pages of a heap come and go.
const SLACK_KIB: u64 = 4_096;

/// Growth beyond this part of what was is one.
const SLACK_PERCENT: u64 = 10;

/// Resident memory by process, each with the seconds since the soak began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) samples: BTreeMap<String, Vec<(u64, u64)>>,
}

/// What became of a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trend {
    /// The median of the second third, once tables and heaps are warm.
    pub(crate) early_kib: u64,
    /// The median of the last third.
    pub(crate) late_kib: u64,
    /// Whether it is more than slack.
    pub(crate) grew: bool,
}

impl Memory {
    pub(crate) fn note(&mut self, process: &str, at_s: u64, rss_kib: u64) {
        self.samples.entry(process.to_owned()).or_default().push((at_s, rss_kib));
    }

    /// Of processes that were there in both parts of a run of this length.
    pub(crate) fn trends(&self, length_s: u64) -> BTreeMap<&str, Trend> {
        let mut trends = BTreeMap::new();
        for (process, samples) in &self.samples {
            let median = |from_s: u64, to_s: u64| {
                let within = samples.iter().filter(|(at, _)| (from_s..=to_s).contains(at));
                let mut sizes: Vec<u64> = within.map(|(_, rss)| *rss).collect();
                sizes.sort_unstable();
                sizes.get(sizes.len() / 2).copied()
            };
            let (first, second) = (length_s / 3, length_s * 2 / 3);
            if let (Some(early_kib), Some(late_kib)) =
                (median(first, second), median(second, u64::MAX))
            {
                let may = early_kib + (early_kib * SLACK_PERCENT / 100).max(SLACK_KIB);
                trends.insert(&**process, Trend { early_kib, late_kib, grew: late_kib > may });
            }
        }
        trends
    }
}

/// Resident memory in KiB, from /proc/PID/status.
pub(crate) fn rss_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process whose memory is this over half an hour, looked at each minute.
    fn trend(rss_kib: impl Fn(u64) -> u64) -> Trend {
        let mut memory = Memory::default();
        (0..=30).for_each(|minute| memory.note("sf1", minute * 60, rss_kib(minute)));
        memory.trends(1800)["sf1"]
    }

    #[test]
    fn what_grows_is_found_and_what_warms_up_or_breathes_is_not() {
        assert!(!trend(|_| 20_000).grew);
        assert!(!trend(|minute| 20_000 + minute.min(8) * 5_000).grew, "it warms up");
        assert!(!trend(|minute| 20_000 + minute % 2 * 4_000).grew, "it breathes");
        assert!(trend(|minute| 20_000 + minute * 700).grew, "700 KiB a minute");
        let grown = trend(|minute| 20_000 + minute * 700);
        assert_eq!((grown.early_kib, grown.late_kib), (30_500, 37_500), "at minutes 15 and 25");
        assert!(!trend(|minute| 5_000 + minute * 100).grew, "pages come and go");
        assert!(!trend(|minute| 20_000 - minute * 100).grew, "it shrinks");
        // A large process may breathe more.
        assert!(!trend(|minute| 400_000 + minute * 1_000).grew);
        assert!(trend(|minute| 400_000 + minute * 5_000).grew);
    }

    #[test]
    fn a_process_that_came_late_is_not_judged() {
        let mut memory = Memory::default();
        memory.note("sf4", 1700, 10_000);
        assert!(memory.trends(1800).is_empty());
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(rss_kib("Name:\tx\nVmRSS:\t   12345 kB\n"), Some(12_345));
        assert_eq!(rss_kib("Name:\tx\n"), None);
    }
}
