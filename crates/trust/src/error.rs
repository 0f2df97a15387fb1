//! What can go wrong with an authority, and whose fault it is.

use std::io;
use std::path::PathBuf;

/// Why an authority did not do what it was asked to. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The system refused a file operation.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was being done: a verb such as `write`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller named a directory that holds no authority.
    #[error("{} holds no authority", dir.display())]
    NotFound {
        /// The directory.
        dir: PathBuf,
    },
    /// The caller would overwrite an authority.
    #[error("{} holds an authority already", dir.display())]
    AuthorityExists {
        /// The directory.
        dir: PathBuf,
    },
    /// The caller would overwrite a key.
    #[error("{} exists already, with a private key in it", path.display())]
    KeyExists {
        /// The directory of the certificate and its key.
        path: PathBuf,
    },
    /// The caller would overwrite a file.
    #[error("{} exists already", path.display())]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// Somebody let others read what only the owner may.
    #[error("{} has mode {mode:03o}, so others can read or change it", path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file of the authority was damaged, or edited by hand.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory was written by a later release.
    #[error("{} has format {found}, and this release knows up to {known}", path.display())]
    Newer {
        /// The state file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Another process uses the authority and does not end.
    #[error("another process has kept {} locked for {seconds} s", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited.
        seconds: u64,
    },
    /// The caller asked for a certificate that makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// The element sent a certificate signing request that is none, or is not properly signed.
    #[error("the certificate signing request of element {element} is refused: {reason}")]
    BadSigningRequest {
        /// Who sent it.
        element: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Whoever wants to enrol showed a token that is unknown, spent, too old or another element's.
    #[error(
        "the token of element {element} is refused: it is unknown, spent, too old or another's"
    )]
    BadToken {
        /// Who it claims to be.
        element: String,
    },
    /// The caller's file is no backup, or the password is not that of the backup.
    #[error("the backup {} is refused: {reason}", path.display())]
    BackupRefused {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The caller is ahead of time.
    #[error("it is too early: {what}")]
    TooEarly {
        /// What is not the case.
        what: &'static str,
    },
    /// The caller named a certificate that was never issued, or is long gone.
    #[error("no certificate is known as {0}")]
    NoSuchCertificate(String),
    /// The caller revoked it before.
    #[error("every certificate known as {0} is revoked already")]
    AlreadyRevoked(String),
    /// The authority remembers as many certificates as it may.
    #[error("the authority remembers {0} certificates and no more")]
    Full(usize),
    /// The library that makes certificates failed; a fault of this program.
    #[error("the certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// The library that signs failed; a fault of this program or of the machine.
    #[error("the signature could not be made")]
    Signature,
}

impl AuthorityError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            AuthorityError::NotFound { .. } => "make one with: ringmail ca init",
            AuthorityError::AuthorityExists { .. } => {
                "choose another directory; an authority is never overwritten"
            }
            AuthorityError::KeyExists { .. } => {
                "with --force a new key takes its place; revoke the old certificate if it leaked"
            }
            AuthorityError::FileExists { .. } => "name another file, or move that one away",
            AuthorityError::TooEarly { .. } => "see when it is time: ringmail ca rotate status",
            AuthorityError::Exposed { .. } => {
                "make it yours alone (chmod go= …), and think about who may have read it"
            }
            AuthorityError::Damaged { .. } => "restore the directory from a backup",
            AuthorityError::Newer { .. } => "use the release that wrote it, or a later one",
            AuthorityError::Busy { .. } => "look for a ringmail process that hangs",
            AuthorityError::NoSuchCertificate(_) => "see which there are with: ringmail ca list",
            AuthorityError::BadToken { .. } => "make another with: ringmail ca token NAME",
            AuthorityError::Full(_) => "start a new authority; this one has issued too many",
            _ => return None,
        })
    }
}
