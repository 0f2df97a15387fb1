//! `ringmail bench gateway`: the gateway's proxy beside haproxy.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use ringmail_node::bench::gateway::{self, Plan, Report as Measured};
use ringmail_node::runtime::Place;

use super::bench::{figure, measure};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;
use crate::privilege;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Runs of every figure; from 10 on with the 95 % interval
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,

    /// Milliseconds that each run of a figure takes
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    milliseconds: u64,

    /// The executable of haproxy
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,
}

impl Report for Measured {
    const NAME: &'static str = "bench-gateway";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let machine = &self.machine;
        writeln!(out, "{}, kernel {}; {}", machine.cpu, machine.kernel, self.haproxy_version)?;
        writeln!(out, "a CPU second  {:<30} {:<26} {:<22}", "megabytes", "requests", "handshakes")?;
        for row in &self.rows {
            let mut bytes = row.bytes_per_cpu_second.clone();
            for value in [&mut bytes.median, &mut bytes.min, &mut bytes.max] {
                *value /= 1e6;
            }
            writeln!(
                out,
                "{:<12}  {:<30} {:<26} {:<22}",
                row.server.name(),
                figure(&bytes, 0),
                figure(&row.requests_per_cpu_second, 0),
                figure(&row.handshakes_per_cpu_second, 0)
            )?;
        }
        let ratios = &self.ratios;
        writeln!(
            out,
            "ringmail / haproxy: bytes {:.2}, requests {:.2}, handshakes {:.2}",
            ratios.bytes, ratios.requests, ratios.handshakes
        )
    }
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<Outcome, Failure> {
    let privilege = privilege::acquire()?;
    let plan = Plan {
        runs: usize::try_from(args.runs)?,
        each: Duration::from_millis(args.milliseconds),
        program: env::current_exe()?,
        haproxy: args.haproxy.clone(),
        place: Place::usual(),
        privilege,
    };
    let report = measure(context, async |stage| gateway::run(&plan, stage).await)?;
    context.emit(&report)?;
    Ok(Outcome::Done)
}
