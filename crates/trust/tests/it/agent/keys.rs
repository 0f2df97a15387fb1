//! Keys and registers of a TPM, and what is enclosed for its endorsement keys.

use ringmail_trust::agent::tpm::{EkCertificate, Handle, PERSISTENT_ECC_P384_EK, Template};
use ringmail_trust_core::host::tpm::ek::check_certificate;
use ringmail_trust_core::host::tpm::{
    Hash, PcrSelection, Quote, Signature, SignatureError, make_credential,
};

use super::swtpm::Swtpm;

#[test]
fn quotes_of_every_kind_of_key_hold_and_only_as_they_are() {
    let swtpm = Swtpm::manufacture();
    let mut tpm = swtpm.connect();
    let selection = PcrSelection::new([(Hash::Sha1, &[10][..]), (Hash::Sha256, &[0, 10, 23])]);
    for template in [Template::EccAk, Template::RsassaAk, Template::RsapssAk] {
        let ak = tpm.create_primary(template).expect("a key");
        let made = tpm.quote(ak.handle, b"0123456789abcdef", &selection).expect("a quote");
        let quote = Quote::parse(&made.quote).expect("a quote");
        assert_eq!(quote.extra_data, b"0123456789abcdef");
        assert_eq!(quote.selection, selection);
        let signature = Signature::parse(&made.signature).expect("a signature");
        assert_eq!(signature.verify(&ak.public, &made.quote), Ok(()), "{template:?}");
        let mut other = made.quote.clone();
        *other.last_mut().expect("a byte") ^= 1;
        let wrong = Err(SignatureError::Wrong);
        assert_eq!(signature.verify(&ak.public, &other), wrong, "{template:?}");
        let again = tpm.create_primary(template).expect("a key");
        assert_eq!(again.public, ak.public, "the same template is the same key");
        tpm.flush(again.handle).expect("flushed");
        tpm.flush(ak.handle).expect("flushed");
    }
}

/// A TPM has room for three keys and three sessions.
#[test]
fn keys_and_sessions_are_not_left_behind() {
    let swtpm = Swtpm::manufacture();
    let mut tpm = swtpm.connect();
    let ak = tpm.create_primary(Template::EccAk).expect("a key");
    for _ in 0..20 {
        let ek = tpm.create_primary(Template::EccP256Ek).expect("a key");
        let credential = make_credential(&ek.public, &ak.public.name(), b"secret");
        let mut credential = credential.expect("a credential");
        let opened = tpm.activate_credential(ek.handle, ak.handle, &credential);
        assert_eq!(opened.expect("a secret"), b"secret");
        credential.blob.0[10] ^= 1;
        assert!(tpm.activate_credential(ek.handle, ak.handle, &credential).is_err());
        tpm.flush(ek.handle).expect("flushed");
    }
}

#[test]
fn secrets_are_opened_by_each_kind_of_endorsement_key() {
    let swtpm = Swtpm::manufacture();
    let mut tpm = swtpm.connect();
    let ak = tpm.create_primary(Template::EccAk).expect("a key");
    let made = [Template::RsaEk, Template::EccP256Ek];
    let mut eks = Vec::new();
    for template in made {
        eks.push(tpm.create_primary(template).expect("a key"));
        let ek = eks.last().expect("a key");
        let credential = make_credential(&ek.public, &ak.public.name(), &[7; 32]);
        let credential = credential.expect("a credential");
        let opened = tpm.activate_credential(ek.handle, ak.handle, &credential);
        assert_eq!(opened.expect("a secret"), [7; 32], "{template:?}");
        tpm.flush(ek.handle).expect("flushed");
    }
    let kept = tpm.rsa_ek().expect("a key");
    assert_eq!(kept.public, eks[0].public, "what the maker kept is the template's");
    assert_eq!(tpm.read_public(Handle(0x8101_00ff)).expect("an answer"), None);
}

/// The certificate that the maker left is of the key that the TPM has.
#[test]
fn certificates_are_read_from_the_tpm_and_hold() {
    let swtpm = Swtpm::manufacture();
    let mut tpm = swtpm.connect();
    let now = 4_000_000_000;
    let rsa = tpm.rsa_ek().expect("a key");
    let ecc = tpm.read_public(PERSISTENT_ECC_P384_EK).expect("an answer").expect("a key");
    for (public, which) in [(&rsa.public, EkCertificate::Rsa), (&ecc, EkCertificate::EccP384)] {
        let certificate = tpm.ek_certificate(which).expect("an answer").expect("a certificate");
        let chain = swtpm.intermediates();
        let checked = check_certificate(public, &certificate, &chain, &swtpm.roots(), now);
        assert!(checked.is_ok(), "{which:?}: {checked:?}");
        let early = check_certificate(public, &certificate, &chain, &swtpm.roots(), 1_000_000_000);
        assert!(early.is_err(), "before it was made");
    }
    assert_eq!(tpm.ek_certificate(EkCertificate::EccP256).expect("an answer"), None);
    // Of ECC over P-384 with its own hash and AES of 256 bits.
    let ak = tpm.create_primary(Template::EccAk).expect("a key");
    let credential = make_credential(&ecc, &ak.public.name(), &[9; 32]).expect("a credential");
    let opened = tpm.activate_credential(PERSISTENT_ECC_P384_EK, ak.handle, &credential);
    assert_eq!(opened.expect("a secret"), [9; 32]);
}

#[test]
fn a_key_is_made_under_a_parent_and_loaded() {
    let swtpm = Swtpm::manufacture();
    let mut tpm = swtpm.connect();
    let parent = tpm.create_primary(Template::Storage).expect("a parent");
    let (private, public) = tpm.create(parent.handle, Template::EccAk).expect("a key");
    let ak = tpm.load(parent.handle, &private, &public).expect("loaded");
    let selection = PcrSelection::new([(Hash::Sha256, &[10][..])]);
    let made = tpm.quote(ak.handle, b"0123456789abcdef", &selection).expect("a quote");
    let signature = Signature::parse(&made.signature).expect("a signature");
    assert_eq!(signature.verify(&public, &made.quote), Ok(()));
    let mut other = private;
    other.0[40] ^= 1;
    assert!(tpm.load(parent.handle, &other, &public).is_err());
}

#[test]
fn registers_are_read_in_any_number_and_extended_in_each_bank() {
    let swtpm = Swtpm::manufacture();
    let mut tpm = swtpm.connect();
    let all: Vec<u8> = (0..24).collect();
    let selection = PcrSelection::new([(Hash::Sha1, &all[..]), (Hash::Sha256, &all[..])]);
    let before = tpm.read_pcrs(&selection).expect("registers");
    assert_eq!(before.values().map(|bank| bank.len()).sum::<usize>(), 48);
    assert_eq!(before[&Hash::Sha256][&10], Hash::Sha256.zeros());
    let event = |bank: Hash| bank.digest(&[b"event"]);
    let banks = [Hash::Sha1, Hash::Sha256];
    tpm.extend_pcr(10, &banks.map(|bank| (bank, event(bank)))).expect("extended");
    let after = tpm.read_pcrs(&selection).expect("registers");
    for bank in banks {
        let expected = bank.digest(&[bank.zeros().as_bytes(), event(bank).as_bytes()]);
        assert_eq!(after[&bank][&10], expected);
        assert_eq!(after[&bank][&11], before[&bank][&11]);
    }
}
