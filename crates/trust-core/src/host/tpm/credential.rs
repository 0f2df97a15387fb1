//! A secret that only one TPM can open, and only for one key in it: `TPM2_MakeCredential` without a TPM (TPM 2.0 Library,
//! Part 1, section 24; key derivation: section 11.4.10).
//!
//! ```text
//!  seed ──KDFa STORAGE, key's name──► AES-CFB key ──► encrypted secret
//!       ──KDFa INTEGRITY────────────► HMAC key    ──► HMAC over it and the key's name
//!  seed ──to the EK: RSA-OAEP, or ECDH and KDFe───► encrypted seed
//! ```

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyUncompressedBin};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepPublicEncryptingKey, PublicEncryptingKey,
    PublicKeyComponents,
};
use zeroize::Zeroizing;

use super::hash::Hash;
use super::public::{Attributes, Public, PublicKey, Symmetric, TpmName, alg, curve};
use super::signature::{padded, point};
use super::wire::Writer;
use crate::host::encoding::Base64;
use crate::limits;

/// What `TPM2_ActivateCredential` takes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// `TPM2B_ID_OBJECT`, without its length: the HMAC and the encrypted secret.
    pub blob: Base64,
    /// `TPM2B_ENCRYPTED_SECRET`, without its length: the encrypted seed.
    pub encrypted_seed: Base64,
}

/// Why no credential can be made for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The key is not one that a TPM keeps for itself to decrypt with.
    #[error("the endorsement key is not restricted to decrypting, or may leave its TPM")]
    Attributes,
    /// It protects with something else than AES in CFB.
    #[error("the endorsement key does not protect with AES of 128 or 256 bits in CFB")]
    Symmetric,
    /// Its kind is not known.
    #[error("the endorsement key is neither RSA of 2048 bits or more nor ECC over P-256 or P-384")]
    Key,
    /// The secret is longer than the key's hash.
    #[error("the secret is longer than the endorsement key's hash")]
    Secret,
    /// The cryptographic library refused.
    #[error("the cryptographic library refused the endorsement key")]
    Crypto,
}

impl From<aws_lc_rs::error::Unspecified> for CredentialError {
    fn from(_: aws_lc_rs::error::Unspecified) -> CredentialError {
        CredentialError::Crypto
    }
}

/// What an EK must be.
const EK_WANTED: u32 =
    Attributes::FIXED_TPM | Attributes::FIXED_PARENT | Attributes::RESTRICTED | Attributes::DECRYPT;

/// Encloses `secret` so that only the TPM of `ek` opens it, and only when it holds the key of this name.
///
/// The seed and the padding come from the cryptographic library's own random source.
///
/// # Errors
/// [`CredentialError`].
pub fn make_credential(
    ek: &Public,
    name: &TpmName,
    secret: &[u8],
) -> Result<Credential, CredentialError> {
    if !ek.attributes.has(EK_WANTED) || ek.attributes.has(Attributes::SIGN) {
        return Err(CredentialError::Attributes);
    }
    let hash = ek.name_hash;
    if secret.len() > hash.len_bytes() {
        return Err(CredentialError::Secret);
    }
    let (seed, encrypted_seed) = seed(ek)?;
    let (aes, key_bits) = match ek.symmetric {
        Some(Symmetric { algorithm: alg::AES, key_bits: 128, mode: alg::CFB }) => (&AES_128, 128),
        Some(Symmetric { algorithm: alg::AES, key_bits: 256, mode: alg::CFB }) => (&AES_256, 256),
        _ => return Err(CredentialError::Symmetric),
    };
    let key = kdfa(hash, &seed, b"STORAGE", name.as_bytes(), key_bits);
    let mut encrypted = Writer::new().sized(secret).into_bytes();
    let key = EncryptingKey::cfb128(UnboundCipherKey::new(aes, &key)?)?;
    // The key is used once, and the specification wants zeros.
    key.less_safe_encrypt(&mut encrypted, EncryptionContext::Iv128(FixedLength::from([0; 16])))?;
    let key = kdfa(hash, &seed, b"INTEGRITY", &[], 8 * hash.len_bytes() as u32);
    let mut integrity = hmac::Context::with_key(&hmac::Key::new(hmac_of(hash), &key));
    integrity.update(&encrypted);
    integrity.update(name.as_bytes());
    let blob = Writer::new().sized(integrity.sign().as_ref()).raw(&encrypted).into_bytes();
    Ok(Credential { blob: Base64(blob), encrypted_seed: Base64(encrypted_seed) })
}

/// A seed, and what tells it to the EK.
fn seed(ek: &Public) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), CredentialError> {
    match &ek.key {
        PublicKey::Rsa { exponent, modulus, .. } => {
            if modulus.len() < limits::RSA_BYTES_MIN {
                return Err(CredentialError::Key);
            }
            let oaep = match ek.name_hash {
                Hash::Sha256 => &OAEP_SHA256_MGF1SHA256,
                Hash::Sha384 => &OAEP_SHA384_MGF1SHA384,
                _ => return Err(CredentialError::Key),
            };
            let mut seed = Zeroizing::new(vec![0; ek.name_hash.len_bytes()]);
            SystemRandom::new().fill(&mut seed)?;
            let exponent = exponent.to_be_bytes();
            let exponent = &exponent[exponent.iter().take_while(|byte| **byte == 0).count()..];
            let components = PublicKeyComponents { n: modulus.as_slice(), e: exponent };
            let key: PublicEncryptingKey = components.try_into()?;
            let key = OaepPublicEncryptingKey::new(key)?;
            let mut encrypted = vec![0; key.ciphertext_size()];
            key.encrypt(oaep, &seed, &mut encrypted, Some(IDENTITY_Z))?;
            Ok((seed, encrypted))
        }
        PublicKey::Ecc { curve, x, y } => {
            let (algorithm, length) = match *curve {
                curve::P256 => (&ECDH_P256, 32),
                curve::P384 => (&ECDH_P384, 48),
                _ => return Err(CredentialError::Key),
            };
            let theirs = point(x, y, length).ok_or(CredentialError::Key)?;
            let their_x = padded(x, length).ok_or(CredentialError::Key)?;
            let ours = agreement::PrivateKey::generate(algorithm)?;
            let public = ours.compute_public_key()?;
            let public: EcPublicKeyUncompressedBin<'_> = public.as_be_bytes()?;
            let coordinates = public.as_ref().get(1..).ok_or(CredentialError::Crypto)?;
            let (our_x, our_y) =
                coordinates.split_at_checked(length).ok_or(CredentialError::Crypto)?;
            let theirs = UnparsedPublicKey::new(algorithm, theirs);
            let seed = agreement::agree(&ours, theirs, CredentialError::Crypto, |shared| {
                Ok(kdfe(ek.name_hash, shared, IDENTITY, our_x, &their_x))
            })?;
            Ok((seed, Writer::new().sized(our_x).sized(our_y).into_bytes()))
        }
    }
}

/// The label of the seed.
const IDENTITY: &[u8] = b"IDENTITY";
/// The same with the zero that OAEP's label ends with (Part 1, annex B.4).
const IDENTITY_Z: &[u8] = b"IDENTITY\0";

/// `KDFa` (Part 1, section 11.4.10.2): SP 800-108 in counter mode. The second context is empty in all that is needed here.
fn kdfa(hash: Hash, key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Zeroizing<Vec<u8>> {
    let length = (bits / 8) as usize;
    let key = hmac::Key::new(hmac_of(hash), key);
    let mut made = Zeroizing::new(Vec::with_capacity(length + hash.len_bytes()));
    for counter in 1u32.. {
        if made.len() >= length {
            break;
        }
        let mut block = hmac::Context::with_key(&key);
        for part in [&counter.to_be_bytes()[..], label, &[0], context, &bits.to_be_bytes()] {
            block.update(part);
        }
        made.extend_from_slice(block.sign().as_ref());
    }
    made.truncate(length);
    made
}

/// `KDFe` (Part 1, section 11.4.10.3): one block is as long as the hash, and no seed is longer.
fn kdfe(hash: Hash, shared: &[u8], label: &[u8], ours: &[u8], theirs: &[u8]) -> Zeroizing<Vec<u8>> {
    let block = hash.digest(&[&1u32.to_be_bytes(), shared, label, &[0], ours, theirs]);
    Zeroizing::new(block.as_bytes().to_vec())
}

fn hmac_of(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}

#[cfg(test)]
mod tests {
    use super::{kdfa, kdfe};
    use crate::host::tpm::hash::Hash;

    /// Keylime's `crypt_kdfa` and `crypt_kdfe` give the same.
    #[test]
    fn keys_are_derived_as_elsewhere() {
        let made = kdfa(Hash::Sha256, &[7; 32], b"STORAGE", &[1, 2, 3], 128);
        assert_eq!(data_encoding::HEXLOWER.encode(&made), "ee2453594bee9a6c66d32a07970f5d2c");
        let made = kdfa(Hash::Sha256, &[7; 32], b"INTEGRITY", &[], 512);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&made),
            "cc3e71dfd7c0e386680070a64c70048d9b949ec5d6f3f08e525bf74452429607cf8b786328cceb5061da2c6ae064747ddc4cc1107a4faee17087c96df497e6ca"
        );
        let made = kdfe(Hash::Sha256, &[9; 32], b"IDENTITY", &[1; 32], &[2; 32]);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&made),
            "bb3e8d838410ff58fcf0e7e074fba8db5e83d34209ad19caec4e22b114d69848"
        );
    }
}
