//! The text form, `ascii_runtime_measurements`: a line an entry.
//!
//! ```text
//! 10 TEMPLATE-HASH ima-ng sha256:DIGEST PATH
//! 10 TEMPLATE-HASH ima-sig sha256:DIGEST PATH SIGNATURE-OR-NOTHING
//! 10 TEMPLATE-HASH ima-buf sha256:DIGEST NAME BUFFER
//! 10 TEMPLATE-HASH ima-ngv2 ima:sha256:DIGEST PATH
//! ```

use std::borrow::Cow;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::entry::{DIGEST_KINDS, Entry, EntryError, FileDigest, Template};
use super::{ima_template_data, push_field};
use crate::host::tpm::{Digest, Hash};
use crate::limits;

/// The lines of a list.
#[derive(Debug)]
pub struct Lines<'a> {
    lines: std::str::Split<'a, char>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Lines<'a> {
        Lines { lines: text.split('\n') }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Entry<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.lines.find(|line| !line.is_empty()).map(entry)
    }
}

/// Reads one line.
fn entry(line: &str) -> Result<Entry<'_>, EntryError> {
    if line.len() > 2 * limits::IMA_ENTRY_BYTES {
        return Err(EntryError::Long { limit: limits::IMA_ENTRY_BYTES });
    }
    let mut columns = line.splitn(4, ' ');
    let mut column = || columns.next().ok_or(EntryError::Fields("four columns are needed"));
    let (pcr, template_hash, template, fields) = (column()?, column()?, column()?, column()?);
    let pcr = pcr.parse().map_err(|_| EntryError::Fields("the register is no number"))?;
    let template_hash = Digest::of(&digest_bytes(template_hash)?);
    let template = Template::named(template.as_bytes())?;
    let (digest, rest) =
        fields.split_once(' ').ok_or(EntryError::Fields("a digest and a name are needed"))?;
    // Names have no spaces: the kernel writes `_` for them. In front of a third field that is relied upon.
    let (name, third) = match template.has_third() {
        true => rest
            .split_once(' ')
            .map(|(name, third)| (name, Some(third)))
            .ok_or(EntryError::Fields("a third field is needed, if an empty one"))?,
        false => (rest, None),
    };
    let third = third.map(hex).transpose()?;
    let digest = digest_field(template, digest)?;
    let data = match template {
        Template::Ima => ima_template_data(digest.file.digest.as_bytes(), name.as_bytes())
            .ok_or(EntryError::Fields("the name is longer than the template takes"))?,
        _ => {
            let mut data = Vec::with_capacity(line.len());
            let algorithm = digest.file.algorithm.as_bytes();
            let kind = digest.kind.as_bytes();
            let colon: &[u8] = if template.has_kind() { b":" } else { b"" };
            push_field(&mut data, &[kind, colon, algorithm, b":\0", digest.file.digest.as_bytes()]);
            push_field(&mut data, &[name.as_bytes(), b"\0"]);
            if let Some(third) = &third {
                push_field(&mut data, &[third]);
            }
            Cow::Owned(data)
        }
    };
    let third = third.map(Cow::Owned);
    let event = template.event(digest.file, Cow::Borrowed(name.as_bytes()), third);
    Ok(Entry { pcr, template_hash, event, data })
}

struct DigestField<'a> {
    kind: &'a str,
    file: FileDigest<'a>,
}

/// `ALGORITHM:DIGEST`, behind `KIND:` in the second version; in the template `ima`, or of an old kernel, the digest alone.
fn digest_field(template: Template, text: &str) -> Result<DigestField<'_>, EntryError> {
    let wrong = EntryError::Fields("the digest is not ALGORITHM:HEX");
    let (kind, text) = match template.has_kind() {
        true => text.split_once(':').ok_or(wrong)?,
        false => ("", text),
    };
    if template.has_kind() && !DIGEST_KINDS.contains(&kind) {
        return Err(EntryError::Fields("the digest is of something that is not known"));
    }
    let (algorithm, digest) = match text.split_once(':') {
        Some(both) => both,
        None => ("", text),
    };
    let digest = digest_bytes(digest)?;
    let algorithm = match (algorithm, digest.len()) {
        ("", SHA1_BYTES) => Hash::Sha1.name(),
        ("", MD5_BYTES) => "md5",
        ("", _) => return Err(wrong),
        (named, _) => named,
    };
    let file = FileDigest { algorithm: Cow::Borrowed(algorithm), digest: Digest::of(&digest) };
    Ok(DigestField { kind, file })
}

const SHA1_BYTES: usize = 20;
const MD5_BYTES: usize = 16;

fn digest_bytes(text: &str) -> Result<Vec<u8>, EntryError> {
    if text.len() > 2 * limits::TPM_DIGEST_BYTES {
        return Err(EntryError::Long { limit: limits::TPM_DIGEST_BYTES });
    }
    hex(text)
}

fn hex(text: &str) -> Result<Vec<u8>, EntryError> {
    HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map_err(|_| EntryError::Fields("what should be hexadecimal is not"))
}
