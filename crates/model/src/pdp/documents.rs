//! One version of a domain as elements get it: the signed path set, and the domain file signed for the same version.
//!
//! Both are signed by the path-signing key, so that whoever speaks for control over TLS cannot change either.

use aws_lc_rs::digest::{SHA256, digest};

use crate::ids::PathVersion;
use crate::pathset::{Expected, PathSet, SignedPathSet, VerifyError, VerifyPathSet};

/// Stands in front of a domain file that is signed.
const CONTEXT: &[u8] = b"ringmail domain file 1\0";

/// A path set and the domain file that it was compiled from. Not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// The path set.
    pub paths: SignedPathSet,
    /// The domain file's text.
    pub domain_file: String,
    /// The signature over [`Documents::domain_message`].
    pub domain_signature: Vec<u8>,
}

/// Why documents are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The path set.
    #[error("the path set is refused")]
    Paths(#[from] VerifyError),
    /// The domain file.
    #[error("the domain file is not signed for version {0} by the domain's path-signing key")]
    DomainFile(PathVersion),
}

impl Documents {
    /// What is signed of a domain file.
    pub fn domain_message(version: PathVersion, text: &str) -> Vec<u8> {
        [CONTEXT, &version.0.to_be_bytes(), text.as_bytes()].concat()
    }

    /// The path set, if both documents are signed and what the receiver expects.
    ///
    /// # Errors
    /// Whatever is wrong, the path set first.
    pub fn verify(
        &self,
        key: &impl VerifyPathSet,
        expected: &Expected<'_>,
    ) -> Result<PathSet, DocumentError> {
        let set = self.paths.verify(key, expected)?;
        let message = Documents::domain_message(set.version, &self.domain_file);
        if !key.verifies(&message, &self.domain_signature) {
            return Err(DocumentError::DomainFile(set.version));
        }
        Ok(set)
    }

    /// SHA-256 of what is signed, by which a repeated version is told from another one of the same number.
    pub fn fingerprint(&self) -> [u8; 32] {
        let parts = [self.paths.bytes.as_slice(), self.domain_file.as_bytes()];
        let hashes = parts.map(|part| digest(&SHA256, part));
        let both = [hashes[0].as_ref(), hashes[1].as_ref()].concat();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, &both).as_ref());
        fingerprint
    }
}
