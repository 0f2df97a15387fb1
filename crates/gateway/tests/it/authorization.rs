//! Who gets where: every condition of a rule, and nothing without one.

use http::Request;
use http_body_util::{BodyExt, Full};

use crate::backend::Backend;
use crate::pki::{OTHER, WWW};
use crate::world::{Way, World, get, pki, policy, status};

#[tokio::test]
async fn identity_method_and_path_decide() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let bob = &pki().bob;
    let post = format!("POST /open/ HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\n\r\n");
    assert_eq!(world.raw().await.ask(&get("/open/")).await.0, 200);
    assert_eq!(world.raw().await.ask(&post).await.0, 200);
    assert_eq!(world.raw().await.ask(&get("/secret")).await.0, 403);
    assert_eq!(world.raw_as(bob).await.ask(&get("/open/")).await.0, 200);
    assert_eq!(world.raw_as(bob).await.ask(&post).await.0, 403);
    let opened = world.chain.opened();
    let seen: Vec<_> = opened.iter().map(|o| (o.rule.as_str(), o.client.as_str())).collect();
    let alice = "spiffe://campus.example/client/alice";
    // Bob's first name is not the one that the rules know.
    assert_eq!(seen, [("alice-open", alice), ("bob-reads", "dns:bob.example")]);
    assert_eq!(world.counters.refused_by_rules.get(), 2);
}

#[tokio::test]
async fn headers_decide() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let ask = |fields: &str| {
        format!("GET /beta HTTP/1.1\r\nHost: {WWW}\r\n{fields}Connection: close\r\n\r\n")
    };
    assert_eq!(world.raw().await.ask(&ask("X-Beta: 1\r\n")).await.0, 200);
    assert_eq!(world.raw().await.ask(&ask("X-Beta: 2\r\n")).await.0, 403);
    assert_eq!(world.raw().await.ask(&ask("")).await.0, 403);
    let removed = format!(
        "GET /beta HTTP/1.1\r\nHost: {WWW}\r\nX-Beta: 1\r\nConnection: close, x-beta\r\n\r\n"
    );
    let (status, answer) = world.raw().await.ask(&removed).await;
    assert_eq!(status, 403, "rules see what the service would: {answer}");
}

#[tokio::test]
async fn the_beginning_of_the_body_decides_and_still_arrives() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let post = |body: &str| {
        let length = body.len();
        format!(
            "POST /magic HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    for (body, expected) in [
        ("..MAGIC and much more behind it", 200),
        ("MAGIC", 200),
        ("MAGI", 403),
        ("", 403),
        ("................MAGIC, too late", 403),
    ] {
        let (status, answer) = world.raw().await.ask(&post(body)).await;
        assert_eq!(status, expected, "{body}: {answer}");
        if expected == 200 {
            assert!(answer.contains(&format!("body {} {body}\n", body.len())), "{answer}");
            assert!(answer.contains(&format!("content-length: {}\n", body.len())), "{answer}");
        }
    }
    let mut pieces = world.raw().await;
    pieces
        .say(&format!(
            "POST /magic HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nMAG\r\n"
        ))
        .await;
    pieces.say("5\r\nIC...\r\n1\r\n!\r\n0\r\n\r\n").await;
    let answer = pieces.rest().await;
    assert!(answer.contains("body 9 MAGIC...!\n"), "{answer}");
    let mut h2 = world.h2().await;
    let body = Full::from("..MAGIC over HTTP/2").boxed();
    let request = Request::post(format!("https://{WWW}/magic")).body(body).unwrap();
    assert_eq!(h2.send(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_server_name_decides() {
    let (www, other) = (Backend::echo().await, Backend::echo().await);
    let world = World::new(&www);
    world.chain.set("other", Way::To(other.address));
    let tls = world.tls(Some(&pki().alice), OTHER, &["http/1.1"]).await.unwrap();
    let mut raw = crate::world::Raw(tls);
    raw.say(&format!("GET /x HTTP/1.1\r\nHost: {OTHER}\r\n\r\n")).await;
    assert_eq!(status(&raw.until("body 0 \n").await), 200);
    raw.say(&format!("GET /open/ HTTP/1.1\r\nHost: {WWW}\r\n\r\n")).await;
    assert_eq!(status(&raw.until("for that host\n").await), 421, "the other certificate's name");
    assert_eq!((www.accepted(), other.accepted()), (0, 1));
}

#[tokio::test]
async fn new_rules_hold_for_the_next_request_of_a_live_connection() {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    let mut raw = world.raw().await;
    let ask = format!("GET /open/ HTTP/1.1\r\nHost: {WWW}\r\n\r\n");
    raw.say(&ask).await;
    assert_eq!(status(&raw.until("body 0 \n").await), 200);
    world.policy.store(policy(2, &["alice-open"]).into());
    raw.say(&ask).await;
    assert_eq!(status(&raw.until("this request\n").await), 403);
    world.policy.store(policy(3, &[]).into());
    raw.say(&ask).await;
    assert_eq!(status(&raw.until("body 0 \n").await), 200);
    let versions: Vec<_> = world.chain.opened().iter().map(|opened| opened.version.0).collect();
    assert_eq!(versions, [1, 3], "a connection of version 1 does not serve version 3");
    world.until("the old connection is closed", |world| world.chain.held() == 1).await;
}
