//! `ringmail trust …`: the Verification Manager, and whoever asks it.

mod audit;
mod look;
mod reach;
mod say;
mod serve;
mod verify_evidence;

use ringmail_trust_core::function::{
    EVIDENCE_SCHEMA, POLICY_SCHEMA, evidence_schema, policy_schema,
};

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::ReportSchema;

pub(crate) use self::verify_evidence::Appraised;

/// Decide who may take part: appraise evidence, issue identities, revoke them
///
/// The manager (`ringmail trust serve`) has a directory of its own and the domain's authority at hand. Everybody else asks it
/// over mutual TLS: agents of hosts, and clients whom its policy names operator or auditor.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Serve(serve::Args),
    Status(look::StatusArgs),
    Hosts(look::HostsArgs),
    Functions(look::FunctionsArgs),
    Policy(look::PolicyArgs),
    Token(say::TokenArgs),
    Warn(say::WarnArgs),
    Quarantine(say::QuarantineArgs),
    Revoke(say::RevokeArgs),
    Recover(say::RecoverArgs),
    Audit(audit::Args),
    VerifyEvidence(verify_evidence::Args),
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    match args.verb {
        Verb::Serve(args) => serve::run(args, context),
        Verb::Status(args) => look::status(args, context),
        Verb::Hosts(args) => look::hosts(args, context),
        Verb::Functions(args) => look::functions(args, context),
        Verb::Policy(args) => look::policy(args, context),
        Verb::Token(args) => say::token(args, context),
        Verb::Warn(args) => say::warn(args, context),
        Verb::Quarantine(args) => say::quarantine(args, context),
        Verb::Revoke(args) => say::revoke(args, context),
        Verb::Recover(args) => say::recover(args, context),
        Verb::Audit(args) => audit::run(args, context),
        Verb::VerifyEvidence(args) => verify_evidence::run(args, context),
    }
}

/// The schemas of the files that are read here.
pub(crate) fn file_schemas() -> [ReportSchema; 2] {
    [
        ReportSchema { id: EVIDENCE_SCHEMA.to_owned(), schema: evidence_schema },
        ReportSchema { id: POLICY_SCHEMA.to_owned(), schema: policy_schema },
    ]
}

/// The schemas of what these verbs report.
pub(crate) fn schemas() -> Vec<ReportSchema> {
    vec![
        ReportSchema::of::<audit::Audited>(),
        ReportSchema::of::<look::TrustFunctions>(),
        ReportSchema::of::<look::TrustHosts>(),
        ReportSchema::of::<look::TrustPolicy>(),
        ReportSchema::of::<look::TrustStatus>(),
        ReportSchema::of::<say::Said>(),
        ReportSchema::of::<say::HostToken>(),
        ReportSchema::of::<serve::TrustServing>(),
    ]
}
