//! `ringmail down`: ends a running domain, and returns once nothing of it is left.

use std::io::{self, Write};
use std::time::Duration;

use ringmail_node::admin::DomainStatus;
use ringmail_node::runtime::ProcessId;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;
use crate::running::Whom;

/// Longer than a domain lets connections end by themselves, unless its file says otherwise, and then gives its elements until
/// it kills them.
const ENDS_WITHIN: Duration = Duration::from_secs(90);

/// End a running domain, or with --state a control or lone element
///
/// Connections may end by themselves for `limits.drain_ms`; its processes, namespaces and files are gone when this returns. A
/// service manager that started a control or element may start it again: there, ask it (`systemctl stop`).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    whom: Whom,
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
    let running = args.whom.find()?;
    let progress = context.progress();
    progress.stage(format!("ending {}", running.name));
    let asked = running.ask(async |client| {
        let DomainStatus { domain, pid, .. } = client.status().await?;
        // Looked at before it ends: afterwards the number may be another process's.
        let process = ProcessId::of(pid);
        client.down().await?;
        Ok((domain, pid, process))
    });
    let (domain, pid, process) = asked?;
    if let Ok(process) = process {
        process
            .wait_end(ENDS_WITHIN)
            .context(format!("{} does not end", running.name))
            .hint(format!("`kill -9 {pid}`; the next `up` removes what it leaves"))?;
    }
    drop(progress);
    context.emit(&WentDown { domain, pid })?;
    Ok(Outcome::Done)
}
