//! Keys that sign files, and the signatures in `security.ima`: `struct signature_v2_hdr` of the kernel
//! (security/integrity/integrity.h), big-endian:
//!
//! ```text
//! u8 type (3: IMA, 5: EVM, portable) | u8 version 2 | u8 hash | u32 key id | u16 length | signature
//! ```
//!
//! The key's id is the last 4 bytes of the certificate's subject key identifier, or of the SHA-1 of the key. Signatures over
//! SHA-1 or MD5, and RSA keys below 2048 bits, vouch for nothing here; Keylime would take them.

use std::fmt;

use aws_lc_rs::digest as aws_digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::file::{PolicyError, base64};
use crate::host::ima::FileDigest;
use crate::host::tpm::Hash;
use crate::limits;

/// A public key that signs files.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// By which signatures name it.
    pub id: u32,
    kind: Kind,
    /// `SubjectPublicKeyInfo`.
    spki: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
}

/// What the bytes of a measured buffer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaybeKey {
    /// A key that can sign files.
    Key(SigningKey),
    /// A key of a kind that is not known.
    Unsupported,
    /// No key.
    Other,
}

impl SigningKey {
    /// Of a certificate or public key, DER or PEM.
    pub fn parse(bytes: &[u8]) -> MaybeKey {
        if let Ok((_, certificate)) = X509Certificate::from_der(bytes) {
            return SigningKey::of_certificate(&certificate);
        }
        if let Ok((rest, spki)) = SubjectPublicKeyInfo::from_der(bytes) {
            let length = bytes.len() - rest.len();
            return SigningKey::of_spki(&spki, bytes.get(..length).unwrap_or(bytes), None);
        }
        match x509_parser::pem::parse_x509_pem(bytes) {
            Ok((_, pem)) if pem.label == "CERTIFICATE" || pem.label == "PUBLIC KEY" => {
                match pem.contents.starts_with(b"-----") {
                    true => MaybeKey::Other,
                    false => SigningKey::parse_der(&pem.contents),
                }
            }
            _ => MaybeKey::Other,
        }
    }

    fn parse_der(bytes: &[u8]) -> MaybeKey {
        if let Ok((_, certificate)) = X509Certificate::from_der(bytes) {
            return SigningKey::of_certificate(&certificate);
        }
        match SubjectPublicKeyInfo::from_der(bytes) {
            Ok((_, spki)) => SigningKey::of_spki(&spki, bytes, None),
            Err(_) => MaybeKey::Other,
        }
    }

    fn of_certificate(certificate: &X509Certificate<'_>) -> MaybeKey {
        let identifier = certificate.extensions().iter().find_map(|extension| {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(identifier) => last_four(identifier.0),
                _ => None,
            }
        });
        let spki = certificate.public_key();
        SigningKey::of_spki(spki, spki.raw, identifier)
    }

    fn of_spki(spki: &SubjectPublicKeyInfo<'_>, raw: &[u8], id: Option<u32>) -> MaybeKey {
        let kind = match spki.parsed() {
            Ok(PublicKey::RSA(_)) => Kind::Rsa,
            Ok(PublicKey::EC(point)) => match point.key_size() {
                256 => Kind::P256,
                384 => Kind::P384,
                521 | 528 => Kind::P521,
                _ => return MaybeKey::Unsupported,
            },
            _ => return MaybeKey::Unsupported,
        };
        // For RSA the bits are PKCS #1's RSAPublicKey, for a curve the point: what the kernel hashes.
        let hashed = Hash::Sha1.digest(&[&spki.subject_public_key.data]);
        let id = id.or_else(|| last_four(hashed.as_bytes())).unwrap_or_default();
        MaybeKey::Key(SigningKey { id, kind, spki: raw.to_vec() })
    }

    /// The same key by another id.
    #[must_use]
    pub fn with_id(mut self, id: u32) -> SigningKey {
        self.id = id;
        self
    }

    fn verifies(&self, hash: Hash, digest: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match (self.kind, hash) {
            (_, Hash::Sha1) => return false,
            (Kind::Rsa, Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
            (Kind::Rsa, Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
            (Kind::Rsa, Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
            (Kind::P256, Hash::Sha256) => &ECDSA_P256_SHA256_ASN1,
            (Kind::P256, Hash::Sha384) => &ECDSA_P256_SHA384_ASN1,
            (Kind::P256, Hash::Sha512) => &ECDSA_P256_SHA512_ASN1,
            (Kind::P384, Hash::Sha256) => &ECDSA_P384_SHA256_ASN1,
            (Kind::P384, Hash::Sha384) => &ECDSA_P384_SHA384_ASN1,
            (Kind::P384, Hash::Sha512) => &ECDSA_P384_SHA512_ASN1,
            (Kind::P521, Hash::Sha256) => &ECDSA_P521_SHA256_ASN1,
            (Kind::P521, Hash::Sha384) => &ECDSA_P521_SHA384_ASN1,
            (Kind::P521, Hash::Sha512) => &ECDSA_P521_SHA512_ASN1,
        };
        let Ok(digest) = aws_digest::Digest::import_less_safe(digest, hash.algorithm()) else {
            return false;
        };
        UnparsedPublicKey::new(algorithm, &self.spki).verify_digest(&digest, signature).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} key {:08x}", self.kind, self.id)
    }
}

fn last_four(bytes: &[u8]) -> Option<u32> {
    bytes.last_chunk().map(|last| u32::from_be_bytes(*last))
}

/// Keys that sign files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing(Vec<SigningKey>);

/// `verification-keys`, within its string.
#[derive(Deserialize)]
struct KeylimeKeys {
    pubkeys: Vec<String>,
    keyids: Vec<i64>,
}

impl KeyRing {
    /// Of `verification-keys`: JSON that holds `pubkeys`, each the base64 of a key, and their `keyids`; or nothing.
    pub(super) fn from_keylime(text: &str) -> Result<KeyRing, PolicyError> {
        let wrong = |why: String| PolicyError::Keys(why);
        if text.is_empty() {
            return Ok(KeyRing::default());
        }
        let keys: KeylimeKeys = serde_json::from_str(text)
            .map_err(|error| wrong(format!("is not JSON of keys: {error}")))?;
        if keys.pubkeys.len() > limits::VERIFICATION_KEYS {
            let limit = limits::VERIFICATION_KEYS;
            return Err(PolicyError::TooMany { what: "verification keys", limit });
        }
        let mut ring = KeyRing::default();
        for (number, text) in keys.pubkeys.iter().enumerate() {
            let bytes =
                base64(text).ok_or_else(|| wrong(format!("pubkeys[{number}] is not base64")))?;
            let MaybeKey::Key(key) = SigningKey::parse_der(&bytes) else {
                return Err(wrong(format!(
                    "pubkeys[{number}] is no RSA key, and no key of a NIST curve"
                )));
            };
            let id = keys.keyids.get(number).copied().filter(|id| *id != 0);
            let id = id.map(u32::try_from).transpose();
            let id = id.map_err(|_| wrong(format!("keyids[{number}] is not of 32 bits")))?;
            ring.add(match id {
                Some(id) => key.with_id(id),
                None => key,
            });
        }
        Ok(ring)
    }

    /// One more; a later key takes the place of an earlier one of the same id.
    pub fn add(&mut self, key: SigningKey) {
        self.0.retain(|known| known.id != key.id);
        self.0.push(key);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key of these made the signature in `security.ima` over a file of this digest.
    pub fn vouches(&self, signature: &[u8], file: &FileDigest<'_>) -> bool {
        let Some((header, signature)) = signature.split_first_chunk::<HEADER_BYTES>() else {
            return false;
        };
        let [kind, version, hash, id @ .., high, low] = header;
        let id = u32::from_be_bytes(*id);
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if ![TYPE_IMA, TYPE_EVM_PORTABLE].contains(kind)
            || *version != 2
            || length != signature.len()
        {
            return false;
        }
        let hash = match hash {
            4 => Hash::Sha256,
            5 => Hash::Sha384,
            6 => Hash::Sha512,
            _ => return false,
        };
        hash.name() == file.algorithm
            && self
                .0
                .iter()
                .any(|key| key.id == id && key.verifies(hash, file.digest.as_bytes(), signature))
    }
}

const HEADER_BYTES: usize = 9;
/// `EVM_IMA_XATTR_DIGSIG`.
const TYPE_IMA: u8 = 3;
/// `EVM_XATTR_PORTABLE_DIGSIG`.
const TYPE_EVM_PORTABLE: u8 = 5;
