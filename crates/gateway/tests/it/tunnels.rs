//! Changes of protocol: WebSocket over HTTP/1.1 and HTTP/2, CONNECT; and who may not.

use std::future::Future;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use ringmail_gateway::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Backend, read_head, say};
use crate::pki::WWW;
use crate::world::{PATIENCE, World, pki};

/// The example of RFC 6455 section 1.3.
const ASK: &str = "GET /open/socket HTTP/1.1\r\nHost: www.campus.example\r\nConnection: keep-alive, Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   X-Forwarded-For: 127.0.0.1\r\n\r\n";

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst:";

/// A service of WebSockets in all but the frames: it answers 101, says `first:` at once, the request it got, and what
/// comes after in capitals. Every other request gets 200.
async fn sockets() -> Backend {
    Backend::raw(|mut tcp, _| async move {
        while let Some(head) = read_head(&mut tcp).await {
            if !head.to_ascii_lowercase().contains("upgrade: websocket") {
                say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                continue;
            }
            say(&mut tcp, SWITCH).await;
            say(&mut tcp, &format!("{}|", head.to_ascii_lowercase())).await;
            return shout(tcp).await;
        }
    })
    .await
}

async fn shout(mut tcp: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = tcp.read(&mut buffer).await {
        buffer[..count].make_ascii_uppercase();
        if tcp.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = tcp.write_all(b"<end>").await;
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Waits until a connection is closed that has said nothing since after the last word of any other: the idle time of those
/// is over. Returns how many were closed for it.
async fn idle_time_passes(world: &World) -> u64 {
    assert_eq!(world.raw().await.rest().await, "");
    world.counters.idle_closed.get()
}

#[tokio::test]
async fn a_websocket_is_pinned_to_the_path_of_its_request() {
    let backend = sockets().await;
    // Bytes that pass unread have an idle time of their own.
    let world =
        World::with(&backend, Limits { idle_ms: 200, header_read_ms: 200, ..Limits::default() });
    let mut raw = world.raw().await;
    raw.say(ASK).await;
    let head = raw.until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    for field in ["connection: upgrade", "upgrade: websocket", "s3pplmbitxaq9kygzzhzrbk+xoo="] {
        assert!(head.contains(field), "{field} in {head}");
    }
    let seen = raw.until("|").await;
    assert!(seen.starts_with("first:get /open/socket http/1.1\r\n"), "{seen}");
    assert!(seen.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq=="), "{seen}");
    assert!(!seen.contains("x-forwarded-for"), "what a client may not say: {seen}");
    let idle_closed = idle_time_passes(&world).await;
    raw.say("hello").await;
    raw.until("HELLO").await;
    raw.0.shutdown().await.expect("a last word");
    assert_eq!(raw.rest().await, "<end>");
    let opened = world.chain.opened();
    assert_eq!((opened.len(), opened[0].rule.as_str()), (1, "alice-open"));
    world.until("the service's connection is closed", |world| world.chain.held() == 0).await;
    let counters = (world.counters.tunnels.get(), world.counters.idle_closed.get());
    assert_eq!(counters, (1, idle_closed));
    assert!(world.counters.bytes_to_clients.get() > 10);
}

#[tokio::test]
async fn a_websocket_over_http_2_is_one_stream_among_others() {
    let backend = sockets().await;
    let world =
        World::with(&backend, Limits { idle_ms: 200, header_read_ms: 200, ..Limits::default() });
    let mut h2 = world.h2().await;
    let get = |path: &str| {
        let uri = format!("https://{WWW}{path}");
        Request::get(uri).body(Empty::<Bytes>::new().boxed()).expect("a request")
    };
    // The server's settings have come with the answer.
    assert_eq!(h2.send(get("/open/")).await.expect("an answer").status(), StatusCode::OK);
    let ask = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://{WWW}/open/socket"))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .body(Empty::<Bytes>::new().boxed());
    let answer = soon(h2.send(ask.expect("a request"))).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key("sec-websocket-accept"));
    let mut socket = TokioIo::new(soon(hyper::upgrade::on(answer)).await.expect("a tunnel"));
    let mut seen = Vec::new();
    while !seen.ends_with(b"|") {
        seen.push(soon(socket.read_u8()).await.expect("more"));
    }
    let seen = String::from_utf8(seen).expect("text");
    assert!(seen.starts_with("first:get /open/socket http/1.1\r\n"), "{seen}");
    let key = seen.split("sec-websocket-key: ").nth(1).expect("a key");
    assert_eq!(key.find("==\r\n"), Some(22), "{seen}");
    idle_time_passes(&world).await;
    assert_eq!(h2.send(get("/open/")).await.expect("beside it").status(), StatusCode::OK);
    socket.write_all(b"hello").await.expect("sent");
    socket.shutdown().await.expect("a last word");
    let mut rest = String::new();
    soon(socket.read_to_string(&mut rest)).await.expect("the rest");
    assert_eq!(rest, "HELLO<end>");
    world.until("a tunnel was counted", |world| world.counters.tunnels.get() == 1).await;
}

/// The same request is another to the rules when it asks for a WebSocket, in either version.
#[tokio::test]
async fn a_rule_may_be_for_websockets_alone() {
    let backend = sockets().await;
    let world = World::new(&backend);
    let mut raw = world.raw().await;
    raw.say(&ASK.replace("/open/socket", "/sockets")).await;
    let head = raw.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let mut raw = world.raw().await;
    assert_eq!(raw.ask(&crate::world::get("/sockets")).await.0, 403);

    let mut h2 = world.h2().await;
    let uri = format!("https://{WWW}/sockets");
    let plain = Request::get(&uri).body(Empty::<Bytes>::new().boxed()).expect("a request");
    assert_eq!(h2.send(plain).await.expect("an answer").status(), StatusCode::FORBIDDEN);
    let ask = Request::builder()
        .method(Method::CONNECT)
        .uri(&uri)
        .extension(Protocol::from_static("websocket"))
        .body(Empty::<Bytes>::new().boxed());
    let answer = soon(h2.send(ask.expect("a request"))).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(world.chain.opened().iter().all(|opened| opened.rule == "alice-sockets"));
}

#[tokio::test]
async fn connect_leads_where_a_rule_says_and_nowhere_else() {
    let backend = Backend::raw(|tcp, _| shout(tcp)).await;
    let world = World::new(&backend);
    let ask = |host: &str| format!("CONNECT {host}:22 HTTP/1.1\r\nHost: {host}:22\r\n\r\n");
    let mut raw = world.raw().await;
    raw.say(&ask("shell.files.campus.example")).await;
    let head = raw.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    raw.say("ssh").await;
    raw.until("SSH").await;
    raw.0.shutdown().await.expect("a last word");
    assert_eq!(raw.rest().await, "<end>");
    assert_eq!(world.chain.opened()[0].rule, "alice-connects");

    for (client, host) in [
        (&pki().alice, WWW),
        (&pki().alice, "evil.example"),
        (&pki().bob, "shell.files.campus.example"),
    ] {
        let mut raw = world.raw_as(client).await;
        raw.say(&ask(host)).await;
        let head = raw.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 403"), "{host}: {head}");
    }
    assert_eq!(world.chain.opened().len(), 1);
}

#[tokio::test]
async fn connect_over_http_2() {
    let backend = Backend::raw(|tcp, _| shout(tcp)).await;
    let world = World::new(&backend);
    let mut h2 = world.h2().await;
    let ask = Request::connect("shell.files.campus.example:22");
    let ask = ask.body(Empty::<Bytes>::new().boxed()).expect("a request");
    let answer = soon(h2.send(ask)).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let mut tunnel = TokioIo::new(soon(hyper::upgrade::on(answer)).await.expect("a tunnel"));
    tunnel.write_all(b"hello").await.expect("sent");
    tunnel.shutdown().await.expect("a last word");
    let mut rest = String::new();
    soon(tunnel.read_to_string(&mut rest)).await.expect("the rest");
    assert_eq!(rest, "HELLO<end>");
}

#[tokio::test]
async fn what_is_no_websocket_changes_nothing() {
    let backend = sockets().await;
    let world = World::new(&backend);
    let refused = [
        (ASK.replace("websocket\r\n", "tls/1.0\r\n"), 501),
        (ASK.replace("GET", "POST"), 501),
        (ASK.replace("/open/socket", "/closed"), 403),
    ];
    for (ask, status) in refused {
        let mut raw = world.raw().await;
        raw.say(&ask).await;
        let head = raw.until("\r\n\r\n").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{ask}: {head}");
    }
    assert_eq!((backend.accepted(), world.counters.tunnels.get()), (0, 0));
}
