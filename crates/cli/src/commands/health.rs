//! `ringmail health`: whether an element can do its work, for whoever has to decide about it many times a minute.

use std::io::{self, Write};
use std::time::Duration;

use ringmail_model::defence::{Defence, off};
use ringmail_node::see;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;
use crate::running::Whom;

/// Say whether an element answers and can serve at least one of its paths; exit code 3 if not
///
/// With no answer in time the exit code is 1. For `vrrp_script` of keepalived and the like. Paths that cannot be served are named, but one is enough: a hop that is
/// gone takes no gateway's place away.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    whom: Whom,

    /// Milliseconds that it may take to answer
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    within_ms: u64,
}

/// How an element is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Healthy {
    #[serde(flatten)]
    health: see::Health,
}

impl Report for Healthy {
    const NAME: &'static str = "health";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let see::Health { healthy, paths, open_paths, reasons } = &self.health;
        let is = if *healthy { "healthy" } else { "not healthy" };
        writeln!(out, "{is}: {open_paths} of {paths} paths can be served")?;
        reasons.iter().try_for_each(|why| writeln!(out, "  {}: {}", why.element, why.reason))
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    if off(Defence::GatewayHealth) {
        return Ok(Outcome::Done);
    }
    let running = args.whom.find()?;
    let within = Duration::from_millis(args.within_ms);
    let status = running.ask(async |client| client.status_within(within).await)?;
    let health = see::health(&status);
    let healthy = health.healthy;
    context.emit(&Healthy { health })?;
    if healthy { Ok(Outcome::Done) } else { Ok(Outcome::VerdictNo) }
}
