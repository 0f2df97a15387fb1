//! The binary form, `binary_runtime_measurements`, little-endian:
//!
//! ```text
//! u32 register | template hash | u32 length, template's name | u32 length, template's data
//! ```
//!
//! The data of the template `ima` has no length in front: a digest of 20 bytes, and the name with its length. That of the others
//! is fields, each with its length; a digest is `ALGORITHM:` NUL DIGEST, a name ends with NUL.

use std::borrow::Cow;

use super::entry::{DIGEST_KINDS, Entry, EntryError, FileDigest, Template};
use super::{IMA_NAME_BYTES, ima_template_data};
use crate::host::tpm::{Digest, Hash};
use crate::limits;

/// The records of a list.
#[derive(Debug)]
pub struct Records<'a> {
    left: &'a [u8],
    log_hash: Hash,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8], log_hash: Hash) -> Records<'a> {
        Records { left: bytes, log_hash }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Entry<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let read = entry(&mut self.left, self.log_hash);
        if read.is_err() {
            self.left = &[];
        }
        Some(read)
    }
}

/// Reads one record off the front.
pub(super) fn entry<'a>(left: &mut &'a [u8], log_hash: Hash) -> Result<Entry<'a>, EntryError> {
    let pcr = number(left)?;
    let template_hash = Digest::of(take(left, log_hash.len_bytes())?);
    let template = Template::named(sized(left, limits::IMA_TEMPLATE_NAME_BYTES)?)?;
    if template == Template::Ima {
        let digest = Digest::of(take(left, Hash::Sha1.len_bytes())?);
        let name = sized(left, IMA_NAME_BYTES)?;
        let too_long = EntryError::Fields("the name is longer than the template takes");
        let data = ima_template_data(digest.as_bytes(), name).ok_or(too_long)?;
        let digest = FileDigest { algorithm: Cow::Borrowed(Hash::Sha1.name()), digest };
        let event = template.event(digest, Cow::Borrowed(name), None);
        return Ok(Entry { pcr, template_hash, event, data });
    }
    let data = sized(left, limits::IMA_ENTRY_BYTES)?;
    let mut fields = data;
    let digest = digest_field(template, sized(&mut fields, data.len())?)?;
    let name = sized(&mut fields, data.len())?;
    let name = name.strip_suffix(&[0]).ok_or(EntryError::Fields("the name has no end"))?;
    let third = match template.has_third() {
        true => Some(Cow::Borrowed(sized(&mut fields, data.len())?)),
        false => None,
    };
    if !fields.is_empty() {
        return Err(EntryError::Fields("more follows the last field"));
    }
    let event = template.event(digest, Cow::Borrowed(name), third);
    Ok(Entry { pcr, template_hash, event, data: Cow::Borrowed(data) })
}

fn digest_field(template: Template, field: &[u8]) -> Result<FileDigest<'_>, EntryError> {
    let wrong = EntryError::Fields("the digest is not ALGORITHM:, NUL, and the digest");
    let end = field.iter().position(|byte| *byte == 0).ok_or(wrong)?;
    let (label, digest) = field.split_at_checked(end + 1).ok_or(wrong)?;
    let label = label.strip_suffix(b":\0").ok_or(wrong)?;
    let label = std::str::from_utf8(label).map_err(|_| wrong)?;
    let algorithm = match template.has_kind() {
        true => match label.split_once(':') {
            Some((kind, algorithm)) if DIGEST_KINDS.contains(&kind) => algorithm,
            _ => return Err(EntryError::Fields("the digest is of something that is not known")),
        },
        false => label,
    };
    if digest.len() > limits::TPM_DIGEST_BYTES {
        return Err(EntryError::Long { limit: limits::TPM_DIGEST_BYTES });
    }
    Ok(FileDigest { algorithm: Cow::Borrowed(algorithm), digest: Digest::of(digest) })
}

fn take<'a>(left: &mut &'a [u8], count: usize) -> Result<&'a [u8], EntryError> {
    let (taken, rest) = left.split_at_checked(count).ok_or(EntryError::Short)?;
    *left = rest;
    Ok(taken)
}

fn number(left: &mut &[u8]) -> Result<u32, EntryError> {
    let (taken, rest) = left.split_first_chunk().ok_or(EntryError::Short)?;
    *left = rest;
    Ok(u32::from_le_bytes(*taken))
}

fn sized<'a>(left: &mut &'a [u8], limit: usize) -> Result<&'a [u8], EntryError> {
    let length = number(left)? as usize;
    if length > limit {
        return Err(EntryError::Long { limit });
    }
    take(left, length)
}
