//! `ringmail gateway`: the domain's gateway on this machine.

use ringmail_model::Name;
use ringmail_model::pathset::Role;

use super::machine::Machine;
use crate::context::Context;
use crate::error::{Failure, Outcome};

/// Run the domain's gateway on this machine, as `ringmail control` says
///
/// It needs CAP_NET_ADMIN for its TUN device. Once it has a version, it runs and starts without control too, as long
/// as its leases last.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The element's name in the domain
    #[arg(long, value_name = "NAME", default_value = "gateway")]
    name: Name,

    #[command(flatten)]
    machine: Machine,
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    args.machine.run(args.name, Role::Gateway, context)
}
