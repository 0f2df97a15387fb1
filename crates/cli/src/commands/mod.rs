//! The verbs, one file each. A new one is two lines here: its `mod`, and its place in `verbs!`.
//!
//! A file holds `Args` (its doc comment is the help) and `run(args, &mut Context) -> Result<Outcome, Failure>`. A verb
//! that reports something also adds its report to [`schemas`].

mod completions;
mod domain;
mod man;

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::ReportSchema;

macro_rules! verbs {
    ($($module:ident => $variant:ident,)+) => {
        #[derive(Debug, clap::Subcommand)]
        pub(crate) enum Command {
            $($variant($module::Args),)+
        }

        impl Command {
            pub(crate) fn run(self, context: &mut Context) -> Result<Outcome, Failure> {
                match self {
                    $(Command::$variant(args) => $module::run(args, context),)+
                }
            }
        }
    };
}

verbs! {
    completions => Completions,
    domain => Domain,
    man => Man,
}

/// The schema of every report that a verb writes; docs/schema holds them.
pub(crate) fn schemas() -> Vec<ReportSchema> {
    vec![
        ReportSchema::of::<completions::Completions>(),
        ReportSchema::of::<domain::Checked>(),
        ReportSchema::of::<domain::DomainSchema>(),
        ReportSchema::of::<domain::DomainShown>(),
        ReportSchema::of::<man::ManPages>(),
    ]
}
