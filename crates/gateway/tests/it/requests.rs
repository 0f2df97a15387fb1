//! What a request and its answer look like on the other side, and which requests are refused.

use http::{HeaderValue, Request};
use http_body_util::BodyExt;

use crate::backend::{Backend, full, read_head, say};
use crate::pki::{OTHER, WWW};
use crate::world::{ClientBody, World, get, status};

fn none() -> ClientBody {
    http_body_util::Empty::new().boxed()
}

#[tokio::test]
async fn a_request_reaches_the_service_scrubbed_and_complete() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let request = format!(
        "POST /open/a%20b?q=1 HTTP/1.1\r\nHost: {WWW}:443\r\nX-Kept: yes\r\nX-Hop: no\r\n\
         Connection: close, x-hop\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers, gzip\r\n\
         X-Forwarded-Client-Cert: By=evil\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\
         Content-Length: 5\r\n\r\nhello"
    );
    let (status, answer) = world.raw().await.ask(&request).await;
    assert_eq!(status, 200, "{answer}");
    for line in [
        "POST /open/a%20b?q=1 HTTP/1.1\n",
        "host: www.campus.example:443\n",
        "x-kept: yes\n",
        "te: trailers\n",
        "connection: te\n",
        "content-length: 5\n",
        "body 5 hello\n",
    ] {
        assert!(answer.contains(line), "no {line:?} in {answer}");
    }
    for gone in ["x-hop", "keep-alive", "proxy-connection", "forwarded", "gzip", "evil"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_of_the_service_do_not_reach_the_client() {
    let backend = Backend::raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        let answer = "HTTP/1.1 200 OK\r\nConnection: close, X-Internal\r\nX-Internal: 1\r\n\
            Keep-Alive: timeout=1\r\nUpgrade: h2c\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok";
        say(&mut tcp, answer).await;
    })
    .await;
    let world = World::new(&backend);
    let mut raw = world.raw().await;
    raw.say(&format!("GET / HTTP/1.1\r\nHost: {WWW}\r\n\r\n")).await;
    let answer = raw.until("ok").await;
    assert!(answer.contains("x-kept: 1"), "{answer}");
    for gone in ["x-internal", "keep-alive", "upgrade", "connection"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
    raw.say(&get("/")).await;
    assert_eq!(status(&raw.until("ok").await), 200, "the client's connection lives on");
    let mut h2 = world.h2().await;
    let request = Request::get(format!("https://{WWW}/")).body(none()).unwrap();
    let answer = h2.send(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("x-internal"));
}

#[tokio::test]
async fn requests_that_could_be_smuggled_are_refused() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    for (what, head) in [
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6"),
        ("a list of lengths", "Content-Length: 5, 6"),
        ("a signed length", "Content-Length: +5"),
        ("a length that is none", "Content-Length: 5x"),
        ("chunked not last", "Transfer-Encoding: chunked, gzip"),
        ("an unknown coding", "Transfer-Encoding: xchunked"),
        ("a folded field", "X-A: 1\r\n 2"),
        ("a space before the colon", "Content-Length : 5"),
        ("a field without name", ": 5"),
        ("two hosts", "Host: other.campus.example"),
        ("a NUL in a value", "X-A: a\0b"),
        ("a bare CR in a value", "X-A: a\rTransfer-Encoding: chunked"),
    ] {
        let request = format!("POST /open/ HTTP/1.1\r\nHost: {WWW}\r\n{head}\r\n\r\nhello");
        let answer = world.raw().await.ask(&request).await;
        assert_eq!(answer.0, 400, "{what}: {}", answer.1);
    }
    let old = format!(
        "POST /open/ HTTP/1.0\r\nHost: {WWW}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    assert_eq!(world.raw().await.ask(&old).await.0, 400);
    assert_eq!(backend.accepted(), 0);
    world.until("all are counted", |w| w.counters.refused_malformed.get() == 13).await;
}

/// RFC 9112 section 6.3: chunked wins and the connection closes; what the service gets has one framing.
#[tokio::test]
async fn chunked_beside_a_length_is_passed_on_with_one_framing_only() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    for fields in [
        "Content-Length: 40\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 40",
    ] {
        let smuggled = "GET /open/second HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = format!(
            "POST /open/first HTTP/1.1\r\nHost: {WWW}\r\n{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\n{smuggled}"
        );
        let (status, answer) = world.raw().await.ask(&request).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains("transfer-encoding: chunked\n"), "{answer}");
        assert!(
            !answer.contains("content-length: 40") && answer.contains("body 3 abc"),
            "{answer}"
        );
        assert!(!answer.contains("second"), "{answer}");
    }
    assert_eq!(world.counters.requests.get(), 2);
}

#[tokio::test]
async fn the_target_has_one_reading_or_none() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    for (line, hosts, expected) in [
        (format!("GET https://{WWW}/open/ HTTP/1.1"), format!("Host: {WWW}"), 200),
        (format!("GET https://{WWW}/open/ HTTP/1.1"), format!("Host: {OTHER}"), 400),
        (format!("GET http://{WWW}/open/ HTTP/1.1"), format!("Host: {WWW}"), 421),
        ("GET /open/ HTTP/1.1".into(), format!("Host: {OTHER}"), 421),
        ("GET /open/ HTTP/1.1".into(), format!("Host: user@{WWW}"), 400),
        ("GET /open/ HTTP/1.1".into(), "X: no host".into(), 400),
        ("GET /open/ HTTP/1.0".into(), "X: no host".into(), 200),
        ("GET /open/../etc HTTP/1.1".into(), format!("Host: {WWW}"), 403),
        ("GET /open/..%2fetc HTTP/1.1".into(), format!("Host: {WWW}"), 400),
        ("GET //open/ HTTP/1.1".into(), format!("Host: {WWW}"), 400),
        ("GET /%6fpen/ HTTP/1.1".into(), format!("Host: {WWW}"), 200),
        ("OPTIONS * HTTP/1.1".into(), format!("Host: {WWW}"), 400),
        (format!("CONNECT {WWW}:443 HTTP/1.1"), format!("Host: {WWW}:443"), 403),
        ("TRACE /open/ HTTP/1.1".into(), format!("Host: {WWW}"), 501),
    ] {
        let request = format!("{line}\r\n{hosts}\r\nConnection: close\r\n\r\n");
        let (status, answer) = world.raw().await.ask(&request).await;
        assert_eq!(status, expected, "{line} {hosts}: {answer}");
    }
    let mut raw = world.raw().await;
    raw.say(&get("/%6fpen/x/../y")).await;
    let answer = raw.rest().await;
    assert!(answer.contains("GET /open/y HTTP/1.1"), "what was allowed is what goes: {answer}");
}

#[tokio::test]
async fn other_upgrades_are_refused_and_offers_of_h2c_ignored() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let ask = |connection: &str, upgrade: &str| {
        format!(
            "GET /open/ HTTP/1.1\r\nHost: {WWW}\r\nConnection: {connection}\r\nUpgrade: {upgrade}\r\n\r\n"
        )
    };
    let mut raw = world.raw().await;
    raw.say(&ask("Upgrade", "websocket, tls/1.0")).await;
    assert_eq!(status(&raw.until("offered\n").await), 501);
    assert_eq!(world.counters.refused_method.get(), 1);
    let (status, answer) = world.raw().await.ask(&ask("upgrade, close", "h2c")).await;
    assert_eq!(status, 200);
    assert!(!answer.contains("upgrade"), "{answer}");
}

#[tokio::test]
async fn an_unasked_change_of_protocol_by_the_service_is_a_bad_answer() {
    let backend = Backend::raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        say(
            &mut tcp,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        )
        .await;
        read_head(&mut tcp).await;
    })
    .await;
    let world = World::new(&backend);
    assert_eq!(world.raw().await.ask(&get("/")).await.0, 502);
}

#[tokio::test]
async fn http_1_0_clients_get_answers_that_they_can_read() {
    let backend = Backend::raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        say(&mut tcp, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .await;
    })
    .await;
    let world = World::new(&backend);
    let request = format!("GET / HTTP/1.0\r\nHost: {WWW}\r\n\r\n");
    let (status, answer) = world.raw().await.ask(&request).await;
    assert_eq!(status, 200);
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(!answer.contains("chunked") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let backend = Backend::raw(|mut tcp, _| async move {
        while let Some(head) = read_head(&mut tcp).await {
            let answer = match head.split(' ').nth(1) {
                Some("/open/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/open/304") => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            };
            say(&mut tcp, answer).await;
        }
    })
    .await;
    let world = World::new(&backend);
    let mut raw = world.raw().await;
    for (method, path, mark) in [
        ("HEAD", "/open/", "content-length: 1000"),
        ("GET", "/open/204", ""),
        ("GET", "/open/304", "etag"),
    ] {
        raw.say(&format!("{method} {path} HTTP/1.1\r\nHost: {WWW}\r\n\r\n")).await;
        let answer = raw.until("\r\n\r\n").await;
        assert!(answer.contains(mark), "{answer}");
    }
    let mut h2 = world.h2().await;
    for (method, path, code) in
        [("HEAD", "/open/", 200), ("GET", "/open/204", 204), ("GET", "/open/304", 304)]
    {
        let request = Request::builder().method(method).uri(format!("https://{WWW}{path}"));
        let answer = h2.send(request.body(none()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), code);
        assert!(answer.collect().await.unwrap().to_bytes().is_empty());
    }
    assert_eq!(backend.accepted(), 1, "one connection carried all");
}

#[tokio::test]
async fn every_stream_of_http_2_is_judged_by_itself() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let mut h2 = world.h2().await;
    let mut one = h2.sender.clone();
    let to = |host: &str, path: &str| {
        Request::get(format!("https://{host}{path}")).body(none()).unwrap()
    };
    let (allowed, denied, misdirected) = tokio::join!(
        one.send_request(to(WWW, "/open/")),
        h2.sender.send_request(to(WWW, "/secret")),
        async { h2.sender.clone().send_request(to(OTHER, "/open/")).await },
    );
    assert_eq!(allowed.unwrap().status(), 200);
    assert_eq!(denied.unwrap().status(), 403);
    assert_eq!(misdirected.unwrap().status(), 421);
    let mut two_hosts = to(WWW, "/open/");
    two_hosts.headers_mut().insert("host", HeaderValue::from_static(OTHER));
    assert_eq!(h2.send(two_hosts).await.unwrap().status(), 400);
    assert_eq!(world.counters.requests_allowed.get(), 1);
}

#[tokio::test]
async fn refusals_say_what_and_no_more() {
    let backend = Backend::http(|_| async { http::Response::new(full("never")) }).await;
    let world = World::new(&backend);
    let (status, answer) = world.raw().await.ask(&get("/secret")).await;
    assert_eq!(status, 403);
    assert!(answer.ends_with("\r\n\r\n403 no rule allows this request\n"), "{answer}");
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let names = head.lines().skip(1).filter_map(|line| line.split(':').next());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    assert_eq!(names, ["connection", "content-length", "content-type", "date"]);
}
