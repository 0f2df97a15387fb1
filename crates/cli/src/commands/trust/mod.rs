//! `ringmail trust …`: who may take part, and why. A file a verb.

mod verify_evidence;

use ringmail_trust_core::function::{
    EVIDENCE_SCHEMA, POLICY_SCHEMA, evidence_schema, policy_schema,
};

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::ReportSchema;

pub(crate) use self::verify_evidence::Appraised;

/// Attest hosts and functions
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    VerifyEvidence(verify_evidence::Args),
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    match args.verb {
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
