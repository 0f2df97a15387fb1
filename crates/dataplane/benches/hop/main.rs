//! What one hop costs a packet, beside what the bare cipher costs for the same bytes.
//!
//! - `primitive`: aws-lc-rs opens and seals the ESP text, nothing else.
//! - `esp`: `esp::open` and `esp::seal`, which add lease, replay window, padding and headers.
//! - `hop`: a whole intrusive hop that serves `forward`: labels, outer header, path, ESP, counters.
//!
//! Every sample handles 64 packets that lie in one buffer a batch, laid out as the UDP link with GRO leaves them; making
//! them (each needs a sequence number that was not used) is not timed. Under the tables of criterion stands one of
//! nanoseconds a packet, medians, and the hop's own work in proportion to the cipher's.
//!
//! `cargo bench -p ringmail-dataplane --bench hop`

#![allow(clippy::print_stdout, reason = "the table is the result")]

mod fixture;
mod report;

use std::time::Duration;

use criterion::Criterion;

use fixture::{EspPair, HopUnderTest, PACKETS, Primitive};
use report::Report;

/// Inner packets, in bytes.
const SIZES: [usize; 4] = [64, 512, 1400, 8900];
const BATCHES: [usize; 3] = [1, 8, PACKETS];
const FLOWS: [usize; 2] = [1, 10_000];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .without_plots()
        .configure_from_args();
    let mut report = Report::default();
    for size in SIZES {
        let mut subject = Primitive::new(size);
        report.bench(&mut criterion, "primitive", format!("{size}"), || subject.run());
    }
    for size in SIZES {
        let mut subject = EspPair::new(size);
        report.bench(&mut criterion, "esp", format!("{size}"), || subject.run());
    }
    for size in SIZES {
        for flows in FLOWS {
            for batch in BATCHES {
                let mut subject = HopUnderTest::new(size, flows, batch);
                let name = format!("{size}/flows-{flows}/batch-{batch}");
                report.bench(&mut criterion, "hop", name, || subject.run());
            }
        }
    }
    criterion.final_summary();
    // Without this argument criterion runs each case once, as a test, or lists them.
    if std::env::args().any(|argument| argument == "--bench") {
        report.print(&SIZES, &FLOWS, &BATCHES);
    }
}
