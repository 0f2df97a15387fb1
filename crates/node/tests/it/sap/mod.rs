//! Key agreement over real TLS: who is let in, and what two elements come to.

mod handshake;
mod support;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ringmail_dataplane::sap::{Cause, Use};
use ringmail_model::ElementId;
use ringmail_node::sap::{Dial, Dialing, Io};

use support::{Authority, Element, Flaw, crosses, listener, until};

/// alpha and beta over loopback TCP, agreed.
async fn agreed(authority: &Authority) -> (Element, Element, [SocketAddr; 2]) {
    let ((first, at), (second, to)) = (listener().await, listener().await);
    let alpha = authority.identity("alpha", 1, Flaw::None);
    let beta = authority.identity("beta", 2, Flaw::None);
    let mut alpha = Element::start(authority, 1, &alpha, first, to);
    let mut beta = Element::start(authority, 2, &beta, second, at);
    until(authority, [&mut alpha, &mut beta], |alpha, _| alpha.outbound.is_some()).await;
    (alpha, beta, [at, to])
}

#[tokio::test]
async fn two_elements_agree_and_a_packet_crosses() {
    let authority = Authority::new();
    let (mut alpha, beta, _) = agreed(&authority).await;
    assert!(crosses(&mut alpha, &beta));
    let status = alpha.agreements.status().await;
    assert_eq!((status.len(), status[0].neighbour), (1, ElementId(2)));
    assert!(status[0].epoch.is_some() && status[0].counters.violations == 0);
}

#[tokio::test]
async fn every_use_has_a_key_of_its_own_in_one_session() {
    let authority = Authority::new();
    let (mut alpha, mut beta, _) = agreed(&authority).await;
    until(&authority, [&mut alpha, &mut beta], |alpha, _| alpha.keys[1].len() == 3).await;
    assert_eq!(alpha.keys[1], beta.keys[0]);
    let uses: BTreeSet<_> = alpha.keys[1].values().map(|(place, _)| place.usage).collect();
    assert_eq!(uses, BTreeSet::from([Use::Link, Use::Proof, Use::Metadata]));
    let fronts: BTreeSet<_> = alpha.keys[1].values().map(|(_, key)| &key[..16]).collect();
    assert_eq!(fronts.len(), uses.len(), "two uses have one key");

    let first: Vec<_> = alpha.keys[1].keys().copied().collect();
    alpha.agreements.begin_epoch(ElementId(2)).await;
    until(&authority, [&mut alpha, &mut beta], |alpha, beta| {
        let gone = first.iter().all(|spi| !beta.keys[0].contains_key(spi));
        gone && alpha.keys[1].len() == 3
    })
    .await;
    assert_eq!(alpha.keys[1], beta.keys[0], "the keys of the new epoch, and no others");
}

#[tokio::test]
async fn a_new_epoch_has_new_keys_and_no_gap() {
    let authority = Authority::new();
    let (mut alpha, mut beta, _) = agreed(&authority).await;
    let first = alpha.outbound.as_ref().unwrap().spi();
    beta.agreements.begin_epoch(ElementId(1)).await;
    until(&authority, [&mut alpha, &mut beta], |alpha, _| {
        alpha.outbound.as_ref().is_some_and(|sa| sa.spi() != first)
    })
    .await;
    assert!(crosses(&mut alpha, &beta));
    until(&authority, [&mut alpha, &mut beta], |_, beta| beta.inbound.len() == 1).await;
    assert_eq!(alpha.stops, [Cause::Replaced]);
    assert!(crosses(&mut alpha, &beta));
}

#[tokio::test]
async fn a_restarted_neighbour_makes_a_new_handshake_and_new_keys() {
    let authority = Authority::new();
    let (mut alpha, beta, [at, to]) = agreed(&authority).await;
    let first = alpha.outbound.as_ref().unwrap().spi();
    let sessions = alpha.sessions;
    beta.driver.stop().await;
    let listener = tokio::net::TcpListener::bind(to).await.unwrap();
    let identity = authority.identity("beta", 3, Flaw::None);
    let mut beta = Element::start(&authority, 2, &identity, listener, at);
    until(&authority, [&mut alpha, &mut beta], |alpha, _| {
        alpha.outbound.as_ref().is_some_and(|sa| sa.spi() != first)
    })
    .await;
    assert!(alpha.sessions > sessions);
    assert_eq!(
        alpha.stops,
        [Cause::PeerRestarted],
        "nothing is sealed with keys of the first life"
    );
    assert!(crosses(&mut alpha, &beta));
}

/// Connections are pipes in memory: nothing needs a socket but the listener that nobody dials.
struct Pipes(Arc<Mutex<VecDeque<Box<dyn Io>>>>, Arc<tokio::sync::Notify>);

impl Dial for Pipes {
    fn dial(&self, _: ElementId, _: SocketAddr) -> Dialing {
        let (near, far) = tokio::io::duplex(700);
        self.0.lock().unwrap().push_back(Box::new(far));
        self.1.notify_one();
        Box::pin(async move { Ok(Box::new(near) as Box<dyn Io>) })
    }
}

#[tokio::test]
async fn a_narrow_pipe_will_do() {
    let authority = Authority::new();
    let ((first, at), (second, to)) = (listener().await, listener().await);
    let dialed = Arc::new(Mutex::new(VecDeque::new()));
    let ring = Arc::new(tokio::sync::Notify::new());
    let pipes = Arc::new(Pipes(dialed.clone(), ring.clone()));
    let alpha = authority.identity("alpha", 1, Flaw::None);
    let beta = authority.identity("beta", 2, Flaw::None);
    let mut alpha = Element::start_with(&authority, 1, &alpha, first, to, pipes.clone());
    let mut beta = Element::start_with(&authority, 2, &beta, second, at, pipes);
    let door = beta.agreements.clone();
    let switchboard = tokio::spawn(async move {
        loop {
            ring.notified().await;
            let far = dialed.lock().unwrap().pop_front();
            if let Some(far) = far {
                // Only alpha, of the lower id, dials.
                door.accept(far).await.unwrap();
            }
        }
    });
    until(&authority, [&mut alpha, &mut beta], |alpha, _| alpha.outbound.is_some()).await;
    assert!(crosses(&mut alpha, &beta));
    switchboard.abort();
}
