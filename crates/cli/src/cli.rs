//! The command line as a whole. Help, man pages and completions all come from these definitions.

use clap::{ArgAction, Args, Parser};

use crate::commands::Command;
use crate::logging::{self, LogFormat};
use crate::output::Format;

/// Service function chains on machines that nobody has to trust
///
/// Ringmail takes authenticated clients through an ordered chain of service functions to a service,
/// encrypted on every segment of the way.
#[derive(Debug, Parser)]
#[command(
    name = "ringmail",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the verdict is no."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every verb understands.
#[derive(Debug, Args)]
pub(crate) struct Globals {
    /// How data is written to standard output
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Global options"
    )]
    pub(crate) output: Format,

    /// Log more (-v info, -vv debug, -vvv trace); RINGMAIL_LOG takes a filter by module
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,

    /// Log what this filter lets through, e.g. `info` or `ringmail_node=debug,warn`; wins over -v, -q and RINGMAIL_LOG
    #[arg(long, global = true, value_name = "FILTER", value_parser = logging::filter, help_heading = "Global options")]
    pub(crate) log: Option<String>,

    /// How the log is written to standard error; else as RINGMAIL_LOG_FORMAT says, else text
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Global options")]
    pub(crate) log_format: Option<LogFormat>,

    /// Log errors only, and show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(crate) quiet: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
