//! Listeners of kind `tls`: which protocol it is, whether a rule lets it through, and bytes both ways.

use std::time::Duration;

use ringmail_gateway::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::backend::{Backend, say};
use crate::pki::{OTHER, Pair, WWW};
use crate::world::{PATIENCE, World, pki};

/// Says what it got and how many bytes, once the client has said its last.
async fn counting() -> Backend {
    Backend::raw(|mut tcp, _| async move {
        let mut got = Vec::new();
        if tcp.read_to_end(&mut got).await.is_ok() {
            let begin = String::from_utf8_lossy(&got[..got.len().min(8)]).into_owned();
            say(&mut tcp, &format!("{} {begin:?}", got.len())).await;
        }
    })
    .await
}

async fn connect(world: &World, client: &Pair, sni: &str) -> TlsStream<TcpStream> {
    world.tls(Some(client), sni, &[]).await.expect("a handshake")
}

/// Writes until nothing goes any more; the bytes. Loopback's buffers are a few megabytes each.
async fn fill(tls: &mut TlsStream<TcpStream>) -> usize {
    let (chunk, mut sent) = (vec![b'x'; 1 << 20], 0);
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), tls.write(&chunk)).await {
        sent += written.expect("held up, not broken");
        assert!(sent < 64 << 20, "somebody holds all of it");
    }
    sent
}

/// All that comes back after these words were the last.
async fn exchange(mut tls: TlsStream<TcpStream>, words: &[u8]) -> String {
    let mut answer = String::new();
    let exchange = async {
        tls.write_all(words).await?;
        tls.shutdown().await?;
        tls.read_to_string(&mut answer).await
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("an end").expect("in good order");
    answer
}

#[tokio::test]
async fn a_connection_passes_whole_and_each_side_closes_for_itself() {
    let backend = counting().await;
    let world = World::passing(&backend, Limits::default());
    let tls = connect(&world, &pki().alice, WWW).await;
    let mut words = b"SSH-2.0-test\r\n".to_vec();
    words.resize(3_000_000, b'x');
    assert_eq!(exchange(tls, &words).await, "3000000 \"SSH-2.0-\"");
    let opened = world.chain.opened();
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].rule.as_str(), opened[0].service.as_str()), ("alice-passes", "www"));
    world.until("the service's connection is closed", |world| world.chain.held() == 0).await;
    assert_eq!(world.counters.passed.get(), 1);
    assert_eq!(world.counters.passed_truncated.get(), 0);
    assert_eq!(world.counters.bytes_from_clients.get(), 3_000_000);
    assert_eq!(world.counters.bytes_to_clients.get(), 18);
}

/// The service's last word reaches the client as such, and all that the client says after it still comes, however slowly it
/// is taken.
#[tokio::test]
async fn a_service_that_has_said_its_last_still_hears_its_client() {
    let (heard, hearing) = tokio::sync::oneshot::channel();
    let heard = std::sync::Mutex::new(Some(heard));
    let (go, gone) = tokio::sync::watch::channel(false);
    let backend = Backend::raw(move |mut tcp, _| {
        let (heard, mut gone) = (heard.lock().expect("nobody panicked").take(), gone.clone());
        async move {
            say(&mut tcp, "bye").await;
            let _ = tcp.shutdown().await;
            let _ = gone.wait_for(|go| *go).await;
            let mut rest = Vec::new();
            let _ = tcp.read_to_end(&mut rest).await;
            let _ = heard.expect("one connection").send(rest.len());
        }
    })
    .await;
    let world = World::passing(&backend, Limits::default());
    let mut tls = connect(&world, &pki().alice, WWW).await;
    tls.write_all(b"SSH-2.0-test\r\n").await.expect("sent");
    let mut last = String::new();
    let read = tokio::time::timeout(PATIENCE, tls.read_to_string(&mut last)).await;
    read.expect("in time").expect("in good order");
    assert_eq!(last, "bye");
    let sent = 14 + fill(&mut tls).await;
    go.send(true).expect("it waits");
    tls.shutdown().await.expect("a last word");
    let heard = tokio::time::timeout(PATIENCE, hearing).await.expect("in time");
    assert_eq!(heard.expect("it heard"), sent);
    world.until("it is over", |world| world.chain.held() == 0).await;
    assert_eq!(world.counters.passed_truncated.get(), 0);
}

/// A rule for requests opens nothing; what no rule names is closed without a word, and the service hears nothing.
#[tokio::test]
async fn what_no_rule_names_does_not_pass() {
    let backend = counting().await;
    let world = World::passing(&backend, Limits::default());
    let refused = [
        (&pki().alice, WWW, &b"GET / HTTP/1.1\r\nHost: www.campus.example\r\n\r\n"[..]),
        (&pki().alice, WWW, b"\x16\x03\x01\x00\x05hello"),
        (&pki().alice, OTHER, b"SSH-2.0-test\r\n"),
        (&pki().bob, WWW, b"SSH-2.0-test\r\n"),
    ];
    let count = refused.len() as u64;
    for (client, sni, words) in refused {
        let tls = connect(&world, client, sni).await;
        assert_eq!(exchange(tls, words).await, "", "{words:?}");
    }
    assert_eq!(world.counters.passed_refused_by_rules.get(), count);
    assert_eq!((world.counters.passed.get(), backend.accepted()), (0, 0));
}

#[tokio::test]
async fn a_service_that_speaks_first_is_not_waited_for_in_vain() {
    let backend = Backend::raw(|mut tcp, _| async move {
        say(&mut tcp, "220 mail.example ready\r\n").await;
        let mut rest = String::new();
        let _ = tcp.read_to_string(&mut rest).await;
        say(&mut tcp, &format!("after {rest}")).await;
    })
    .await;
    let limits = Limits { first_byte_ms: 50, ..Limits::default() };
    let world = World::passing(&backend, limits);
    let mut tls = connect(&world, &pki().alice, WWW).await;
    let mut greeting = [0; 24];
    let read = tokio::time::timeout(PATIENCE, tls.read_exact(&mut greeting)).await;
    read.expect("in time").expect("a greeting");
    assert_eq!(&greeting, b"220 mail.example ready\r\n");
    assert_eq!(exchange(tls, b"QUIT\r\n").await, "after QUIT\r\n");
}

/// PostgreSQL's clients ask for TLS in the clear; what they send with the question is not taken for what follows.
#[tokio::test]
async fn a_request_for_tls_in_the_clear_is_answered() {
    let backend = counting().await;
    let world = World::passing(&backend, Limits::default());
    let mut tcp = TcpStream::connect(world.address).await.expect("a connection");
    let mut answer = [0];
    for (request, letter) in
        [(b"\0\0\0\x08\x04\xd2\x16\x30", b'N'), (b"\0\0\0\x08\x04\xd2\x16\x2f", b'S')]
    {
        tcp.write_all(request).await.expect("sent");
        tcp.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, [letter]);
    }
    let tls = world.tls_on(tcp, Some(&pki().alice), WWW, &["postgresql"]).await.expect("TLS");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"postgresql"[..]));
    let start = b"\0\0\0\x0d\0\x03\0\0user\0";
    assert!(exchange(tls, start).await.starts_with("13 "));

    let mut smuggled = TcpStream::connect(world.address).await.expect("a connection");
    smuggled.write_all(b"\0\0\0\x08\x04\xd2\x16\x2fSSH-2.0-in-the-clear\r\n").await.expect("sent");
    smuggled.read_exact(&mut answer).await.expect("an answer");
    let hello = world.tls_on(smuggled, Some(&pki().alice), WWW, &[]).await;
    assert!(hello.is_err(), "bytes in the clear are no part of TLS");
    assert_eq!(backend.accepted(), 1);
}

#[tokio::test]
async fn nothing_moves_for_the_idle_time_and_it_ends() {
    let backend = Backend::raw(|mut tcp, _| async move {
        let mut all = Vec::new();
        let _ = tcp.read_to_end(&mut all).await;
    })
    .await;
    let limits = Limits { tunnel_idle_ms: 100, ..Limits::default() };
    let world = World::passing(&backend, limits);
    let mut tls = connect(&world, &pki().alice, WWW).await;
    tls.write_all(b"SSH-2.0-idle\r\n").await.expect("sent");
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, tls.read_to_end(&mut rest)).await;
    assert!(read.expect("it ends").is_err(), "cut, not closed: the client is to know");
    world.until("it is counted", |world| world.counters.passed_idle_closed.get() == 1).await;
    world.until("the service's connection goes too", |world| world.chain.held() == 0).await;
}

/// A service that takes nothing holds the client up; the gateway does not hold the difference.
#[tokio::test]
async fn a_slow_service_holds_its_client_up() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let backend = Backend::raw(move |mut tcp, _| {
        let mut gone = gone.clone();
        async move {
            let _ = gone.wait_for(|go| *go).await;
            let mut all = Vec::new();
            let _ = tcp.read_to_end(&mut all).await;
            say(&mut tcp, &all.len().to_string()).await;
        }
    })
    .await;
    let world = World::passing(&backend, Limits::default());
    let mut tls = connect(&world, &pki().alice, WWW).await;
    tls.write_all(b"SSH-2.0-much\r\n").await.expect("sent");
    let sent = 14 + fill(&mut tls).await;
    go.send(true).expect("it waits");
    tls.shutdown().await.expect("a last word");
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, tls.read_to_string(&mut answer)).await;
    read.expect("in time").expect("in good order");
    assert_eq!(answer, sent.to_string());
}
