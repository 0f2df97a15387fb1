//! Where the runtime directories of a user's domains lie, and which of them are running.

use std::env;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::error::{RuntimeError, file_error};
use super::record::Record;
use crate::topology::{Privilege, valid_name};

/// The directory that holds one runtime directory a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    base: PathBuf,
}

/// Takes the place of the usual directory, e.g. in a container or a test.
const PLACE_VARIABLE: &str = "RINGMAIL_RUNTIME_DIR";

impl Place {
    /// `$RINGMAIL_RUNTIME_DIR`; as root `/run/ringmail`; else `$XDG_RUNTIME_DIR/ringmail`, or `/tmp/ringmail-UID`.
    ///
    /// Called before a user namespace is entered, since it asks who the user is.
    pub fn usual() -> Place {
        if let Some(path) = env::var_os(PLACE_VARIABLE).filter(|path| !path.is_empty()) {
            return Place::at(path);
        }
        if Privilege::is_root() {
            return Place::at("/run/ringmail");
        }
        let uid = geteuid().as_raw();
        let own = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == uid)
        };
        match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(own) {
            Some(path) => Place::at(path.join("ringmail")),
            None => Place::at(format!("/tmp/ringmail-{uid}")),
        }
    }

    /// A directory of the caller's choice. It is made when need be.
    pub fn at(base: impl Into<PathBuf>) -> Place {
        Place { base: base.into() }
    }

    /// The directory that holds the domains' directories.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The runtime directory of a domain, whether it exists or not.
    ///
    /// # Errors
    /// The name is none.
    pub fn domain_dir(&self, domain: &str) -> Result<PathBuf, RuntimeError> {
        if !valid_name(domain) {
            return Err(RuntimeError::Name { name: domain.to_owned() });
        }
        Ok(self.base.join(domain))
    }

    /// The domains that run, by name.
    ///
    /// # Errors
    /// The directory cannot be read. Records that cannot be read are passed over.
    pub fn running(&self) -> Result<Vec<Record>, RuntimeError> {
        let entries = match fs::read_dir(&self.base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file_error(&self.base, "cannot be read")(error)),
        };
        let mut running: Vec<Record> = entries
            .filter_map(|entry| Record::read(&entry.ok()?.path()).ok()?)
            .filter(Record::is_running)
            .collect();
        running.sort_by(|one, other| one.domain.cmp(&other.domain));
        Ok(running)
    }

    /// The domain of this name, or the only one that runs; with its runtime directory.
    ///
    /// # Errors
    /// It does not run, or it is not clear which one is meant.
    pub fn find(&self, domain: Option<&str>) -> Result<(PathBuf, Record), RuntimeError> {
        if let Some(domain) = domain {
            let dir = self.domain_dir(domain)?;
            return match Record::read(&dir)?.filter(Record::is_running) {
                Some(record) => Ok((dir, record)),
                None => Err(RuntimeError::NotUp { domain: domain.to_owned() }),
            };
        }
        let mut running = self.running()?;
        match running.pop() {
            Some(only) if running.is_empty() => Ok((self.domain_dir(&only.domain)?, only)),
            last => {
                running.extend(last);
                let domains = running.into_iter().map(|record| record.domain).collect();
                Err(RuntimeError::Unclear { domains })
            }
        }
    }
}

/// Makes a directory for this user alone, or checks that it is one.
pub(super) fn private_dir(path: &Path) -> Result<(), RuntimeError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file_error(path, "cannot be made")(error)),
    }
    // Not through a link: in /tmp somebody else may have put one there.
    let found = fs::symlink_metadata(path).map_err(file_error(path, "cannot be looked at"))?;
    let private = found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
    if private { Ok(()) } else { Err(RuntimeError::NotOurs { path: path.to_owned() }) }
}
