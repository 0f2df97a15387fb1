//! Private keys in memory: wiped when dropped, and never printed.

use std::fmt;

use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::KeyPair;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

use crate::error::AuthorityError;

/// A private key that signs certificates, paths, or proves an identity.
pub(crate) struct SigningKey(KeyPair);

impl SigningKey {
    /// A new ECDSA P-256 key from the system's random source.
    pub(crate) fn generate() -> Result<SigningKey, rcgen::Error> {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(SigningKey)
    }

    /// A new Ed25519 key from the system's random source, in version 1 of PKCS #8: OpenSSL 3.0 reads no other.
    pub(crate) fn generate_ed25519() -> Result<SigningKey, AuthorityError> {
        let key = Ed25519KeyPair::generate().map_err(|_| AuthorityError::Signature)?;
        let document = key.to_pkcs8v1().map_err(|_| AuthorityError::Signature)?;
        let der = PrivatePkcs8KeyDer::from(document.as_ref());
        Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).map(SigningKey)?)
    }

    pub(crate) fn from_pem(pem: &str) -> Result<SigningKey, rcgen::Error> {
        KeyPair::from_pem(pem).map(SigningKey)
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    pub(crate) fn private_key(&self) -> PrivateKey {
        PrivateKey(Zeroizing::new(self.0.serialize_der()))
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// A private key in PKCS #8 (RFC 5958).
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// From PKCS #8 bytes.
    pub fn from_pkcs8(der: Vec<u8>) -> PrivateKey {
        PrivateKey(Zeroizing::new(der))
    }

    /// The PKCS #8 bytes, for a file that nobody else can read.
    pub fn danger_pkcs8(&self) -> &[u8] {
        &self.0
    }

    /// A copy in the form that rustls takes. The copy is not wiped when dropped: hand it over and keep none.
    pub fn danger_copy_for_tls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.to_vec()))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}
