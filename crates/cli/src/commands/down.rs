//! `ringmail down`: ends a running domain, and returns once nothing of it is left.

use std::io::{self, Write};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;
use crate::running::Which;

/// Longer than a domain lets connections end by themselves, unless its file says otherwise, and then gives its elements until
/// it kills them.
const ENDS_WITHIN: Duration = Duration::from_secs(90);

/// End a running domain
///
/// Connections may end by themselves for `limits.drain_ms`; its processes, namespaces and files are gone when this returns.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
}

/// A domain that ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WentDown {
    /// Its name.
    domain: String,
    /// The process that ran it.
    pid: u32,
}

impl Report for WentDown {
    const NAME: &'static str = "down";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} is down", self.domain)
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let running = args.which.find()?;
    let progress = context.progress();
    progress.stage(format!("ending {}", running.record.domain));
    running.ask(async |client| client.down().await)?;
    let owner = running.record.owner;
    owner
        .wait_end(ENDS_WITHIN)
        .context(format!("{} does not end", running.record.domain))
        .hint(format!("`kill -9 {}`; the next `up` removes what it leaves", owner.pid))?;
    drop(progress);
    context.emit(&WentDown { domain: running.record.domain, pid: owner.pid })?;
    Ok(Outcome::Done)
}
