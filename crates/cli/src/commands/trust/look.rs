//! What can be seen of a manager: status, hosts, functions, the policy.

use std::io::{self, Write};
use std::path::PathBuf;

use ringmail_trust::manager::api::{
    FunctionsAnswer, HostsAnswer, PolicyAnswer, PolicyRequest, StatusAnswer,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::reach::Reach;
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;

/// Show the manager as a whole
///
/// Exits with 3 when it issues nothing, because somebody has seen more of its log than it has.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    reach: Reach,
}

/// Show hosts: how they stand, why, and what is on them
#[derive(Debug, clap::Args)]
pub(super) struct HostsArgs {
    #[command(flatten)]
    reach: Reach,
}

/// Show functions: where they are, how they stand and why
#[derive(Debug, clap::Args)]
pub(super) struct FunctionsArgs {
    #[command(flatten)]
    reach: Reach,
}

/// Show the policy that holds, or put another in its place
#[derive(Debug, clap::Args)]
pub(super) struct PolicyArgs {
    /// Put this policy in its place, in YAML
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,

    #[command(flatten)]
    reach: Reach,
}

/// The manager as a whole.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TrustStatus {
    #[serde(flatten)]
    status: StatusAnswer,
}

/// All hosts.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TrustHosts {
    #[serde(flatten)]
    hosts: HostsAnswer,
}

/// All functions.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TrustFunctions {
    #[serde(flatten)]
    functions: FunctionsAnswer,
}

/// The policy that holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TrustPolicy {
    #[serde(flatten)]
    policy: PolicyAnswer,
}

impl Report for TrustStatus {
    const NAME: &'static str = "trust-status";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let status = &self.status;
        writeln!(out, "{}: term {}", status.trust_domain, status.term)?;
        for (what, counts) in [("hosts", &status.hosts), ("functions", &status.functions)] {
            let counts: Vec<_> =
                counts.iter().map(|(standing, count)| format!("{count} {standing}")).collect();
            let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
            writeln!(out, "{what:13}{counts}")?;
        }
        writeln!(out, "certificates {} hold, {} revoked", status.certificates, status.revoked)?;
        writeln!(out, "list         {}", status.crl_number)?;
        writeln!(out, "log          {} entries, root {}", status.log_size, status.log_root)?;
        match &status.rolled_back {
            None => Ok(()),
            Some(why) => writeln!(out, "NOTHING IS ISSUED: {why}"),
        }
    }
}

impl Report for TrustHosts {
    const NAME: &'static str = "trust-hosts";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let hosts = &self.hosts.hosts;
        let width = hosts.iter().map(|host| host.name.len()).max().unwrap_or_default();
        for host in hosts {
            let functions: Vec<_> = host.functions.iter().map(|name| name.as_str()).collect();
            let (name, standing, cause) = (host.name.as_str(), &host.standing, &host.cause);
            writeln!(out, "{name:width$}  {standing:11}  [{}]  {cause}", functions.join(" "))?;
        }
        Ok(())
    }
}

impl Report for TrustFunctions {
    const NAME: &'static str = "trust-functions";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let functions = &self.functions.functions;
        let width = functions.iter().map(|known| known.name.len()).max().unwrap_or_default();
        for known in functions {
            let (name, standing, cause) = (known.name.as_str(), &known.standing, &known.cause);
            let part = if known.takes_part { "takes part" } else { "stays out" };
            writeln!(out, "{name:width$}  {standing:11}  {part}  on {}  {cause}", known.host)?;
        }
        Ok(())
    }
}

impl Report for TrustPolicy {
    const NAME: &'static str = "trust-policy";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.policy.text {
            Some(text) => out.write_all(text.as_bytes()),
            None => writeln!(out, "# nobody set a policy: the defaults hold"),
        }
    }
}

pub(super) fn status(args: StatusArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let status: StatusAnswer = args.reach.get("/v1/status")?;
    let stopped = status.rolled_back.is_some();
    context.emit(&TrustStatus { status })?;
    Ok(if stopped { Outcome::VerdictNo } else { Outcome::Done })
}

pub(super) fn hosts(args: HostsArgs, context: &mut Context) -> Result<Outcome, Failure> {
    context.emit(&TrustHosts { hosts: args.reach.get("/v1/hosts")? })?;
    Ok(Outcome::Done)
}

pub(super) fn functions(args: FunctionsArgs, context: &mut Context) -> Result<Outcome, Failure> {
    context.emit(&TrustFunctions { functions: args.reach.get("/v1/functions")? })?;
    Ok(Outcome::Done)
}

pub(super) fn policy(args: PolicyArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let policy = match &args.set {
        None => args.reach.get("/v1/policy")?,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .context(format!("the policy {} cannot be read", path.display()))?;
            args.reach.post("/v1/policy", &PolicyRequest { text })?
        }
    };
    context.emit(&TrustPolicy { policy })?;
    Ok(Outcome::Done)
}
