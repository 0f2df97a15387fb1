//! A database that was rolled back is noticed by the manager itself as soon as a peer says what it has seen.

use std::fs;

use ringmail_trust::manager::ManagerError;
use ringmail_trust_core::manager::head::{Rollback, SignedHead};
use ringmail_trust_core::manager::merkle;

use super::harness::{Served, World, array, refused};
use crate::harness::name;
use ringmail_trust::manager::api::{
    Blob, ContinuesAnswer, ContinuesRequest, LeaseAnswer, LeaseRequest, NonceAnswer, NonceRequest,
};

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_whose_database_was_rolled_back_issues_nothing() {
    let world = World::new();
    let dir = world.place.path().join("manager");
    let old = world.place.path().join("old");
    let kept = {
        let served = Served::start(&world).await;
        let mut agent = served.agent("h1").await;
        agent.host(None, None).await.unwrap();
        copy(&dir, &old);
        let subject = ringmail_trust_core::manager::Subject::host(name("h1"));
        let word = ringmail_trust_core::manager::Word::Revoke;
        let say = || served.service.say("op", &subject, word, "stolen");
        tokio::task::block_in_place(say).unwrap();
        let head = agent.nonce().await.head;
        (agent.identity.clone(), head)
    };
    // Until the last user of the lock is gone.
    let (identity, head) = kept;
    wait_for(&world, &dir).await;
    fs::remove_dir_all(&dir).unwrap();
    copy(&old, &dir);

    let served = Served::start(&world).await;
    let mut agent = served.connect(Some(&identity)).await;
    // Who says nothing of what it saw is not helped: the revocation is forgotten.
    agent.post::<NonceAnswer>("/v1/nonce", &NonceRequest::default()).await.unwrap();
    let question = NonceRequest { head: Some(head.clone()) };
    let refusal = refused(agent.post::<NonceAnswer>("/v1/nonce", &question).await);
    assert_eq!(refusal, (503, "rolled-back".to_owned()));
    // From then on nobody gets anything.
    let answer = agent.post::<NonceAnswer>("/v1/nonce", &NonceRequest::default()).await;
    assert_eq!(refused(answer).1, "rolled-back");
    let nonce = Blob(vec![0; 32]);
    let lease = LeaseRequest { nonce, function: None };
    let answer = agent.post::<LeaseAnswer>("/v1/lease", &lease).await;
    assert_eq!(refused(answer).1, "rolled-back");
    let status = tokio::task::block_in_place(|| served.service.rolled_back()).unwrap();
    assert!(matches!(status, Some(Rollback::Shorter { .. })), "{status:?}");
    // A head that this domain never signed says nothing.
    let mut forged = SignedHead::from_bytes(&head.0).unwrap();
    forged.head.size += 1000;
    let question = tokio::task::block_in_place(|| served.service.continues(&forged));
    assert!(matches!(question, Err(ManagerError::BadRequest(_))), "{question:?}");
}

/// The server's tasks hold the service until their connections have ended.
async fn wait_for(world: &World, dir: &std::path::Path) {
    let lock = dir.join("lock");
    loop {
        let file = fs::File::options().write(true).open(&lock).unwrap();
        if file.try_lock().is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(world.place.path().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_gets_the_proof_that_the_log_continues_what_it_kept() {
    let world = World::new();
    let served = Served::start(&world).await;
    let mut agent = served.agent("h1").await;
    let kept = SignedHead::from_bytes(&agent.nonce().await.head.0).unwrap();
    agent.host(None, None).await.unwrap();
    agent.host(Some("bad"), None).await.unwrap();
    let question = ContinuesRequest { head: Blob(kept.to_bytes()) };
    let answer: ContinuesAnswer = agent.client.post("/v1/log/continues", &question).await.unwrap();
    let head = SignedHead::from_bytes(&answer.head.0).unwrap();
    assert!(head.head.size > kept.head.size && head.is_signed_by(&world.ca.path_key()));
    let proof: Vec<merkle::Hash> =
        answer.consistency.0.chunks(32).map(|hash| array(&Blob(hash.to_vec()))).collect();
    assert_eq!(kept.head.continued_by(&head.head, &proof), Ok(()));
    assert!(kept.head.continued_by(&head.head, &proof[1..]).is_err());
}
