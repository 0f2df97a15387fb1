//! How a verb fails: `error:` with the chain of causes, what was left unchanged, `hint:`, and the exit code.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// How a verb ended that did what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 3: the verb did its work, and the verdict that it was asked for is no.
    VerdictNo,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::VerdictNo => ExitCode::from(3),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Exit code 1.
    Failed,
    /// Exit code 2, as clap's own errors.
    Usage,
}

/// Why a verb did not do what it was asked to. `?` makes one from any error.
pub(crate) struct Failure {
    kind: Kind,
    cause: anyhow::Error,
    unchanged: Option<String>,
    hints: Vec<String>,
}

impl Failure {
    /// A failure that no other error caused.
    pub(crate) fn new(message: impl fmt::Display) -> Failure {
        Failure::from(anyhow::Error::msg(message.to_string()))
    }

    /// The user asked for something that makes no sense; exit code 2.
    pub(crate) fn usage(message: impl fmt::Display) -> Failure {
        Failure { kind: Kind::Usage, ..Failure::new(message) }
    }

    /// Says what was being done; the earlier message becomes the cause.
    pub(crate) fn context(mut self, message: impl fmt::Display) -> Failure {
        self.cause = self.cause.context(message.to_string());
        self
    }

    /// What the user can do about it, a sentence without a full stop.
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Failure {
        self.hints.push(hint.to_string());
        self
    }

    /// The same, where there is something.
    pub(crate) fn hint_if<H: fmt::Display>(self, hint: Option<H>) -> Failure {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// What is as it was before, e.g. `the domain keeps running`.
    pub(crate) fn unchanged(mut self, what: impl fmt::Display) -> Failure {
        self.unchanged = Some(what.to_string());
        self
    }

    /// Tells the user, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        // If standard error is gone too, the exit code still tells.
        drop(write!(io::stderr().lock(), "{self}"));
        match self.kind {
            Kind::Failed => ExitCode::from(1),
            Kind::Usage => ExitCode::from(2),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { kind: Kind::Failed, cause: error.into(), unchanged: None, hints: Vec::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, cause) in self.cause.chain().enumerate() {
            let lead = if depth == 0 { "error" } else { "  caused by" };
            writeln!(f, "{lead}: {cause}")?;
        }
        if let Some(what) = &self.unchanged {
            writeln!(f, "unchanged: {what}")?;
        }
        for hint in &self.hints {
            writeln!(f, "hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The same on a result, so that a hint stands where the call stands.
pub(crate) trait OrFail<T> {
    fn context(self, message: impl fmt::Display) -> Result<T, Failure>;
    fn hint(self, hint: impl fmt::Display) -> Result<T, Failure>;
    fn unchanged(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> OrFail<T> for Result<T, E> {
    fn context(self, message: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| error.into().context(message))
    }

    fn hint(self, hint: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| error.into().hint(hint))
    }

    fn unchanged(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| error.into().unchanged(what))
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Kind, OrFail};

    #[test]
    fn a_failure_shows_its_causes_what_is_unchanged_and_hints_in_this_order() {
        let result: Result<(), _> = Err(std::io::Error::other("the disk is full"));
        let failure = result
            .context("the record cannot be written")
            .hint("free some space")
            .unchanged("no namespace was made")
            .unwrap_err();
        assert_eq!(
            failure.to_string(),
            "error: the record cannot be written\n  caused by: the disk is full\n\
             unchanged: no namespace was made\nhint: free some space\n"
        );
    }

    #[test]
    fn context_keeps_the_kind() {
        let failure = Failure::usage("no such layout").context("up");
        assert_eq!(failure.kind, Kind::Usage);
    }
}
