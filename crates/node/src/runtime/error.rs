//! Why a domain cannot hold its place on the machine.

use std::io;
use std::path::PathBuf;

/// The runtime directory of a domain cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Somebody runs this domain.
    #[error("domain {domain} is up already{}", pid.map(|pid| format!(", as process {pid}")).unwrap_or_default())]
    Busy {
        /// Which.
        domain: String,
        /// Who, where the record says so.
        pid: Option<u32>,
    },
    /// Nobody runs this domain.
    #[error("domain {domain} is not up")]
    NotUp {
        /// Which.
        domain: String,
    },
    /// No domain was named, and not exactly one runs.
    #[error("{}", if domains.is_empty() { "no domain is up".to_owned() } else { format!("several domains are up: {}", domains.join(", ")) })]
    Unclear {
        /// Those that run.
        domains: Vec<String>,
    },
    /// The name would leave the directory.
    #[error("{name:?} is no domain name")]
    Name {
        /// As it was given.
        name: String,
    },
    /// A directory that others may write to, or that belongs to another user.
    #[error("{path} is not a directory of this user alone")]
    NotOurs {
        /// Which.
        path: PathBuf,
    },
    /// A file that a start makes is there already, and the record does not have it.
    #[error("{path} exists and does not belong to this domain")]
    Taken {
        /// Which.
        path: PathBuf,
    },
    /// A process of a crashed run does not end.
    #[error("process {pid} ({name}) of an earlier run does not end")]
    Lingers {
        /// Which.
        pid: u32,
        /// The element it was.
        name: String,
    },
    /// The record is not what a start of ringmail writes.
    #[error("{path} cannot be understood")]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file operation failed.
    #[error("{path} {step}")]
    File {
        /// Which.
        path: PathBuf,
        /// What was being done, e.g. `cannot be written`.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
}

impl RuntimeError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            RuntimeError::Busy { domain, .. } => {
                Some(format!("stop it with `ringmail down --domain {domain}`"))
            }
            RuntimeError::NotUp { .. } => Some("start it with `ringmail up FILE`".to_owned()),
            RuntimeError::Unclear { domains } if domains.is_empty() => {
                Some("start one with `ringmail up FILE`".to_owned())
            }
            RuntimeError::Unclear { .. } => Some("name one with --domain".to_owned()),
            RuntimeError::NotOurs { path } | RuntimeError::Taken { path } => {
                Some(format!("look who made it: ls -ld {}", path.display()))
            }
            RuntimeError::Record { path, .. } => {
                Some(format!("if nothing of the domain runs any more, remove {}", path.display()))
            }
            _ => None,
        }
    }
}

/// A shorthand for the many file operations.
pub(super) fn file_error(
    path: impl Into<PathBuf>,
    step: &'static str,
) -> impl FnOnce(io::Error) -> RuntimeError {
    let path = path.into();
    move |source| RuntimeError::File { path, step, source }
}
