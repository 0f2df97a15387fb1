//! The signed head of the log: what every peer keeps, so that a database that was rolled back or forked is noticed.
//!
//! ```text
//! "ringmail-head/1\0" │ domain │ term u64 │ size u64 │ hash of the last entry 32 │ root of the tree 32 │ at, ms u64
//! ```
//!
//! The signature is Ed25519 (RFC 8032) by the path-signing key, which is not the CA's: a certificate counts with neighbours
//! only under a [`Receipt`], so that the CA's key alone makes no hop.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use ringmail_model::TrustDomain;

use super::audit::{Act, Entry, Issued};
use super::bytes::{Reader, Writer};
use super::merkle::{self, Hash, PROOF_HASHES_MAX};
use crate::limits::ENTRY_BYTES;

/// What the signed bytes of a head begin with.
pub const CONTEXT: &[u8; 16] = b"ringmail-head/1\0";

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A state of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose log.
    pub trust_domain: TrustDomain,
    /// The term of the manager that leads; grows with every take-over.
    pub term: u64,
    /// Entries.
    pub size: u64,
    /// The hash of the last one in the chain.
    pub last: Hash,
    /// The root of the tree over all.
    pub root: Hash,
    /// Milliseconds since 1970 at which it was signed.
    pub at_unix_ms: u64,
}

impl Head {
    /// What is signed.
    pub fn signed_bytes(&self) -> Vec<u8> {
        self.write(Writer::default().bytes(CONTEXT)).finish()
    }

    /// The head under its signature.
    pub const fn signed(self, signature: [u8; SIGNATURE_BYTES]) -> SignedHead {
        SignedHead { head: self, signature }
    }

    /// Whether `offered` continues this head, which the caller kept. `proof` is that of [`merkle::consistency`] from the
    /// kept size to the offered one.
    ///
    /// # Errors
    /// [`Rollback`]: whoever offers it lost, hides or changed entries, and nothing that it says may be acted upon.
    pub fn continued_by(&self, offered: &Head, proof: &[Hash]) -> Result<(), Rollback> {
        if offered.trust_domain != self.trust_domain {
            return Err(Rollback::AnotherDomain(offered.trust_domain.clone()));
        }
        if offered.term < self.term {
            return Err(Rollback::Deposed { kept: self.term, offered: offered.term });
        }
        if offered.size < self.size {
            return Err(Rollback::Shorter { kept: self.size, offered: offered.size });
        }
        let continues =
            merkle::continues(&self.root, self.size, &offered.root, offered.size, proof);
        if !continues || (offered.size == self.size && offered.last != self.last) {
            return Err(Rollback::Forked { kept: self.size, offered: offered.size });
        }
        Ok(())
    }

    fn write(&self, writer: Writer) -> Writer {
        let writer = writer.text(&self.trust_domain).u64(self.term).u64(self.size);
        writer.bytes(&self.last).bytes(&self.root).u64(self.at_unix_ms)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Head> {
        Some(Head {
            trust_domain: reader.text()?.parse().ok()?,
            term: reader.u64()?,
            size: reader.u64()?,
            last: reader.array()?,
            root: reader.array()?,
            at_unix_ms: reader.u64()?,
        })
    }
}

/// Why an offered head does not continue the one that was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rollback {
    /// It is somebody else's.
    #[error("the log offered is that of {0}")]
    AnotherDomain(TrustDomain),
    /// The manager that offers it was replaced.
    #[error("the manager leads in term {offered}, and term {kept} was seen: another took over")]
    Deposed {
        /// The term seen before.
        kept: u64,
        /// The term offered.
        offered: u64,
    },
    /// The database was rolled back.
    #[error(
        "the log has {offered} entries, and {kept} were seen before: the database was rolled back"
    )]
    Shorter {
        /// Entries seen before.
        kept: u64,
        /// Entries offered.
        offered: u64,
    },
    /// The first entries are others than before.
    #[error(
        "the log of {offered} entries does not continue the {kept} that were seen: it was changed"
    )]
    Forked {
        /// Entries seen before.
        kept: u64,
        /// Entries offered.
        offered: u64,
    },
}

/// A head and the signature over it, checked or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// The state.
    pub head: Head,
    /// Ed25519 over [`Head::signed_bytes`].
    pub signature: [u8; SIGNATURE_BYTES],
}

impl SignedHead {
    /// Whether this key signed it.
    pub fn is_signed_by(&self, key: &[u8; 32]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, key);
        key.verify(&self.head.signed_bytes(), &self.signature).is_ok()
    }

    /// The bytes in which it is kept and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.write(Writer::default()).finish()
    }

    /// The signed head of these bytes; whether it is signed is not checked yet.
    pub fn from_bytes(bytes: &[u8]) -> Option<SignedHead> {
        let mut reader = Reader::new(bytes);
        let head = SignedHead::read(&mut reader)?;
        reader.is_empty().then_some(head)
    }

    fn write(&self, writer: Writer) -> Writer {
        self.head.write(writer).bytes(&self.signature)
    }

    fn read(reader: &mut Reader<'_>) -> Option<SignedHead> {
        Some(SignedHead { head: Head::read(reader)?, signature: reader.array()? })
    }
}

/// What shows that a certificate stands in the log: its entry, a signed head, and the way from one to the other.
///
/// ```text
/// signed head │ entry behind its length u16 │ count u16 │ hashes of the proof, 32 each
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// A head signed after the entry.
    pub head: SignedHead,
    /// The entry, encoded.
    pub entry: Vec<u8>,
    /// From the entry to the head's root.
    pub proof: Vec<Hash>,
}

/// Why a receipt does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Another key signed the head, or its bytes were changed.
    #[error("the log's head is not signed by the domain's path-signing key")]
    Signature,
    /// The entry says something else than that a certificate was issued.
    #[error("the entry is not that of a certificate")]
    NoCertificate,
    /// The entry is that of another certificate.
    #[error("the entry is that of another certificate, {0}")]
    AnotherCertificate(super::Serial),
    /// The way does not lead from the entry to the head.
    #[error("the entry does not stand in the log")]
    NotIncluded,
}

impl Receipt {
    /// Whether it shows that the certificate with this SHA-256 stands in the log of whoever holds `key`; and what the log
    /// says of it.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn check(&self, key: &[u8; 32], certificate: &Hash) -> Result<Issued, ReceiptError> {
        if !self.head.is_signed_by(key) {
            return Err(ReceiptError::Signature);
        }
        let entry = Entry::decode(&self.entry).ok_or(ReceiptError::NoCertificate)?;
        let Act::Issued(issued) = entry.act else { return Err(ReceiptError::NoCertificate) };
        if issued.certificate != *certificate {
            return Err(ReceiptError::AnotherCertificate(issued.serial));
        }
        let Head { root, size, .. } = &self.head.head;
        match merkle::includes(root, *size, entry.index, &merkle::leaf(&self.entry), &self.proof) {
            true => Ok(issued),
            false => Err(ReceiptError::NotIncluded),
        }
    }

    /// The bytes that are sent beside a certificate.
    pub fn to_bytes(&self) -> Vec<u8> {
        let writer = self.head.write(Writer::default()).u16(self.entry.len() as u16);
        let writer = writer.bytes(&self.entry).u16(self.proof.len() as u16);
        self.proof.iter().fold(writer, |writer, hash| writer.bytes(hash)).finish()
    }

    /// The receipt of these bytes; nothing in it is checked yet.
    pub fn from_bytes(bytes: &[u8]) -> Option<Receipt> {
        let mut reader = Reader::new(bytes);
        let head = SignedHead::read(&mut reader)?;
        let entry_len = usize::from(reader.u16()?);
        let entry = reader.bytes(entry_len).filter(|entry| entry.len() <= ENTRY_BYTES)?.to_vec();
        let count = usize::from(reader.u16()?);
        if count > PROOF_HASHES_MAX {
            return None;
        }
        let proof = (0..count).map(|_| reader.array()).collect::<Option<_>>()?;
        reader.is_empty().then_some(Receipt { head, entry, proof })
    }
}
