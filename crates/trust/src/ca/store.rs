//! A directory of keys, an authority's or an element's: owner-only, one user at a time, and every write all or nothing.
//!
//! A file is written beside its place, synced, renamed, and the directory synced: after a crash it is the old or the
//! new one. What a crash left beside is swept away by the next use.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use crate::error::AuthorityError;
use crate::limits::{BUSY_FOR, BUSY_POLL, FILE_BYTES};

pub(super) const LOCK: &str = "lock";
/// What a name begins with that is not yet in its place.
const UNFINISHED: &str = ".unfinished-";

/// The directory.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

/// Says that this process alone uses the directory; until dropped.
#[derive(Debug)]
pub struct Locked {
    _file: File,
}

impl Store {
    /// Makes the directory, its parents included, for its owner alone.
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    pub fn create(dir: &Path) -> Result<Store, AuthorityError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(dir).map_err(failed("make", dir))?;
        Ok(Store { dir: dir.to_owned() })
    }

    /// The directory as it is there.
    pub fn open(dir: &Path) -> Store {
        Store { dir: dir.to_owned() }
    }

    /// Where a file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until no other process uses the directory, and clears away what a crash left.
    ///
    /// # Errors
    /// [`AuthorityError::Busy`] when another one keeps it.
    pub fn lock(&self) -> Result<Locked, AuthorityError> {
        let path = self.path(LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        let asked = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if asked.elapsed() < BUSY_FOR => {
                    std::thread::sleep(BUSY_POLL);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(AuthorityError::Busy { path, seconds: BUSY_FOR.as_secs() });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(AuthorityError::File { doing: "lock", path, source });
                }
            }
        }
        sweep(&self.dir);
        Ok(Locked { _file: file })
    }

    /// Refuses a directory or file that others can read or change.
    ///
    /// # Errors
    /// [`AuthorityError::Exposed`].
    pub fn check_private(&self, name: &str) -> Result<(), AuthorityError> {
        let path = if name.is_empty() { self.dir.clone() } else { self.path(name) };
        let mode =
            fs::metadata(&path).map_err(failed("look at", &path))?.permissions().mode() & 0o777;
        if mode & 0o077 == 0 { Ok(()) } else { Err(AuthorityError::Exposed { path, mode }) }
    }

    /// Whether a file of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// A file as text, wiped when dropped.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn read(&self, name: &str) -> Result<Zeroizing<String>, AuthorityError> {
        let path = self.path(name);
        let file = File::open(&path).map_err(failed("open", &path))?;
        let mut text = Zeroizing::new(String::new());
        let read = file.take(FILE_BYTES + 1).read_to_string(&mut text);
        match read {
            Ok(count) if count as u64 > FILE_BYTES => {
                Err(AuthorityError::Damaged { path, reason: "it is too large".to_owned() })
            }
            Ok(_) => Ok(text),
            Err(source) => Err(AuthorityError::File { doing: "read", path, source }),
        }
    }

    /// Puts a file in place, all or nothing, in the place of what was there. Only its owner can read it.
    ///
    /// # Errors
    /// [`AuthorityError::File`]; what was there before is there still.
    pub fn write(&self, name: &str, content: &str) -> Result<(), AuthorityError> {
        let path = self.path(name);
        let beside = self.path(&format!("{UNFINISHED}{name}"));
        write_synced(&beside, content)?;
        fs::rename(&beside, &path).map_err(failed("rename", &beside))?;
        sync_dir(&self.dir)
    }

    /// Puts a directory of files in place, all or nothing: never one of them new and another old. The parent is
    /// `kind`, made if need be; what was there is replaced only if `replace` says so.
    pub(crate) fn write_dir(
        &self,
        kind: &str,
        name: &str,
        files: &[(&str, &str)],
        replace: bool,
    ) -> Result<PathBuf, AuthorityError> {
        let parent = self.path(kind);
        Store::create(&parent)?;
        let path = parent.join(name);
        let beside = parent.join(format!("{UNFINISHED}{name}"));
        Store::create(&beside)?;
        for (file, content) in files {
            write_synced(&beside.join(file), content)?;
        }
        sync_dir(&beside)?;
        match renameat_with(CWD, &beside, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) if replace => {
                renameat_with(CWD, &beside, CWD, &path, RenameFlags::EXCHANGE)
                    .map_err(|errno| failed("replace", &path)(errno.into()))?;
                fs::remove_dir_all(&beside).map_err(failed("remove", &beside))?;
            }
            Err(rustix::io::Errno::EXIST) => {
                fs::remove_dir_all(&beside).map_err(failed("remove", &beside))?;
                return Err(AuthorityError::KeyExists { path });
            }
            Err(errno) => return Err(failed("rename", &beside)(errno.into())),
        }
        sync_dir(&parent)?;
        sync_dir(&self.dir)?;
        Ok(path)
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> AuthorityError + 'a {
    move |source| AuthorityError::File { doing, path: path.to_owned(), source }
}

fn write_synced(path: &Path, content: &str) -> Result<(), AuthorityError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("write", path))?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write", path))
}

/// Writes a file that is not there yet, for its owner alone; outside any store.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> Result<(), AuthorityError> {
    let mut create = OpenOptions::new();
    let mut file = create.write(true).create_new(true).mode(0o600).open(path).map_err(
        |source| match source.kind() {
            io::ErrorKind::AlreadyExists => AuthorityError::FileExists { path: path.to_owned() },
            _ => AuthorityError::File { doing: "make", path: path.to_owned(), source },
        },
    )?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write", path))
}

fn sync_dir(path: &Path) -> Result<(), AuthorityError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(failed("sync", path))
}

/// Removes what was being written when a process ended; failing to is no harm, the next write truncates it.
fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && unfinished => drop(fs::remove_dir_all(&path)),
            Ok(kind) if kind.is_dir() => sweep_children(&path),
            Ok(_) if unfinished => drop(fs::remove_file(&path)),
            _ => {}
        }
    }
}

/// One level down, where the directories of certificates are.
fn sweep_children(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
