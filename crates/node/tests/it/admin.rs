//! The admin socket against clients that it did not expect.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ringmail_node::admin::{Backend, Client, DomainStatus, Reloading, Server};
use ringmail_node::change::ReloadReport;
use ringmail_node::control::KeyExport;

use crate::world::Base;

#[derive(Default)]
struct TestBackend(AtomicBool);

impl Backend for TestBackend {
    fn status(&self) -> BoxFuture<'_, DomainStatus> {
        async { DomainStatus { domain: "test".into(), ..DomainStatus::default() } }.boxed()
    }

    fn export_keys(&self) -> BoxFuture<'_, Result<Vec<KeyExport>, String>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn reload(
        &self,
        _text: String,
        _folder: PathBuf,
        _how: Reloading,
    ) -> BoxFuture<'_, Result<ReloadReport, String>> {
        async { Err("a test does not change".to_owned()) }.boxed()
    }

    fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_may_ask_many_things_and_many_may_ask() {
    let base = Base::new();
    std::fs::create_dir(&base.0).unwrap();
    let (path, backend) = (base.0.join("admin.sock"), Arc::new(TestBackend::default()));
    tokio::spawn(Server::bind(&path).unwrap().serve(backend.clone()));
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(&path).await.unwrap());
    }
    for client in &mut clients {
        assert_eq!(client.status().await.unwrap().domain, "test");
        assert!(client.danger_export_keys().await.unwrap().is_empty());
    }
    assert!(!backend.0.load(Ordering::Relaxed));
    clients[7].down().await.unwrap();
    assert!(backend.0.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_ends_its_connection_only() {
    let base = Base::new();
    std::fs::create_dir(&base.0).unwrap();
    let path = base.0.join("admin.sock");
    tokio::spawn(Server::bind(&path).unwrap().serve(Arc::new(TestBackend::default())));
    for rubbish in ["\n", "{}\n", "\"restart\"\n", "\u{0}\u{1}\n"] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(rubbish.as_bytes()).unwrap();
        let mut answer = String::new();
        tokio::task::block_in_place(|| stream.read_to_string(&mut answer)).unwrap();
        assert_eq!(answer, "", "{rubbish:?}");
    }
    assert!(Client::connect(&path).await.unwrap().status().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_gets_no_answer() {
    if !rustix::process::geteuid().is_root() {
        // Only root can become somebody else; CI is root.
        return;
    }
    let base = Base::new();
    std::fs::create_dir(&base.0).unwrap();
    let path = base.0.join("admin.sock");
    let backend = Arc::new(TestBackend::default());
    tokio::spawn(Server::bind(&path).unwrap().serve(backend.clone()));
    // As if somebody had opened the directory: the credentials still tell.
    for open in [&base.0, &path] {
        std::fs::set_permissions(open, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "admin::stranger", "--ignored", "--nocapture"])
        .env(SOCKET, &path)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.contains("refused"), "{answer:?}");
    assert!(!backend.0.load(Ordering::Relaxed), "another user stopped the domain");
}

const SOCKET: &str = "RINGMAIL_TEST_SOCKET";

#[test]
#[ignore = "a role that another_user_gets_no_answer starts as another user"]
fn stranger() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let mut stream = UnixStream::connect(socket).unwrap();
    // The server refuses before it reads, and may have closed its end by now.
    drop(stream.write_all(b"\"down\"\n"));
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    writeln!(std::io::stdout(), "\nanswer: {answer}").unwrap();
}
