//! `ringmail element NAME FD` and `ringmail site ADDRESS FD`: what `up` starts in each namespace. Not for people.

use std::os::fd::RawFd;

use ringmail_node::control::ControlChannel;
use ringmail_node::element::{self, Workshop};

use crate::context::Context;
use crate::error::{Failure, Outcome};

/// One element of a domain, started by `up`
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// Only the gateway's proxy, without a chain
    #[arg(long)]
    direct: bool,
    /// The element's name in the path set
    name: String,
    /// The descriptor of the control channel
    control: RawFd,
}

/// Runs the element until its parent ends it.
pub(crate) fn run(args: Args, _context: &mut Context) -> Result<Outcome, Failure> {
    open_as_many_as_allowed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let control = ControlChannel::inherited(args.control)?;
        match args.direct {
            true => element::run_direct(&args.name, control).await,
            false => element::run(&args.name, control, Workshop::Threads).await,
        }
    })?;
    Ok(Outcome::Done)
}

/// A gateway has two descriptors and more a connection; what the system's soft limit is made for are programs of old.
pub(super) fn open_as_many_as_allowed() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    let _as_it_was = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}
