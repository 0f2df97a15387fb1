//! `ringmail egress`: an egress on this machine.

use ringmail_model::Name;
use ringmail_model::pathset::Role;

use super::machine::Machine;
use crate::context::Context;
use crate::error::{Failure, Outcome};

/// Run an egress on this machine, as `ringmail control` says
///
/// It needs CAP_NET_ADMIN for its TUN device, and forwarding (net.ipv4.ip_forward). Once it has a version, it runs and
/// starts without control too, as long as its leases last.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The element's name in the domain
    #[arg(long, value_name = "NAME", default_value = "egress")]
    name: Name,

    #[command(flatten)]
    machine: Machine,
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    args.machine.run(args.name, Role::Egress, context)
}
