//! The log: tracing to standard error as text or JSON, at the level of `-q` and `-v`, or by a filter.

use std::io;

use clap::ValueEnum;
use ringmail_node::supervise::LineSink;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::cli::Globals;

/// The variable that takes a filter such as `ringmail_node=debug,warn`; it wins over `-q` and `-v`.
const FILTER_VARIABLE: &str = "RINGMAIL_LOG";

/// The variable that takes the format where the command line does not.
const FORMAT_VARIABLE: &str = "RINGMAIL_LOG_FORMAT";

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object a line, with the element's name where it is an element's
    Json,
}

/// The log as it was started.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    filter: String,
    format: LogFormat,
}

/// Starts the log. Called once, before anything that logs.
pub(crate) fn start(globals: &Globals) -> Log {
    let level = match (globals.quiet, globals.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = match &globals.log {
        // It was parsed before.
        Some(filter) => EnvFilter::new(filter),
        None => EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(level)),
    };
    // It calls it an error that a client went away.
    let filter = match "boringtun=off".parse() {
        Ok(directive) if globals.log.is_none() => filter.add_directive(directive),
        _ => filter,
    };
    let given = std::env::var(FORMAT_VARIABLE).ok();
    let given = given.and_then(|format| LogFormat::from_str(&format, true).ok());
    let format = globals.log_format.or(given).unwrap_or(LogFormat::Text);
    let text = filter.to_string();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => {
            log.with_ansi(false).with_target(globals.verbose > 1).init();
        }
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
    Log { filter: text, format }
}

/// Takes a filter that is one.
pub(crate) fn filter(text: &str) -> Result<String, ParseError> {
    text.parse::<EnvFilter>().map(|_| text.to_owned())
}

impl Log {
    /// What makes a program that this one starts log alike.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        let format = match self.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        [(FILTER_VARIABLE, self.filter.clone()), (FORMAT_VARIABLE, format.to_owned())]
    }

    /// Where the lines of elements go.
    pub(crate) fn sink(&self) -> LineSink {
        match self.format {
            LogFormat::Text => LineSink::default(),
            LogFormat::Json => LineSink::json(),
        }
    }
}
