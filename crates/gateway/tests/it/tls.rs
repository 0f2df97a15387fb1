//! Who gets as far as HTTP: certificates both ways, revocation, versions, names.

use std::io::ErrorKind;

use ringmail_gateway::tls::Site;
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::Backend;
use crate::pki::{OTHER, Pair, WWW};
use crate::world::{World, get, pki};

/// The alert that a client gets instead of an answer.
async fn refused(world: &World, client: Option<&Pair>, sni: &str) -> AlertDescription {
    // In TLS 1.3 the client has finished when the server looks at its certificate.
    let error = match world.tls(client, sni, &["http/1.1"]).await {
        Err(error) => error,
        Ok(mut tls) => {
            let _ = tls.write_all(get("/open/").as_bytes()).await;
            let mut answer = Vec::new();
            let read = tls.read_to_end(&mut answer).await;
            assert!(answer.is_empty(), "an answer without a good certificate");
            read.expect_err("an alert")
        }
    };
    assert_ne!(error.kind(), ErrorKind::ConnectionReset, "the alert must arrive");
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::AlertReceived(alert)) => *alert,
        other => panic!("no alert but {other:?}"),
    }
}

#[tokio::test]
async fn without_a_good_certificate_nobody_reaches_http() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let counters = &world.counters;
    assert_eq!(refused(&world, None, WWW).await, AlertDescription::CertificateRequired);
    assert_eq!(counters.handshake_no_certificate.get(), 1);
    let revoked = refused(&world, Some(&pki().revoked), WWW).await;
    assert_eq!(revoked, AlertDescription::CertificateRevoked);
    assert_eq!(counters.handshake_revoked.get(), 1);
    let stranger = refused(&world, Some(&pki().stranger), WWW).await;
    assert_eq!(stranger, AlertDescription::DecryptError, "the right names, another key");
    let nameless = refused(&world, Some(&pki().nameless), WWW).await;
    assert_eq!(nameless, AlertDescription::AccessDenied);
    assert_eq!(counters.handshake_untrusted.get(), 2);
    let unknown = refused(&world, Some(&pki().alice), "unknown.campus.example").await;
    assert_eq!(unknown, AlertDescription::AccessDenied);
    assert_eq!(counters.handshake_failed.get(), 1);
    assert_eq!(counters.connections_authenticated.get(), 0);
    assert_eq!(counters.requests.get(), 0);
    assert_eq!(backend.accepted(), 0);
    assert_eq!(world.raw().await.ask(&get("/open/")).await.0, 200, "others do not notice");
}

#[tokio::test]
async fn a_revocation_list_that_ran_out_refuses_everybody() {
    let backend = Backend::echo().await;
    let world = World::with_trust(&backend, Default::default(), pki().trust(2025));
    refused(&world, Some(&pki().alice), WWW).await;
    assert_eq!(world.counters.handshake_untrusted.get(), 1);
}

#[tokio::test]
async fn the_certificate_follows_the_server_name() {
    let world = World::new(&Backend::echo().await);
    for (sni, pair) in [
        (WWW, &pki().www),
        ("a.files.campus.example", &pki().www),
        (OTHER, &pki().other),
        ("127.0.0.1", &pki().www),
    ] {
        let tls = world.tls(Some(&pki().alice), sni, &["h2", "http/1.1"]).await.unwrap();
        let (_, connection) = tls.get_ref();
        assert_eq!(connection.peer_certificates().unwrap()[0], pair.cert, "{sni}");
        assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]), "HTTP/2 is preferred");
        assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }
}

#[tokio::test]
async fn sessions_are_not_resumed() {
    let world = World::new(&Backend::echo().await);
    let config = std::sync::Arc::new(crate::world::client_config(Some(&pki().alice), &[]));
    for _ in 0..2 {
        let tcp = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from(WWW).unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(&config));
        let tls = connector.connect(name, tcp).await.unwrap();
        let kind = tls.get_ref().1.handshake_kind();
        assert_ne!(kind, Some(rustls::HandshakeKind::Resumed), "a ticket outlives a revocation");
        let mut raw = crate::world::Raw(tls);
        assert_eq!(raw.ask(&get("/open/")).await.0, 200);
    }
}

#[tokio::test]
async fn certificates_change_for_who_comes_next_and_for_nobody_else() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let keep_alive = get("/open/").replace("Connection: close\r\n", "");
    let mut open = world.raw().await;
    open.say(&keep_alive).await;
    open.until("body 0 \n").await;
    let of = |pair: &Pair, names: &[&str]| Site {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        chain: vec![pair.cert.clone()],
        key: pair.key(),
    };
    // A key that is another certificate's is refused, and everything is as it was.
    let torn = Site { key: pki().other.key(), ..of(&pki().www, &[]) };
    assert!(world.certificates.replace(vec![torn]).is_err());
    assert!(world.tls(Some(&pki().alice), WWW, &[]).await.is_ok());
    // The other certificate under the first one's name: a client that checks it has to refuse it.
    world.certificates.replace(vec![of(&pki().other, &[WWW])]).expect("a good one");
    assert!(world.tls(Some(&pki().alice), WWW, &[]).await.is_err());
    open.say(&get("/open/")).await;
    assert!(open.rest().await.contains("GET /open/"), "it goes on");
}
