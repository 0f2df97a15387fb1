//! The log: tracing to standard error, at the level of `-q` and `-v`, or by the filter in RINGMAIL_LOG.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::cli::Globals;

/// The variable that takes a filter such as `ringmail_node=debug,warn`; it wins over `-q` and `-v`.
pub(crate) const FILTER_VARIABLE: &str = "RINGMAIL_LOG";

/// Starts the log. Called once, before anything that logs. Returns the filter that holds, for programs started by this.
pub(crate) fn start(globals: &Globals) -> String {
    let level = match (globals.quiet, globals.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let text = filter.to_string();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(globals.verbose > 1)
        .init();
    text
}
