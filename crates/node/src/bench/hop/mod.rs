//! `ringmail bench hop`: what one intrusive hop costs a packet, beside what the bare cipher costs for the same bytes.
//!
//! The criterion bench of the data plane (`cargo bench -p ringmail-dataplane --bench hop`) measures the same with more
//! care; this one is in the program, so that it runs where the program does. No link takes part, nor does the kernel.

mod acks;
mod fixture;
mod flows;

use std::time::Duration;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Serialize;

use self::fixture::{EspPair, HopUnderTest, PACKETS, Primitive, Work};
pub use self::flows::{FlowRow, Table};
use super::{Figure, Machine};

/// Inner packets, in bytes.
pub const SIZES: [usize; 4] = [64, 512, 1400, 8900];

/// Packets a batch.
pub const BATCHES: [usize; 3] = [1, 8, PACKETS];

/// Connections that the packets belong to.
pub const FLOWS: [usize; 2] = [1, 10_000];

/// What a bench of a hop gave. All figures are nanoseconds a packet on one core, AES-128-GCM.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// One a size, number of flows and batch.
    pub rows: Vec<Row>,
    /// What many flows cost, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub tables: Vec<FlowRow>,
    /// What it ran on.
    pub machine: Machine,
}

/// Packets of one size and number of flows, in batches of one size.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Row {
    /// Bytes of the inner packets.
    pub inner_bytes: usize,
    /// TCP connections that they belong to, one packet of each in turn.
    pub flows: usize,
    /// Packets a batch.
    pub batch: usize,
    /// aws-lc-rs opens and seals the same bytes, nothing else.
    pub cipher_ns: Figure,
    /// ESP opened and sealed: lease, replay window, padding, headers.
    pub esp_ns: Figure,
    /// A whole hop that serves `forward`.
    pub forward_ns: Figure,
    /// A whole hop that serves `dpi` with one rule.
    pub dpi_ns: Figure,
}

/// Where the time of one packet goes inside an intrusive hop with `dpi`, in nanoseconds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Parts {
    /// Bytes of the inner packets.
    pub inner_bytes: usize,
    /// ESP opened.
    pub open_ns: Figure,
    /// ESP sealed.
    pub seal_ns: Figure,
    /// The inspection: a hop with `dpi` less one with `forward`, medians.
    pub function_ns: f64,
    /// Labels, outer header, path, counters: a hop with `forward` less opening and sealing, medians.
    pub rest_ns: f64,
}

/// Measures every row, each figure `runs` times for about `each`. `stage` hears what is being done.
///
/// # Errors
/// When a fixture cannot be made, or a hop does not pass what it should.
pub fn run(runs: usize, each: Duration, stage: &dyn Fn(String)) -> Result<Report> {
    let mut rows = Vec::new();
    for inner_bytes in SIZES {
        stage(format!("{inner_bytes} bytes: cipher and ESP"));
        let cipher_ns = figure(&mut Primitive::new(inner_bytes)?, runs, each)?;
        let esp_ns = figure(&mut EspPair::new(inner_bytes, Work::Both)?, runs, each)?;
        for flows in FLOWS {
            for batch in BATCHES {
                stage(format!("{inner_bytes} bytes, {flows} flows, batches of {batch}"));
                let hop = |dpi| {
                    figure(&mut HopUnderTest::new(inner_bytes, flows, batch, dpi)?, runs, each)
                };
                let (forward_ns, dpi_ns) = (hop(false)?, hop(true)?);
                let (cipher_ns, esp_ns) = (cipher_ns.clone(), esp_ns.clone());
                rows.push(Row { inner_bytes, flows, batch, cipher_ns, esp_ns, forward_ns, dpi_ns });
            }
        }
    }
    Ok(Report { rows, tables: Vec::new(), machine: Machine::this() })
}

/// Measures tables of so many flows each, as [`run`] does the rest.
///
/// # Errors
/// As [`run`].
pub fn run_flows(
    counts: &[usize],
    runs: usize,
    each: Duration,
    stage: &dyn Fn(String),
) -> Result<Report> {
    let tables = flows::run(counts, runs, each, stage)?;
    Ok(Report { rows: Vec::new(), tables, machine: Machine::this() })
}

/// Measures the parts of a hop for inner packets of one size: one flow, full batches.
///
/// # Errors
/// As [`run`].
pub fn parts(inner_bytes: usize, runs: usize, each: Duration) -> Result<Parts> {
    let esp = |work| figure(&mut EspPair::new(inner_bytes, work)?, runs, each);
    let (open_ns, seal_ns, both) = (esp(Work::Open)?, esp(Work::Seal)?, esp(Work::Both)?);
    let hop = |dpi| figure(&mut HopUnderTest::new(inner_bytes, 1, PACKETS, dpi)?, runs, each);
    let (forward, dpi) = (hop(false)?, hop(true)?);
    Ok(Parts {
        inner_bytes,
        open_ns,
        seal_ns,
        function_ns: dpi.median - forward.median,
        rest_ns: forward.median - both.median,
    })
}

/// What is measured: [`PACKETS`] packets a round.
trait Subject {
    /// One round, and how long it took without what prepares it.
    fn round(&mut self) -> Result<Duration>;
}

/// The median round of each run, in nanoseconds a packet: what interrupts a round now and then does not count.
fn figure(subject: &mut impl Subject, runs: usize, each: Duration) -> Result<Figure> {
    let mut medians = Vec::new();
    subject.round()?;
    for _ in 0..runs {
        let (mut rounds, mut total) = (Vec::new(), Duration::ZERO);
        while total < each {
            let taken = subject.round()?;
            total += taken.max(Duration::from_nanos(1));
            rounds.push(taken.as_nanos() as f64 / PACKETS as f64);
        }
        medians.push(Figure::of(rounds).context("no round")?.median);
    }
    Figure::of(medians).context("no run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_handles_its_packets() {
        let each = Duration::from_nanos(1);
        for size in SIZES {
            assert!(figure(&mut Primitive::new(size).expect("a key"), 1, each).is_ok());
            for (flows, batch) in [(1, 1), (10_000, 8), (1, PACKETS)] {
                for dpi in [false, true] {
                    let mut hop = HopUnderTest::new(size, flows, batch, dpi).expect("a hop");
                    assert!(
                        hop.round().and_then(|_| hop.round()).is_ok(),
                        "{size} {flows} {batch}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_parts_have_their_sizes() {
        let parts = parts(1400, 1, Duration::from_micros(100)).expect("parts");
        assert!(parts.open_ns.median > 0.0 && parts.seal_ns.median > 0.0);
    }
}
