//! Clients that attack HTTP/2 itself.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use ringmail_gateway::Limits;
use tokio::time::timeout;

use crate::backend::{Backend, read_head};
use crate::pki::WWW;
use crate::world::{PATIENCE, World, pki};

/// An HTTP/2 client below hyper, which lets a test misbehave.
async fn h2_client(world: &World) -> h2::client::SendRequest<Bytes> {
    let tls = world.tls(Some(&pki().alice), WWW, &["h2"]).await.unwrap();
    let (client, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn ask() -> Request<()> {
    Request::get(format!("https://{WWW}/open/")).body(()).unwrap()
}

async fn silent() -> Backend {
    Backend::raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        read_head(&mut tcp).await;
    })
    .await
}

/// CVE-2023-44487: a stream is opened and reset at once, over and over.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let backend = silent().await;
    let world = World::with(&backend, Limits { h2_cancelled: 20, ..Limits::default() });
    let mut client = h2_client(&world).await;
    let flood = async {
        for n in 0..100_000 {
            client = match client.clone().ready().await {
                Ok(client) => client,
                Err(_) => return n,
            };
            let Ok((_, mut stream)) = client.send_request(ask(), true) else { return n };
            if n % 5 == 4 {
                // Let the request be taken first: these the library does not count.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stream.send_reset(h2::Reason::CANCEL);
        }
        panic!("never stopped");
    };
    let streams = timeout(PATIENCE, flood).await.expect("an end");
    assert!(streams < 2_000, "{streams}");
    let ended = |world: &World| {
        world.counters.h2_cancel_floods.get() + world.counters.h2_protocol_errors.get() == 1
    };
    world.until("counted", ended).await;
    world.until("nothing is left at the service", |world| world.chain.held() == 0).await;
}

/// The same, slowly enough that every request is taken and begins to be answered.
#[tokio::test]
async fn requests_that_are_taken_and_cancelled_are_counted_too() {
    let backend = silent().await;
    let world = World::with(&backend, Limits { h2_cancelled: 5, ..Limits::default() });
    let mut client = h2_client(&world).await;
    for n in 1..=6 {
        let (_, mut stream) = client.send_request(ask(), true).unwrap();
        world.until("taken", |world| world.counters.requests_allowed.get() == n).await;
        stream.send_reset(h2::Reason::CANCEL);
        world.until("cancelled", |world| world.counters.requests_cancelled.get() == n).await;
    }
    world.until("ended", |world| world.counters.h2_cancel_floods.get() == 1).await;
}

#[tokio::test]
async fn concurrent_streams_are_bounded() {
    let backend = silent().await;
    let world = World::with(&backend, Limits { h2_streams: 3, ..Limits::default() });
    let mut client = h2_client(&world).await;
    // Until the server's settings are known, a client may believe in any number.
    world.until("connected", |world| world.counters.connections_http2.get() == 1).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        match timeout(Duration::from_millis(300), client.clone().ready()).await {
            Ok(Ok(ready)) => client = ready,
            _ => break,
        }
        streams.push(client.send_request(ask(), true).unwrap());
    }
    world.until("three are taken", |world| world.counters.requests.get() == 3).await;
    tokio::task::yield_now().await;
    assert_eq!(world.counters.requests.get(), 3);
    assert_eq!(backend.accepted(), 3);
}

/// A client that opens the window of no stream holds connections to services: for a time only.
#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let backend =
        Backend::http(|_| async { http::Response::new(crate::backend::full(vec![b'x'; 1 << 20])) })
            .await;
    let limits = Limits {
        stall_ms: 100,
        connect_ms: 50,
        response_head_ms: 50,
        response_idle_ms: 50,
        header_read_ms: 50,
        ..Limits::default()
    };
    let world = World::with(&backend, limits);
    let tls = world.tls(Some(&pki().alice), WWW, &["h2"]).await.unwrap();
    let (mut client, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(tls).await.unwrap();
    let connection = tokio::spawn(connection);
    let (answer, _) = client.send_request(ask(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let ended = timeout(PATIENCE, connection).await.expect("cut off").unwrap();
    assert!(ended.is_err());
    assert_eq!(world.counters.stalled_closed.get(), 1);
    world.until("the service is free", |world| world.chain.held() == 0).await;
}
