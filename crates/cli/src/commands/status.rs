//! `ringmail status`: a running domain's elements, paths, counters and drops.

use std::io::{self, Write};

use ringmail_node::admin::{
    Distribution, DomainStatus, ElementReport, RefusedVersion, VersionReport,
};
use ringmail_node::control::{
    Counter, Drops, ElementStatus, EpochStatus, PathStatus, ProofCount, ReplicaStatus,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;
use crate::running::Whom;

/// Show how a running domain is: elements, paths, counters, drops by reason
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    whom: Whom,

    /// Show counters that are 0, and what each of them counts
    #[arg(long)]
    all: bool,
}

/// A running domain as of now.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Status {
    #[serde(flatten)]
    domain: DomainStatus,
    #[serde(skip)]
    all: bool,
}

impl Report for Status {
    const NAME: &'static str = "status";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let DomainStatus { domain, layout, pid, rootless, up_s, elements, distribution, .. } =
            &self.domain;
        let right = if *rootless { ", in a user namespace" } else { "" };
        writeln!(out, "{domain}: up for {up_s} s, layout {layout}, process {pid}{right}")?;
        if let Some(Distribution { version, proposed }) = distribution {
            writeln!(out, "version {version} counts")?;
            if let Some(proposed) = proposed {
                writeln!(out, "version {proposed} is being built by the elements")?;
            }
        }
        for element in elements {
            self.element(element, out)?;
        }
        Ok(())
    }
}

impl Status {
    fn element(&self, element: &ElementReport, out: &mut dyn Write) -> io::Result<()> {
        let ElementReport { name, pid, state, reason, status, restarts, version } = element;
        write!(out, "\n{name}")?;
        if let Some(status) = status {
            write!(out, "  {}", status.role)?;
        }
        write!(out, "  {state}")?;
        if let Some(pid) = pid {
            write!(out, "  process {pid}")?;
        }
        if *restarts > 0 {
            write!(out, "  started again {restarts} times")?;
        }
        writeln!(out)?;
        if let Some(reason) = reason {
            writeln!(out, "  {reason}")?;
        }
        if let Some(version) = version {
            versions(version, out)?;
        }
        status.as_ref().map_or(Ok(()), |status| self.details(status, out))
    }

    fn details(&self, status: &ElementStatus, out: &mut dyn Write) -> io::Result<()> {
        for EpochStatus { neighbour, epoch, age_s } in &status.epochs {
            match (epoch, age_s) {
                (Some(epoch), Some(age_s)) => {
                    writeln!(out, "  keys with {neighbour}  epoch {epoch}, {age_s:.0} s old")?;
                }
                _ => writeln!(out, "  keys with {neighbour}  not agreed")?,
            }
        }
        for ReplicaStatus { element, state, since_s } in &status.replicas {
            writeln!(out, "  replica {element}  {state} for {since_s:.0} s")?;
        }
        for path in &status.paths {
            let PathStatus { name, direction, state, packets, bytes, .. } = path;
            writeln!(
                out,
                "  path {name} ({direction})  {state}  {packets} packets, {bytes} bytes"
            )?;
            proofs(&path.proofs, out)?;
        }
        for counter in &status.counters {
            let Counter { name, unit, description, value, .. } = counter;
            if self.all {
                writeln!(out, "  {name:<28} {value:>12} {unit}  {description}")?;
            } else if *value > 0 {
                writeln!(out, "  {name:<28} {value:>12} {unit}")?;
            }
        }
        for drops in &status.drops {
            let Drops { reason, description, packets } = drops;
            writeln!(out, "  dropped: {reason:<19} {packets:>12} packets  {description}")?;
        }
        Ok(())
    }
}

/// What the end of a path said of packets, on one line.
fn proofs(proofs: &[ProofCount], out: &mut dyn Write) -> io::Result<()> {
    if proofs.is_empty() {
        return Ok(());
    }
    write!(out, "    proofs of transit: ")?;
    let shown =
        proofs.iter().filter(|count| count.packets > 0 || (count.is_proved() && count.from == 0));
    for (nth, ProofCount { verdict, from, packets }) in shown.enumerate() {
        let comma = if nth > 0 { ", " } else { "" };
        write!(out, "{comma}{packets} {}", verdict.replace('_', " "))?;
        if *from > 0 {
            write!(out, " from hop {from}")?;
        }
    }
    writeln!(out)
}

/// Which version an element runs, and what it refused.
fn versions(of: &VersionReport, out: &mut dyn Write) -> io::Result<()> {
    let VersionReport { progress, active, highest, heard_s, refused } = of;
    let heard = heard_s.map_or("never heard".to_owned(), |heard| format!("heard {heard} s ago"));
    write!(out, "  version {active}  {progress}, {heard}")?;
    match highest > active {
        true => writeln!(out, ", has seen {highest}")?,
        false => writeln!(out)?,
    }
    match refused {
        None => Ok(()),
        Some(RefusedVersion { version, reason, ago_s }) => {
            writeln!(out, "  refused version {version} {ago_s} s ago: {reason}")
        }
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let running = args.whom.find()?;
    let domain = running.ask(async |client| client.status().await)?;
    context.emit(&Status { domain, all: args.all })?;
    Ok(Outcome::Done)
}
