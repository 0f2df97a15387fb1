//! From a token to an identity and to its end, over TLS, with OpenSSL as the judge of what is issued.

use ringmail_trust::manager::api::{
    AuditAnswer, BundleAnswer, LeaseAnswer, LeaseRequest, StatusAnswer, WordAnswer, WordRequest,
};
use ringmail_trust::{Authority, ElementKey};
use ringmail_trust_core::manager::Word;
use ringmail_trust_core::manager::audit::{Act, Walk};
use ringmail_trust_core::manager::head::{Receipt, SignedHead};
use ringmail_trust_core::manager::lease::SignedStandingLease;

use super::harness::{Served, World, certificates, refused};
use crate::openssl::ask;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_an_identity_and_an_operator_takes_it() {
    let world = World::new();
    let served = Served::start(&world).await;
    let mut agent = served.agent("h1").await;

    // The host.
    let key = ElementKey::generate().unwrap();
    let answer = agent.host(None, Some(&key)).await.unwrap();
    assert_eq!((answer.verdict.as_str(), answer.standing.as_deref()), ("good", Some("trusted")));
    let host = answer.certificate.unwrap();
    assert_eq!(host.spiffe_id, "spiffe://campus.example/host/h1");

    // A function on it.
    let key = ElementKey::generate().unwrap();
    let answer = agent.function("sf1", None, &key).await.unwrap();
    let svid = answer.certificate.unwrap();
    assert_eq!(svid.spiffe_id, "spiffe://campus.example/element/sf1");

    // It stands in the log.
    let path_key = world.ca.path_key();
    let chain = certificates(&svid.chain).chain;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &chain[0]);
    let hash: [u8; 32] = hash.as_ref().try_into().unwrap();
    let receipt = Receipt::from_bytes(&svid.receipt.0).unwrap();
    let issued = receipt.check(&path_key, &hash).unwrap();
    assert_eq!(
        (issued.spiffe_id, issued.serial.to_string()),
        (svid.spiffe_id.clone(), svid.serial.clone())
    );
    assert!(receipt.check(&path_key, &[0; 32]).is_err());

    // It can say so, in answer to whoever asks.
    let identity = key.into_identity(certificates(&svid.chain));
    let mut holder = served.connect(Some(&identity)).await;
    let nonce = [42; 32];
    let question = || LeaseRequest {
        nonce: ringmail_trust::manager::api::Blob(nonce.to_vec()),
        function: None,
    };
    let answer: LeaseAnswer = holder.post("/v1/lease", &question()).await.unwrap();
    let lease = SignedStandingLease::from_bytes(&answer.lease.0).unwrap();
    let known = (1, receipt.head.head.size);
    assert_eq!(lease.check(&path_key, &svid.spiffe_id, &nonce, known), Ok(60_000));

    // OpenSSL agrees, until an operator revokes the host.
    let stranger: BundleAnswer = served.connect(None).await.get("/v1/bundle").await.unwrap();
    assert!(openssl_verifies(&world, &svid.chain, &stranger.crls).0);
    let mut operator = served.connect(Some(&world.client("op"))).await;
    let word = WordRequest { word: Word::Revoke, why: "a test".to_owned() };
    let answer: WordAnswer = operator.post("/v1/hosts/h1/word", &word).await.unwrap();
    assert_eq!(answer.standing, "revoked");
    let bundle: BundleAnswer = operator.get("/v1/bundle").await.unwrap();
    let (ok, said) = openssl_verifies(&world, &svid.chain, &bundle.crls);
    assert!(!ok && said.contains("certificate revoked"), "{said}");
    assert!(openssl_verifies(&world, &svid.chain, &stranger.crls).0, "by the old list");

    // On the connection that it had: nothing any more.
    let refusal = refused(holder.post::<LeaseAnswer>("/v1/lease", &question()).await);
    assert_eq!(refusal, (403, "forbidden".to_owned()));
    // Its agent can still show that it was mended, and that does not bring it back.
    let answer = agent.host(None, None).await.unwrap();
    assert_eq!(answer.standing.as_deref(), Some("recovering"));

    // The log has all of that, and is a chain.
    let audit: AuditAnswer = operator.get("/v1/log/entries?first=0&count=100").await.unwrap();
    let mut walk = Walk::START;
    let acts: Vec<Act> =
        audit.entries.iter().map(|entry| walk.step(&entry.0).unwrap().act).collect();
    let head = SignedHead::from_bytes(&audit.head.0).unwrap();
    assert!(head.is_signed_by(&path_key));
    assert_eq!((head.head.size, head.head.last), (walk.next, walk.last));
    let names: Vec<_> = acts.iter().map(Act::name).collect();
    assert_eq!(
        names,
        [
            "opened",
            "policy-set",
            "enrolled",
            "issued",
            "stands",
            "issued",
            "stands",
            "issued",
            "said",
            "stands",
            "revoked",
            "revoked",
            "stands"
        ]
    );
    let status: StatusAnswer = operator.get("/v1/status").await.unwrap();
    assert_eq!((status.hosts["recovering"], status.revoked), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_evidence_gets_nothing_and_takes_what_there_was() {
    let world = World::new();
    let served = Served::start(&world).await;
    let mut agent = served.agent("h1").await;
    let key = ElementKey::generate().unwrap();
    let answer = agent.host(Some("a file that nobody knows"), Some(&key)).await.unwrap();
    assert_eq!((answer.verdict.as_str(), answer.certificate), ("refused", None));
    assert_eq!(answer.standing.as_deref(), Some("enrolling"));

    let svid = agent.host(None, Some(&key)).await.unwrap().certificate.unwrap();
    let answer = agent.host(Some("a file that nobody knows"), Some(&key)).await.unwrap();
    assert_eq!(answer.reason.as_deref(), Some("a file that nobody knows"));
    assert_eq!(answer.standing.as_deref(), Some("revoked"));
    let bundle: BundleAnswer = served.connect(None).await.get("/v1/bundle").await.unwrap();
    let (ok, said) = openssl_verifies(&world, &svid.chain, &bundle.crls);
    assert!(!ok && said.contains("certificate revoked"), "{said}");
    let refusal = refused(agent.function("sf1", None, &key).await);
    assert_eq!(refusal, (403, "not-trusted".to_owned()));
}

/// Whether OpenSSL believes the first of a chain, by the domain's root and these lists.
pub(crate) fn openssl_verifies(world: &World, chain: &str, crls: &str) -> (bool, String) {
    let dir = world.place.path();
    let (root, list, svid, between) = (
        dir.join("roots.pem"),
        dir.join("crls.pem"),
        dir.join("svid.pem"),
        dir.join("between.pem"),
    );
    std::fs::write(&root, world.ca.roots_pem().unwrap()).unwrap();
    std::fs::write(&list, crls).unwrap();
    let second = chain.match_indices("-----BEGIN").nth(1).unwrap().0;
    std::fs::write(&svid, &chain[..second]).unwrap();
    std::fs::write(&between, &chain[second..]).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let args = [
        "verify",
        "-x509_strict",
        "-crl_check_all",
        "-CAfile",
        &text(&root),
        "-CRLfile",
        &text(&list),
        "-untrusted",
        &text(&between),
    ];
    ask(&args, &[&svid])
}

#[test]
fn the_bundle_has_the_lists_of_all_who_issue() {
    let world = World::new();
    let service = world.service();
    let bundle = service.bundle().unwrap();
    assert_eq!((bundle.roots.len(), bundle.crls.len()), (1, 2));
    assert_eq!(bundle.path_key, world.ca.trust_bundle().unwrap().path_key);
}
