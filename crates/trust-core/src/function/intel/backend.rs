//! What `dcap-qvl` verifies with: aws-lc for signatures and hashes, `x509-parser` for certificates.

use anyhow::{anyhow, bail};
use aws_lc_rs::digest::{self, SHA256, SHA384};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use dcap_qvl::config::{Config, CryptoProvider, EcdsaSigEncoder, ParsedCert, PckCa, X509Codec};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The bundle.
#[derive(Debug)]
pub(super) struct Backend;

#[derive(Debug)]
pub(super) struct Certificates;

pub(super) struct Parsed<'a>(X509Certificate<'a>);

#[derive(Debug)]
pub(super) struct Signatures;

#[derive(Debug)]
pub(super) struct Crypto;

#[derive(Debug)]
struct EcdsaP256;

impl Config for Backend {
    type X509 = Certificates;
    type SigEncoder = Signatures;
    type Crypto = Crypto;
}

impl X509Codec for Certificates {
    type Parsed<'a> = Parsed<'a>;

    fn from_der<'a>(der: &'a [u8]) -> anyhow::Result<Parsed<'a>> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(Parsed(certificate)),
            Ok(_) => bail!("bytes follow the certificate"),
            Err(error) => Err(anyhow!("no certificate: {error}")),
        }
    }
}

impl ParsedCert for Parsed<'_> {
    /// Only fetching collateral asks.
    fn pck_ca(&self) -> Option<PckCa> {
        None
    }

    fn extension(&self, oid: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let mut found = self.0.extensions().iter().filter(|known| known.oid.as_bytes() == oid);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(extension), None) => Ok(Some(extension.value.to_vec())),
            (Some(_), Some(_)) => bail!("an extension stands twice in the certificate"),
        }
    }
}

impl EcdsaSigEncoder for Signatures {
    fn encode_ecdsa_sig(r: &[u8], s: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (r, s) = (integer(r)?, integer(s)?);
        let length = u8::try_from(r.len() + s.len()).ok().filter(|length| *length < 0x80);
        let mut der = vec![0x30, length.ok_or_else(|| anyhow!("too long for a signature"))?];
        der.extend(r);
        der.extend(s);
        Ok(der)
    }
}

/// An unsigned number as DER has it (X.690 section 8.3).
fn integer(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let significant = bytes.iter().skip_while(|byte| **byte == 0);
    let mut digits: Vec<u8> = significant.copied().collect();
    if digits.first().is_none_or(|first| *first >= 0x80) {
        digits.insert(0, 0);
    }
    let length = u8::try_from(digits.len()).ok().filter(|length| *length < 0x80);
    let mut der = vec![2, length.ok_or_else(|| anyhow!("too long for a signature"))?];
    der.extend(digits);
    Ok(der)
}

impl CryptoProvider for Crypto {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &EcdsaP256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&SHA256, data).as_ref());
        hash
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        let mut hash = [0; 48];
        hash.copy_from_slice(digest::digest(&SHA384, data).as_ref());
        hash
    }
}

impl SignatureVerificationAlgorithm for EcdsaP256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key);
        key.verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_encoded_as_der_has_them() {
        let mut small = [0; 32];
        small[31] = 0x7f;
        let mut large = [0; 32];
        large[30] = 0x80;
        let der = Signatures::encode_ecdsa_sig(&small, &large).expect("encodes");
        assert_eq!(der, [0x30, 8, 2, 1, 0x7f, 2, 3, 0, 0x80, 0]);
        let der = Signatures::encode_ecdsa_sig(&[0; 32], &[0xff; 32]).expect("encodes");
        assert_eq!(der[..7], [0x30, 38, 2, 1, 0, 2, 33]);
        assert!(Signatures::encode_ecdsa_sig(&[1; 32], &[1; 200]).is_err());
    }
}
