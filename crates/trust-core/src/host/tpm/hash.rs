//! The hashes of a TPM: their numbers (TCG Algorithm Registry), names, and what a register begins with.

use std::fmt;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::wire::WireError;

/// A hash, and so a bank of registers (PCRs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hash {
    /// Only for measurement lists and their bank: never for signatures.
    Sha1,
    /// The usual one.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Each.
    pub const ALL: [Hash; 4] = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];

    /// `TPM_ALG_ID`.
    pub fn code(self) -> u16 {
        match self {
            Hash::Sha1 => 0x0004,
            Hash::Sha256 => 0x000b,
            Hash::Sha384 => 0x000c,
            Hash::Sha512 => 0x000d,
        }
    }

    /// The one of this number.
    ///
    /// # Errors
    /// [`WireError::Value`].
    pub fn from_code(code: u16) -> Result<Hash, WireError> {
        Hash::ALL
            .into_iter()
            .find(|hash| hash.code() == code)
            .ok_or(WireError::Value { what: "a hash algorithm", value: code.into() })
    }

    /// What the kernel and Keylime call it.
    pub fn name(self) -> &'static str {
        match self {
            Hash::Sha1 => "sha1",
            Hash::Sha256 => "sha256",
            Hash::Sha384 => "sha384",
            Hash::Sha512 => "sha512",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Hash> {
        Hash::ALL.into_iter().find(|hash| hash.name() == name)
    }

    /// Bytes of a digest.
    pub fn len_bytes(self) -> usize {
        self.algorithm().output_len()
    }

    /// The digest of parts, one after the other.
    pub fn digest(self, parts: &[&[u8]]) -> Digest {
        let mut context = digest::Context::new(self.algorithm());
        for part in parts {
            context.update(part);
        }
        Digest::of(context.finish().as_ref())
    }

    /// What a register holds at power-on, unless it is one of those for dynamic launch.
    pub fn zeros(self) -> Digest {
        Digest { bytes: [0; DIGEST_MAX_BYTES], len_bytes: self.len_bytes() as u8 }
    }

    /// What the kernel extends in place of a violation's digest.
    pub fn ones(self) -> Digest {
        let mut digest = self.zeros();
        digest.bytes[..self.len_bytes()].fill(0xff);
        digest
    }

    pub(crate) fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of the longest digest.
pub const DIGEST_MAX_BYTES: usize = 64;

/// A digest of any of the hashes, without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    bytes: [u8; DIGEST_MAX_BYTES],
    len_bytes: u8,
}

impl Digest {
    /// These bytes; what is longer than any digest is cut.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut digest = Digest { bytes: [0; DIGEST_MAX_BYTES], len_bytes: 0 };
        let length = bytes.len().min(DIGEST_MAX_BYTES);
        digest.bytes[..length].copy_from_slice(&bytes[..length]);
        digest.len_bytes = length as u8;
        digest
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len_bytes)]
    }

    /// Whether it is all zeros, as a violation's is.
    pub fn is_zeros(&self) -> bool {
        self.as_bytes().iter().all(|byte| *byte == 0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Hash};

    #[test]
    fn hashes_have_one_number_one_name_one_length() {
        for hash in Hash::ALL {
            assert_eq!(Hash::from_code(hash.code()), Ok(hash));
            assert_eq!(Hash::named(hash.name()), Some(hash));
            assert_eq!(hash.digest(&[]).as_bytes().len(), hash.len_bytes());
            assert!(hash.zeros().is_zeros() && !hash.ones().is_zeros());
        }
        assert!(Hash::from_code(0x0012).is_err(), "SM3 is not known here");
    }

    #[test]
    fn parts_are_hashed_as_one() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::Sha256.digest(&[b"a", b"bc"]).to_string(), abc);
        assert_eq!(Digest::of(&[1; 100]).as_bytes(), [1; 64]);
    }
}
