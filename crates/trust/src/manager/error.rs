//! What can go wrong with the manager, and whose fault it is.

use std::path::PathBuf;

use ringmail_trust_core::manager::head::Rollback;
use ringmail_trust_core::manager::{PolicyError, Refusal};

use crate::error::AuthorityError;

/// Why the manager did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The database failed. What was being done may or may not be in it; nothing of it was handed out.
    #[error("the manager's database failed")]
    Store(#[from] rusqlite::Error),
    /// The database failed before, so that what this process remembers may not be what is on the disk.
    #[error("the manager's database failed before, and this process does nothing any more")]
    Broken,
    /// The database was edited, or parts of it are missing.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The database was written by a later release.
    #[error("{} has format {found}, and this release knows up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Another process serves from the same directory.
    #[error("another manager serves from {}", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// A peer has seen a later state of the log than the database has.
    #[error("a peer has seen more than this database holds; nothing is issued any more")]
    RolledBack(#[source] Rollback),
    /// The authority below failed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The asker, its evidence or its host is at fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The policy makes no sense.
    #[error("the policy makes no sense")]
    Policy(#[from] PolicyError),
    /// The policy is no policy.
    #[error("the policy cannot be read: {0}")]
    PolicyText(String),
    /// Reference values cannot be read, or make no sense.
    #[error("the reference values in {} are refused: {reason}", path.display())]
    References {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The evidence proves nothing at all: it is no evidence, or enrols nothing.
    #[error("the evidence is refused: {0}")]
    Evidence(String),
    /// The token is unknown, spent, too old or another host's.
    #[error("the token of host {0} is refused: it is unknown, spent, too old or another's")]
    BadToken(String),
    /// The asker asked for what makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// The asker may not ask this.
    #[error("{0}")]
    Forbidden(String),
}

impl ManagerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            ManagerError::Broken | ManagerError::Store(_) => {
                "look at the disk, then start the manager again"
            }
            ManagerError::Damaged { .. } => "restore the directory from a backup",
            ManagerError::Newer { .. } => "use the release that wrote it, or a later one",
            ManagerError::Busy { .. } => "end it first, or name another directory",
            ManagerError::RolledBack(_) => {
                "restore the newest database; if it is lost, make a new log and let every peer forget the old head"
            }
            ManagerError::Authority(error) => return error.hint(),
            ManagerError::Refused(Refusal::Stale(_) | Refusal::Overtaken | Refusal::BadNonce) => {
                "ask for a nonce and show new evidence"
            }
            ManagerError::Refused(Refusal::NotTrusted { .. }) => {
                "mend what is wrong, show evidence, and where policy says so ask an operator"
            }
            ManagerError::Refused(Refusal::NotPlaced { .. }) => {
                "name the function and its hosts under `functions` in the policy"
            }
            ManagerError::BadToken(_) => "make another with: ringmail trust token HOST",
            _ => return None,
        })
    }
}
