//! Connections to services: who shares one, what a dead one costs, what happens without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use http_body_util::{BodyExt, Empty, Full};
use ringmail_gateway::Limits;
use tokio::io::AsyncReadExt;

use crate::backend::{Backend, read_head, say};
use crate::pki::WWW;
use crate::world::{Way, World, get, pki, policy, status};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_serves_only_the_client_and_rule_it_was_opened_for() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let beta =
        format!("GET /beta HTTP/1.1\r\nHost: {WWW}\r\nX-Beta: 1\r\nConnection: close\r\n\r\n");
    world.raw().await.ask(&get("/open/")).await;
    world.raw().await.ask(&get("/open/again")).await;
    assert_eq!(backend.accepted(), 1, "another connection of the same client");
    world.raw().await.ask(&beta).await;
    assert_eq!(backend.accepted(), 2, "another rule and path");
    world.raw_as(&pki().bob).await.ask(&get("/open/")).await;
    assert_eq!(backend.accepted(), 3, "another client");
    world.raw_as(&pki().alice_again).await.ask(&get("/open/")).await;
    assert_eq!(backend.accepted(), 4, "another certificate of the same client");
    world.policy.store(policy(2, &[]).into());
    world.raw().await.ask(&get("/open/")).await;
    assert_eq!(backend.accepted(), 5, "another version");
    let opened = world.chain.opened();
    assert_ne!(opened[0].path, opened[1].path);
    assert_eq!(opened[0].path, opened[2].path);
    assert_eq!(world.counters.backend_reused.get(), 1);
    assert_eq!(world.counters.backend_opened.get(), 5);
}

/// A service that answers `answers` requests on each connection and closes after reading another.
async fn mortal(answers: usize) -> (Backend, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let backend = Backend::raw(move |mut tcp, _| {
        let count = Arc::clone(&count);
        async move {
            for n in 0.. {
                if read_head(&mut tcp).await.is_none() {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                if n == answers {
                    return;
                }
                say(&mut tcp, OK).await;
            }
        }
    })
    .await;
    (backend, seen)
}

#[tokio::test]
async fn a_request_is_sent_again_where_a_pooled_connection_had_died() {
    let (backend, seen) = mortal(1).await;
    let world = World::new(&backend);
    assert_eq!(world.raw().await.ask(&get("/")).await.0, 200);
    assert_eq!(world.raw().await.ask(&get("/")).await.0, 200);
    assert_eq!((backend.accepted(), seen.load(Ordering::SeqCst)), (2, 3));
    assert_eq!(world.counters.requests_retried.get(), 1);
    // No idempotent method (RFC 9110 section 9.2.2), or a body that is gone: never twice.
    for request in [
        format!("POST / HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\n\r\n"),
        format!("PUT / HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"),
    ] {
        assert_eq!(world.raw().await.ask(&request).await.0, 502);
        assert_eq!(world.raw().await.ask(&get("/")).await.0, 200);
    }
    assert_eq!(world.counters.requests_retried.get(), 1);
}

#[tokio::test]
async fn a_request_is_not_sent_again_on_a_new_connection_or_after_an_answer_began() {
    let (backend, seen) = mortal(0).await;
    let world = World::new(&backend);
    assert_eq!(world.raw().await.ask(&get("/")).await.0, 502);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    let begun = Backend::raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        say(&mut tcp, OK).await;
        read_head(&mut tcp).await;
        say(&mut tcp, "HTTP/1.1 2").await;
    })
    .await;
    world.chain.set("www", Way::To(begun.address));
    assert_eq!(world.raw().await.ask(&get("/")).await.0, 200);
    assert_eq!(world.raw().await.ask(&get("/")).await.0, 502);
    assert_eq!(begun.accepted(), 1);
    assert_eq!(world.counters.requests_retried.get(), 0);
}

#[tokio::test]
async fn without_a_way_to_the_service_the_answer_says_whose_fault_it_is() {
    let backend = Backend::echo().await;
    let limits = Limits { connect_ms: 50, ..Limits::default() };
    let world = World::with(&backend, limits);
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (way, code) in
        [(Way::NotReady, 503), (Way::NoPort, 503), (Way::Never, 504), (Way::To(unused), 502)]
    {
        world.chain.set("www", way);
        assert_eq!(world.raw().await.ask(&get("/")).await.0, code, "{way:?}");
    }
    let counters = &world.counters;
    assert_eq!(counters.backend_not_ready.get(), 1);
    assert_eq!(counters.backend_busy.get(), 1);
    assert_eq!(counters.backend_timeout.get(), 1);
    assert_eq!(counters.backend_refused.get(), 1);
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_bad_gateway() {
    for nonsense in [
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA B\r\n\r\n",
    ] {
        let backend = Backend::raw(move |mut tcp, _| async move {
            read_head(&mut tcp).await;
            say(&mut tcp, nonsense).await;
        })
        .await;
        let world = World::new(&backend);
        assert_eq!(world.raw().await.ask(&get("/")).await.0, 502, "{nonsense}");
    }
}

#[tokio::test]
async fn connections_are_closed_after_their_idle_time_and_free_their_guard() {
    let backend = Backend::echo().await;
    let limits = Limits { pool_idle_ms: 40, ..Limits::default() };
    let world = World::with(&backend, limits);
    world.raw().await.ask(&get("/")).await;
    assert_eq!(world.chain.held(), 1);
    world.until("the guard is free", |world| world.chain.held() == 0).await;
    world.raw().await.ask(&get("/")).await;
    assert_eq!(world.counters.backend_opened.get(), 2);
}

#[tokio::test]
async fn open_connections_are_bounded() {
    let backend = Backend::raw(|mut tcp, _| async move {
        let _ = tcp.read(&mut [0; 1]).await;
        std::future::pending::<()>().await;
    })
    .await;
    let limits = Limits { backend_connections: 2, ..Limits::default() };
    let world = World::with(&backend, limits);
    let mut h2 = world.h2().await;
    let ask = || Request::get(format!("https://{WWW}/")).body(Empty::new().boxed()).unwrap();
    let first = tokio::spawn(h2.sender.send_request(ask()));
    let second = tokio::spawn(h2.sender.send_request(ask()));
    world.until("both are open", |world| world.chain.held() == 2).await;
    assert_eq!(h2.send(ask()).await.unwrap().status(), 503);
    assert_eq!(world.counters.backend_busy.get(), 1);
    first.abort();
    second.abort();
    world.until("cancelled requests close theirs", |world| world.chain.held() == 0).await;
    assert_eq!(world.counters.requests_cancelled.get(), 2);
}

#[tokio::test]
async fn a_connection_is_reused_after_a_body_in_each_direction() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let mut h2 = world.h2().await;
    for _ in 0..20 {
        let body = Full::from("x".repeat(100_000)).boxed();
        let request = Request::post(format!("https://{WWW}/open/")).body(body).unwrap();
        let answer = h2.send(request).await.unwrap();
        let text = answer.collect().await.unwrap().to_bytes();
        assert!(text.ends_with(b"\n"));
    }
    assert_eq!(backend.accepted(), 1);
    assert_eq!(world.counters.bytes_from_clients.get(), 2_000_000);
    let mut raw = world.raw().await;
    raw.say(&format!("GET /open/ HTTP/1.1\r\nHost: {WWW}\r\n\r\n").repeat(20)).await;
    for _ in 0..20 {
        assert_eq!(status(&raw.until("body 0 \n").await), 200, "pipelined");
    }
    assert_eq!(backend.accepted(), 1);
}
