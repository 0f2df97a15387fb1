//! One entry of a measurement list.

use std::borrow::Cow;

use crate::host::tpm::{Digest, Hash};

/// What was measured, the register that it went to, and what the list says that it hashes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The register.
    pub pcr: u32,
    /// What the list says.
    pub template_hash: Digest,
    /// What was measured.
    pub event: Event<'a>,
    /// The template's data: what the kernel hashed.
    pub(super) data: Cow<'a, [u8]>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file that was run, mapped or read: templates `ima`, `ima-ng`, `ima-ngv2`, `ima-sig`, `ima-sigv2`. The boot's
    /// aggregate is one as well, by the name `boot_aggregate`.
    File {
        /// Its digest.
        digest: FileDigest<'a>,
        /// Its path.
        path: Cow<'a, [u8]>,
        /// What `security.ima` holds, where the template has it; empty where the file is not signed.
        signature: Option<Cow<'a, [u8]>>,
    },
    /// A buffer, such as a key that was loaded to a keyring: template `ima-buf`.
    Buffer {
        /// Its digest.
        digest: FileDigest<'a>,
        /// What it is; for a key, the keyring.
        name: Cow<'a, [u8]>,
        /// It.
        data: Cow<'a, [u8]>,
    },
}

/// A digest as a template has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest<'a> {
    /// The algorithm's name in the kernel.
    pub algorithm: Cow<'a, str>,
    /// The digest.
    pub digest: Digest,
}

/// Why bytes are no entry. The host is at fault, or whoever edited its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The bytes end within it.
    #[error("the list ends within an entry")]
    Short,
    /// A length passes its limit.
    #[error("a field of an entry is longer than {limit} bytes")]
    Long {
        /// The limit.
        limit: usize,
    },
    /// The line or record does not have the fields of its template.
    #[error("it does not have the fields of its template: {0}")]
    Fields(&'static str),
    /// The template is not known.
    #[error("its template is none of ima, ima-ng, ima-ngv2, ima-sig, ima-sigv2 and ima-buf")]
    Template,
}

impl Entry<'_> {
    /// Whether the kernel could not vouch for what it measured: the file was open for writing meanwhile.
    pub fn is_violation(&self, log_hash: Hash) -> bool {
        self.template_hash == log_hash.zeros()
    }

    /// What the template's data hashes to.
    pub fn template_digest(&self, hash: Hash) -> Digest {
        hash.digest(&[&self.data])
    }

    /// What the kernel extends a bank's register with.
    pub fn extended(&self, log_hash: Hash, bank: Hash) -> Digest {
        if self.is_violation(log_hash) { bank.ones() } else { self.template_digest(bank) }
    }
}

/// Which fields a template has behind the digest and the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    Ima,
    Ng,
    NgV2,
    Sig,
    SigV2,
    Buf,
}

impl Template {
    pub(super) fn named(name: &[u8]) -> Result<Template, EntryError> {
        match name {
            b"ima" => Ok(Template::Ima),
            b"ima-ng" => Ok(Template::Ng),
            b"ima-ngv2" => Ok(Template::NgV2),
            b"ima-sig" => Ok(Template::Sig),
            b"ima-sigv2" => Ok(Template::SigV2),
            b"ima-buf" => Ok(Template::Buf),
            _ => Err(EntryError::Template),
        }
    }

    /// Whether the digest says what it is of: `ima:` or `verity:`.
    pub(super) fn has_kind(self) -> bool {
        matches!(self, Template::NgV2 | Template::SigV2)
    }

    /// Whether a third field follows.
    pub(super) fn has_third(self) -> bool {
        matches!(self, Template::Sig | Template::SigV2 | Template::Buf)
    }

    pub(super) fn event<'a>(
        self,
        digest: FileDigest<'a>,
        name: Cow<'a, [u8]>,
        third: Option<Cow<'a, [u8]>>,
    ) -> Event<'a> {
        match (self, third) {
            (Template::Buf, data) => Event::Buffer { digest, name, data: data.unwrap_or_default() },
            (_, signature) => Event::File { digest, path: name, signature },
        }
    }
}

/// What a digest of the second version may be of.
pub(super) const DIGEST_KINDS: [&str; 2] = ["ima", "verity"];
