//! A lease of standing: the domain's word that a host or function is trusted now, in answer to the nonce of whoever asked.
//!
//! ```text
//! "ringmail-stand/1" │ SPIFFE id │ nonce 32 │ lasts, ms u64 │ term u64 │ size of the log u64
//! ```
//!
//! It names no time: whoever made the nonce counts from the moment at which it sent it, on a clock that does not jump, so
//! that an old lease cannot be passed off as a new one and nobody's wall clock matters. The size of the log says which
//! revocations it knows of: one that is shorter than a log that was seen before is from before a revocation.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use super::bytes::{Reader, Writer};
use super::head::SIGNATURE_BYTES;
use super::nonces::Nonce;

/// What the signed bytes of a lease begin with.
pub const CONTEXT: &[u8; 16] = b"ringmail-stand/1";

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingLease {
    /// Of whom.
    pub spiffe_id: String,
    /// What was asked.
    pub nonce: Nonce,
    /// For how long from the asking.
    pub lasts_ms: u64,
    /// The term of the manager that says so.
    pub term: u64,
    /// Entries of its log.
    pub size: u64,
}

impl StandingLease {
    /// What is signed.
    pub fn signed_bytes(&self) -> Vec<u8> {
        self.write(Writer::default().bytes(CONTEXT)).finish()
    }

    /// The lease under its signature (Ed25519, by the path-signing key).
    pub const fn signed(self, signature: [u8; SIGNATURE_BYTES]) -> SignedStandingLease {
        SignedStandingLease { lease: self, signature }
    }

    fn write(&self, writer: Writer) -> Writer {
        let writer = writer.text(&self.spiffe_id).bytes(&self.nonce);
        writer.u64(self.lasts_ms).u64(self.term).u64(self.size)
    }
}

/// A lease and the signature over it, checked or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedStandingLease {
    /// What is said.
    pub lease: StandingLease,
    /// Ed25519 over [`StandingLease::signed_bytes`].
    pub signature: [u8; SIGNATURE_BYTES],
}

/// Why a lease does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseRefused {
    /// Another key signed it, or its bytes were changed.
    #[error("the lease is not signed by the domain's path-signing key")]
    Signature,
    /// It speaks of another.
    #[error("the lease is another's")]
    AnotherHolder,
    /// It answers another nonce: it is from another time.
    #[error("the lease does not answer the nonce")]
    AnotherNonce,
    /// Whoever signed it did not know of revocations that were seen, or was deposed.
    #[error("the lease is from before what is known of the log")]
    Outdated,
}

impl SignedStandingLease {
    /// How many milliseconds it holds from the moment at which `nonce` was sent. `known` is the term and size of the newest
    /// head that the asker has seen.
    ///
    /// # Errors
    /// [`LeaseRefused`].
    pub fn check(
        &self,
        key: &[u8; 32],
        spiffe_id: &str,
        nonce: &Nonce,
        known: (u64, u64),
    ) -> Result<u64, LeaseRefused> {
        let public = UnparsedPublicKey::new(&ED25519, key);
        if public.verify(&self.lease.signed_bytes(), &self.signature).is_err() {
            return Err(LeaseRefused::Signature);
        }
        if self.lease.spiffe_id != spiffe_id {
            return Err(LeaseRefused::AnotherHolder);
        }
        if self.lease.nonce != *nonce {
            return Err(LeaseRefused::AnotherNonce);
        }
        if self.lease.term < known.0 || self.lease.size < known.1 {
            return Err(LeaseRefused::Outdated);
        }
        Ok(self.lease.lasts_ms)
    }

    /// The bytes in which it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lease.write(Writer::default()).bytes(&self.signature).finish()
    }

    /// The lease of these bytes; nothing in it is checked yet.
    pub fn from_bytes(bytes: &[u8]) -> Option<SignedStandingLease> {
        let mut reader = Reader::new(bytes);
        let lease = StandingLease {
            spiffe_id: reader.text()?.to_owned(),
            nonce: reader.array()?,
            lasts_ms: reader.u64()?,
            term: reader.u64()?,
            size: reader.u64()?,
        };
        let signature = reader.array()?;
        reader.is_empty().then_some(SignedStandingLease { lease, signature })
    }
}
