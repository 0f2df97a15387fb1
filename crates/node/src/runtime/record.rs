//! What a domain made on the machine, as `record.json` in its runtime directory.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{RuntimeError, file_error};
use super::process::{ProcessId, boot_id};
use crate::limits::RECORD_BYTES;

pub(super) const RECORD_FILE: &str = "record.json";
const NEW_RECORD_FILE: &str = "record.json.new";

/// What a domain made on the machine. Each thing is written here before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Names the shape of this file.
    pub schema: String,
    /// The domain's name.
    pub domain: String,
    /// The boot in which the numbers below mean something.
    pub boot_id: String,
    /// The process that runs the domain.
    pub owner: ProcessId,
    /// Whether that process is root of a user namespace of its own.
    pub rootless: bool,
    /// Network namespaces.
    pub namespaces: Vec<HeldNamespace>,
    /// Processes of elements.
    pub processes: Vec<HeldProcess>,
    /// Names of files in the runtime directory.
    pub files: Vec<String>,
    /// Whether this run made /run/netns.
    pub made_netns_directory: bool,
}

/// A network namespace of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldNamespace {
    /// Its name in the topology.
    pub name: String,
    /// Device and inode of the namespace, so that no other one is taken for it.
    pub identity: (u64, u64),
    /// Where it is mounted, as root.
    pub path: Option<PathBuf>,
    /// The owner's file descriptor that holds it.
    pub fd: i32,
}

/// A process of an element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldProcess {
    /// The element.
    pub name: String,
    /// Which process.
    pub process: ProcessId,
}

const SCHEMA: &str = "ringmail.record/1";

impl Record {
    pub(super) fn new(domain: &str, rootless: bool) -> Result<Record, RuntimeError> {
        Ok(Record {
            schema: SCHEMA.to_owned(),
            domain: domain.to_owned(),
            boot_id: boot_id()
                .map_err(file_error("/proc/sys/kernel/random/boot_id", "cannot be read"))?,
            owner: ProcessId::me().map_err(file_error("/proc/self/stat", "cannot be read"))?,
            rootless,
            namespaces: Vec::new(),
            processes: Vec::new(),
            files: Vec::new(),
            made_netns_directory: false,
        })
    }

    /// Reads the record of a runtime directory; `None` where there is none.
    ///
    /// # Errors
    /// The file cannot be read, or no start of ringmail wrote it.
    pub fn read(dir: &Path) -> Result<Option<Record>, RuntimeError> {
        let path = dir.join(RECORD_FILE);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error(path, "cannot be opened")(error)),
        };
        let mut text = Vec::new();
        file.take(RECORD_BYTES)
            .read_to_end(&mut text)
            .map_err(file_error(&path, "cannot be read"))?;
        let record: Record = serde_json::from_slice(&text)
            .map_err(|source| RuntimeError::Record { path, source })?;
        Ok(Some(record))
    }

    /// Replaces the record of a runtime directory, all at once.
    pub(super) fn write(&self, dir: &Path) -> Result<(), RuntimeError> {
        let (path, new) = (dir.join(RECORD_FILE), dir.join(NEW_RECORD_FILE));
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| RuntimeError::Record { path: path.clone(), source })?;
        let write = || {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&new)?.write_all(&text)?;
            fs::rename(&new, &path)
        };
        write().map_err(file_error(&path, "cannot be written"))
    }

    /// Whether the process that wrote this still runs.
    pub fn is_running(&self) -> bool {
        self.of_this_boot() && self.owner.is_alive()
    }

    /// Whether the numbers in it mean something.
    pub(super) fn of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot_id)
    }

    /// The file through which a namespace can be entered from outside.
    pub fn namespace_file(&self, name: &str) -> Option<PathBuf> {
        let held = self.namespaces.iter().find(|held| held.name == name)?;
        Some(match &held.path {
            Some(path) => path.clone(),
            None => format!("/proc/{}/fd/{}", self.owner.pid, held.fd).into(),
        })
    }
}

pub(super) fn remove(dir: &Path) {
    for name in [NEW_RECORD_FILE, RECORD_FILE] {
        // What is not there need not be removed, and a directory that cannot be changed shows with its own removal.
        drop(fs::remove_file(dir.join(name)));
    }
}
