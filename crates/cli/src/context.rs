//! What every verb is handed: where data goes, and whether people watch.

use crate::cli::Globals;
use crate::error::Failure;
use crate::logging::Log;
use crate::output::{Format, Output, Report};
use crate::progress::Progress;

/// What every verb is handed.
#[derive(Debug)]
pub(crate) struct Context {
    output: Output,
    quiet: bool,
    log: Log,
}

impl Context {
    pub(crate) fn new(globals: &Globals, log: Log) -> Context {
        Context { output: Output::new(globals.output), quiet: globals.quiet, log }
    }

    /// The log, for the programs that a verb starts.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// How data is written.
    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    /// Writes a report to standard output, in the format that the user asked for.
    pub(crate) fn emit<R: Report>(&mut self, report: &R) -> Result<(), Failure> {
        self.output.emit(report)
    }

    /// Progress for people; shows nothing unless standard error is a terminal.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(self.quiet)
    }
}
