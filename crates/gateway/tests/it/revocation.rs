//! Revocation lists that change while the gateway runs: open connections of who is revoked end, the others do not, and
//! a bad list changes nothing.

use ringmail_gateway::{CrlError, Limits};
use rustls::pki_types::CertificateRevocationListDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::Backend;
use crate::pki::{ALICE, ALICE_AGAIN, REVOKED_SERIAL, WWW};
use crate::world::{PATIENCE, World, get, pki};

fn crl(until_year: i32, serials: &[u64]) -> Vec<CertificateRevocationListDer<'static>> {
    pki().crl(until_year, serials)
}

/// Reads until the connection ends, however it does.
async fn ends(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "still open");
}

#[tokio::test]
async fn who_is_revoked_loses_what_is_open_and_nobody_else_does() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let keep_alive = get("/open/").replace("Connection: close\r\n", "");
    let mut gone = world.raw_as(&pki().alice_again).await;
    gone.say(&keep_alive).await;
    gone.until("body 0 \n").await;
    let mut gone_h2 = world.h2_as(&pki().alice_again).await;
    let mut stays = world.raw().await;
    stays.say(&keep_alive).await;
    stays.until("body 0 \n").await;

    world.revocation.replace(crl(2040, &[REVOKED_SERIAL, ALICE_AGAIN])).expect("a good list");
    assert_eq!(world.revocation.revoked(), 2);
    ends(&mut gone.0).await;
    tokio::time::timeout(PATIENCE, &mut gone_h2.connection)
        .await
        .expect("cut")
        .expect("no panic")
        .ok();
    assert_eq!(world.counters.connections_revoked.get(), 2);
    assert!(world.tls(Some(&pki().alice_again), WWW, &[]).await.is_ok(), "TLS 1.3 tells it later");
    world.until("it is told", |world| world.counters.handshake_revoked.get() == 1).await;
    stays.say(&get("/open/")).await;
    assert!(stays.rest().await.contains("GET /open/"), "another certificate of the same client");

    // Back again: a list replaces the one before.
    world.revocation.replace(crl(2040, &[REVOKED_SERIAL])).expect("a good list");
    let mut back = world.raw_as(&pki().alice_again).await;
    assert_eq!(back.ask(&get("/open/")).await.0, 200);
    drop(gone_h2.sender);
}

#[tokio::test]
async fn bytes_that_pass_unread_end_too() {
    let backend = Backend::raw(|mut tcp, _| async move {
        let mut all = Vec::new();
        let _ = tcp.read_to_end(&mut all).await;
    })
    .await;
    let world = World::passing(&backend, Limits::default());
    let mut tls = world.tls(Some(&pki().alice), WWW, &[]).await.expect("a handshake");
    tls.write_all(b"SSH-2.0-test\r\n").await.expect("sent");
    world.until("it passes", |world| world.counters.passed.get() == 1).await;
    world.revocation.replace(crl(2040, &[ALICE])).expect("a good list");
    ends(&mut tls).await;
    world.until("the service's connection goes, too", |world| world.chain.held() == 0).await;
    assert_eq!(world.counters.connections_revoked.get(), 1);
}

#[tokio::test]
async fn a_bad_list_is_refused_and_the_old_one_stays() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let refused = |crls| world.revocation.replace(crls).expect_err("a bad list");
    assert!(matches!(refused(Vec::new()), CrlError::Gone));
    let nonsense = vec![CertificateRevocationListDer::from(b"-----".to_vec())];
    assert!(matches!(refused(nonsense), CrlError::Malformed { index: 0 }));
    assert!(matches!(refused(crl(2024, &[ALICE])), CrlError::RanOut { index: 0 }));
    let mut forged = crl(2040, &[REVOKED_SERIAL]);
    forged.extend(pki().forged_crl(&[ALICE]));
    assert!(matches!(refused(forged), CrlError::Signature { index: 1 }));
    let mut alice = world.raw().await;
    assert_eq!(alice.ask(&get("/open/")).await.0, 200);
    let _ = world.tls(Some(&pki().revoked), WWW, &[]).await;
    world.until("the old list", |world| world.counters.handshake_revoked.get() == 1).await;
}

/// One CA takes the place of another: for a time both vouch, and then who has a certificate of the old one is out.
#[tokio::test]
async fn anchors_change_while_connections_run() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let keep_alive = get("/open/").replace("Connection: close\r\n", "");
    let mut old = world.raw_as(&pki().alice).await;
    old.say(&keep_alive).await;
    old.until("body 0 \n").await;
    drop(world.raw_as(&pki().alice_next).await);
    world.until("it is told", |world| world.counters.handshake_untrusted.get() == 1).await;

    let (roots, crls) = pki().rotated(true);
    world.revocation.replace_all(roots, crls).expect("both are good");
    let mut new = world.raw_as(&pki().alice_next).await;
    new.say(&keep_alive).await;
    new.until("body 0 \n").await;
    old.say(&keep_alive).await;
    old.until("body 0 \n").await;
    assert_eq!(world.revocation.named_anchors(), 2, "a browser is told the names of both");

    let none = world.revocation.replace_all(rustls::RootCertStore::empty(), Vec::new());
    assert!(matches!(none, Err(CrlError::NoAnchor)), "{none:?}");
    let (roots, crls) = pki().rotated(false);
    world.revocation.replace_all(roots, crls).expect("the new one is good");
    ends(&mut old.0).await;
    assert_eq!(world.counters.connections_revoked.get(), 1);
    new.say(&get("/open/")).await;
    assert!(new.rest().await.contains("GET /open/"));
    drop(world.raw_as(&pki().alice).await);
    world.until("it is told", |world| world.counters.handshake_untrusted.get() == 2).await;
    assert_eq!(world.revocation.named_anchors(), 1);
}
