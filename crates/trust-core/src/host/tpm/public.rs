//! The public area of a key, `TPMT_PUBLIC` (TPM 2.0 Library, Part 2, section 12.2), of RSA and ECC keys, and its name
//! (Part 1, section 16).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::hash::Hash;
use super::wire::{Reader, WireError, Writer};
use crate::host::encoding::Hex;
use crate::limits;

/// Numbers of algorithms (TCG Algorithm Registry).
pub mod alg {
    #![allow(missing_docs, reason = "the registry's names say all")]
    pub const RSA: u16 = 0x0001;
    pub const AES: u16 = 0x0006;
    pub const NULL: u16 = 0x0010;
    pub const RSASSA: u16 = 0x0014;
    pub const RSAES: u16 = 0x0015;
    pub const RSAPSS: u16 = 0x0016;
    pub const OAEP: u16 = 0x0017;
    pub const ECDSA: u16 = 0x0018;
    pub const ECDAA: u16 = 0x001a;
    pub const ECC: u16 = 0x0023;
    pub const CFB: u16 = 0x0043;
}

/// Numbers of curves (TCG Algorithm Registry).
pub mod curve {
    #![allow(missing_docs, reason = "the registry's names say all")]
    pub const P256: u16 = 0x0003;
    pub const P384: u16 = 0x0004;
}

/// `TPMA_OBJECT`: what a key may do and where it comes from (Part 2, section 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(pub u32);

impl Attributes {
    /// It never leaves this TPM.
    pub const FIXED_TPM: u32 = 1 << 1;
    /// It never gets another parent.
    pub const FIXED_PARENT: u32 = 1 << 4;
    /// The TPM made its secret.
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    /// The user's role is had by a password or an HMAC.
    pub const USER_WITH_AUTH: u32 = 1 << 6;
    /// The administrator's role is had by a policy only.
    pub const ADMIN_WITH_POLICY: u32 = 1 << 7;
    /// Guesses of its password lock nothing.
    pub const NO_DA: u32 = 1 << 10;
    /// It signs only what the TPM itself made, or decrypts only what is made for the TPM.
    pub const RESTRICTED: u32 = 1 << 16;
    /// It decrypts.
    pub const DECRYPT: u32 = 1 << 17;
    /// It signs.
    pub const SIGN: u32 = 1 << 18;

    const NAMES: [(u32, &'static str); 6] = [
        (Attributes::FIXED_TPM, "fixedTPM"),
        (Attributes::FIXED_PARENT, "fixedParent"),
        (Attributes::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
        (Attributes::RESTRICTED, "restricted"),
        (Attributes::DECRYPT, "decrypt"),
        (Attributes::SIGN, "sign"),
    ];

    /// Whether all these are set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// The names of those of `wanted` that are not set.
    pub fn missing(self, wanted: u32) -> Vec<&'static str> {
        let missing = wanted & !self.0;
        let missing = Self::NAMES.into_iter().filter(|(bit, _)| missing & bit != 0);
        missing.map(|(_, name)| name).collect()
    }
}

/// What a key can sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// The algorithm's number, such as [`alg::ECDSA`].
    pub algorithm: u16,
    /// Its hash.
    pub hash: Hash,
}

/// How a parent or an EK protects what is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symmetric {
    /// The algorithm's number.
    pub algorithm: u16,
    /// Bits of its key.
    pub key_bits: u16,
    /// The mode's number.
    pub mode: u16,
}

/// The key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA.
    Rsa {
        /// Of the modulus.
        bits: u16,
        /// The public exponent, never 0.
        exponent: u32,
        /// Big-endian, without leading zeros.
        modulus: Vec<u8>,
    },
    /// A point of a curve.
    Ecc {
        /// The curve's number.
        curve: u16,
        /// Big-endian, as it came: leading zeros may lack.
        x: Vec<u8>,
        /// The same.
        y: Vec<u8>,
    },
}

/// A public area, and the bytes that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// The hash of its name.
    pub name_hash: Hash,
    /// What it may do.
    pub attributes: Attributes,
    /// The policy that its use needs; empty where there is none.
    pub auth_policy: Vec<u8>,
    /// How it protects; none of a key that only signs.
    pub symmetric: Option<Symmetric>,
    /// How it signs; none of a key that takes any.
    pub scheme: Option<Scheme>,
    /// The key.
    pub key: PublicKey,
    bytes: Vec<u8>,
}

/// The exponent that a TPM writes as 0.
const DEFAULT_EXPONENT: u32 = 65_537;

impl Public {
    /// Reads `TPMT_PUBLIC`: the area without a length in front.
    ///
    /// # Errors
    /// [`WireError`] where it is not one, or of neither RSA nor ECC.
    pub fn parse(bytes: &[u8]) -> Result<Public, WireError> {
        if bytes.len() > limits::TPM_PUBLIC_BYTES {
            return Err(WireError::Long { what: WHAT, limit: limits::TPM_PUBLIC_BYTES });
        }
        let mut reader = Reader::new(WHAT, bytes);
        let kind = reader.u16()?;
        let name_hash = Hash::from_code(reader.u16()?)?;
        let attributes = Attributes(reader.u32()?);
        let auth_policy = reader.sized(limits::TPM_DIGEST_BYTES)?.to_vec();
        let symmetric = symmetric(&mut reader)?;
        let scheme = scheme(&mut reader)?;
        let key = match kind {
            alg::RSA => rsa(&mut reader)?,
            alg::ECC => ecc(&mut reader)?,
            _ => return Err(WireError::Value { what: "the type of a key", value: kind.into() }),
        };
        reader.end()?;
        let bytes = bytes.to_vec();
        Ok(Public { name_hash, attributes, auth_policy, symmetric, scheme, key, bytes })
    }

    /// As it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its name: the hash's number, then the hash of the area. Two keys of one name are one key with one set of rights.
    pub fn name(&self) -> TpmName {
        let digest = self.name_hash.digest(&[&self.bytes]);
        TpmName(Writer::new().u16(self.name_hash.code()).raw(digest.as_bytes()).into_bytes())
    }
}

const WHAT: &str = "the public area of a key";

fn symmetric(reader: &mut Reader<'_>) -> Result<Option<Symmetric>, WireError> {
    let algorithm = reader.u16()?;
    if algorithm == alg::NULL {
        return Ok(None);
    }
    Ok(Some(Symmetric { algorithm, key_bits: reader.u16()?, mode: reader.u16()? }))
}

fn scheme(reader: &mut Reader<'_>) -> Result<Option<Scheme>, WireError> {
    let algorithm = reader.u16()?;
    match algorithm {
        alg::NULL | alg::RSAES => Ok(None),
        alg::RSASSA | alg::RSAPSS | alg::OAEP | alg::ECDSA => {
            Ok(Some(Scheme { algorithm, hash: Hash::from_code(reader.u16()?)? }))
        }
        _ => Err(WireError::Value { what: "the scheme of a key", value: algorithm.into() }),
    }
}

fn rsa(reader: &mut Reader<'_>) -> Result<PublicKey, WireError> {
    let bits = reader.u16()?;
    let exponent = match reader.u32()? {
        0 => DEFAULT_EXPONENT,
        other => other,
    };
    let modulus = reader.sized(limits::RSA_BYTES)?;
    let modulus = &modulus[modulus.iter().take_while(|byte| **byte == 0).count()..];
    Ok(PublicKey::Rsa { bits, exponent, modulus: modulus.to_vec() })
}

fn ecc(reader: &mut Reader<'_>) -> Result<PublicKey, WireError> {
    let curve = reader.u16()?;
    let kdf = reader.u16()?;
    if kdf != alg::NULL {
        Hash::from_code(reader.u16()?)?;
    }
    let x = reader.sized(limits::ECC_BYTES)?.to_vec();
    let y = reader.sized(limits::ECC_BYTES)?.to_vec();
    Ok(PublicKey::Ecc { curve, x, y })
}

/// The name of a key: what a verifier enrols, and every round compares.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Hex", into = "Hex")]
pub struct TpmName(Vec<u8>);

impl TpmName {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why bytes are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the name of a key: a hash's number, and a digest of that hash")]
pub struct TpmNameError;

impl TryFrom<Hex> for TpmName {
    type Error = TpmNameError;

    fn try_from(hex: Hex) -> Result<TpmName, TpmNameError> {
        let (code, digest) = hex.0.split_first_chunk().ok_or(TpmNameError)?;
        let hash = Hash::from_code(u16::from_be_bytes(*code)).map_err(|_| TpmNameError)?;
        if digest.len() == hash.len_bytes() { Ok(TpmName(hex.0)) } else { Err(TpmNameError) }
    }
}

impl From<TpmName> for Hex {
    fn from(name: TpmName) -> Hex {
        Hex(name.0)
    }
}

impl fmt::Display for TpmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(self.0.clone()))
    }
}

impl fmt::Debug for TpmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
