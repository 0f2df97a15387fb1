//! What a host signs: with a key in a file, or as a TPM quotes.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKey, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA256,
};

/// An attestation key.
pub(crate) enum HostKey {
    Ecdsa(EcdsaKeyPair, Vec<u8>),
    Rsa(Box<RsaKey>),
}

impl HostKey {
    pub(crate) fn ecdsa() -> HostKey {
        let key = rcgen::KeyPair::generate().expect("a key");
        let pkcs8 = key.serialize_der();
        let fixed = &ECDSA_P256_SHA256_FIXED_SIGNING;
        HostKey::Ecdsa(EcdsaKeyPair::from_pkcs8(fixed, &pkcs8).expect("a key"), pkcs8)
    }

    pub(crate) fn rsa() -> HostKey {
        HostKey::Rsa(Box::new(RsaKey::generate(KeySize::Rsa2048).expect("a key")))
    }

    /// A DER SubjectPublicKeyInfo.
    pub(crate) fn public(&self) -> Vec<u8> {
        match self {
            HostKey::Ecdsa(key, _) => key.public_key().as_der().expect("a key").as_ref().to_vec(),
            HostKey::Rsa(key) => key.public_key().as_der().expect("a key").as_ref().to_vec(),
        }
    }

    /// As a key in a file signs.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let HostKey::Ecdsa(_, pkcs8) = self else { panic!("software keys are ECDSA here") };
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).expect("a key");
        key.sign(&SystemRandom::new(), message).expect("signed").as_ref().to_vec()
    }

    /// As a TPM signs: a TPMT_SIGNATURE.
    pub(crate) fn tpm_sign(&self, attest: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        match self {
            HostKey::Ecdsa(key, _) => {
                let signature = key.sign(&rng, attest).expect("signed");
                let (r, s) = signature.as_ref().split_at(32);
                // A TPM leaves leading zeros out.
                let short =
                    |n: &[u8]| n.iter().copied().skip_while(|b| *b == 0).collect::<Vec<_>>();
                [vec![0, 0x18, 0, 0x0b], sized(&short(r)), sized(&short(s))].concat()
            }
            HostKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &rng, attest, &mut signature).expect("signed");
                [vec![0, 0x14, 0, 0x0b], sized(&signature)].concat()
            }
        }
    }
}

/// A TPMS_ATTEST of type quote.
pub(crate) fn attest(extra: &[u8]) -> Vec<u8> {
    attest_of(0xff54_4347, 0x8018, extra)
}

pub(crate) fn attest_of(magic: u32, kind: u16, extra: &[u8]) -> Vec<u8> {
    let mut attest = magic.to_be_bytes().to_vec();
    attest.extend(kind.to_be_bytes());
    attest.extend([0, 34, 0, 0x0b]);
    attest.extend([0x5a; 32]); // the key's name
    attest.extend((extra.len() as u16).to_be_bytes());
    attest.extend(extra);
    attest.extend([0; 17]); // clock information
    attest.extend([0; 8]); // firmware
    attest.extend([0, 0, 0, 1, 0, 0x0b, 3, 0, 4, 0]); // PCR 10 of the bank SHA-256
    attest.extend([0, 32]);
    attest.extend([0x77; 32]);
    attest
}
