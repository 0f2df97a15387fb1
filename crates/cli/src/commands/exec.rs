//! `ringmail exec NAMESPACE -- CMD`: a program in a namespace of a running domain.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::running::Which;

/// Run a program in a namespace of a running domain
///
/// For example: ringmail exec client1 -- curl https://www.campus.example/. The exit code is the program's.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,

    /// The namespace: a client, an element, a service or the fabric
    namespace: String,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, _context: &mut Context) -> Result<Outcome, Failure> {
    let running = args.which.find()?;
    running.record.enter(&args.namespace).map_err(|error| {
        let hint = error.hint();
        Failure::from(error).hint_if(hint)
    })?;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::usage("no program was named"));
    };
    // Returns only if the program cannot be started.
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::from(error).context(format!("{} cannot be started", program.display())))
}
