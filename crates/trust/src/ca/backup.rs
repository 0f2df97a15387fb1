//! The whole directory of an authority in one encrypted file, and back (`docs/formats/ca-backup.md`).
//!
//! A backup is read again before it counts as made. What is restored is judged whole, beside its place, before it is put
//! there. Numbers that must never repeat skip ahead, since the authority may have gone on after the backup.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{pbkdf2, rand};
use zeroize::Zeroizing;

use super::state::{STATE, State};
use super::store::{self, Store};
use super::{Clock, EmbeddedCa};
use crate::error::AuthorityError;
use crate::limits::{
    BACKUP_BYTES, BACKUP_ROUNDS, BACKUP_ROUNDS_MAX, FILE_BYTES, RESTORED_LATER_CRL,
    RESTORED_LATER_LEASE,
};
use crate::password::Password;

/// What a backup begins with; the last byte is the format's version.
const MAGIC: &[u8; 16] = b"ringmail backup\x01";
const SALT: usize = 16;
/// Magic, time, rounds, salt, nonce: what is authenticated and not encrypted.
const HEADER: usize = MAGIC.len() + 8 + 4 + SALT + NONCE_LEN;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Where it is.
    pub path: PathBuf,
    /// Seconds since 1970 when it was made.
    pub made_unix_s: u64,
    /// The files in it.
    pub files: usize,
    /// Its length.
    pub bytes: u64,
}

/// Files by their path below the directory, with `/` between the parts.
type Files = BTreeMap<String, Zeroizing<Vec<u8>>>;

impl EmbeddedCa {
    /// Writes everything that the authority is into one file at `path`, which is not there yet.
    ///
    /// # Errors
    /// [`AuthorityError`]; then there is no file.
    pub fn backup(&self, path: &Path, password: &Password) -> Result<Backup, AuthorityError> {
        self.check()?;
        let locked = self.store.lock()?;
        let files = gathered(self.store.dir())?;
        drop(locked);
        let made_unix_s = self.now_unix_s();
        let sealed = seal(&files, made_unix_s, password)?;
        store::write_new(path, &sealed)?;
        let again = read(path).and_then(|bytes| open(path, &bytes, password));
        match again {
            Ok((_, found)) if found == files => {}
            read_back => {
                // What cannot be read is no backup.
                drop(fs::remove_file(path));
                let differs = || damaged(path, "it reads otherwise than it was written");
                return Err(read_back.err().unwrap_or_else(differs));
            }
        }
        let bytes = sealed.len() as u64;
        Ok(Backup { path: path.to_owned(), made_unix_s, files: files.len(), bytes })
    }

    /// Puts the authority of a backup into `dir`, which is not there yet or is empty.
    ///
    /// # Errors
    /// [`AuthorityError::BackupRefused`] where the password or the file is wrong; [`AuthorityError::AuthorityExists`].
    /// Nothing is left behind.
    pub fn restore(
        path: &Path,
        dir: &Path,
        password: &Password,
    ) -> Result<(EmbeddedCa, Backup), AuthorityError> {
        EmbeddedCa::restore_at(path, dir, password, Arc::new(SystemTime::now))
    }

    /// As [`EmbeddedCa::restore`], with another clock.
    ///
    /// # Errors
    /// As [`EmbeddedCa::restore`].
    pub fn restore_at(
        path: &Path,
        dir: &Path,
        password: &Password,
        clock: Clock,
    ) -> Result<(EmbeddedCa, Backup), AuthorityError> {
        let sealed = read(path)?;
        let (made_unix_s, files) = open(path, &sealed, password)?;
        let backup = Backup {
            path: path.to_owned(),
            made_unix_s,
            files: files.len(),
            bytes: sealed.len() as u64,
        };
        super::open::put_in_place(dir, |beside| {
            unpack(beside, path, &files)?;
            let ca = EmbeddedCa::open_at(beside, Arc::clone(&clock))?;
            ca.check()?;
            ca.skip_ahead()
        })?;
        Ok((EmbeddedCa::open_at(dir, clock)?, backup))
    }

    /// The authority may have given numbers out since that the backup does not know of.
    fn skip_ahead(&self) -> Result<(), AuthorityError> {
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        state.crl_number = state.crl_number.saturating_add(RESTORED_LATER_CRL);
        state.lease_serials = state.lease_serials.saturating_add(RESTORED_LATER_LEASE);
        self.renew_crl(&mut state)
    }
}

/// Every file of the directory but what only running processes need.
fn gathered(dir: &Path) -> Result<Files, AuthorityError> {
    let mut files = Files::new();
    let mut open = vec![(dir.to_owned(), String::new())];
    let mut bytes = 0;
    while let Some((folder, prefix)) = open.pop() {
        let failed = |source| AuthorityError::File { doing: "read", path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| damaged(&path, "its name is no UTF-8"))?;
            if prefix.is_empty() && name == store::LOCK {
                continue;
            }
            let kind = entry.file_type().map_err(failed)?;
            let below = format!("{prefix}{name}");
            if kind.is_dir() {
                open.push((path, format!("{below}/")));
            } else if kind.is_file() && well_formed(&below) {
                let content = Zeroizing::new(read_up_to(&path, FILE_BYTES)?);
                bytes += content.len() as u64;
                files.insert(below, content);
            } else {
                return Err(damaged(&path, "an authority has no such file"));
            }
        }
    }
    match bytes <= BACKUP_BYTES {
        true => Ok(files),
        false => Err(damaged(dir, "it is larger than a backup may be")),
    }
}

/// A path as an authority has them: it leads nowhere else, and hides nothing.
fn well_formed(path: &str) -> bool {
    let part = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(known)
    };
    path.split('/').count() <= 3 && path.split('/').all(part)
}

fn seal(files: &Files, made_unix_s: u64, password: &Password) -> Result<Vec<u8>, AuthorityError> {
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE_LEN]);
    for random in [&mut salt[..], &mut nonce[..]] {
        rand::fill(random).map_err(|_| AuthorityError::Signature)?;
    }
    let mut header = MAGIC.to_vec();
    header.extend(made_unix_s.to_be_bytes());
    header.extend(BACKUP_ROUNDS.to_be_bytes());
    header.extend(salt);
    header.extend(nonce);
    let mut content = packed(files);
    let tag = key(password, &salt, BACKUP_ROUNDS)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&header),
            &mut content,
        )
        .map_err(|_| AuthorityError::Signature)?;
    header.extend_from_slice(&content);
    header.extend_from_slice(tag.as_ref());
    Ok(header)
}

/// When it was made, and what is in it.
fn open(path: &Path, sealed: &[u8], password: &Password) -> Result<(u64, Files), AuthorityError> {
    let refused = |reason| AuthorityError::BackupRefused { path: path.to_owned(), reason };
    let (header, content) =
        sealed.split_at_checked(HEADER).ok_or(refused("it is no backup of an authority"))?;
    let mut rest = header;
    let magic = take(&mut rest).ok_or(refused("it is no backup of an authority"))?;
    if magic[..15] != MAGIC[..15] {
        return Err(refused("it is no backup of an authority"));
    }
    if magic != *MAGIC {
        return Err(refused("a later release made it"));
    }
    let cut = || refused("it is cut short");
    let made_unix_s = u64::from_be_bytes(take(&mut rest).ok_or_else(cut)?);
    let rounds = u32::from_be_bytes(take(&mut rest).ok_or_else(cut)?);
    let salt = take(&mut rest).ok_or_else(cut)?;
    let nonce = take(&mut rest).ok_or_else(cut)?;
    if rounds > BACKUP_ROUNDS_MAX {
        return Err(refused("it asks for more work than any backup"));
    }
    let mut content = Zeroizing::new(content.to_vec());
    let opened = key(password, &salt, rounds)?
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut content)
        .map_err(|_| refused("the password is another, or the file was changed"))?;
    let files = unpacked(opened).ok_or(refused("what is in it is none of an authority"))?;
    Ok((made_unix_s, files))
}

fn key(password: &Password, salt: &[u8; SALT], rounds: u32) -> Result<LessSafeKey, AuthorityError> {
    let rounds = NonZeroU32::new(rounds).ok_or(AuthorityError::Signature)?;
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.bytes(), key.as_mut_slice());
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
    Ok(LessSafeKey::new(key.map_err(|_| AuthorityError::Signature)?))
}

/// Path and content of each, in the order of the paths, each behind its length.
fn packed(files: &Files) -> Zeroizing<Vec<u8>> {
    let len = files.iter().map(|(path, content)| 8 + path.len() + content.len()).sum();
    // All the room from the start, so that no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len));
    for (path, content) in files {
        for part in [path.as_bytes(), content] {
            // Both are limited: paths by `well_formed`'s parts, contents by FILE_BYTES.
            bytes.extend((part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

fn unpacked(mut bytes: &[u8]) -> Option<Files> {
    let mut files = Files::new();
    let part = |bytes: &mut &[u8]| {
        let len = u32::from_be_bytes(take(bytes)?);
        let (part, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
        *bytes = rest;
        Some(Zeroizing::new(part.to_vec()))
    };
    while !bytes.is_empty() {
        let path = String::from_utf8(part(&mut bytes)?.to_vec()).ok()?;
        let content = part(&mut bytes)?;
        if !well_formed(&path) || files.insert(path, content).is_some() {
            return None;
        }
    }
    files.contains_key(STATE).then_some(files)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// Fills a directory that nobody else uses yet.
fn unpack(dir: &Path, backup: &Path, files: &Files) -> Result<(), AuthorityError> {
    for (below, content) in files {
        let path = dir.join(below);
        let parent = path.parent().ok_or_else(|| damaged(backup, "a file in it has no place"))?;
        Store::create(parent)?;
        store::write_new(&path, content)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, AuthorityError> {
    read_up_to(path, BACKUP_BYTES * 2)
}

fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>, AuthorityError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    let failed = |source| AuthorityError::File { doing: "read", path: path.to_owned(), source };
    match read.map_err(failed)? as u64 > limit {
        true => Err(damaged(path, "it is too large")),
        false => Ok(bytes),
    }
}

fn damaged(path: &Path, reason: &str) -> AuthorityError {
    AuthorityError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}
