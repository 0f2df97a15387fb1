//! `ringmail bench rekey`: what it costs that keys change under load.

use std::env;
use std::io::{self, Write};
use std::time::Duration;

use ringmail_node::bench::rekey::{self, Plan, Side};
use ringmail_node::runtime::Place;

use super::bench::{ProfileArg, figure, measure};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;
use crate::privilege;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Intrusive functions in the chain
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=14))]
    functions: u64,

    /// What stands in front of ESP
    #[arg(long, default_value = "mpls-nsh")]
    profile: ProfileArg,

    /// Seconds of each run
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Runs of both chains
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,

    /// Per cent of the highest rate that at most 0.1 % are lost at
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(1..=100))]
    load: u64,
}

impl Report for rekey::Report {
    const NAME: &'static str = "bench-rekey";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} x {}, kernel {}, profile {}, {} intrusive functions, {:.0} Mb/s for {} s",
            self.machine.cpus,
            self.machine.cpu,
            self.machine.kernel,
            self.profile.name(),
            self.functions,
            self.load_mbps,
            self.seconds
        )?;
        for (name, side) in [("keys stay", &self.still), ("keys change", &self.rekeying)] {
            let Side { p50_us, p99_us, p999_us, max_us, sent, lost, .. } = side;
            writeln!(
                out,
                "{name:<12} {lost} of {sent} lost; microseconds: p50 {}, p99 {}, p99.9 {}, slowest {}",
                figure(p50_us, 0),
                figure(p99_us, 0),
                figure(p999_us, 0),
                figure(max_us, 0)
            )?;
            for (reason, packets) in &side.lost_by_reason {
                writeln!(out, "  {packets} packets lost: {reason}")?;
            }
        }
        writeln!(
            out,
            "{} epochs, {} associations replaced; p99.9 is {:.2} times that of keys that stay",
            self.rekeying.epochs, self.rekeying.associations_replaced, self.p999_ratio
        )
    }
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<Outcome, Failure> {
    let plan = Plan {
        functions: usize::try_from(args.functions)?,
        profile: args.profile.into(),
        lasting: Duration::from_secs(args.seconds),
        runs: usize::try_from(args.runs)?,
        load: args.load as f64 / 100.0,
        place: Place::usual(),
        privilege: privilege::acquire()?,
        program: env::current_exe()?,
    };
    let report = measure(context, async |stage| rekey::run(&plan, stage).await)?;
    context.emit(&report)?;
    match report.rekeying.lost {
        0 => Ok(Outcome::Done),
        lost => Err(Failure::new(format!("{lost} datagrams were lost while keys changed"))),
    }
}
