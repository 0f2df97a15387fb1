//! The access log: what a line says of a request, a connection, a tunnel and a refusal.

use ringmail_gateway::Limits;
use ringmail_gateway::access::{AccessFile, AccessLog};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::backend::Backend;
use crate::pki::WWW;
use crate::world::{World, get, pki};

/// A log in a folder of its own.
pub(crate) struct Log(std::path::PathBuf, pub(crate) AccessLog);

impl Log {
    pub(crate) fn new(name: &str) -> Log {
        let folder = std::env::temp_dir().join(format!("ringmail-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a new folder");
        let file = AccessFile { path: folder.join("log"), max_bytes: 0, keep: 0 };
        Log(folder, AccessLog::open(file).expect("it opens"))
    }

    /// All lines, when everyone who wrote is gone.
    pub(crate) fn lines(self) -> Vec<Value> {
        self.1.close();
        let text = std::fs::read_to_string(self.0.join("log")).expect("a log");
        std::fs::remove_dir_all(&self.0).expect("its folder");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

#[tokio::test]
async fn a_request_is_a_line() {
    let backend = Backend::echo().await;
    let log = Log::new("requests");
    let mut world = World::logged(&backend, Limits::default(), log.1.sink("web"));
    let mut raw = world.raw().await;
    let post = format!(
        "POST /open/%61?secret=1 HTTP/1.1\r\nHost: {WWW}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    );
    let (status, answer) = raw.ask(&post).await;
    assert_eq!(status, 200);
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    let mut refused = world.raw().await;
    assert_eq!(refused.ask(&get("/closed")).await.0, 403);
    world.stop();
    world.stopped().await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2);
    let line = &lines[0];
    for (key, value) in [
        ("schema", "ringmail.access/1"),
        ("kind", "request"),
        ("listener", "web"),
        ("client", "spiffe://campus.example/client/alice"),
        ("server_name", WWW),
        ("protocol", "http/1.1"),
        ("method", "POST"),
        ("host", WWW),
        ("url_path", "/open/a"),
        ("decision", "allowed"),
        ("rule", "alice-open"),
        ("path", "plain"),
        ("service", "www"),
    ] {
        assert_eq!(line[key], value, "{key} of {line}");
    }
    assert_eq!((&line["status"], &line["bytes_in"]), (&200.into(), &5.into()));
    assert_eq!(line["bytes_out"].as_u64(), Some(body.len() as u64), "{answer}");
    assert!(line["source"].as_str().expect("a source").starts_with("127.0.0.1:"));
    assert_eq!(line["certificate"].as_str().expect("a fingerprint").len(), 64);
    assert!(!line.to_string().contains("secret"), "a query may hold secrets");
    let times = &line["times_us"];
    let time = |name: &str| times[name].as_u64().unwrap_or_else(|| panic!("{name} in {line}"));
    assert!(time("handshake") > 0 && time("connect") > 0);
    assert!(time("decided") <= time("first_byte") && time("first_byte") <= time("total"));
    let line = &lines[1];
    assert_eq!((&line["decision"], &line["status"]), (&"refused".into(), &403.into()));
    assert_eq!(line["reason"], "no rule allows this request");
    assert!(line["rule"].is_null() && line["times_us"]["connect"].is_null());
}

#[tokio::test]
async fn a_connection_that_passes_unread_is_a_line() {
    let backend = Backend::raw(|mut tcp, _| async move {
        let _ = tcp.write_all(b"12345").await;
    })
    .await;
    let log = Log::new("connections");
    let mut world = World::logged_passing(&backend, Limits::default(), log.1.sink("any"));
    for words in [&b"SSH-2.0-test\r\n"[..], b"GET / HTTP/1.1\r\n"] {
        let mut tls = world.tls(Some(&pki().alice), WWW, &[]).await.expect("a handshake");
        tls.write_all(words).await.expect("sent");
        tls.shutdown().await.expect("a last word");
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut rest).await;
    }
    world.stop();
    world.stopped().await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2);
    let passed = lines.iter().find(|line| line["decision"] == "allowed").expect("one passed");
    assert_eq!((&passed["kind"], &passed["protocol"]), (&"connection".into(), &"ssh".into()));
    assert_eq!((&passed["rule"], &passed["path"]), (&"alice-passes".into(), &"direct".into()));
    assert_eq!((&passed["bytes_in"], &passed["bytes_out"]), (&14.into(), &5.into()));
    let refused = lines.iter().find(|line| line["decision"] == "refused").expect("one did not");
    assert_eq!(refused["protocol"], "raw-http");
}

#[tokio::test]
async fn a_handshake_that_fails_is_a_line_that_says_who_and_why() {
    let backend = Backend::echo().await;
    let log = Log::new("handshakes");
    let mut world = World::logged(&backend, Limits::default(), log.1.sink("web"));
    for client in [None, Some(&pki().revoked), Some(&pki().nameless)] {
        // In TLS 1.3 the client has finished when the server looks at its certificate.
        if let Ok(mut tls) = world.tls(client, WWW, &[]).await {
            let read = tokio::io::AsyncReadExt::read_to_end(&mut tls, &mut Vec::new()).await;
            read.expect_err("an alert");
        }
    }
    drop(tokio::net::TcpStream::connect(world.address).await.expect("connected"));
    world.until("it is counted", |world| world.counters.handshake_failed.get() == 1).await;
    assert_eq!(world.raw().await.ask(&get("/open/")).await.0, 200);
    world.stop();
    world.stopped().await;
    let lines = log.lines();
    let failed: Vec<_> = lines.iter().filter(|line| line["kind"] == "handshake").collect();
    assert_eq!((failed.len(), lines.len()), (4, 5), "{lines:#?}");
    for line in &failed {
        assert_eq!(
            (&line["schema"], &line["listener"]),
            (&"ringmail.access/1".into(), &"web".into())
        );
        assert_eq!((&line["decision"], &line["protocol"]), (&"refused".into(), &"tls".into()));
        assert!(line["source"].as_str().expect("a source").starts_with("127.0.0.1:"));
        assert!(line["detail"].is_string() && line["time"].is_string(), "{line}");
    }
    let of = |reason: &str| {
        let found = failed.iter().find(|line| line["reason"] == reason);
        found.unwrap_or_else(|| panic!("no line says: {reason}"))
    };
    let none = of("the client showed no certificate");
    assert_eq!((&none["client"], &none["certificate"]), (&"".into(), &"".into()));
    assert!(none["subject"].is_null());
    let revoked = of("the client's certificate is revoked");
    assert!(revoked["client"].as_str().expect("text").starts_with("spiffe://"), "{revoked}");
    assert_eq!(revoked["certificate"].as_str().expect("a fingerprint").len(), 64);
    assert!(revoked["subject"].is_string(), "{revoked}");
    let nameless = of("the client's certificate is not acceptable");
    assert_eq!(nameless["client"], "", "it names nobody");
    assert_eq!(nameless["certificate"].as_str().expect("a fingerprint").len(), 64);
    of("the client left before the handshake was over");
}
