//! `ringmail function COMMANDS FD`: the program of an attached function in its namespace. Not for people.

use std::os::fd::RawFd;

use ringmail_node::attach::{self, Commands};
use ringmail_node::control::ControlChannel;

use crate::context::Context;
use crate::error::{Failure, Outcome};

/// The program of an attached function, started by `up`
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// What to run, as JSON
    commands: String,
    /// The descriptor of the control channel
    control: RawFd,
}

/// Runs it until the parent ends it.
pub(crate) fn run(args: Args, _context: &mut Context) -> Result<Outcome, Failure> {
    let commands: Commands = serde_json::from_str(&args.commands)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        attach::run(&commands, ControlChannel::inherited(args.control)?).await
    })?;
    Ok(Outcome::Done)
}
