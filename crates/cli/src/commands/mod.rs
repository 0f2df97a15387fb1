//! The verbs, one file each. A new one is two lines here: its `mod`, and its place in `verbs!`.
//!
//! A file holds `Args` (its doc comment is the help) and `run(args, &mut Context) -> Result<Outcome, Failure>`. A verb
//! that reports something also adds its report to [`schemas`].

mod ca;
mod completions;
mod demo;
mod domain;
mod element;
mod man;
mod site;

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
    ca => Ca,
    completions => Completions,
    demo => Demo,
    domain => Domain,
    element => Element,
    man => Man,
    site => Site,
}

/// The schema of every report that a verb writes; docs/schema holds them.
pub(crate) fn schemas() -> Vec<ReportSchema> {
    vec![
        ReportSchema::of::<ca::Ca>(),
        ReportSchema::of::<completions::Completions>(),
        ReportSchema::of::<ringmail_node::demo::Report>(),
        ReportSchema::of::<domain::Checked>(),
        ReportSchema::of::<domain::DomainSchema>(),
        ReportSchema::of::<domain::DomainShown>(),
        ReportSchema::of::<man::ManPages>(),
    ]
}
