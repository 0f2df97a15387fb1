//! `ringmail completions SHELL`: the script that a shell loads to complete ringmail's command line.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::Report;

/// Write the completion script of a shell
///
/// For bash: ringmail completions bash > ~/.local/share/bash-completion/completions/ringmail
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell that loads the script
    shell: Shell,
}

/// A completion script.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Completions {
    /// The shell that loads it.
    shell: String,
    /// The script.
    script: String,
}

impl Report for Completions {
    const NAME: &'static str = "completions";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.script.as_bytes())
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ringmail", &mut script);
    let script = String::from_utf8(script)?;
    context.emit(&Completions { shell: args.shell.to_string(), script })?;
    Ok(Outcome::Done)
}
