//! What a host signs: with a key in a file, or as a TPM quotes.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use ringmail_trust_core::function::HostSigned;
use ringmail_trust_core::host::simulated::SimulatedHost;
use ringmail_trust_core::host::tpm::{ClockInfo, Hash, PcrSelection, Quote};

/// A key in a file.
pub(crate) struct FileKey(EcdsaKeyPair);

impl FileKey {
    pub(crate) fn new() -> FileKey {
        FileKey(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key"))
    }

    /// A DER SubjectPublicKeyInfo.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.0.public_key().as_der().expect("a key").as_ref().to_vec()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).expect("signed").as_ref().to_vec()
    }
}

/// Puts a TPM's quote over these bytes, of these registers, into evidence.
pub(crate) fn quoted(
    host: &mut SimulatedHost,
    signed: &mut HostSigned,
    extra_data: &[u8],
    registers: &[u8],
) {
    let mut made = host.evidence(&[0; 16], &[(Hash::Sha256, vec![10])].into(), 0).expect("made");
    let banks = (!registers.is_empty()).then_some((Hash::Sha256, registers));
    let quote = Quote {
        extra_data: extra_data.to_vec(),
        clock: ClockInfo { clock_ms: 5, reset_count: 1, restart_count: 0, safe: true },
        firmware: 1,
        selection: PcrSelection::new(banks),
        pcr_digest: Hash::Sha256.digest(&[]),
    };
    host.sign(&mut made, &quote).expect("signed");
    signed.attest = Some(made.quote.0.into());
    signed.signature = made.signature.0.into();
}
