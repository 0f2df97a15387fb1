//! The directory of summaries: a new file each time, none changed, the oldest taken out, each naming the one before.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ringmail_model::limits::SUMMARY_FILE_BYTES;
use ringmail_model::summary::{Hex, SummaryFile, Unread};

/// What every file's name begins and ends with; a number is between.
const BEFORE: &str = "proofs-";
const BEHIND: &str = ".json";

/// Where the next summary goes.
#[derive(Debug)]
pub(super) struct Book {
    directory: PathBuf,
    /// The number of the last, and what the next one names it by.
    pub(super) last: (u64, Hex<32>),
    /// When the last was made, in milliseconds since 1970.
    pub(super) last_ms: Option<u64>,
}

impl Book {
    /// Opens a directory, made if need be, and goes on behind the last file.
    pub(super) fn open(directory: &Path) -> io::Result<Book> {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        let mut book =
            Book { directory: directory.to_owned(), last: (0, Hex::default()), last_ms: None };
        for path in files(directory)?.into_iter().rev() {
            match read(&path) {
                Ok((file, hash)) => {
                    book.last = (file.summary.number, hash);
                    book.last_ms = Some(file.summary.to_ms);
                    break;
                }
                // Whoever checks will find it; numbers go on behind it.
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a summary of proofs is spoilt");
                    book.last.0 = book.last.0.max(number(&path).unwrap_or(0));
                    if book.last.0 > 0 {
                        break;
                    }
                }
            }
        }
        Ok(book)
    }

    /// Writes the next file and takes out the oldest beyond `kept`.
    pub(super) fn write(&mut self, file: &SummaryFile, kept: u32) -> io::Result<PathBuf> {
        let name = |number: u64| format!("{BEFORE}{number:010}{BEHIND}");
        let path = self.directory.join(name(file.summary.number));
        let bytes = file.to_bytes();
        // Under another name until it is whole; what is there is never written over.
        let whole = self.directory.join(format!("{}.part", name(file.summary.number)));
        let mut options = OpenOptions::new();
        let mut part = options.write(true).create(true).truncate(true).mode(0o644).open(&whole)?;
        part.write_all(&bytes)?;
        part.sync_all()?;
        fs::hard_link(&whole, &path)?;
        fs::remove_file(&whole)?;
        let (read, hash) = SummaryFile::from_bytes(&bytes).map_err(io::Error::other)?;
        self.last = (read.summary.number, hash);
        self.last_ms = Some(read.summary.to_ms);
        let there = files(&self.directory)?;
        let over = there.len().saturating_sub(kept as usize);
        for old in &there[..over] {
            fs::remove_file(old)?;
        }
        Ok(path)
    }
}

/// The summaries in a directory, in order.
///
/// # Errors
/// It cannot be read.
pub(super) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let Some(number) = number(&path) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(BEFORE)?.strip_suffix(BEHIND)?.parse().ok()
}

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Unread(#[from] Unread),
}

pub(super) fn read(path: &Path) -> Result<(SummaryFile, Hex<32>), ReadError> {
    let mut bytes = Vec::new();
    let most = SUMMARY_FILE_BYTES as u64 + 1;
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(SummaryFile::from_bytes(&bytes)?)
}
