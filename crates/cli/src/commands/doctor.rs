//! `ringmail doctor`: what this machine can and cannot do, and what to install or set.

use std::io::{self, Write};

use ringmail_node::doctor::{self, Finding, State};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;

/// Look at what this machine can and cannot do for ringmail, before anything fails
///
/// Everything is tried, in a network namespace that goes away again; nothing is changed. Exit code 1 if something is
/// missing without which no chain runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// What a machine can and cannot do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Doctor {
    /// The worst of the findings.
    state: State,
    /// What was looked at, in the order in which a newcomer meets it.
    findings: Vec<Finding>,
}

impl Report for Doctor {
    const NAME: &'static str = "doctor";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Finding { check, state, found, means, mend } in &self.findings {
            let state = match state {
                State::Ok => "ok",
                State::Degraded => "degraded",
                State::Missing => "missing",
            };
            writeln!(out, "{state:<9} {check:<15} {found}")?;
            writeln!(out, "{:<25} {means}", "")?;
            if !mend.is_empty() {
                writeln!(out, "{:<25} hint: {mend}", "")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn run(Args {}: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let findings = doctor::judge(&doctor::probe());
    let state = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    context.emit(&Doctor { state, findings })?;
    match state {
        State::Ok | State::Degraded => Ok(Outcome::Done),
        State::Missing => Err(Failure::new("something is missing without which no chain runs")),
    }
}
