//! How an element ended, and why as far as it said.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How an element ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// As the kernel saw it.
    pub how: How,
    /// What the element itself said, the error first and its causes behind it.
    pub causes: Vec<String>,
    /// The last lines of its standard error.
    pub last_lines: Vec<String>,
}

/// How an element ended, as the kernel saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// In order: exit code 0, or its work returned.
    Done,
    /// With another exit code; an error that its work returned counts as 1.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Its thread panicked.
    Panic,
    /// Nobody knows: it cannot be waited for.
    Unknown,
}

impl How {
    pub(super) fn of(status: ExitStatus) -> How {
        match (status.code(), status.signal()) {
            (Some(0), _) => How::Done,
            (Some(code), _) => How::Code(code),
            (None, Some(signal)) => How::Signal(signal),
            (None, None) => How::Unknown,
        }
    }
}

impl Exit {
    pub(super) fn new(how: How) -> Exit {
        Exit { how, causes: Vec::new(), last_lines: Vec::new() }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Done => f.write_str("ended"),
            How::Code(code) => write!(f, "ended with exit code {code}"),
            How::Signal(signal) => {
                write!(f, "was ended by signal {signal}")?;
                name(*signal).map_or(Ok(()), |name| write!(f, " ({name})"))
            }
            How::Panic => f.write_str("panicked"),
            How::Unknown => f.write_str("ended, it is unknown how"),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.how)?;
        if !self.causes.is_empty() {
            return write!(f, ": {}", self.causes.join(": "));
        }
        self.last_lines.last().map_or(Ok(()), |line| write!(f, "; its last line: {line}"))
    }
}

fn name(signal: i32) -> Option<&'static str> {
    let names = [
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGSYS, "SIGSYS"),
        (libc::SIGTERM, "SIGTERM"),
    ];
    names.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_with_its_reason() {
        let mut exit = Exit::new(How::Signal(9));
        assert_eq!(exit.to_string(), "was ended by signal 9 (SIGKILL)");
        exit.last_lines.push("thread panicked".into());
        assert_eq!(
            exit.to_string(),
            "was ended by signal 9 (SIGKILL); its last line: thread panicked"
        );
        exit = Exit { how: How::Code(1), causes: vec!["no TUN".into(), "denied".into()], ..exit };
        assert_eq!(exit.to_string(), "ended with exit code 1: no TUN: denied");
    }
}
