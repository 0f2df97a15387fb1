//! Signatures of a TPM, `TPMT_SIGNATURE` (TPM 2.0 Library, Part 2, section 11.3): ECDSA over P-256 and P-384, RSASSA and
//! RSAPSS.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPssSaltLength,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::hash::Hash;
use super::public::{Public, PublicKey, alg, curve};
use super::wire::{Reader, WireError, Writer};
use crate::limits;

/// A signature with what it was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The hash.
    pub hash: Hash,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Rsassa(Vec<u8>),
    Rsapss(Vec<u8>),
    Ecdsa { r: Vec<u8>, s: Vec<u8> },
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It was made over other bytes, or by another key.
    #[error("the signature does not hold")]
    Wrong,
    /// The key's kind, size or curve is not one that is verified here.
    #[error("the key is neither RSA of 2048 bits or more nor ECC over P-256 or P-384")]
    Key,
    /// The key's kind and the signature's do not fit, or the hash is not one that may sign with it.
    #[error("the signature's scheme is not one of the key")]
    Scheme,
}

impl Signature {
    /// Reads `TPMT_SIGNATURE`.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn parse(bytes: &[u8]) -> Result<Signature, WireError> {
        let mut reader = Reader::new("a signature", bytes);
        let scheme = reader.u16()?;
        if ![alg::RSASSA, alg::RSAPSS, alg::ECDSA].contains(&scheme) {
            return Err(WireError::Value {
                what: "the scheme of a signature",
                value: scheme.into(),
            });
        }
        let hash = Hash::from_code(reader.u16()?)?;
        let value = match scheme {
            alg::ECDSA => {
                let r = reader.sized(limits::ECC_BYTES)?.to_vec();
                Value::Ecdsa { r, s: reader.sized(limits::ECC_BYTES)?.to_vec() }
            }
            alg::RSAPSS => Value::Rsapss(reader.sized(limits::RSA_BYTES)?.to_vec()),
            _ => Value::Rsassa(reader.sized(limits::RSA_BYTES)?.to_vec()),
        };
        reader.end()?;
        Ok(Signature { hash, value })
    }

    /// One of ECDSA over P-256 with SHA-256 from its two halves, as a TPM would write it. For tests and simulated hosts.
    pub fn ecdsa_p256_to_bytes(r_and_s: &[u8; 64]) -> Vec<u8> {
        let (r, s) = r_and_s.split_at(32);
        Writer::new().u16(alg::ECDSA).u16(Hash::Sha256.code()).sized(r).sized(s).into_bytes()
    }

    /// Whether this key made it over this message.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, key: &Public, message: &[u8]) -> Result<(), SignatureError> {
        if key
            .scheme
            .is_some_and(|scheme| scheme.hash != self.hash || scheme.algorithm != self.algorithm())
        {
            return Err(SignatureError::Scheme);
        }
        match (&key.key, &self.value) {
            (PublicKey::Ecc { curve, x, y }, Value::Ecdsa { r, s }) => {
                let (algorithm, length) = match (*curve, self.hash) {
                    (curve::P256, Hash::Sha256) => (&ECDSA_P256_SHA256_FIXED, 32),
                    (curve::P384, Hash::Sha384) => (&ECDSA_P384_SHA384_FIXED, 48),
                    (curve::P256 | curve::P384, _) => return Err(SignatureError::Scheme),
                    _ => return Err(SignatureError::Key),
                };
                let point = point(x, y, length).ok_or(SignatureError::Key)?;
                let mut fixed = padded(r, length).ok_or(SignatureError::Wrong)?;
                fixed.extend(padded(s, length).ok_or(SignatureError::Wrong)?);
                let algorithm: &'static dyn VerificationAlgorithm = algorithm;
                UnparsedPublicKey::new(algorithm, point)
                    .verify(message, &fixed)
                    .map_err(|_| SignatureError::Wrong)
            }
            (PublicKey::Rsa { exponent, modulus, .. }, Value::Rsassa(signature)) => {
                let parameters = match self.hash {
                    Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                    Hash::Sha1 => return Err(SignatureError::Scheme),
                };
                rsa(*exponent, modulus, parameters, message, signature)
            }
            (PublicKey::Rsa { exponent, modulus, .. }, Value::Rsapss(signature)) => {
                // The salt is as long as there is room, and as long as the hash where the TPM is one for FIPS
                // (Part 1, annex B.7).
                let [longest, of_hash] = match self.hash {
                    Hash::Sha256 => [&PSS_SHA256, &RSA_PSS_2048_8192_SHA256],
                    Hash::Sha384 => [&PSS_SHA384, &RSA_PSS_2048_8192_SHA384],
                    Hash::Sha512 => [&PSS_SHA512, &RSA_PSS_2048_8192_SHA512],
                    Hash::Sha1 => return Err(SignatureError::Scheme),
                };
                rsa(*exponent, modulus, longest, message, signature)
                    .or_else(|_| rsa(*exponent, modulus, of_hash, message, signature))
            }
            _ => Err(SignatureError::Scheme),
        }
    }

    fn algorithm(&self) -> u16 {
        match self.value {
            Value::Rsassa(_) => alg::RSASSA,
            Value::Rsapss(_) => alg::RSAPSS,
            Value::Ecdsa { .. } => alg::ECDSA,
        }
    }
}

static PSS_SHA256: RsaParameters =
    RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
static PSS_SHA384: RsaParameters =
    RSA_PSS_2048_8192_SHA384.with_pss_salt_length(RsaPssSaltLength::Max);
static PSS_SHA512: RsaParameters =
    RSA_PSS_2048_8192_SHA512.with_pss_salt_length(RsaPssSaltLength::Max);

fn rsa(
    exponent: u32,
    modulus: &[u8],
    parameters: &RsaParameters,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    if modulus.len() < limits::RSA_BYTES_MIN {
        return Err(SignatureError::Key);
    }
    let exponent = exponent.to_be_bytes();
    let exponent = &exponent[exponent.iter().take_while(|byte| **byte == 0).count()..];
    PublicKeyComponents { n: modulus, e: exponent }
        .verify(parameters, message, signature)
        .map_err(|_| SignatureError::Wrong)
}

/// A point as X9.62 writes it, uncompressed; none where a coordinate is too long.
pub(crate) fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut point = vec![UNCOMPRESSED];
    point.extend(padded(x, length)?);
    point.extend(padded(y, length)?);
    Some(point)
}

const UNCOMPRESSED: u8 = 4;

/// A TPM may leave out leading zeros, or have some that nobody needs.
pub(crate) fn padded(value: &[u8], length: usize) -> Option<Vec<u8>> {
    let value = &value[value.iter().take_while(|byte| **byte == 0).count()..];
    let zeros = length.checked_sub(value.len())?;
    Some([&vec![0; zeros], value].concat())
}
