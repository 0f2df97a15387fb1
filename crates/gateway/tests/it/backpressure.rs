//! Nothing is buffered whole: a side that does not read stops the other after a bounded number of
//! bytes. Socket buffers are made small first, so that what is measured is the gateway.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use ringmail_gateway::Limits;
use ringmail_gateway::limits::{
    COPY_BUFFER_BYTES, H2_SEND_BUFFER_BYTES, H2_STREAM_WINDOW_BYTES, TLS_RECEIVE_BYTES,
    TLS_SEND_BYTES,
};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Backend, read_head, say};
use crate::pki::WWW;
use crate::world::{Raw, World, get, pki};

const SOCKET_BYTES: usize = 64 * 1024;
/// Four socket buffers, of which the kernel doubles each.
const KERNEL: usize = 4 * 2 * SOCKET_BYTES;
/// What the gateway may hold of an HTTP/1 body: two of hyper's buffers and TLS's.
const HTTP1: usize = 4 * COPY_BUFFER_BYTES + TLS_SEND_BYTES + TLS_RECEIVE_BYTES;

fn narrow(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    socket.set_recv_buffer_size(SOCKET_BYTES).unwrap();
    socket.set_send_buffer_size(SOCKET_BYTES).unwrap();
}

/// The count, once it has not grown for a while.
async fn settled(count: &AtomicUsize) -> usize {
    let mut last = (0, 0);
    for _ in 0..2_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = count.load(Ordering::SeqCst);
        last = if now == last.0 && now > 0 { (now, last.1 + 1) } else { (now, 0) };
        if last.1 == 60 {
            return now;
        }
    }
    panic!("never settled: {}", count.load(Ordering::SeqCst));
}

/// A service that takes a request's head and no more, on a narrow socket.
async fn deaf() -> Backend {
    Backend::raw(|mut tcp, _| async move {
        narrow(&tcp);
        read_head(&mut tcp).await;
        std::future::pending::<()>().await;
    })
    .await
}

/// A service that answers without end; counts what it could send.
async fn talker() -> (Backend, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let backend = Backend::raw(move |mut tcp, _| {
        let count = Arc::clone(&count);
        async move {
            narrow(&tcp);
            read_head(&mut tcp).await;
            say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n").await;
            let block = [0; 16 * 1024];
            while let Ok(n) = tcp.write(&block).await {
                count.fetch_add(n, Ordering::SeqCst);
            }
        }
    })
    .await;
    (backend, sent)
}

#[tokio::test]
async fn a_service_that_does_not_read_stops_an_http_1_client() {
    let world = World::narrow(&deaf().await, Limits::default());
    let Raw(mut tls) = world.raw().await;
    narrow(tls.get_ref().0);
    let head =
        format!("POST /open/ HTTP/1.1\r\nHost: {WWW}\r\nContent-Length: 10000000000\r\n\r\n");
    tls.write_all(head.as_bytes()).await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let block = [0; 16 * 1024];
        while let Ok(n) = tls.write(&block).await {
            count.fetch_add(n, Ordering::SeqCst);
        }
    });
    let sent = settled(&sent).await;
    assert!(sent < KERNEL + HTTP1, "{sent} bytes went nowhere");
    sending.abort();
}

/// What waits for a service that does not read goes with the request, or it would wait for ever.
#[tokio::test]
async fn giving_up_a_service_that_does_not_read_closes_its_connection() {
    let limits = Limits { response_head_ms: 200, linger_ms: 100, ..Limits::default() };
    let world = World::narrow(&deaf().await, limits);
    let Raw(mut tls) = world.raw().await;
    let head =
        format!("POST /open/ HTTP/1.1\r\nHost: {WWW}\r\nContent-Length: 10000000000\r\n\r\n");
    tls.write_all(head.as_bytes()).await.unwrap();
    let sending =
        tokio::spawn(async move { while tls.write_all(&[0; 16 * 1024]).await.is_ok() {} });
    world.until("it is given up", |w| w.counters.backend_timeout.get() == 1).await;
    world.until("it is closed", |w| w.chain.held() == 0).await;
    sending.abort();
}

#[tokio::test]
async fn a_service_that_does_not_read_stops_an_http_2_stream_and_no_other() {
    let world = World::narrow(&deaf().await, Limits::default());
    let tls = world.tls(Some(&pki().alice), WWW, &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    let request = || Request::post(format!("https://{WWW}/open/")).body(()).unwrap();
    let (_answer, mut stream) = client.send_request(request(), false).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        loop {
            stream.reserve_capacity(16 * 1024);
            match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(n)) => {
                    stream.send_data(Bytes::from(vec![0; n]), false).unwrap();
                    count.fetch_add(n, Ordering::SeqCst);
                }
                _ => return,
            }
        }
    });
    let sent = settled(&sent).await;
    assert!(sent < KERNEL + HTTP1 + H2_STREAM_WINDOW_BYTES as usize, "{sent} bytes went nowhere");
    // The connection's window is not used up.
    let denied = Request::post(format!("https://{WWW}/secret")).body(()).unwrap();
    let (answer, _) = client.send_request(denied, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 403);
    sending.abort();
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_service() {
    let (backend, sent) = talker().await;
    let world = World::narrow(&backend, Limits::default());
    let mut raw = world.raw().await;
    narrow(raw.0.get_ref().0);
    raw.say(&get("/open/")).await;
    let sent = settled(&sent).await;
    assert!(sent < KERNEL + HTTP1, "{sent} bytes went nowhere");
    let mut block = vec![0; 1 << 20];
    raw.0.read_exact(&mut block).await.expect("and then goes on");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_http_2_connection_stops_the_service() {
    let (backend, sent) = talker().await;
    let world = World::narrow(&backend, Limits::default());
    let tls = world.tls(Some(&pki().alice), WWW, &["h2"]).await.unwrap();
    narrow(tls.get_ref().0);
    let window = 1 << 30;
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(window)
        .handshake::<_, Bytes>(tls)
        .await
        .unwrap();
    let mut connection = Box::pin(connection);
    let request = Request::get(format!("https://{WWW}/open/")).body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    // Reading goes on only as long as the connection is polled.
    let answer = tokio::select! {
        answer = answer => answer.unwrap(),
        _ = &mut connection => panic!("closed"),
    };
    assert_eq!(answer.status(), 200);
    let sent = settled(&sent).await;
    let most = KERNEL + HTTP1 + H2_SEND_BUFFER_BYTES + 8 * (1 << 20);
    assert!(sent < most, "{sent} bytes went nowhere");
}
