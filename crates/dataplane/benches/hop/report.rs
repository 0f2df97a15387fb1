//! Medians of the runs that criterion asked for, in one table that goes into `bench/README.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use criterion::{Criterion, Throughput};

use crate::fixture::PACKETS;

/// Nanoseconds a packet of every run, by group and name. Runs are so short that few are interrupted, which makes their
/// median steadier than criterion's mean where others use the machine too.
#[derive(Default)]
pub(crate) struct Report {
    samples: BTreeMap<String, Vec<f64>>,
}

impl Report {
    /// Has criterion measure `run`, which handles [`PACKETS`] packets and returns how long that took.
    pub(crate) fn bench(
        &mut self,
        criterion: &mut Criterion,
        group: &str,
        name: String,
        mut run: impl FnMut() -> Duration,
    ) {
        let samples = self.samples.entry(format!("{group}/{name}")).or_default();
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(PACKETS as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let taken = run();
                    samples.push(taken.as_nanos() as f64 / PACKETS as f64);
                    total += taken;
                }
                total
            });
        });
        group.finish();
    }

    fn median(&self, id: &str) -> Option<f64> {
        let mut sorted = self.samples.get(id)?.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// Prints the table, unless a filter left something out.
    pub(crate) fn print(&self, sizes: &[usize], flows: &[usize], batches: &[usize]) {
        let mut lines = vec![
            "| inner bytes | flows | batch | cipher, ns | esp, ns | hop, ns | hop's own work / cipher |"
                .to_owned(),
            "|---|---|---|---|---|---|---|".to_owned(),
        ];
        for size in sizes {
            for flows in flows {
                for batch in batches {
                    let hop = format!("hop/{size}/flows-{flows}/batch-{batch}");
                    let ids = [format!("primitive/{size}"), format!("esp/{size}"), hop];
                    let [Some(cipher), Some(esp), Some(hop)] = ids.map(|id| self.median(&id))
                    else {
                        return;
                    };
                    let own = (hop - cipher) / cipher;
                    lines.push(format!(
                        "| {size} | {flows} | {batch} | {cipher:.0} | {esp:.0} | {hop:.0} | {own:.2} |"
                    ));
                }
            }
        }
        println!("\nAES-128-GCM, one core, open + seal, ns a packet (medians)\n");
        println!("{}", lines.join("\n"));
    }
}
