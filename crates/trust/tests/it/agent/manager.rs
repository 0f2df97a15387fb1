//! A host with a TPM and the manager: enrolment, evidence, an identity, and its end when something unknown runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringmail_trust::ElementKey;
use ringmail_trust::agent::tpm::Template;
use ringmail_trust::manager::{Anchor, Attested, References, Service, Settings, bound};
use ringmail_trust_core::function::FunctionPolicy;
use ringmail_trust_core::host::tpm::Credential;

use super::swtpm::Host;
use crate::harness::name;
use crate::manager::harness::{World, public_key, request};

/// One round with the manager, and a request for a certificate.
fn round(service: &Service, host: &mut Host, key: &ElementKey) -> Attested {
    let h1 = name("h1");
    let (nonce, challenge) = service.nonce(&h1).unwrap();
    let registers: BTreeMap<_, _> = serde_json::from_value(challenge["registers"].clone()).unwrap();
    let next = challenge["next_entry"].as_u64().unwrap();
    let contains = bound(&nonce, &public_key(key));
    let evidence = host.agent.evidence(&contains, &registers, next).unwrap();
    let evidence = evidence.to_json().unwrap();
    service.host_evidence(&h1, &nonce, evidence.as_bytes(), Some(&request(key))).unwrap()
}

#[test]
fn a_host_with_a_tpm_has_an_identity_as_long_as_nothing_unknown_runs() {
    let (world, mut host) = (World::new(), Host::boot(Template::EccAk));
    let roots = host.swtpm.roots();
    let references =
        References::new(Some(host.reference.clone()), FunctionPolicy::default(), roots);
    let settings = Settings { appraiser: Arc::new(references), ..world.settings() };
    let service = Service::open(settings).unwrap();
    let h1 = name("h1");
    let token = service.token(&h1, Duration::from_secs(60)).unwrap();
    let (secret, agent) = (token.danger_secret(), ElementKey::generate().unwrap());

    let enrolment = serde_json::to_vec(&host.agent.enrolment_request().unwrap()).unwrap();
    let challenge = service.begin_enrolment(&h1, secret, &enrolment).unwrap();
    let wrong = service.enrol(&h1, secret, &[0; 32], &request(&agent));
    assert!(wrong.unwrap_err().to_string().contains("not the secret that was enclosed"));
    let challenge_again = service.begin_enrolment(&h1, secret, &enrolment).unwrap();
    assert_ne!(challenge, challenge_again);
    let credential: Credential = serde_json::from_value(challenge_again).unwrap();
    let opened = host.agent.open_secret(&credential).unwrap();
    let certified = service.enrol(&h1, secret, &opened, &request(&agent)).unwrap();
    assert_eq!(certified.spiffe_id, "spiffe://campus.example/agent/h1");

    let key = ElementKey::generate().unwrap();
    for _ in 0..2 {
        let attested = round(&service, &mut host, &key);
        let id = attested.certified.map(|certified| certified.spiffe_id);
        assert_eq!(id.as_deref(), Some("spiffe://campus.example/host/h1"), "{:?}", attested.found);
    }
    host.run("/usr/bin/mv");
    let attested = round(&service, &mut host, &key);
    assert!(attested.certified.is_none());
    let judged = attested.judged.unwrap();
    assert!(judged.cause.contains("/usr/bin/mv"), "{judged:?}");
    assert_eq!(service.hosts().unwrap()[0].record.standing.name(), "revoked");
}

/// The key that functions name as their host's is the one that OpenSSL reads.
#[test]
fn an_attestation_key_is_kept_as_other_programs_read_it() {
    for (template, kind) in [(Template::EccAk, "prime256v1"), (Template::RsassaAk, "2048 bit")] {
        let (world, mut host) = (World::new(), Host::boot(template));
        let references = References::new(None, FunctionPolicy::default(), host.swtpm.roots());
        let enrolment = serde_json::to_vec(&host.agent.enrolment_request().unwrap()).unwrap();
        let now_unix_s = (Settings::system_clock())().unix_s();
        let appraiser: &dyn ringmail_trust::manager::Appraiser = &references;
        let begun = appraiser.enrol(&name("h1"), &enrolment, now_unix_s).unwrap();
        let credential: Credential = serde_json::from_value(begun.challenge).unwrap();
        let opened = host.agent.open_secret(&credential).unwrap();
        let anchor: Anchor =
            serde_json::from_slice(&begun.pending.finish(&opened).unwrap()).unwrap();
        assert_eq!(anchor.ak, host.enrolled);
        let file = world.place.path().join("ak.der");
        std::fs::write(&file, &anchor.ak_public.0).unwrap();
        let args = ["pkey", "-pubin", "-inform", "DER", "-noout", "-text", "-in"];
        let said = crate::openssl::run(&args, &[&file]);
        assert!(said.contains(kind), "{said}");
    }
}
