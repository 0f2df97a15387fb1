//! `ringmail reload FILE`: a running domain goes on by another domain file, without losing a connection.

use std::io::{self, Write};
use std::path::PathBuf;

use ringmail_node::admin::Reloading;
use ringmail_node::change::{ElementAnswer, ReloadReport};
use ringmail_node::control::Fault;
use schemars::JsonSchema;
use serde::Serialize;

use super::domain::{load, read};
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;
use crate::running::Whom;

/// Bring a running domain to another domain file
///
/// Every element builds the new version beside the one that runs, then all switch. One element that cannot, and nothing
/// changes anywhere. Connections go on by the path on which they began, for `limits.drain_ms` where it was taken out.
/// Where control distributes the domain to several machines, name its state directory (`--state`).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The domain file; - for standard input
    file: PathBuf,

    /// Ask every element whether it could, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Elements on machines of their own that cannot change while they run may start again: connections through them end
    #[arg(long, conflicts_with = "dry_run")]
    restart: bool,

    #[command(flatten)]
    whom: Whom,
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Reloaded {
    #[serde(flatten)]
    report: ReloadReport,
}

impl Report for Reloaded {
    const NAME: &'static str = "reload";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let ReloadReport { domain, version, dry_run, activated, elements } = &self.report;
        for ElementAnswer { element, away, nack } in elements {
            match nack {
                None if *away => {
                    writeln!(out, "{element}  is away; it takes the version when it is back")?;
                }
                None => writeln!(out, "{element}  ready for it")?,
                Some(nack) => writeln!(out, "{element}  no: {nack}")?,
            }
        }
        match (activated, dry_run) {
            (true, _) => writeln!(out, "{domain} runs by version {version}"),
            (false, true) => writeln!(out, "{domain} was not changed: dry run"),
            (false, false) => writeln!(out, "{domain} was not changed"),
        }
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let text = read(&args.file)?;
    // What is wrong is said with its place in the file before anybody is asked.
    load(&text, &args.file).unchanged("nothing was changed")?;
    let folder = args.file.canonicalize().ok().and_then(|file| Some(file.parent()?.to_owned()));
    let folder = folder.unwrap_or_else(|| PathBuf::from("."));
    let how = match (args.dry_run, args.restart) {
        (true, _) => Reloading::DryRun,
        (false, true) => Reloading::MayRestart,
        (false, false) => Reloading::InPlace,
    };
    let running = args.whom.find()?;
    let progress = context.progress();
    progress.stage(format!("changing {}", running.name));
    let asked = running.ask(async |client| client.reload(text, folder, how).await);
    let report = asked.unchanged("nothing was changed")?;
    drop(progress);
    let missing = (!report.activated && !report.dry_run)
        .then(|| report.elements.iter().find(|answer| answer.away))
        .flatten()
        .map(|answer| format!("element {} is away", answer.element));
    let refused = report.elements.iter().filter_map(|answer| {
        let nack = answer.nack.clone()?;
        Some((answer.element.clone(), nack))
    });
    // Who waits in vain for a neighbour that refuses is not to blame.
    let refused = refused.min_by_key(|(_, nack)| nack.fault == Fault::Neighbour);
    context.emit(&Reloaded { report })?;
    match refused {
        None => match missing {
            None => Ok(Outcome::Done),
            Some(missing) => Err(Failure::new(missing).unchanged("nothing was changed")),
        },
        Some((element, nack)) => Err(Failure::new(format!("element {element} refuses: {nack}"))
            .unchanged("nothing was changed")
            .hint_if(nack.hint)),
    }
}
