//! The last leg: TLS to the service, PROXY headers from load balancers and to services, and what a service is told.

use std::sync::Arc;

use ringmail_gateway::{Limits, Policy, ServiceOptions, ServiceTls};
use ringmail_model::domain::ProxyVersion;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::backend::{Backend, read_head, say};
use crate::pki::{OTHER, Pair, WWW};
use crate::world::{Raw, World, get, pki, policy};

/// The same rules with these options of the service `www`.
fn options(world: &World, options: ServiceOptions) {
    let Policy { version, rules, .. } = policy(2, &[]);
    let services = [("www".to_owned(), options)].into();
    world.policy.store(Arc::new(Policy {
        version,
        rules,
        services,
        decision_points: Default::default(),
    }));
}

async fn asked(world: &World, extra: &str) -> (u16, String) {
    let mut raw = world.raw().await;
    let text = get("/open/").replacen("\r\n", &format!("\r\n{extra}"), 1);
    raw.ask(&text).await
}

#[tokio::test]
async fn a_service_is_told_of_the_client_only_what_the_gateway_says() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let lies = "Forwarded: for=10.9.9.9\r\nX-Forwarded-Client-Cert: URI=spiffe://evil\r\n";
    let (_, plain) = asked(&world, lies).await;
    assert!(!plain.contains("forwarded"), "{plain}");
    let told = ServiceOptions { forwarded: true, client_certificate: true, ..Default::default() };
    options(&world, told);
    let (status, answer) = asked(&world, lies).await;
    assert_eq!(status, 200);
    let forwarded = format!("forwarded: for=127.0.0.1;by=127.0.0.1;host={WWW};proto=https\n");
    assert!(answer.contains(&forwarded), "{answer}");
    let certificate = answer.lines().find(|line| line.starts_with("x-forwarded-client-cert: "));
    let certificate = certificate.expect("a field");
    assert!(certificate.starts_with("x-forwarded-client-cert: Hash="), "{certificate}");
    assert!(certificate.contains(";Subject=") && certificate.contains("CN=alice"), "{certificate}");
    assert!(certificate.ends_with(";URI=spiffe://campus.example/client/alice"), "{certificate}");
    assert!(!answer.contains("10.9.9.9") && !answer.contains("evil"), "{answer}");
}

#[tokio::test]
async fn a_proxy_header_names_each_client_and_no_connection_is_anothers() {
    let backend = Backend::raw(|mut tcp, _| async move {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let Ok(byte) = tcp.read_u8().await else { return };
            line.push(byte);
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        while read_head(&mut tcp).await.is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", line.len());
            say(&mut tcp, &(head + &line)).await;
        }
    })
    .await;
    let world = World::new(&backend);
    options(
        &world,
        ServiceOptions { proxy_protocol: Some(ProxyVersion::V1), ..Default::default() },
    );
    for _ in 0..2 {
        let mut raw = world.raw().await;
        let from = raw.0.get_ref().0.local_addr().expect("an address");
        let (_, answer) = raw.ask(&get("/open/")).await;
        let to = world.address;
        let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port());
        assert!(answer.ends_with(&line), "{answer}");
    }
    assert_eq!(backend.accepted(), 2);
}

#[tokio::test]
async fn a_load_balancer_speaks_for_its_client() {
    let backend = Backend::echo().await;
    let world = World::balanced(&backend, Limits::default());
    options(&world, ServiceOptions { forwarded: true, ..Default::default() });
    let mut tcp = TcpStream::connect(world.address).await.expect("a connection");
    tcp.write_all(b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n").await.expect("sent");
    let tls = world.tls_on(tcp, Some(&pki().alice), WWW, &["http/1.1"]).await.expect("TLS");
    let (status, answer) = Raw(tls).ask(&get("/open/")).await;
    assert_eq!(status, 200);
    assert!(answer.contains("forwarded: for=198.51.100.7;"), "{answer}");
    // Nobody else may come from there, not even to say hello.
    assert!(world.tls(Some(&pki().alice), WWW, &["http/1.1"]).await.is_err());
    world.until("it is counted", |world| world.counters.handshake_failed.get() == 1).await;
}

/// An HTTPS service that wants a certificate.
async fn tls_service(pair: &Pair) -> Backend {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::clone(&pki().roots);
    let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients.build().expect("a verifier"))
        .with_single_cert(vec![pair.cert.clone()], pair.key())
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Backend::raw(move |tcp, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = tls.read_u8().await else { return };
                head.push(byte);
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsealed";
            let _ = tls.write_all(answer).await;
            let _ = tls.read_u8().await;
        }
    })
    .await
}

fn to_service(name: &str) -> ServiceOptions {
    let roots: RootCertStore = (*pki().roots).clone();
    let own = (vec![pki().bob.cert.clone()], pki().bob.key());
    let tls = ServiceTls::new(roots, name, Some(own)).expect("TLS");
    ServiceOptions { tls: Some(tls), ..Default::default() }
}

#[tokio::test]
async fn tls_to_the_service_checks_its_name() {
    let backend = tls_service(&pki().other).await;
    let world = World::new(&backend);
    options(&world, to_service(OTHER));
    let (status, answer) = asked(&world, "").await;
    assert!(status == 200 && answer.ends_with("sealed"), "{answer}");
    options(&world, to_service(WWW));
    let (status, answer) = asked(&world, "").await;
    assert_eq!(status, 502, "another server's certificate: {answer}");
    assert_eq!(world.counters.backend_refused.get(), 1);
}
