//! Each limit, reached.

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use ringmail_gateway::Limits;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::backend::{Backend, full, pieces, read_head, say};
use crate::pki::WWW;
use crate::world::{PATIENCE, Raw, World, get, pki, status};

async fn small(limits: Limits) -> World {
    World::with(&Backend::echo().await, limits)
}

#[tokio::test]
async fn headers_are_bounded_in_bytes_and_number() {
    let world = small(Limits { header_bytes: 2_000, header_count: 20, ..Limits::default() }).await;
    let with = |fields: &str| {
        format!("GET /open/ HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\n{fields}\r\n")
    };
    let many = "A: 1\r\n".repeat(30);
    let large = format!("A: {}\r\n", "x".repeat(3_000));
    for fields in [&many, &large] {
        assert_eq!(world.raw().await.ask(&with(fields)).await.0, 431);
    }
    assert_eq!(world.raw().await.ask(&with(&"A: 1\r\n".repeat(10))).await.0, 200);
    world.until("counted", |world| world.counters.refused_header_size.get() == 2).await;
    let mut endless = world.raw().await;
    endless.say(&format!("GET /open/ HTTP/1.1\r\nA: {}", "x".repeat(2_500))).await;
    assert_eq!(status(&endless.rest().await), 431, "before the end was seen");
    world.until("counted", |world| world.counters.refused_header_size.get() == 3).await;
    let mut h2 = world.h2().await;
    let ask = |count: usize, bytes: usize| {
        let mut request = Request::get(format!("https://{WWW}/open/"));
        for n in 0..count {
            request = request.header(format!("a-{n}"), "x".repeat(bytes));
        }
        request.body(Empty::new().boxed()).unwrap()
    };
    for (count, bytes, code) in [(10, 10, 200), (30, 1, 431), (1, 2_500, 431), (1, 8_000, 431)] {
        assert_eq!(h2.send(ask(count, bytes)).await.unwrap().status(), code, "{count} × {bytes}");
    }
    // The last was refused by the library.
    assert_eq!(world.counters.refused_header_size.get(), 5);
}

#[tokio::test]
async fn slow_headers_end_the_connection() {
    let world = small(Limits { header_read_ms: 150, ..Limits::default() }).await;
    let mut raw = world.raw().await;
    raw.say("GET / HTTP/1.1\r\nHost: www").await;
    let dripping = async {
        for _ in 0..400 {
            if tokio::io::AsyncWriteExt::write_all(&mut raw.0, b"x").await.is_err() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("drips keep the connection open");
    };
    tokio::time::timeout(PATIENCE, dripping).await.unwrap();
    assert_eq!(world.counters.slow_headers.get(), 1);
    assert_eq!(world.counters.requests.get(), 0);
}

#[tokio::test]
async fn idle_connections_are_closed_in_good_order() {
    let world = small(Limits { idle_ms: 60, linger_ms: 50, ..Limits::default() }).await;
    let mut fresh = world.raw().await;
    assert_eq!(fresh.rest().await, "", "closed with close_notify");
    let mut used = world.raw().await;
    used.say(&format!("GET /open/ HTTP/1.1\r\nHost: {WWW}\r\n\r\n")).await;
    assert_eq!(status(&used.rest().await), 200);
    let h2 = world.h2().await;
    let ended = tokio::time::timeout(PATIENCE, h2.connection).await.expect("GOAWAY");
    ended.unwrap().expect("in good order");
    assert_eq!(world.counters.idle_closed.get(), 3);
}

#[tokio::test]
async fn handshakes_are_bounded_in_time_and_number() {
    let world = small(Limits { handshake_ms: 100, handshakes: 1, ..Limits::default() }).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    world.until("accepted", |world| world.counters.connections.get() == 1).await;
    let refused = world.tls(Some(&pki().alice), WWW, &[]).await;
    assert!(refused.is_err(), "one handshake at a time");
    assert_eq!(world.counters.refused_handshakes.get(), 1);
    let closed = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 1])).await.unwrap();
    assert_eq!(closed.unwrap_or(0), 0);
    assert_eq!(world.counters.handshake_timeout.get(), 1);
    assert_eq!(world.raw().await.ask(&get("/open/")).await.0, 200);
}

/// Whoever opens handshakes and leaves them keeps only its own address from them.
#[tokio::test]
async fn handshakes_are_bounded_for_each_address() {
    let limits = Limits { handshakes_per_address: 1, ..Limits::default() };
    let world = small(limits.clone()).await;
    let from = async |address: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        socket.connect(world.address).await.unwrap()
    };
    let silent = from("127.0.0.1").await;
    world.until("accepted", |world| world.counters.connections.get() == 1).await;
    let alice = Some(&pki().alice);
    let refused = world.tls_on(from("127.0.0.1").await, alice, WWW, &[]).await;
    assert!(refused.is_err(), "one handshake at a time from there");
    assert_eq!(world.counters.refused_handshakes_address.get(), 1);
    let other = world.tls_on(from("127.0.0.2").await, alice, WWW, &["http/1.1"]).await.unwrap();
    assert_eq!(Raw(other).ask(&get("/open/")).await.0, 200);
    drop(silent);
    world.until("over", |world| world.counters.handshake_failed.get() == 1).await;
    let again = world.tls_on(from("127.0.0.1").await, alice, WWW, &["http/1.1"]).await.unwrap();
    assert_eq!(Raw(again).ask(&get("/open/")).await.0, 200);
    // Behind a load balancer it is the address that it names.
    let world = World::balanced(&Backend::echo().await, limits);
    let named = async |address: &str| {
        let mut tcp = TcpStream::connect(world.address).await.unwrap();
        let header = format!("PROXY TCP4 {address} 192.0.2.1 50000 443\r\n");
        say(&mut tcp, &header).await;
        tcp
    };
    let _silent = named("192.0.2.11").await;
    let good = world.tls_on(named("192.0.2.12").await, alice, WWW, &["http/1.1"]).await.unwrap();
    assert_eq!(Raw(good).ask(&get("/open/")).await.0, 200);
    let refused = world.tls_on(named("192.0.2.11").await, alice, WWW, &[]).await;
    assert!(refused.is_err(), "one handshake at a time from there");
    assert_eq!(world.counters.refused_handshakes_address.get(), 1);
}

/// Over all its connections; others do not notice.
#[tokio::test]
async fn requests_at_once_are_bounded_for_each_client() {
    let backend = Backend::http(|request| async move {
        if request.uri().path() == "/open/never" {
            std::future::pending::<()>().await;
        }
        Response::new(full("here"))
    })
    .await;
    let world = World::with(&backend, Limits { requests_per_client: 2, ..Limits::default() });
    let ask = |path: &str| {
        let request = Request::get(format!("https://{WWW}{path}"));
        request.body(Empty::new().boxed()).unwrap()
    };
    let h2 = world.h2().await;
    let (mut one, mut two) = (h2.sender.clone(), h2.sender.clone());
    let first = tokio::spawn(async move { one.send_request(ask("/open/never")).await.is_ok() });
    let second = tokio::spawn(async move { two.send_request(ask("/open/never")).await.is_ok() });
    world.until("both are under way", |world| world.counters.requests_allowed.get() == 2).await;
    let (status, answer) = world.raw_as(&pki().alice_again).await.ask(&get("/open/")).await;
    assert_eq!(status, 429, "the same client, whichever certificate: {answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert_eq!(world.counters.refused_at_once.get(), 1);
    assert_eq!(world.raw_as(&pki().bob).await.ask(&get("/open/")).await.0, 200);
    drop(h2);
    first.abort();
    second.abort();
    world.until("both are over", |world| world.counters.requests_cancelled.get() == 2).await;
    assert_eq!(world.raw().await.ask(&get("/open/")).await.0, 200);
}

#[tokio::test]
async fn connections_are_bounded_in_all_and_for_each_client() {
    let limits = Limits { connections: 3, connections_per_client: 2, ..Limits::default() };
    let world = small(limits).await;
    let first = world.raw().await;
    let _second = world.raw_as(&pki().alice_again).await;
    world.until("both count", |w| w.counters.connections_authenticated.get() == 2).await;
    let mut third = world.raw().await;
    assert_eq!(third.rest().await, "", "the same client, whichever certificate");
    drop(third);
    world.until("refused", |world| world.counters.refused_per_client.get() == 1).await;
    let mut bob = world.raw_as(&pki().bob).await;
    bob.say(&format!("GET /open/ HTTP/1.1\r\nHost: {WWW}\r\n\r\n")).await;
    assert_eq!(status(&bob.until("body 0 \n").await), 200, "another client does not notice");
    assert!(world.tls(Some(&pki().bob), WWW, &[]).await.is_err(), "full");
    assert_eq!(world.counters.refused_connections.get(), 1);
    drop(first);
    drop(bob);
    // In TLS 1.3 a client learns of its refusal only after its own handshake.
    let again = async {
        loop {
            if let Ok(tls) = world.tls(Some(&pki().alice), WWW, &[]).await {
                let mut raw = Raw(tls);
                let _ =
                    tokio::io::AsyncWriteExt::write_all(&mut raw.0, get("/open/").as_bytes()).await;
                if status(&raw.rest().await) == 200 {
                    return;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("a place");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_refused() {
    let limits = Limits { body_idle_ms: 60, body_prefix_ms: 60, ..Limits::default() };
    let world = small(limits).await;
    for (path, n) in [("/open/", 1), ("/magic", 2)] {
        let mut raw = world.raw().await;
        raw.say(&format!("POST {path} HTTP/1.1\r\nHost: {WWW}\r\nContent-Length: 30\r\n\r\nMA"))
            .await;
        assert_eq!(status(&raw.rest().await), 408, "{path}");
        assert_eq!(world.counters.refused_slow_body.get(), n);
    }
}

#[tokio::test]
async fn a_slow_service_is_given_up() {
    let backend = Backend::raw(|mut tcp, n| async move {
        read_head(&mut tcp).await;
        if n == 1 {
            say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        }
        let _ = tcp.read(&mut [0; 1]).await;
    })
    .await;
    let limits = Limits { response_head_ms: 80, response_idle_ms: 80, ..Limits::default() };
    let world = World::with(&backend, limits);
    assert_eq!(world.raw().await.ask(&get("/")).await.0, 504);
    assert_eq!(world.counters.backend_timeout.get(), 1);
    let (_, answer) = world.raw().await.ask(&get("/")).await;
    assert!(answer.ends_with("\r\n\r\nhalf"), "{answer}");
    assert_eq!(world.counters.backend_truncated.get(), 1);
    world.until("both connections are closed", |world| world.chain.held() == 0).await;
}

#[tokio::test]
async fn a_long_upload_is_no_slow_service() {
    let world = small(Limits { response_head_ms: 100, ..Limits::default() }).await;
    let mut h2 = world.h2().await;
    let (sender, body) = pieces();
    let request = Request::post(format!("https://{WWW}/open/")).body(body).unwrap();
    let (answer, ()) = tokio::join!(h2.send(request), async {
        for _ in 0..30 {
            sender.send(http_body::Frame::data("x".into())).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        drop(sender);
    });
    assert_eq!(answer.unwrap().status(), 200, "three times the limit, but moving");
}
