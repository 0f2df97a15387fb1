//! Who may ask what.

use std::time::Duration;

use ringmail_trust::manager::api::{
    HostsAnswer, LeaseAnswer, LeaseRequest, NonceAnswer, NonceRequest, StatusAnswer, WordAnswer,
    WordRequest,
};
use ringmail_trust::manager::{ClientError, Trusting};
use ringmail_trust::{ElementKey, EmbeddedCa};
use ringmail_trust_core::manager::Word;

use super::harness::{Served, World, certificates, csr, refused};
use crate::harness::{Place, name};

const FORBIDDEN: (u16, &str) = (403, "forbidden");

fn word(word: Word) -> WordRequest {
    WordRequest { word, why: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn auditors_look_operators_rule_and_others_do_neither() {
    let world = World::new();
    let served = Served::start(&world).await;
    let _agent = served.agent("h1").await;
    let mut auditor = served.connect(Some(&world.client("eve"))).await;
    let mut operator = served.connect(Some(&world.client("op"))).await;
    let mut member = served.connect(Some(&world.client("mallory"))).await;
    for client in [&mut auditor, &mut operator] {
        let hosts: HostsAnswer = client.get("/v1/hosts").await.unwrap();
        assert_eq!(hosts.hosts.len(), 1);
    }
    let refusal = refused(member.get::<HostsAnswer>("/v1/hosts").await);
    assert_eq!((refusal.0, refusal.1.as_str()), FORBIDDEN);
    member.get::<StatusAnswer>("/v1/status").await.unwrap();
    for client in [&mut auditor, &mut member] {
        let answer = client.post::<WordAnswer>("/v1/hosts/h1/word", &word(Word::Revoke)).await;
        let refusal = refused(answer);
        assert_eq!((refusal.0, refusal.1.as_str()), FORBIDDEN);
    }
    let answer: WordAnswer = operator.post("/v1/hosts/h1/word", &word(Word::Revoke)).await.unwrap();
    assert_eq!(answer.standing, "revoked");
    // The policy decides, and from the next request on.
    tokio::task::block_in_place(|| served.service.set_policy("the test", "")).unwrap();
    let answer = operator.post::<WordAnswer>("/v1/hosts/h1/word", &word(Word::Recover)).await;
    assert_eq!(refused(answer).1, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_speaks_for_its_own_host() {
    let world = World::new();
    let served = Served::start(&world).await;
    let (mut first, mut second) = (served.agent("h1").await, served.agent("h2").await);
    let key = ElementKey::generate().unwrap();
    first.host(None, None).await.unwrap();
    second.host(None, None).await.unwrap();
    first.function("sf1", None, &key).await.unwrap().certificate.unwrap();
    let refusal = refused(second.function("sf1", None, &key).await);
    assert_eq!(refusal, (403, "not-placed".to_owned()));
    let lease = |function: &str| LeaseRequest {
        nonce: ringmail_trust::manager::api::Blob(vec![1; 32]),
        function: Some(name(function)),
    };
    first.client.post::<LeaseAnswer>("/v1/lease", &lease("sf1")).await.unwrap();
    let refusal = refused(second.client.post::<LeaseAnswer>("/v1/lease", &lease("sf1")).await);
    assert_eq!(refusal, (404, "unknown".to_owned()));
    // What is no agent has no host.
    let mut operator = served.connect(Some(&world.client("op"))).await;
    let answer = operator.post::<NonceAnswer>("/v1/nonce", &NonceRequest::default()).await;
    assert_eq!(refused(answer).1, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_once_for_its_host_and_in_time() {
    let world = World::new();
    let served = Served::start(&world).await;
    let make = |lasts| served.service.token(&name("h1"), Duration::from_secs(lasts)).unwrap();
    let (token, late) = (make(60), make(1));
    let mut client = served.try_connect(&Trusting::Token(token.clone()), None).await.unwrap();
    let request = || csr(&ElementKey::generate().unwrap());
    let key = b"its key".to_vec();

    let mut for_another = token.clone();
    for_another.element = name("h2");
    let refusal = refused(client.begin_enrolment(&for_another, key.clone()).await);
    assert_eq!(refusal, (403, "bad-token".to_owned()));
    let refusal = refused(client.begin_enrolment(&token, Vec::new()).await);
    assert_eq!(refusal, (422, "bad-evidence".to_owned()));
    let refusal = refused(client.enrol(&token, key.clone(), request()).await);
    assert_eq!(refusal, (400, "bad-request".to_owned()), "not begun");

    client.begin_enrolment(&token, key.clone()).await.unwrap();
    let refusal = refused(client.enrol(&token, b"no".to_vec(), request()).await);
    assert_eq!(refusal, (422, "bad-evidence".to_owned()));
    let refusal = refused(client.enrol(&token, key.clone(), request()).await);
    assert_eq!(refusal, (400, "bad-request".to_owned()), "a challenge is answered once");
    client.begin_enrolment(&token, key.clone()).await.unwrap();
    client.enrol(&token, key.clone(), request()).await.unwrap();
    let refusal = refused(client.begin_enrolment(&token, key.clone()).await);
    assert_eq!(refusal, (403, "bad-token".to_owned()), "spent");

    world.clock.turn(Duration::from_secs(2));
    let refusal = refused(client.begin_enrolment(&late, key).await);
    assert_eq!(refusal, (403, "bad-token".to_owned()), "too old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_on_a_connection_that_stands() {
    let world = World::new();
    let served = Served::start(&world).await;
    let mut operator = served.connect(Some(&world.client("op"))).await;
    operator.get::<StatusAnswer>("/v1/status").await.unwrap();
    tokio::task::block_in_place(|| {
        world.ca.revoke("client/op").unwrap();
        served.service.tidy().unwrap();
    });
    let refusal = refused(operator.get::<StatusAnswer>("/v1/status").await);
    assert_eq!((refusal.0, refusal.1.as_str()), FORBIDDEN);

    // An agent that is expelled, likewise.
    let mut agent = served.agent("h1").await;
    agent.nonce().await;
    let subject = ringmail_trust_core::manager::Subject::host(name("h1"));
    let say = || served.service.say("op", &subject, Word::Expel, "");
    tokio::task::block_in_place(say).unwrap();
    let answer = agent.client.post::<NonceAnswer>("/v1/nonce", &NonceRequest::default()).await;
    let refusal = refused(answer);
    assert_eq!((refusal.0, refusal.1.as_str()), FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_domains_certificate_and_another_domains_manager_are_nothing() {
    let world = World::new();
    let served = Served::start(&world).await;
    let other = Place::new();
    let other = EmbeddedCa::init(&other.ca(), &"other.example".parse().unwrap()).unwrap();
    let request = crate::harness::client("op", &[]);
    let identity = other.issue(&request).unwrap().identity;
    // In TLS 1.3 the client learns of it with its first request.
    let refused = match served.try_connect(&world.trusting(), Some(&identity)).await {
        Ok(mut client) => client.get::<StatusAnswer>("/v1/status").await.map(drop),
        Err(error) => Err(error),
    };
    assert!(refused.is_err());
    let root = ringmail_trust::Authority::trust_bundle(&other).unwrap().roots;
    let elsewhere = served.try_connect(&Trusting::Roots(root), None).await;
    assert!(matches!(elsewhere, Err(ClientError::Connect { .. })), "{elsewhere:?}");
    let token = other.token(&name("h1"), Duration::from_secs(60)).unwrap();
    let elsewhere = served.try_connect(&Trusting::Token(token), None).await;
    assert!(matches!(elsewhere, Err(ClientError::Connect { .. })), "{elsewhere:?}");
}

/// An agent's certificate names no host, and a host's certificate is no agent's.
#[tokio::test(flavor = "multi_thread")]
async fn a_hosts_identity_does_not_attest() {
    let world = World::new();
    let served = Served::start(&world).await;
    let mut agent = served.agent("h1").await;
    let key = ElementKey::generate().unwrap();
    let svid = agent.host(None, Some(&key)).await.unwrap().certificate.unwrap();
    let identity = key.into_identity(certificates(&svid.chain));
    let mut host = served.connect(Some(&identity)).await;
    let answer = host.post::<NonceAnswer>("/v1/nonce", &NonceRequest::default()).await;
    assert_eq!(refused(answer).1, "forbidden");
}
