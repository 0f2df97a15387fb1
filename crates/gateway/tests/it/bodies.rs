//! Bodies and what is around them: trailers, 100 (Continue), early answers, broken ends.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::{Backend, pieces, read_head, say};
use crate::pki::WWW;
use crate::world::{PATIENCE, World, get, status};

fn trailers(name: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static("42"))])
}

#[tokio::test]
async fn trailers_cross_in_both_directions_and_versions() {
    let backend = Backend::http(|request| async move {
        let collected = request.into_body().collect().await.unwrap();
        let sum = collected.trailers().and_then(|t| t.get("x-sum")).cloned();
        let (sender, body) = pieces();
        tokio::spawn(async move {
            sender.send(Frame::data(Bytes::from("data"))).await.unwrap();
            sender.send(Frame::trailers(trailers("x-count"))).await.unwrap();
        });
        let mut response = Response::new(body);
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-count"));
        response.headers_mut().insert("x-got", sum.unwrap_or(HeaderValue::from_static("none")));
        response
    })
    .await;
    let world = World::new(&backend);
    let request = format!(
        "POST /open/ HTTP/1.1\r\nHost: {WWW}\r\nTE: trailers\r\nTrailer: X-Sum\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n"
    );
    let (_, answer) = world.raw().await.ask(&request).await;
    assert!(answer.contains("x-got: 7\r\n"), "{answer}");
    assert!(answer.ends_with("0\r\nx-count: 42\r\n\r\n"), "{answer}");
    let (sender, body) = pieces();
    let request = Request::post(format!("https://{WWW}/open/"))
        .header("trailer", "x-sum")
        .header("te", "trailers");
    let mut h2 = world.h2().await;
    let (answer, ()) = tokio::join!(h2.send(request.body(body).unwrap()), async {
        sender.send(Frame::data(Bytes::from("abc"))).await.unwrap();
        sender.send(Frame::trailers(trailers("x-sum"))).await.unwrap();
        drop(sender);
    });
    let answer = answer.unwrap();
    assert_eq!(answer.headers()["x-got"], "42");
    let collected = answer.collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-count"], "42");
    assert_eq!(collected.to_bytes(), "data");
}

#[tokio::test]
async fn a_body_is_held_back_until_the_service_wants_it() {
    let backend = Backend::raw(|mut tcp, n| async move {
        let head = read_head(&mut tcp).await.unwrap();
        assert!(head.contains("expect: 100-continue"), "{head}");
        if n == 0 {
            say(&mut tcp, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await;
            assert_eq!(tcp.read(&mut [0; 1]).await.unwrap_or(0), 0, "the body never comes");
            return;
        }
        say(&mut tcp, "HTTP/1.1 100 Continue\r\n\r\n").await;
        let mut body = [0; 5];
        tcp.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"hello");
        say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        read_head(&mut tcp).await;
    })
    .await;
    let limits = ringmail_gateway::Limits { continue_ms: 60_000, ..Default::default() };
    let world = World::with(&backend, limits);
    let head = format!(
        "POST /open/ HTTP/1.1\r\nHost: {WWW}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    );
    let mut refused = world.raw().await;
    refused.say(&head).await;
    let answer = refused.rest().await;
    assert_eq!(status(&answer), 413, "no 100 before it, and the connection ends: {answer}");
    world.until("its connection is closed", |world| world.chain.held() == 0).await;
    let mut wanted = world.raw().await;
    wanted.say(&head).await;
    assert_eq!(status(&wanted.until("\r\n\r\n").await), 100);
    wanted.say("hello").await;
    assert_eq!(status(&wanted.until("ok").await), 200);
}

#[tokio::test]
async fn a_service_that_knows_no_100_gets_the_body_after_a_while() {
    let backend = Backend::raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        let mut body = [0; 5];
        tcp.read_exact(&mut body).await.unwrap();
        say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        read_head(&mut tcp).await;
    })
    .await;
    let limits = ringmail_gateway::Limits { continue_ms: 20, ..Default::default() };
    let world = World::with(&backend, limits);
    let mut raw = world.raw().await;
    let head = "Content-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    raw.say(&format!("POST /open/ HTTP/1.1\r\nHost: {WWW}\r\n{head}")).await;
    raw.until("100 Continue\r\n\r\n").await;
    raw.say("hello").await;
    assert_eq!(status(&raw.rest().await), 200);
    let unknown =
        format!("GET /open/ HTTP/1.1\r\nHost: {WWW}\r\nExpect: magic\r\nConnection: close\r\n\r\n");
    assert_eq!(world.raw().await.ask(&unknown).await.0, 417);
}

#[tokio::test]
async fn an_answer_may_come_while_the_body_is_still_being_sent() {
    let backend = Backend::raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        say(&mut tcp, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n").await;
        let mut body = [0; 10];
        tcp.read_exact(&mut body).await.unwrap();
        say(&mut tcp, "4\r\nlate\r\n0\r\n\r\n").await;
        read_head(&mut tcp).await;
        say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let world = World::new(&backend);
    let mut raw = world.raw().await;
    raw.say(&format!("POST /open/ HTTP/1.1\r\nHost: {WWW}\r\nContent-Length: 10\r\n\r\n01234"))
        .await;
    raw.until("early\r\n").await;
    raw.say("56789").await;
    raw.until("late\r\n0\r\n\r\n").await;
    raw.say(&get("/")).await;
    assert_eq!(status(&raw.rest().await), 200);
    assert_eq!(world.chain.opened().len(), 1, "on the same connection");
}

/// A refused upload must end with the answer in the client's hands, not with a reset: also where the
/// client looks for it only when it has sent all (RFC 9112 section 9.6).
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_busy_sending() {
    let limits = ringmail_gateway::Limits { linger_ms: 20_000, ..Default::default() };
    let world = World::with(&Backend::echo().await, limits);
    let mut raw = world.raw().await;
    let head = format!("POST /secret HTTP/1.1\r\nHost: {WWW}\r\nContent-Length: 20000000\r\n\r\n");
    raw.say(&head).await;
    let block = vec![b'x'; 1_000_000];
    for _ in 0..20 {
        raw.0.write_all(&block).await.expect("the gateway reads on");
    }
    let answer = raw.rest().await;
    assert_eq!(status(&answer), 403);
    assert!(answer.ends_with("403 no rule allows this request\n"), "{answer}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_passed_for_a_whole_one() {
    let backend = Backend::raw(|mut tcp, n| async move {
        read_head(&mut tcp).await;
        let answer = match n {
            0 => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            1 => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        };
        say(&mut tcp, answer).await;
    })
    .await;
    let world = World::new(&backend);
    let (_, answer) = world.raw().await.ask(&get("/")).await;
    assert!(answer.ends_with("\r\n\r\nhalf"), "{answer}");
    let (_, answer) = world.raw().await.ask(&get("/")).await;
    assert!(answer.ends_with("half\r\n"), "no last chunk: {answer}");
    let mut h2 = world.h2().await;
    let body = http_body_util::Empty::new().boxed();
    let request = Request::get(format!("https://{WWW}/")).body(body).unwrap();
    let answer = h2.send(request).await.unwrap();
    assert!(answer.collect().await.is_err(), "the stream is reset");
    assert_eq!(world.counters.backend_truncated.get(), 3);
}

#[tokio::test]
async fn a_request_body_that_breaks_off_ends_the_request_at_the_service() {
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let backend = Backend::raw(move |mut tcp, _| {
        let told = told.clone();
        async move {
            let mut all = Vec::new();
            let _ = tcp.read_to_end(&mut all).await;
            told.send(String::from_utf8_lossy(&all).into_owned()).await.unwrap();
        }
    })
    .await;
    let world = World::new(&backend);
    let mut raw = world.raw().await;
    let head = "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    raw.say(&format!("POST /open/ HTTP/1.1\r\nHost: {WWW}\r\n{head}")).await;
    world.until("the half arrived", |w| w.counters.bytes_from_clients.get() == 4).await;
    drop(raw);
    let all = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    assert!(all.ends_with("4\r\nhalf\r\n"), "closed without a last chunk: {all}");
    world.until("counted", |w| w.counters.refused_malformed.get() == 1).await;
    assert_eq!(world.counters.backend_refused.get(), 0, "no fault of the service");
}

#[tokio::test]
async fn pieces_are_passed_on_as_they_come() {
    let (told, mut heard) = tokio::sync::mpsc::channel::<Frame<Bytes>>(1);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Some(told)));
    let (sender, body) = pieces();
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let backend = Backend::http(move |request| {
        let (told, body) =
            (told.lock().unwrap().take().unwrap(), body.lock().unwrap().take().unwrap());
        tokio::spawn(async move {
            let mut incoming = request.into_body();
            while let Some(Ok(frame)) = incoming.frame().await {
                told.send(frame).await.unwrap();
            }
        });
        async move { Response::new(body) }
    })
    .await;
    let world = World::new(&backend);
    let mut raw = world.raw().await;
    raw.say(&format!("POST /open/ HTTP/1.1\r\nHost: {WWW}\r\nTransfer-Encoding: chunked\r\n\r\n"))
        .await;
    raw.until("\r\n\r\n").await;
    for word in ["one", "two", "three"] {
        raw.say(&format!("{:x}\r\n{word}\r\n", word.len())).await;
        let frame = tokio::time::timeout(Duration::from_secs(5), heard.recv()).await.unwrap();
        assert_eq!(frame.unwrap().into_data().unwrap(), word, "up");
        sender.send(Frame::data(Bytes::from(word))).await.unwrap();
        raw.until(&format!("{word}\r\n")).await;
    }
}
