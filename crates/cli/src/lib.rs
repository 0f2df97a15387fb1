//! The program ringmail: it reads the command line, runs one verb, and ends with the exit code of its outcome.
//!
//! Standard output carries data and nothing else; the log, progress, errors and hints go to standard error.

mod cli;
mod commands;
mod context;
mod error;
mod logging;
#[cfg(test)]
mod manual;
mod output;
mod paint;
mod password;
mod privilege;
mod progress;
mod running;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::context::Context;

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = logging::start(&cli.globals);
    let mut context = Context::new(&cli.globals, log);
    match cli.command.run(&mut context) {
        Ok(outcome) => outcome.into(),
        Err(failure) => failure.report(),
    }
}
