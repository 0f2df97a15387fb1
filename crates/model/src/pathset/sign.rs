//! A path set as it travels: canonical bytes and a signature by the domain's path-signing key (Ed25519, RFC 8032).

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use super::{DecodeError, PathSet};
use crate::defence::{Defence, off};
use crate::ids::PathVersion;
use crate::names::TrustDomain;

/// Stands in front of what is signed, so that a signature made for something else is none here.
const CONTEXT: &[u8] = b"ringmail path set 1\0";
/// The most bytes of a path set on its way.
const SIGNED_BYTES: usize = 16 << 20;

/// A path set and the signature over it. Not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPathSet {
    /// [`PathSet::encode`].
    pub bytes: Vec<u8>,
    /// The signature over [`SignedPathSet::message`].
    pub signature: Vec<u8>,
}

/// Something that checks signatures of path sets: a public key, or a set of them.
pub trait VerifyPathSet {
    /// Whether `signature` is one over `message`.
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool;
}

impl<F: Fn(&[u8], &[u8]) -> bool> VerifyPathSet for F {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self(message, signature)
    }
}

/// An Ed25519 public key, 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl VerifyPathSet for PublicKey {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

/// What a receiver expects of a path set.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its own domain.
    pub domain: &'a TrustDomain,
    /// The highest version it has ever seen.
    pub highest_version: PathVersion,
    /// The time, in seconds since 1970.
    pub now_unix_s: u64,
}

/// Why a signed path set is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The signature is not the domain's.
    #[error("the path set is not signed by the domain's path-signing key")]
    Signature,
    /// The signer signed what is no path set.
    #[error("the signed bytes are no path set")]
    Decode(#[from] DecodeError),
    /// It is for another domain.
    #[error("the path set is for the domain `{0}`")]
    Domain(TrustDomain),
    /// A newer one was seen before.
    #[error("the path set has version {offered}, but version {seen} was seen before")]
    Older {
        /// Its version.
        offered: PathVersion,
        /// The highest seen.
        seen: PathVersion,
    },
    /// It does not hold yet.
    #[error("the path set holds from {0} s since 1970 on, which has not come")]
    NotYet(u64),
    /// It does not hold any more.
    #[error("the path set held until {0} s since 1970")]
    Expired(u64),
}

impl SignedPathSet {
    /// Signs a path set with what makes a signature of a message.
    ///
    /// # Errors
    /// The signer's.
    pub fn sign<E>(
        set: &PathSet,
        signer: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<SignedPathSet, E> {
        let bytes = set.encode();
        let signature = signer(&SignedPathSet::message(&bytes))?;
        Ok(SignedPathSet { bytes, signature })
    }

    /// What is signed: a context and the canonical bytes.
    pub fn message(bytes: &[u8]) -> Vec<u8> {
        [CONTEXT, bytes].concat()
    }

    /// The path set, if the key signed it and it is what the receiver expects.
    ///
    /// # Errors
    /// Whatever is wrong with it, the signature first.
    pub fn verify(
        &self,
        key: &impl VerifyPathSet,
        expected: &Expected<'_>,
    ) -> Result<PathSet, VerifyError> {
        let signed = key.verifies(&SignedPathSet::message(&self.bytes), &self.signature);
        if !signed && !off(Defence::PathSetSignature) {
            return Err(VerifyError::Signature);
        }
        let set = PathSet::decode(&self.bytes)?;
        if set.domain != *expected.domain {
            return Err(VerifyError::Domain(set.domain));
        }
        if set.version < expected.highest_version && !off(Defence::PathSetVersion) {
            return Err(VerifyError::Older {
                offered: set.version,
                seen: expected.highest_version,
            });
        }
        if expected.now_unix_s < set.not_before_unix_s {
            return Err(VerifyError::NotYet(set.not_before_unix_s));
        }
        if expected.now_unix_s >= set.not_after_unix_s {
            return Err(VerifyError::Expired(set.not_after_unix_s));
        }
        Ok(set)
    }

    /// One string of bytes: each of the two parts behind its length (32 bits).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.bytes.len() + self.signature.len());
        for part in [&self.bytes, &self.signature] {
            out.extend_from_slice(&(part.len() as u32).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }

    /// The two parts again; nothing is verified.
    ///
    /// # Errors
    /// Bytes that [`SignedPathSet::to_bytes`] never makes.
    pub fn from_bytes(bytes: &[u8]) -> Result<SignedPathSet, DecodeError> {
        if bytes.len() > SIGNED_BYTES {
            return Err(DecodeError::Trailing(bytes.len() - SIGNED_BYTES));
        }
        let (set, rest) = part(bytes, "the path set")?;
        let (signature, rest) = part(rest, "the signature")?;
        if !rest.is_empty() {
            return Err(DecodeError::Trailing(rest.len()));
        }
        Ok(SignedPathSet { bytes: set.to_vec(), signature: signature.to_vec() })
    }
}

fn part<'a>(bytes: &'a [u8], what: &'static str) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::Truncated(what))?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or(DecodeError::Truncated(what))
}
