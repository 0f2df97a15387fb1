//! Enrolment with a TPM, and what is refused.

use ringmail_trust::agent::tpm::{Code, Template};
use ringmail_trust::agent::{AgentError, HostAgent, ImaFile, ImaForm};
use ringmail_trust_core::host::enrolment::{EnrolmentError, challenge};
use ringmail_trust_core::host::tpm::EkRoots;

use super::swtpm::Swtpm;

/// A day on which the certificates are valid: they have no end.
const NOW_UNIX_S: u64 = 4_000_000_000;

fn agent(swtpm: &Swtpm, template: Template) -> HostAgent {
    let list = ImaFile::new("/nowhere", ImaForm::Text);
    let agent = HostAgent::new(swtpm.connect(), template, list).expect("an agent");
    agent.with_certificates(None, swtpm.intermediates())
}

#[test]
fn a_host_is_enrolled_by_the_key_that_its_tpm_alone_has() {
    let swtpm = Swtpm::manufacture();
    let mut host = agent(&swtpm, Template::EccAk);
    let request = host.enrolment_request().expect("a request");
    let (credential, pending) = challenge(&request, &swtpm.roots(), NOW_UNIX_S).expect("a secret");
    let secret = host.open_secret(&credential).expect("the secret");
    let enrolled = pending.finish(&secret).expect("enrolled");
    assert_eq!(enrolled.ak, host.ak().name());
    // The same again, by which a TPM is known.
    let (_, pending) = challenge(&request, &swtpm.roots(), NOW_UNIX_S).expect("a secret");
    assert_eq!(pending.enrolled_if_answered().ek, enrolled.ek);
    let error = pending.finish(&secret).expect_err("the secret of another time");
    assert_eq!(error.name(), "credential-answer");
}

#[test]
fn a_tpm_of_another_maker_is_refused() {
    let (ours, theirs) = (Swtpm::manufacture(), Swtpm::manufacture());
    let request = agent(&theirs, Template::EccAk).enrolment_request().expect("a request");
    let error = challenge(&request, &ours.roots(), NOW_UNIX_S).expect_err("another CA");
    assert_eq!(error.name(), "ek-certificate");
    assert_eq!(
        challenge(&request, &EkRoots::default(), NOW_UNIX_S).expect_err("no CA").name(),
        "ek-certificate"
    );
    let mut without = request.clone();
    without.ek_intermediates.clear();
    let error = challenge(&without, &theirs.roots(), NOW_UNIX_S).expect_err("a gap");
    assert_eq!(error.name(), "ek-certificate");
    // The certificate of a good TPM does not make another one good.
    let mut mixed = agent(&ours, Template::EccAk).enrolment_request().expect("a request");
    mixed.ek_certificate = request.ek_certificate;
    mixed.ek_intermediates = request.ek_intermediates;
    let error = challenge(&mixed, &theirs.roots(), NOW_UNIX_S).expect_err("another key");
    assert_eq!(error.name(), "ek-key");
}

/// Two good TPMs of one maker: the attestation key of one cannot be enrolled by the other.
#[test]
fn a_tpm_opens_no_secret_for_a_key_that_it_does_not_have() {
    let (here, there) = (Swtpm::manufacture(), Swtpm::manufacture());
    let mut host = agent(&here, Template::EccAk);
    let elsewhere = agent(&there, Template::EccAk);
    let mut request = host.enrolment_request().expect("a request");
    request.ak_public.0 = elsewhere.ak().as_bytes().to_vec();
    let (credential, _) = challenge(&request, &here.roots(), NOW_UNIX_S).expect("a secret");
    match host.open_secret(&credential) {
        Err(AgentError::Tpm(error)) => assert!(error.is(Code::INTEGRITY), "{error}"),
        other => panic!("{other:?}"),
    }
    // And it goes on working.
    assert!(host.enrolment_request().is_ok());
}

#[test]
fn a_key_that_signs_anything_is_not_enrolled() {
    let swtpm = Swtpm::manufacture();
    let request = agent(&swtpm, Template::UnrestrictedEcc).enrolment_request().expect("a request");
    match challenge(&request, &swtpm.roots(), NOW_UNIX_S) {
        Err(error @ EnrolmentError::AkRestricted(_)) => {
            assert_eq!(error.name(), "ak-restricted");
            assert_eq!(error.to_string(), "the attestation key lacks restricted");
        }
        other => panic!("{other:?}"),
    }
}
