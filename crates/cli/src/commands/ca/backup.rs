//! `ringmail ca backup` and `ringmail ca restore`: the authority in one encrypted file, and back.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ringmail_trust::{Authority, Backup, EmbeddedCa};
use schemars::JsonSchema;
use serde::Serialize;

use super::{rfc_3339, told};
use crate::error::Failure;
use crate::output::Report;
use crate::password;

/// The file, and the password over it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    password: password::From,
}

/// A backup of an authority that was made, or that an authority was made of.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Kept {
    /// The backup.
    backup: PathBuf,
    /// The authority's directory.
    dir: PathBuf,
    /// The trust domain of its SPIFFE ids.
    trust_domain: String,
    /// When the backup was made (RFC 3339).
    made: String,
    /// How many files are in it.
    files: usize,
    /// Its length.
    bytes: u64,
    /// Whether the directory was made of the backup, and not the backup of the directory.
    restored: bool,
}

impl Report for Kept {
    const NAME: &'static str = "ca-backup";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Kept { trust_domain, files, made, .. } = self;
        let (backup, dir) = (self.backup.display(), self.dir.display());
        if !self.restored {
            return writeln!(out, "{backup}: {files} files of {trust_domain}, and read again");
        }
        writeln!(out, "{dir}: the authority of {trust_domain}, as it was at {made}")?;
        writeln!(out, "what was issued or revoked since is not known here: revoke it again")
    }
}

impl Kept {
    fn new(ca: &EmbeddedCa, backup: Backup, restored: bool) -> Kept {
        Kept {
            dir: ca.dir().to_owned(),
            trust_domain: ca.trust_domain().to_string(),
            made: rfc_3339(backup.made_unix_s),
            files: backup.files,
            bytes: backup.bytes,
            backup: backup.path,
            restored,
        }
    }
}

pub(super) fn backup(ca: &EmbeddedCa, args: &Args) -> Result<Kept, Failure> {
    let password = args.password.new_password("the backup")?;
    Ok(Kept::new(ca, told(ca.backup(&args.file, &password))?, false))
}

pub(super) fn restore(dir: &Path, args: &Args) -> Result<Kept, Failure> {
    let password = args.password.known_password("the backup")?;
    let (ca, backup) = told(EmbeddedCa::restore(&args.file, dir, &password))?;
    Ok(Kept::new(&ca, backup, true))
}
