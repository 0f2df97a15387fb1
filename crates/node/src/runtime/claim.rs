//! The hold of one process on one domain: the lock, the record, and what goes when the hold ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::fstat;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::error::{RuntimeError, file_error};
use super::place::{Place, private_dir};
use super::process::ProcessId;
use super::record::{self, HeldNamespace, HeldProcess, Record};
use crate::limits::{CLAIM_ATTEMPTS, LEFTOVER_ENDS_WITHIN};
use crate::topology::{Netns, Privilege};

const LOCK_FILE: &str = "lock";
const NETNS_DIRECTORY: &str = "/run/netns";

/// The hold on a domain. Whatever its record says goes when it is released or dropped.
#[derive(Debug)]
pub struct Claim {
    place: Place,
    dir: PathBuf,
    record: Record,
    /// Locked (flock(2)); the lock goes with the process, however it ends.
    _lock: File,
    held: bool,
}

/// What a start removed of an earlier run that crashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Names under /run/netns.
    pub namespaces: usize,
    /// Processes that were still alive.
    pub processes: usize,
    /// Files in the runtime directory.
    pub files: usize,
}

impl Claim {
    /// Takes hold of a domain, and removes what a crashed run left.
    ///
    /// # Errors
    /// [`RuntimeError::Busy`] where it runs; else what keeps the directory from being used or cleaned.
    pub fn take(
        place: &Place,
        domain: &str,
        privilege: Privilege,
    ) -> Result<(Claim, Leftovers), RuntimeError> {
        let dir = place.domain_dir(domain)?;
        let lock = lock(place, &dir, domain)?;
        let leftovers = match Record::read(&dir)? {
            Some(old) => clean(&dir, &old)?,
            None => Leftovers::default(),
        };
        let record = Record::new(domain, privilege != Privilege::Root)?;
        record.write(&dir)?;
        let claim = Claim { place: place.clone(), dir, record, _lock: lock, held: true };
        Ok((claim, leftovers))
    }

    /// The runtime directory, for this user alone.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was made so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The path of a file in the runtime directory that goes with the claim. The caller makes it.
    ///
    /// # Errors
    /// The record cannot be written, or the name is none.
    pub fn hold_file(&mut self, name: &str) -> Result<PathBuf, RuntimeError> {
        if !crate::topology::valid_name(name)
            || name == LOCK_FILE
            || name.starts_with(record::RECORD_FILE)
        {
            return Err(RuntimeError::Name { name: name.to_owned() });
        }
        if !self.record.files.iter().any(|known| known == name) {
            self.record.files.push(name.to_owned());
            self.record.write(&self.dir)?;
        }
        Ok(self.dir.join(name))
    }

    /// Notes a process of an element, so that the next start ends it if this process cannot.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn hold_process(&mut self, name: &str, process: ProcessId) -> Result<(), RuntimeError> {
        // It may be the second of its name, after the first one's end.
        self.record.processes.retain(|held| held.name != name);
        self.record.processes.push(HeldProcess { name: name.to_owned(), process });
        self.record.write(&self.dir)
    }

    /// Forgets a process that has ended.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn forget_process(&mut self, process: ProcessId) -> Result<(), RuntimeError> {
        self.record.processes.retain(|held| held.process != process);
        self.record.write(&self.dir)
    }

    /// Notes a namespace; as root gives it the name `ringmail-DOMAIN-NAME` under /run/netns.
    ///
    /// # Errors
    /// The name is taken by a file that is not ours, or it cannot be made.
    pub fn hold_namespace(
        &mut self,
        netns: &Netns,
        privilege: Privilege,
    ) -> Result<(), RuntimeError> {
        let stat = fstat(netns.as_fd()).map_err(|error| {
            file_error(netns.name(), "is no namespace that can be looked at")(error.into())
        })?;
        let path = match privilege {
            Privilege::Root => Some(Path::new(NETNS_DIRECTORY).join(format!(
                "ringmail-{}-{}",
                self.record.domain,
                netns.name()
            ))),
            Privilege::Rootless { .. } => None,
        };
        if let Some(path) = &path
            && fs::symlink_metadata(path).is_ok()
        {
            return Err(RuntimeError::Taken { path: path.clone() });
        }
        if path.is_some() && !Path::new(NETNS_DIRECTORY).exists() {
            self.record.made_netns_directory = true;
        }
        self.record.namespaces.push(HeldNamespace {
            name: netns.name().to_owned(),
            identity: (stat.st_dev, stat.st_ino),
            path: path.clone(),
            fd: netns.as_fd().as_raw_fd(),
        });
        self.record.write(&self.dir)?;
        path.map_or(Ok(()), |path| give_name(netns, &path))
    }

    /// Takes away the name of a namespace, if it has one, and forgets it.
    ///
    /// # Errors
    /// The name cannot be taken away, or the record cannot be written.
    pub fn forget_namespace(&mut self, name: &str) -> Result<(), RuntimeError> {
        let held = self.record.namespaces.extract_if(.., |held| held.name == name);
        for held in held.collect::<Vec<_>>() {
            remove_name(&held)?;
        }
        self.record.write(&self.dir)
    }

    /// Takes away everything that the record says, and lets go of the domain.
    ///
    /// # Errors
    /// The first thing that could not be taken away; the others were tried nevertheless.
    pub fn release(mut self) -> Result<(), RuntimeError> {
        self.let_go()
    }

    fn let_go(&mut self) -> Result<(), RuntimeError> {
        self.held = false;
        clean(&self.dir, &self.record)?;
        record::remove(&self.dir);
        // The lock file goes while it is locked: whoever opened it before sees that it has no name any more.
        let lock = self.dir.join(LOCK_FILE);
        fs::remove_file(&lock).map_err(file_error(lock, "cannot be removed"))?;
        match fs::remove_dir(&self.dir) {
            // Whoever waits for the domain has made its lock file there already, or has come and gone.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) => {}
            other => other.map_err(file_error(&self.dir, "cannot be removed"))?,
        }
        // Other domains may have theirs beside it; then it stays.
        drop(fs::remove_dir(self.place.base()));
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.held
            && let Err(error) = self.let_go()
        {
            tracing::warn!(domain = self.record.domain, %error, "the domain's traces are not all gone");
        }
    }
}

fn lock(place: &Place, dir: &Path, domain: &str) -> Result<File, RuntimeError> {
    let path = dir.join(LOCK_FILE);
    for _ in 0..CLAIM_ATTEMPTS {
        if let Some(above) = place.base().parent() {
            fs::create_dir_all(above).map_err(file_error(above, "cannot be made"))?;
        }
        let file = private_dir(place.base()).and_then(|()| private_dir(dir)).and_then(|()| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.open(&path).map_err(file_error(&path, "cannot be opened"))
        });
        let file = match file {
            // Another process just removed one of the directories, having let go of a domain.
            Err(RuntimeError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            other => other?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let record = Record::read(dir).ok().flatten();
                let pid = record.filter(Record::is_running).map(|record| record.owner.pid);
                return Err(RuntimeError::Busy { domain: domain.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => {
                return Err(file_error(&path, "cannot be locked")(error));
            }
        }
        // The file that was locked is the one that has the name, unless its holder removed it in between.
        let same = file.metadata().and_then(|locked| {
            fs::metadata(&path)
                .map(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino()))
        });
        if same.unwrap_or(false) {
            return Ok(file);
        }
    }
    Err(RuntimeError::Busy { domain: domain.to_owned(), pid: None })
}

fn give_name(netns: &Netns, path: &Path) -> Result<(), RuntimeError> {
    fs::create_dir_all(NETNS_DIRECTORY).map_err(file_error(NETNS_DIRECTORY, "cannot be made"))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o444);
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => RuntimeError::Taken { path: path.to_owned() },
        _ => file_error(path, "cannot be made")(error),
    })?;
    let source = format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd());
    mount_bind(&source, path)
        .map_err(|error| file_error(path, "cannot be mounted on")(error.into()))
}

/// Takes away what a record says, and nothing else.
fn clean(dir: &Path, record: &Record) -> Result<Leftovers, RuntimeError> {
    let mut gone = Leftovers::default();
    let mut first_failure = None;
    let mut note = |result: Result<bool, RuntimeError>, count: &mut usize| match result {
        Ok(true) => *count += 1,
        Ok(false) => {}
        Err(error) => drop(first_failure.get_or_insert(error)),
    };
    if record.of_this_boot() {
        for held in &record.processes {
            note(end_process(held), &mut gone.processes);
        }
        for held in &record.namespaces {
            note(remove_name(held), &mut gone.namespaces);
        }
    }
    for name in &record.files {
        note(remove_file(&dir.join(name)), &mut gone.files);
    }
    if record.made_netns_directory {
        // Stays if somebody else has a namespace there by now.
        drop(fs::remove_dir(NETNS_DIRECTORY));
    }
    first_failure.map_or(Ok(gone), Err)
}

fn end_process(held: &HeldProcess) -> Result<bool, RuntimeError> {
    if !held.process.is_alive() {
        return Ok(false);
    }
    match held.process.kill(LEFTOVER_ENDS_WITHIN) {
        Ok(()) => Ok(true),
        Err(_) => Err(RuntimeError::Lingers { pid: held.process.pid, name: held.name.clone() }),
    }
}

fn remove_name(held: &HeldNamespace) -> Result<bool, RuntimeError> {
    let Some(path) = &held.path else { return Ok(false) };
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(false) };
    if (found.dev(), found.ino()) == held.identity {
        unmount(path, UnmountFlags::DETACH)
            .map_err(|error| file_error(path, "cannot be unmounted")(error.into()))?;
    } else if found.len() != 0 || !found.is_file() || is_namespace(path) {
        // Somebody else's by now.
        return Ok(false);
    }
    remove_file(path)
}

/// A file of a namespace lies on nsfs, a placeholder on the file system of its directory.
fn is_namespace(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    path.parent().and_then(device) != device(path)
}

fn remove_file(path: &Path) -> Result<bool, RuntimeError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(file_error(path, "cannot be removed")(error)),
    }
}
