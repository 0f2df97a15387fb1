//! `ringmail hop`: a hop with its function on this machine.

use ringmail_model::Name;
use ringmail_model::pathset::Role;

use super::machine::Machine;
use crate::context::Context;
use crate::error::{Failure, Outcome};

/// Run a hop with its function on this machine, as `ringmail control` says
///
/// It needs no privilege. Once it has a version, it runs and starts without control too, as long as its leases last.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The element's name in the domain
    #[arg(long, value_name = "NAME")]
    name: Name,

    #[command(flatten)]
    machine: Machine,
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    args.machine.run(args.name, Role::Hop, context)
}
