//! `ringmail prove`: what the ends of paths said last of the way that packets came.

mod since;
mod summary;

use std::io::{self, Write};
use std::path::PathBuf;

use ringmail_node::control::{PathProofs, ProofCount, ProofRecord};
use ringmail_node::see::prove::{Proofs, ProveWish, Silent};
use schemars::JsonSchema;
use serde::Serialize;

use self::since::Since;
use self::summary::Places;
pub(crate) use self::summary::{Summaries, file_schema};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;
use crate::running::Whom;

/// Show whether packets came the way that they should: the last verdicts of the ends of paths
///
/// Each packet of a domain with a Network Service Header carries a proof of transit, which the end of its path looks at: an
/// egress on the way there, the gateway on the way back. The last verdicts are kept, and besides the last that failed,
/// however many packets are proved after them. Exits with 3 if a packet failed since the ends started, or an end does not
/// answer. Where elements are on machines of their own, ask control, or an end of paths there (`--state`).
///
/// With `--summary` nothing that runs is asked: files that elements signed are checked against the domain's root, what ends
/// say against what the other elements say. Exits with 3 if a signature does not hold, something is missing, an element
/// contradicts an end, or packets failed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The path's name; the answers of path NAME come by NAME.return. All paths, without it
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// How many verdicts of each path are shown, and how many of those that failed
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: u32,

    /// Only what was said since then: a time such as 2026-11-22T08:00:00Z, or how long ago, such as 90s, 2h or 7d
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,

    /// Check what elements signed: files, or all in a directory; those of the state directory if none is named
    #[arg(long)]
    summary: bool,

    /// The domain's root certificates in PEM
    #[arg(long, value_name = "FILE", requires = "summary")]
    roots: Option<PathBuf>,

    /// Where the authority is whose root, and whose summaries, are meant unless others are named
    #[arg(long, value_name = "DIR", default_value = "ringmail-ca", requires = "summary")]
    ca: PathBuf,

    /// Summaries, or directories of them
    #[arg(value_name = "FILE", requires = "summary")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    whom: Whom,
}

/// What the ends of paths said.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Proved {
    #[serde(flatten)]
    proofs: Proofs,
}

impl Report for Proved {
    const NAME: &'static str = "prove";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Proofs { paths, silent } = &self.proofs;
        for (nth, path) in paths.iter().enumerate() {
            if nth > 0 {
                writeln!(out)?;
            }
            of_path(path, out)?;
        }
        if paths.is_empty() {
            writeln!(out, "no packets here carry proofs of transit: profile `mpls` has none")?;
        }
        for Silent { element, reason } in silent {
            writeln!(out, "\n{element} does not say: {reason}")?;
        }
        Ok(())
    }
}

fn of_path(path: &PathProofs, out: &mut dyn Write) -> io::Result<()> {
    let PathProofs { path, end, counts, last } = path;
    let sum = |proved: bool| -> u64 {
        let of = counts.iter().filter(|count| count.is_proved() == proved);
        of.map(|count| count.packets).sum()
    };
    writeln!(out, "{path}, which ends at {end}: {} proved, {} failed", sum(true), sum(false))?;
    for ProofCount { verdict, from, packets } in counts {
        let shown = *packets > 0 && (verdict != "proved" || *from > 0);
        match from {
            _ if !shown => {}
            0 => writeln!(out, "  {packets} {}", verdict.replace('_', " "))?,
            from => writeln!(out, "  {packets} {verdict} from hop {from}")?,
        }
    }
    for record in last {
        let ProofRecord { time, origin, worker, sequence, verdict, from, from_element } = record;
        write!(out, "  {time}  {origin}/{worker}  {sequence:>10}  {}", verdict.replace('_', " "))?;
        match (record.is_proved(), from) {
            (true, 1..) => writeln!(out, " from {from_element} on")?,
            _ => writeln!(out)?,
        }
    }
    Ok(())
}

/// Asks; the verdict is no where a packet failed or somebody does not say.
pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    if args.summary {
        let (state, roots) = match args.whom.state() {
            Some(state) => (state.to_owned(), state.join("roots.pem")),
            None => (args.ca.clone(), args.ca.join("root.pem")),
        };
        let places = Places { files: args.files, roots: args.roots.unwrap_or(roots), state };
        let since = args.since.map_or(0, Since::unix_ms);
        return summary::run(places, args.path.as_deref(), since, context);
    }
    // All that is kept, where the time decides.
    let last = if args.since.is_some() { u32::MAX } else { args.last };
    let wish = ProveWish { path: args.path, last };
    let answering = args.whom.find()?;
    let mut proofs = answering.ask(async move |client| client.prove(wish.clone()).await)?;
    let failed = match args.since {
        Some(since) => proofs.failed_since(&since.text()),
        None => proofs.failed(),
    };
    context.emit(&Proved { proofs })?;
    Ok(if failed { Outcome::VerdictNo } else { Outcome::Done })
}
