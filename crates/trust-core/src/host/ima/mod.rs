//! The kernel's measurement list (Linux, Documentation/security/IMA-templates.rst), in both of its forms, and its replay.

mod binary;
pub mod entry;
pub mod replay;
mod text;

use std::borrow::Cow;

pub use entry::{Entry, EntryError, Event, FileDigest};
pub use replay::Replay;

use super::evidence::ImaEntries;
use super::tpm::Hash;

/// The register that the kernel extends.
pub const IMA_PCR: u8 = 10;

/// The entries of a list. After an error in the binary form nothing follows; in the text form the next line does.
pub fn entries(list: &ImaEntries, log_hash: Hash) -> Entries<'_> {
    match list {
        ImaEntries::Text(text) => Entries::Text(text::Lines::new(text)),
        ImaEntries::Binary(bytes) => Entries::Binary(binary::Records::new(&bytes.0, log_hash)),
    }
}

/// See [`entries`].
#[derive(Debug)]
pub enum Entries<'a> {
    /// Lines.
    #[doc(hidden)]
    Text(text::Lines<'a>),
    /// Records.
    #[doc(hidden)]
    Binary(binary::Records<'a>),
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Entries::Text(lines) => lines.next(),
            Entries::Binary(records) => records.next(),
        }
    }
}

/// Bytes of each whole entry of a list that was read from the kernel: of text, or of the binary form with template hashes of this
/// hash. It ends where an entry is not whole, or is none.
pub fn entry_lengths(bytes: &[u8], binary: Option<Hash>) -> impl Iterator<Item = usize> + '_ {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let before = left.len();
        match binary {
            None => left = left.get(memchr::memchr(b'\n', left)? + 1..)?,
            Some(log_hash) => drop(binary::entry(&mut left, log_hash).ok()?),
        }
        Some(before - left.len())
    })
}

/// Bytes of the list, as sent.
pub(crate) fn len_bytes(list: &ImaEntries) -> usize {
    match list {
        ImaEntries::Text(text) => text.len(),
        ImaEntries::Binary(bytes) => bytes.0.len(),
    }
}

/// A field of a template's data: its length in four little-endian bytes, then itself.
fn push_field(data: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    data.extend((length as u32).to_le_bytes());
    parts.iter().for_each(|part| data.extend_from_slice(part));
}

/// The data of the template `ima`, which has no lengths: the digest, and the name with zeros up to 256 bytes.
fn ima_template_data(digest: &[u8], name: &[u8]) -> Option<Cow<'static, [u8]>> {
    if name.len() >= IMA_NAME_BYTES {
        return None;
    }
    let mut data = digest.to_vec();
    data.extend_from_slice(name);
    data.resize(digest.len() + IMA_NAME_BYTES, 0);
    Some(Cow::Owned(data))
}

/// Bytes of the name in the template `ima`, zeros included.
const IMA_NAME_BYTES: usize = 256;
