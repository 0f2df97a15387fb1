//! A gateway on loopback with its rules, its chain and its clients.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ringmail_gateway::access::AccessSink;
use ringmail_gateway::{
    Certificates, Chain, ChainError, ChainRequest, ChainStream, Counters, Drained, Gateway, Limits,
    Policy, PolicyHandle, Revocation, Services, bind, tls,
};
use ringmail_model::domain::ListenerKind;
use ringmail_model::pathset::Issue;
use ringmail_model::{PathId, PathSet, PathVersion, RuleSet};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::backend::Backend;
use crate::pki::{Pair, Pki, WWW};

pub(crate) const DOMAIN: &str = include_str!("domain.yaml");

/// The rules of `domain.yaml` as path set `version`, without the rules named in `but`.
pub(crate) fn policy(version: u64, but: &[&str]) -> Policy {
    let mut domain = ringmail_model::domain::parse(DOMAIN, "domain.yaml").expect("a domain");
    domain.rules.retain(|rule| !but.contains(&&*rule.name));
    let version = PathVersion(version);
    let issue = Issue { version, not_before_unix_s: 0, not_after_unix_s: u64::MAX };
    let set = PathSet::compile(&domain, issue).expect("a path set");
    let rules = RuleSet::compile(&domain, &set).expect("rules");
    Policy { version, rules, services: Services::default(), decision_points: Default::default() }
}

/// How a service is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    To(SocketAddr),
    NotReady,
    NoPort,
    Never,
}

/// A connection that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) path: PathId,
    pub(crate) version: PathVersion,
    pub(crate) service: String,
    pub(crate) rule: String,
    pub(crate) client: String,
}

#[derive(Clone, Default)]
pub(crate) struct TestChain {
    ways: Arc<Mutex<HashMap<String, Way>>>,
    opened: Arc<Mutex<Vec<Opened>>>,
    guards: Arc<AtomicUsize>,
    narrow: bool,
}

struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl TestChain {
    pub(crate) fn set(&self, service: &str, way: Way) {
        self.ways.lock().unwrap().insert(service.to_owned(), way);
    }

    pub(crate) fn opened(&self) -> Vec<Opened> {
        self.opened.lock().unwrap().clone()
    }

    /// Connections whose guard was not dropped yet.
    pub(crate) fn held(&self) -> usize {
        self.guards.load(Ordering::SeqCst)
    }
}

impl Chain for TestChain {
    async fn open(&self, request: ChainRequest<'_>) -> Result<ChainStream, ChainError> {
        let service = request.service.to_owned();
        let way = self.ways.lock().unwrap().get(&service).copied();
        let address = match way {
            Some(Way::To(address)) => address,
            Some(Way::NotReady) => {
                return Err(ChainError::NotReady { path: request.path, reason: "no keys".into() });
            }
            Some(Way::NoPort) => return Err(ChainError::NoPort { service }),
            Some(Way::Never) => std::future::pending().await,
            None => return Err(ChainError::Unknown { path: request.path, service }),
        };
        self.opened.lock().unwrap().push(Opened {
            path: request.path,
            version: request.version,
            service: service.clone(),
            rule: request.rule.to_owned(),
            client: request.client.to_owned(),
        });
        let tcp = TcpStream::connect(address)
            .await
            .map_err(|source| ChainError::Connect { service, source })?;
        if self.narrow {
            let socket = socket2::SockRef::from(&tcp);
            socket.set_recv_buffer_size(64 * 1024).unwrap();
            socket.set_send_buffer_size(64 * 1024).unwrap();
        }
        self.guards.fetch_add(1, Ordering::SeqCst);
        Ok(ChainStream::new(tcp, Guard(Arc::clone(&self.guards))))
    }
}

/// One PKI for all tests: keys cost time, and nothing in it changes.
pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(Pki::new)
}

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) chain: TestChain,
    pub(crate) policy: PolicyHandle,
    pub(crate) counters: Arc<Counters>,
    pub(crate) revocation: Revocation,
    pub(crate) certificates: Certificates,
    stop: Option<oneshot::Sender<()>>,
    worker: JoinHandle<Drained>,
}

/// Time enough for anything that is not meant to fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl World {
    /// A gateway whose service `www` is `backend`.
    pub(crate) fn new(backend: &Backend) -> World {
        World::with(backend, Limits::default())
    }

    pub(crate) fn with(backend: &Backend, limits: Limits) -> World {
        World::with_trust(backend, limits, pki().trust(2040))
    }

    pub(crate) fn with_trust(backend: &Backend, limits: Limits, trust: tls::ClientTrust) -> World {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        World::on(ListenerKind::Https, listener, backend, limits, trust, false)
    }

    /// With small socket buffers on both sides of the gateway.
    pub(crate) fn narrow(backend: &Backend, limits: Limits) -> World {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let socket = socket2::SockRef::from(&listener);
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap();
        World::on(ListenerKind::Https, listener, backend, limits, pki().trust(2040), true)
    }

    /// With a listener of kind `tls`.
    pub(crate) fn passing(backend: &Backend, limits: Limits) -> World {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        World::on(ListenerKind::Tls, listener, backend, limits, pki().trust(2040), false)
    }

    /// Behind load balancers on loopback that speak for others.
    pub(crate) fn balanced(backend: &Backend, limits: Limits) -> World {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let trust = pki().trust(2040);
        World::made(ListenerKind::Https, listener, backend, limits, trust, false, |gateway| {
            gateway.behind(&["127.0.0.0/8".parse().unwrap()])
        })
    }

    /// With an access log.
    pub(crate) fn logged(backend: &Backend, limits: Limits, sink: AccessSink) -> World {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let trust = pki().trust(2040);
        World::made(ListenerKind::Https, listener, backend, limits, trust, false, |gateway| {
            gateway.with_access_log(sink)
        })
    }

    /// The same with a listener of kind `tls`.
    pub(crate) fn logged_passing(backend: &Backend, limits: Limits, sink: AccessSink) -> World {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let trust = pki().trust(2040);
        World::made(ListenerKind::Tls, listener, backend, limits, trust, false, |gateway| {
            gateway.with_access_log(sink)
        })
    }

    fn on(
        kind: ListenerKind,
        listener: std::net::TcpListener,
        backend: &Backend,
        limits: Limits,
        trust: tls::ClientTrust,
        narrow: bool,
    ) -> World {
        World::made(kind, listener, backend, limits, trust, narrow, |gateway| gateway)
    }

    fn made(
        kind: ListenerKind,
        listener: std::net::TcpListener,
        backend: &Backend,
        limits: Limits,
        trust: tls::ClientTrust,
        narrow: bool,
        dress: impl FnOnce(Gateway<TestChain>) -> Gateway<TestChain>,
    ) -> World {
        let chain = TestChain { narrow, ..TestChain::default() };
        chain.set("www", Way::To(backend.address));
        let policy = policy(1, &[]).into_handle();
        let settings = tls::settings(kind, pki().sites(), trust).expect("TLS settings");
        let gateway = Gateway::new(settings, Arc::clone(&policy), chain.clone(), limits);
        let gateway = dress(gateway);
        let counters = gateway.counters();
        let (revocation, certificates) = (gateway.revocation(), gateway.certificates());
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let worker = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            gateway.run(listener, stopped).await.unwrap()
        });
        World {
            address,
            chain,
            policy,
            counters,
            revocation,
            certificates,
            stop: Some(stop),
            worker,
        }
    }

    /// Asks the worker to drain.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn stopped(self) -> Drained {
        tokio::time::timeout(PATIENCE, self.worker).await.expect("drains").unwrap()
    }

    /// A TLS connection as `client` to `sni`, with `alpn`.
    pub(crate) async fn tls(
        &self,
        client: Option<&Pair>,
        sni: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        self.tls_on(tcp, client, sni, alpn).await
    }

    /// The same over a connection that is there.
    pub(crate) async fn tls_on(
        &self,
        tcp: TcpStream,
        client: Option<&Pair>,
        sni: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let config = client_config(client, alpn);
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    /// An HTTP/1 connection as alice, for raw bytes.
    pub(crate) async fn raw(&self) -> Raw {
        self.raw_as(&pki().alice).await
    }

    pub(crate) async fn raw_as(&self, client: &Pair) -> Raw {
        Raw(self.tls(Some(client), WWW, &["http/1.1"]).await.unwrap())
    }

    /// An HTTP/2 connection as alice.
    pub(crate) async fn h2(&self) -> H2 {
        self.h2_as(&pki().alice).await
    }

    pub(crate) async fn h2_as(&self, client: &Pair) -> H2 {
        let tls = self.tls(Some(client), WWW, &["h2"]).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
                .await
                .unwrap();
        H2 { sender, connection: tokio::spawn(connection) }
    }

    /// Waits until a count is reached: for what happens after an answer.
    pub(crate) async fn until(&self, what: &str, reached: impl Fn(&World) -> bool) {
        let waiting = async {
            while !reached(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{what}: {:#?}", self.counters);
    }
}

pub(crate) fn client_config(client: Option<&Pair>, alpn: &[&str]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots: RootCertStore = (*pki().roots).clone();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        Some(pair) => builder.with_client_auth_cert(vec![pair.cert.clone()], pair.key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

pub(crate) type ClientBody = BoxBody<Bytes, std::convert::Infallible>;

pub(crate) struct H2 {
    pub(crate) sender: hyper::client::conn::http2::SendRequest<ClientBody>,
    pub(crate) connection: JoinHandle<hyper::Result<()>>,
}

impl H2 {
    pub(crate) async fn send(
        &mut self,
        request: Request<ClientBody>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}

/// An HTTP/1 connection that the test writes byte by byte.
pub(crate) struct Raw(pub(crate) TlsStream<TcpStream>);

impl Raw {
    pub(crate) async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// All that the gateway sends until it closes.
    pub(crate) async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut all)).await;
        let text = String::from_utf8_lossy(&all).into_owned();
        assert!(read.is_ok(), "the gateway did not close after: {text}");
        text
    }

    /// Reads until `end` came.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        let read = tokio::time::timeout(PATIENCE, async {
            let mut byte = [0];
            while !all.ends_with(end.as_bytes()) && self.0.read(&mut byte).await.unwrap_or(0) > 0 {
                all.push(byte[0]);
            }
        });
        let _ = read.await;
        let text = String::from_utf8_lossy(&all).into_owned();
        assert!(text.ends_with(end), "no {end:?} in {text:?}");
        text
    }

    /// The status and the whole answer to a request after which the connection closes.
    pub(crate) async fn ask(&mut self, text: &str) -> (u16, String) {
        self.say(text).await;
        let answer = self.rest().await;
        (status(&answer), answer)
    }
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// A GET that closes the connection after it.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {WWW}\r\nConnection: close\r\n\r\n")
}
