//! `ringmail site ADDRESS FD`: the built-in site in a service's namespace. Not for people.

use std::os::fd::RawFd;

use ringmail_node::control::ControlChannel;

use crate::context::Context;
use crate::error::{Failure, Outcome};

/// The built-in web site, started by `up`
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// Where to listen
    address: String,
    /// The descriptor of the control channel
    control: RawFd,
}

/// Serves until the parent ends it.
pub(crate) fn run(args: Args, _context: &mut Context) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        ringmail_node::site::run(&args.address, ControlChannel::inherited(args.control)?).await
    })?;
    Ok(Outcome::Done)
}
