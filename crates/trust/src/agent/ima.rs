//! The kernel's measurement list, read on from where the verifier stopped.
//!
//! Where entries end is remembered, so that a later part is read from its place in the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ringmail_trust_core::host::encoding::Base64;
use ringmail_trust_core::host::ima::entry_lengths;
use ringmail_trust_core::host::tpm::Hash;
use ringmail_trust_core::host::{ImaEntries, ImaList};
use ringmail_trust_core::limits;

/// Where the kernel shows its list as text.
pub const TEXT_LIST: &str = "/sys/kernel/security/ima/ascii_runtime_measurements";
/// Where the kernel shows its list in binary.
pub const BINARY_LIST: &str = "/sys/kernel/security/ima/binary_runtime_measurements";

/// In which form a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImaForm {
    /// A line an entry. Names that are not UTF-8 cannot be sent so.
    Text,
    /// Records, whose template hashes are of this hash: SHA-1's, but for the kernel's lists of other names.
    Binary(Hash),
}

/// A measurement list in a file.
#[derive(Debug)]
pub struct ImaFile {
    path: PathBuf,
    form: ImaForm,
    /// Where each entry that was read ends in the file.
    ends: Vec<u64>,
}

impl ImaFile {
    /// The list in this file.
    pub fn new(path: impl AsRef<Path>, form: ImaForm) -> ImaFile {
        ImaFile { path: path.as_ref().to_owned(), form, ends: Vec::new() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All whole entries from `first_entry` on. A list that has fewer is of another boot, and is answered from its start.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::InvalidData`] where the text is not UTF-8, and [`io::ErrorKind::FileTooLarge`] past
    /// the verifier's limit.
    pub fn read_from(&mut self, first_entry: u64) -> io::Result<ImaList> {
        let first = usize::try_from(first_entry).unwrap_or(usize::MAX);
        self.ends.truncate(first);
        let from = self.ends.last().copied().unwrap_or(0);
        let mut bytes = read_all(&self.path, from)?;
        let lengths = match self.form {
            ImaForm::Text => entry_lengths(&bytes, None),
            ImaForm::Binary(hash) => entry_lengths(&bytes, Some(hash)),
        };
        let mut end = from;
        self.ends.extend(lengths.map(|length| {
            end += length as u64;
            end
        }));
        if self.ends.len() < first {
            return self.read_from(0);
        }
        let begin = first.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| *end);
        // Entries that the kernel was still writing, and those in front of the first that is wanted.
        bytes.truncate(usize::try_from(end - from).unwrap_or(usize::MAX));
        bytes.drain(..usize::try_from(begin - from).unwrap_or(usize::MAX).min(bytes.len()));
        let entries = match self.form {
            ImaForm::Binary(_) => ImaEntries::Binary(Base64(bytes)),
            ImaForm::Text => ImaEntries::Text(String::from_utf8(bytes).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "a name in the list is not UTF-8")
            })?),
        };
        Ok(ImaList { first_entry, entries })
    }
}

fn read_all(path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    let limit = limits::IMA_LIST_BYTES as u64;
    if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        let what = format!("the list has more than {limit} bytes that were not appraised");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}
