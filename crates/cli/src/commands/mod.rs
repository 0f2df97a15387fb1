//! The verbs, one file each. A new one is two lines here: its `mod`, and its place in `verbs!`.
//!
//! A file holds `Args` (its doc comment is the help) and `run(args, &mut Context) -> Result<Outcome, Failure>`. A verb
//! that reports something also adds its report to [`schemas`].

#![allow(
    clippy::needless_pass_by_value,
    reason = "every verb is handed its arguments, whether it takes them apart or not"
)]

mod bench;
mod bench_gateway;
mod bench_rekey;
mod ca;
mod completions;
mod control;
mod crl;
mod demo;
mod doctor;
mod domain;
mod down;
mod egress;
mod element;
mod exec;
mod function;
mod gateway;
mod health;
mod hop;
mod keys;
mod machine;
mod man;
mod prove;
mod rekey;
mod reload;
mod site;
mod status;
mod tap;
mod top;
mod trace;
mod trust;
mod up;
mod wireguard;

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
    bench => Bench,
    ca => Ca,
    completions => Completions,
    control => Control,
    crl => Crl,
    demo => Demo,
    doctor => Doctor,
    domain => Domain,
    down => Down,
    egress => Egress,
    element => Element,
    exec => Exec,
    gateway => Gateway,
    health => Health,
    hop => Hop,
    function => Function,
    keys => Keys,
    man => Man,
    prove => Prove,
    rekey => Rekey,
    reload => Reload,
    site => Site,
    status => Status,
    tap => Tap,
    top => Top,
    trace => Trace,
    trust => Trust,
    up => Up,
    wireguard => Wireguard,
}

/// The schema of every report that a verb writes; docs/schema holds them.
pub(crate) fn schemas() -> Vec<ReportSchema> {
    let mut schemas = vec![
        ReportSchema::of::<ringmail_node::bench::chain::Report>(),
        ReportSchema::of::<ringmail_node::bench::gateway::Report>(),
        ReportSchema::of::<ringmail_node::bench::hop::Report>(),
        ReportSchema::of::<ringmail_node::bench::rekey::Report>(),
        ReportSchema::of::<ca::Ca>(),
        ReportSchema::of::<ca::Kept>(),
        ReportSchema::of::<ca::Rotating>(),
        ReportSchema::of::<completions::Completions>(),
        ReportSchema::of::<control::Serving>(),
        ReportSchema::of::<crl::Crl>(),
        ReportSchema::of::<ringmail_node::demo::Report>(),
        ReportSchema::of::<doctor::Doctor>(),
        ReportSchema::of::<domain::Checked>(),
        ReportSchema::of::<domain::Differs>(),
        ReportSchema::of::<domain::Tested>(),
        ReportSchema::of::<domain::DomainSchema>(),
        ReportSchema::of::<domain::DomainShown>(),
        ReportSchema::of::<down::WentDown>(),
        ReportSchema::of::<health::Healthy>(),
        ReportSchema::of::<keys::Keys>(),
        ReportSchema::of::<prove::Proved>(),
        ReportSchema::of::<prove::Summaries>(),
        prove::file_schema(),
        ReportSchema::of::<rekey::Rekeyed>(),
        ReportSchema::of::<reload::Reloaded>(),
        ReportSchema::of::<status::Status>(),
        ReportSchema::of::<top::Top>(),
        ReportSchema::of::<trace::Traced>(),
        ReportSchema::of::<trust::Appraised>(),
        ReportSchema::of::<up::CameUp>(),
        ReportSchema::of::<man::ManPages>(),
        ReportSchema::of::<wireguard::WireguardConf>(),
        ReportSchema::of::<wireguard::WireguardKey>(),
    ];
    schemas.extend(trust::schemas());
    schemas.extend(trust::file_schemas());
    schemas
}
