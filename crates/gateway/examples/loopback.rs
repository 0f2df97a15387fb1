//! What a CPU second of the gateway carries, over loopback: `loopback [seconds] [case …]`.
//!
//! One worker on a thread of its own, whose CPU time alone is counted; client and service have
//! other threads. Cases: `down1` and `down2` (bulk answers over HTTP/1.1 and HTTP/2), `up1` (bulk
//! requests), `small1` and `small2` (1 kB answers), `handshake` (full mutual TLS 1.3 handshakes).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measuring tool"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ringmail_gateway::{
    Chain, ChainError, ChainRequest, ChainStream, Counters, Gateway, Limits, Policy, bind, tls,
};
use ringmail_model::domain::ListenerKind;
use ringmail_model::pathset::Issue;
use ringmail_model::{PathSet, PathVersion, RuleSet};
use rustix::time::{ClockId, clock_gettime};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/pki.rs"]
mod pki;

const DOMAIN: &str = include_str!("../tests/it/domain.yaml");
const BULK_BYTES: usize = 1 << 30;
const CONNECTIONS: usize = 8;
const STREAMS: usize = 8;

type Body = BoxBody<Bytes, Infallible>;

struct Direct(SocketAddr);

impl Chain for Direct {
    async fn open(&self, request: ChainRequest<'_>) -> Result<ChainStream, ChainError> {
        let tcp = TcpStream::connect(self.0).await.map_err(|source| ChainError::Connect {
            service: request.service.to_owned(),
            source,
        })?;
        tcp.set_nodelay(true).unwrap();
        Ok(ChainStream::new(tcp, ()))
    }
}

fn thread<T: Send + 'static>(
    name: &str,
    work: impl Future<Output = T> + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread.spawn(move || runtime.block_on(work)).unwrap()
}

fn bulk() -> Body {
    let block = Bytes::from(vec![b'x'; 256 * 1024]);
    let mut left = BULK_BYTES / block.len();
    let stream = futures_util::stream::poll_fn(move |_| {
        left = left.saturating_sub(1);
        let frame = (left > 0).then(|| Ok::<_, Infallible>(Frame::data(block.clone())));
        std::task::Poll::Ready(frame)
    });
    StreamBody::new(stream).boxed()
}

async fn serve(listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).unwrap();
    let small = Bytes::from(vec![b'x'; 1024]);
    while let Ok((tcp, _)) = listener.accept().await {
        tcp.set_nodelay(true).unwrap();
        let small = small.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let small = small.clone();
            async move {
                let bulky = request.uri().path() == "/open/bulk";
                let mut body = request.into_body();
                while let Some(Ok(_)) = body.frame().await {}
                let body = if bulky { bulk() } else { Full::new(small).boxed() };
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service),
        );
    }
}

#[derive(Clone)]
struct Client {
    gateway: SocketAddr,
    tls: Arc<ClientConfig>,
    h2: bool,
    done: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
}

impl Client {
    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.gateway).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(pki::WWW).unwrap();
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await
    }

    fn request(&self, case: &str) -> Request<Body> {
        let path = if case.starts_with("down") { "bulk" } else { "small" };
        let uri = if self.h2 {
            format!("https://{}/open/{path}", pki::WWW)
        } else {
            format!("/open/{path}")
        };
        let body = if case.starts_with("up") { bulk() } else { Empty::new().boxed() };
        let method = if case.starts_with("up") { "POST" } else { "GET" };
        Request::builder().method(method).uri(uri).header("host", pki::WWW).body(body).unwrap()
    }

    async fn take(&self, answer: Response<Incoming>) {
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Until the measuring is over; the gateway's end is one of the ways to learn that.
    async fn run(self, case: String) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        while case == "handshake" && !self.done.load(Ordering::Relaxed) {
            self.connect().await?;
        }
        let io = TokioIo::new(self.connect().await?);
        if self.h2 {
            let (sender, connection) =
                hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(8 << 20)
                    .initial_connection_window_size(16 << 20)
                    .handshake::<_, Body>(io)
                    .await?;
            tokio::spawn(connection);
            let mut streams = tokio::task::JoinSet::new();
            for _ in 0..if case.starts_with("down") { 1 } else { STREAMS } {
                let (client, mut sender, case) = (self.clone(), sender.clone(), case.clone());
                streams.spawn(async move {
                    while let Ok(answer) = sender.send_request(client.request(&case)).await {
                        client.take(answer).await;
                    }
                });
            }
            streams.join_all().await;
            return Ok(());
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(io).await?;
        tokio::spawn(connection);
        while !self.done.load(Ordering::Relaxed) {
            sender.ready().await?;
            let answer = sender.send_request(self.request(&case)).await?;
            self.take(answer).await;
        }
        Ok(())
    }
}

struct Figures {
    cpu: Duration,
    wall: Duration,
    up: u64,
    down: u64,
    requests: u64,
    handshakes: u64,
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Runs on the gateway's thread: its CPU time and counters over `seconds`.
async fn measure(counters: Arc<Counters>, seconds: f64) -> Figures {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let read = || {
        let c = &counters;
        [&c.bytes_from_clients, &c.bytes_to_clients, &c.responses, &c.connections_authenticated]
            .map(ringmail_gateway::Counter::get)
    };
    let (before, start, used) = (read(), Instant::now(), cpu());
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let (after, cpu) = (read(), cpu() - used);
    let [up, down, requests, handshakes] = std::array::from_fn(|n| after[n] - before[n]);
    Figures { cpu, wall: start.elapsed(), up, down, requests, handshakes }
}

fn run(case: &str, seconds: f64) -> Figures {
    let pki = pki::Pki::new();
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let address = service.local_addr().unwrap();
    let _service = thread("service", serve(service));
    let domain = ringmail_model::domain::parse(DOMAIN, "domain.yaml").unwrap();
    let version = PathVersion(1);
    let issue = Issue { version, not_before_unix_s: 0, not_after_unix_s: u64::MAX };
    let set = PathSet::compile(&domain, issue).unwrap();
    let policy = Policy {
        version,
        rules: RuleSet::compile(&domain, &set).unwrap(),
        services: ringmail_gateway::Services::default(),
        decision_points: Default::default(),
    };
    let settings = tls::settings(ListenerKind::Https, pki.sites(), pki.trust(2040)).unwrap();
    let gateway = Gateway::new(
        settings,
        policy.into_handle(),
        Direct(address),
        Limits { drain_ms: 100, ..Limits::default() },
    );
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let counters = gateway.counters();
    let measured = thread("gateway", async move {
        let figures = tokio::spawn(measure(counters, seconds));
        let (done, wait) = tokio::sync::oneshot::channel();
        tokio::spawn(async move { done.send(figures.await.unwrap()) });
        let mut figures = None;
        let stop = async { figures = Some(wait.await.unwrap()) };
        // The drain is not measured; the clients end when they notice.
        let _ = tokio::time::timeout(Duration::from_secs(600), gateway.run(listener, stop)).await;
        figures.unwrap()
    });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates((*pki.roots).clone())
        .with_client_auth_cert(vec![pki.alice.cert.clone()], pki.alice.key())
        .unwrap();
    let h2 = case.ends_with('2');
    config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let done = Arc::new(AtomicBool::new(false));
    let client = Client {
        gateway: address,
        tls: Arc::new(config),
        h2,
        done: Arc::clone(&done),
        bytes: Arc::default(),
    };
    let case = case.to_owned();
    let _clients = {
        thread("client", async move {
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..CONNECTIONS {
                clients.spawn(client.clone().run(case.clone()));
            }
            clients.join_all().await;
        })
    };
    std::thread::sleep(Duration::from_secs_f64(seconds + 0.7));
    done.store(true, Ordering::Relaxed);
    measured.join().unwrap()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let mut cases: Vec<String> = args.collect();
    if cases.is_empty() {
        cases =
            ["down1", "down2", "up1", "small1", "small2", "handshake"].map(str::to_owned).into();
    }
    for case in cases {
        let f = run(&case, seconds);
        let each = |n: u64| n as f64 / f.cpu.as_secs_f64();
        println!(
            "{case:>9}: a CPU second: {:6.2} GB down {:6.2} GB up {:8.0} requests {:6.0} handshakes   (CPU {:3.0} %)",
            each(f.down) / 1e9,
            each(f.up) / 1e9,
            each(f.requests),
            each(f.handshakes),
            100.0 * f.cpu.as_secs_f64() / f.wall.as_secs_f64(),
        );
    }
}
