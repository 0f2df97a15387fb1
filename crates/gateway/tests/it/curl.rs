//! curl as the client: HTTP/1.1 and HTTP/2, mutual TLS, what it says where it is refused.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::digest::{Context, SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::process::Command;

use crate::backend::{Backend, full, pieces};
use crate::nginx::Nginx;
use crate::pki::{OTHER, Pair, WWW};
use crate::world::{Way, World, pki};

/// A directory that goes with its owner.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("gateway-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Curl {
    code: Option<i32>,
    out: String,
    err: String,
}

/// curl as `client`, with `args`; hosts of the tests lead to the gateway.
async fn curl(world: &World, client: Option<&Pair>, args: &[&str]) -> Curl {
    let dir = Dir::new("curl");
    let port = world.address.port();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"])
        .args(["--cacert", &dir.file("ca.pem", &pki().ca_pem)]);
    for host in [WWW, OTHER, "a.files.campus.example"] {
        curl.args(["--resolve", &format!("{host}:{port}:127.0.0.1")]);
    }
    if let Some(pair) = client {
        let cert = dir.file("cert.pem", &pair.cert_pem);
        curl.args(["--cert", &cert, "--key", &dir.file("key.pem", &pair.key_pem)]);
    }
    let output = curl.args(args).output().await.expect("curl is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Curl { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn url(world: &World, host: &str, path: &str) -> String {
    format!("https://{host}:{}{path}", world.address.port())
}

const VERDICT: &str = "\n%{http_version} %{http_code}";

#[tokio::test]
async fn both_versions_of_http_and_of_tls() {
    let world = World::new(&Backend::echo().await);
    for (version, tls, shown) in [
        ("--http1.1", "1.3", "1.1 200"),
        ("--http2", "1.3", "2 200"),
        ("--http1.1", "1.2", "1.1 200"),
        ("--http2", "1.2", "2 200"),
        ("--http1.0", "1.3", "\n1 200"),
    ] {
        let url = url(&world, WWW, "/open/x?y");
        let args = [version, "--tls-max", tls, "-w", VERDICT, url.as_str()];
        let got = curl(&world, Some(&pki().alice), &args).await;
        assert!(got.out.starts_with("GET /open/x?y HTTP/1.1\n"), "{}{}", got.out, got.err);
        assert!(got.out.ends_with(shown), "{version} {tls}: {}", got.out);
    }
}

#[tokio::test]
async fn clients_without_a_good_certificate_see_why() {
    let world = World::new(&Backend::echo().await);
    for tls in ["1.2", "1.3"] {
        for (client, why) in [
            (None, ["certificate required", "handshake failure"]),
            (Some(&pki().revoked), ["certificate revoked", "certificate revoked"]),
        ] {
            let args = ["--tls-max", tls, &url(&world, WWW, "/open/")];
            let got = curl(&world, client, &args).await;
            assert!(matches!(got.code, Some(35 | 56 | 98)), "{:?} {}", got.code, got.err);
            assert!(why.iter().any(|why| got.err.contains(why)), "TLS {tls}: {}", got.err);
            assert!(got.out.is_empty());
        }
    }
    assert_eq!(world.counters.requests.get(), 0);
}

#[tokio::test]
async fn an_authority_outside_the_certificate_is_misdirected() {
    let world = World::new(&Backend::echo().await);
    let www = url(&world, WWW, "/open/");
    let host = format!("Host: {OTHER}");
    for version in ["--http1.1", "--http2"] {
        let args = [version, "-H", &host, "-w", VERDICT, &www];
        let got = curl(&world, Some(&pki().alice), &args).await;
        assert!(got.out.ends_with(" 421"), "{version}: {}{}", got.out, got.err);
    }
    let there = Backend::echo().await;
    world.chain.set("other", Way::To(there.address));
    let args = ["-w", VERDICT, &url(&world, OTHER, "/")];
    let got = curl(&world, Some(&pki().alice), &args).await;
    assert!(got.out.ends_with(" 200"), "its own certificate: {}{}", got.out, got.err);
    let args = ["-w", VERDICT, &url(&world, "a.files.campus.example", "/open/")];
    let got = curl(&world, Some(&pki().alice), &args).await;
    assert!(got.out.ends_with(" 200"), "a wildcard: {}{}", got.out, got.err);
}

#[tokio::test]
async fn ranges_heads_and_conditions_against_nginx() {
    let nginx = Nginx::start("range").await;
    nginx.file("data.bin", b"0123456789abcdefghij");
    let world = World::new(&Backend { address: nginx.address, accepted: Default::default() });
    let url = url(&world, WWW, "/open/data.bin");
    let alice = Some(&pki().alice);
    for version in ["--http1.1", "--http2"] {
        let got = curl(&world, alice, &[version, "-r", "5-9", "-w", VERDICT, &url]).await;
        assert!(got.out.starts_with("56789\n") && got.out.ends_with(" 206"), "{}", got.out);
        let got = curl(&world, alice, &[version, "-r", "50-", "-w", VERDICT, &url]).await;
        assert!(got.out.ends_with(" 416"), "{}", got.out);
        let got = curl(&world, alice, &[version, "-I", &url]).await;
        assert!(got.out.to_lowercase().contains("content-length: 20"), "{}", got.out);
        let etag = got
            .out
            .lines()
            .find_map(|l| l.to_lowercase().strip_prefix("etag: ").map(str::to_owned));
        let condition = format!("If-None-Match: {}", etag.unwrap());
        let got = curl(&world, alice, &[version, "-H", &condition, "-w", VERDICT, &url]).await;
        assert!(got.out.ends_with(" 304"), "{}", got.out);
    }
}

#[tokio::test]
async fn a_large_file_arrives_byte_by_byte() {
    let nginx = Nginx::start("large").await;
    let content: Vec<u8> = (0..20_000_003_usize).map(|n| (n * 31 / 7) as u8).collect();
    nginx.file("large.bin", &content);
    let world = World::new(&Backend { address: nginx.address, accepted: Default::default() });
    let dir = Dir::new("large");
    for version in ["--http1.1", "--http2"] {
        let (url, file) = (url(&world, WWW, "/open/large.bin"), dir.file("got.bin", b""));
        let got = curl(&world, Some(&pki().alice), &[version, "-o", &file, &url]).await;
        assert_eq!(got.code, Some(0), "{}", got.err);
        assert!(std::fs::read(&file).unwrap() == content, "{version}");
    }
}

#[tokio::test]
async fn an_upload_of_200_mb_streams_through() {
    const BYTES: usize = 200_000_000;
    let backend = Backend::http(|request| async move {
        let mut body = request.into_body();
        let (mut sum, mut bytes) = (Context::new(&SHA256), 0);
        while let Some(Ok(frame)) = body.frame().await {
            let data = frame.into_data().unwrap_or_default();
            bytes += data.len();
            sum.update(&data);
        }
        Response::new(full(format!("{bytes} {:?}", sum.finish())))
    })
    .await;
    let world = World::new(&backend);
    let dir = Dir::new("upload");
    let block: Vec<u8> = (0..1_000_000_usize).map(|n| (n * 31 / 7) as u8).collect();
    for (bytes, extra) in [
        (BYTES, &["--http1.1"][..]),
        (BYTES, &["--http2"]),
        (BYTES / 10, &["--http1.1", "-H", "Transfer-Encoding: chunked"]),
    ] {
        let content = block.repeat(bytes / block.len());
        let expected = format!("{bytes} {:?}", digest(&SHA256, &content));
        let file = dir.file("big.bin", content);
        let url = url(&world, WWW, "/open/");
        let args = [extra, &["-T", &file, "-X", "POST", &url]].concat();
        let got = curl(&world, Some(&pki().alice), &args).await;
        assert_eq!(got.out, expected, "{extra:?}: {}", got.err);
    }
}

#[tokio::test]
async fn trailers_reach_curl() {
    let backend = Backend::http(|_| async {
        let (sender, body) = pieces();
        tokio::spawn(async move {
            sender.send(Frame::data(Bytes::from("data"))).await.unwrap();
            let sum = ("x-sum".parse().unwrap(), HeaderValue::from_static("42"));
            sender.send(Frame::trailers(HeaderMap::from_iter([sum]))).await.unwrap();
        });
        let mut response = Response::new(body);
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        response
    })
    .await;
    let world = World::new(&backend);
    for version in ["--http1.1", "--http2"] {
        let url = url(&world, WWW, "/open/");
        let args = [version, "-H", "TE: trailers", "-D", "-", &url];
        let got = curl(&world, Some(&pki().alice), &args).await;
        assert!(got.out.contains("x-sum: 42"), "{version}: {}{}", got.out, got.err);
    }
}

#[tokio::test]
async fn fifty_transfers_share_one_connection() {
    let world = World::new(&Backend::echo().await);
    let url = url(&world, WWW, "/open/[1-50]");
    let args =
        ["--http2", "-Z", "--parallel-max", "50", "-w", "%{http_code}\n", "-o", "/dev/null", &url];
    let got = curl(&world, Some(&pki().alice), &args).await;
    assert_eq!(got.out.matches("200").count(), 50, "{}{}", got.out, got.err);
    assert_eq!(world.counters.requests_allowed.get(), 50);
}
