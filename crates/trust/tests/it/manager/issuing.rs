//! What is issued, to which key, for how long; and what an intermediate cannot do.

use ringmail_trust::manager::bound;
use ringmail_trust::{Authority, ElementKey};
use rustls_pki_types::UnixTime;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::harness::{Served, World, certificates, evidence, public_key, refused, request};
use crate::harness::name;
use crate::openssl::run;

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_for_the_key_that_the_evidence_vouches_for() {
    let world = World::new();
    let served = Served::start(&world).await;
    let mut agent = served.agent("h1").await;
    agent.host(None, None).await.unwrap();
    let (shown, asked) = (ElementKey::generate().unwrap(), ElementKey::generate().unwrap());
    tokio::task::block_in_place(|| {
        let (h1, service) = (name("h1"), &served.service);
        let nonce = service.nonce(&h1).unwrap().0;
        let answers = bound(&nonce, &public_key(&shown));
        let shown = evidence(&answers, b"the key of h1", None);
        let attested = service.host_evidence(&h1, &nonce, &shown, Some(&request(&asked))).unwrap();
        assert!(attested.certified.is_none(), "another key than the one in the evidence");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_holds_as_long_as_policy_says_and_is_renewed_before_half() {
    let world = World::new();
    let served = Served::start(&world).await;
    let mut agent = served.agent("h1").await;
    let mut renewals = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let key = ElementKey::generate().unwrap();
        let before = (world.clock.clock())().unix_s();
        let svid = agent.host(None, Some(&key)).await.unwrap().certificate.unwrap();
        let after = (world.clock.clock())().unix_s();
        assert!((before + 300..=after + 300).contains(&svid.not_after_unix_s));
        assert!((before + 120..=after + 150).contains(&svid.renew_at_unix_s));
        renewals.insert(svid.not_after_unix_s - svid.renew_at_unix_s);
        let file = world.place.path().join("svid.pem");
        std::fs::write(&file, &svid.chain).unwrap();
        let text = run(&["x509", "-noout", "-text", "-in"], &[&file]);
        assert!(text.contains("URI:spiffe://campus.example/host/h1"), "{text}");
        assert!(!text.contains("DNS:") && text.contains("CA:FALSE"), "{text}");
    }
    assert!(renewals.len() > 1, "all at the same time: {renewals:?}");
}

/// The intermediate's key, in the hands of somebody else: what it signs with other names, or for another CA, counts nowhere.
#[test]
fn an_intermediate_signs_spiffe_ids_and_nothing_else() {
    let world = World::new();
    drop(world.service());
    let dir = world.place.path().join("manager");
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    let key = rcgen::KeyPair::from_pem(&read("intermediate.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("intermediate.pem"), key).unwrap();
    let between = certificates(&read("intermediate.pem")).chain;
    let roots = world.ca.trust_bundle().unwrap().roots;
    let own = rcgen::KeyPair::generate().unwrap();
    let judge = |change: fn(&mut rcgen::CertificateParams)| {
        let mut params = rcgen::CertificateParams::default();
        let id = "spiffe://campus.example/element/sf1".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(id)];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let made = params.signed_by(&own, &issuer).unwrap();
        let file = world.place.path().join("made.pem");
        std::fs::write(&file, made.pem()).unwrap();
        let (root, intermediate) =
            (world.place.ca().join("root.pem"), dir.join("intermediate.pem"));
        let args = ["verify", "-x509_strict", "-partial_chain", "-CAfile"];
        let args =
            [&args[..], &[root.to_str().unwrap(), "-untrusted", intermediate.to_str().unwrap()]];
        let openssl = crate::openssl::ask(&args.concat(), &[&file]).0;
        let anchors = [anchor_from_trusted_cert(&roots[0]).unwrap()];
        let webpki = EndEntityCert::try_from(made.der()).and_then(|certificate| {
            let algorithms = rustls::crypto::aws_lc_rs::default_provider();
            let usage = KeyUsage::client_auth();
            let all = algorithms.signature_verification_algorithms.all;
            certificate
                .verify_for_usage(all, &anchors, &between, UnixTime::now(), usage, None, None)
                .map(drop)
        });
        (webpki.is_ok(), openssl)
    };
    assert_eq!(judge(|_| {}), (true, true), "as the manager issues");
    let dns = |params: &mut rcgen::CertificateParams| {
        params
            .subject_alt_names
            .push(rcgen::SanType::DnsName("www.campus.example".try_into().unwrap()));
    };
    assert_eq!(judge(dns), (false, false), "a DNS name");
    let v4 = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names.push(rcgen::SanType::IpAddress([192, 0, 2, 1].into()));
    };
    assert_eq!(judge(v4), (false, false), "an IPv4 address");
    let v6 = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names.push(rcgen::SanType::IpAddress("2001:db8::1".parse().unwrap()));
    };
    assert_eq!(judge(v6), (false, false), "an IPv6 address");
}

/// A revoked root leaves the intermediate behind: with the next root there is another, before anything is issued.
#[test]
fn another_root_has_another_intermediate() {
    let world = World::new();
    let text =
        || std::fs::read_to_string(world.place.path().join("manager/intermediate.pem")).unwrap();
    drop(world.service());
    let first = text();
    drop(world.service());
    assert_eq!(text(), first, "kept over a restart");
    world.ca.rotate_begin().unwrap();
    world.ca.rotate_switch(true).unwrap();
    drop(world.service());
    assert_ne!(text(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_under_a_bad_request_is_not_issued() {
    let world = World::new();
    let served = Served::start(&world).await;
    let mut agent = served.agent("h1").await;
    let nonce = agent.nonce().await.nonce;
    let question = serde_json::json!({ "nonce": nonce, "evidence": "", "csr": "no request" });
    let answer = agent.client.post::<serde_json::Value>("/v1/host/evidence", &question).await;
    assert_eq!(refused(answer), (400, "bad-request".to_owned()));
    let question = serde_json::json!({ "nonce": nonce, "evidence": "", "more": 1 });
    let answer = agent.client.post::<serde_json::Value>("/v1/host/evidence", &question).await;
    assert_eq!(refused(answer), (400, "bad-request".to_owned()), "an unknown key");
}
