//! An HTTPS client with a certificate, for the demo and the bench: what a browser and a downloader do, measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::site::{DOWNLOAD_PREFIX, PAGE, PAGE_BYTES};

/// How long any one step may take before the run is called off.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Flow control windows of HTTP/2: what browsers announce, so that the window is not what is measured.
const H2_WINDOW_BYTES: u32 = 6 << 20;

/// A client that reaches one server name at one address.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where the gateway listens.
    pub address: SocketAddr,
    /// The name asked for, by SNI and as authority.
    pub server_name: String,
    /// Trust anchors and, where it has one, the client's certificate.
    pub tls: Arc<ClientConfig>,
}

/// Bytes of body that arrived, and how long they took from the first byte of the request.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Bytes of body.
    pub bytes: u64,
    /// From before the first connection to after the last byte.
    pub elapsed: Duration,
}

impl Transfer {
    /// Megabits a second.
    pub fn mbps(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.elapsed.as_secs_f64()
    }
}

impl Client {
    /// Loads the site's page as a browser does: one HTTP/2 connection, the start page, then all it refers to at once.
    ///
    /// # Errors
    /// When a step fails, takes too long, or the page is not whole.
    pub async fn load_page(&self) -> Result<Transfer> {
        let started = Instant::now();
        let mut sender = self.http2().await?;
        let (start, parts) = PAGE.split_at(1);
        let mut bytes = body_len(self.get(&mut sender, start[0].0).await?).await?;
        let mut pending = Vec::new();
        for (path, ..) in parts {
            pending.push(self.get(&mut sender, path).await?);
        }
        let parts = pending.into_iter().map(|answer| async { body_len(answer).await });
        for len in futures_util::future::join_all(parts).await {
            bytes += len?;
        }
        ensure!(bytes == PAGE_BYTES as u64, "the page has {bytes} bytes instead of {PAGE_BYTES}");
        Ok(Transfer { bytes, elapsed: started.elapsed() })
    }

    /// Downloads a file of `bytes` over one HTTP/1.1 connection.
    ///
    /// # Errors
    /// When a step fails, takes too long, or the file is not whole.
    pub async fn download(&self, bytes: u64) -> Result<Transfer> {
        let mut sender = self.http1().await?;
        let started = Instant::now();
        let request = self.request("GET", &format!("{DOWNLOAD_PREFIX}{bytes}"), Bytes::new())?;
        let answer = sender.send_request(request).await.context("the download failed")?;
        ensure!(answer.status() == StatusCode::OK, "the download got {}", answer.status());
        let received = body_len(answer).await?;
        ensure!(received == bytes, "{received} bytes of {bytes} arrived");
        Ok(Transfer { bytes, elapsed: started.elapsed() })
    }

    /// Sends one request over HTTP/1.1 and gives the status of the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn status(&self, method: &str, path: &str, body: Bytes) -> Result<StatusCode> {
        let mut sender = self.http1().await?;
        let answer = sender.send_request(self.request(method, path, body)?);
        let answer = within(answer).await?.context("no answer")?;
        Ok(answer.status())
    }

    async fn get(
        &self,
        sender: &mut http2::SendRequest<Full<Bytes>>,
        path: &str,
    ) -> Result<Response<Incoming>> {
        let uri = format!("https://{}{path}", self.server_name);
        let request = Request::get(uri).body(Full::new(Bytes::new()))?;
        let answer = within(sender.send_request(request)).await?.context(path.to_owned())?;
        ensure!(answer.status() == StatusCode::OK, "{path} got {}", answer.status());
        Ok(answer)
    }

    /// A request for a path, without a body.
    pub(crate) fn get_request(&self, path: &str) -> Result<Request<Full<Bytes>>> {
        self.request("GET", path, Bytes::new())
    }

    fn request(&self, method: &str, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let request = Request::builder().method(method).uri(path).header("host", &self.server_name);
        Ok(request.body(Full::new(body))?)
    }

    /// A connection that speaks HTTP/1.1.
    pub(crate) async fn http1(&self) -> Result<http1::SendRequest<Full<Bytes>>> {
        let stream = TokioIo::new(self.handshake(b"http/1.1").await?);
        let (sender, connection) = within(http1::handshake(stream)).await??;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn http2(&self) -> Result<http2::SendRequest<Full<Bytes>>> {
        let stream = TokioIo::new(self.handshake(b"h2").await?);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(H2_WINDOW_BYTES)
            .initial_connection_window_size(H2_WINDOW_BYTES);
        let (sender, connection) = within(builder.handshake(stream)).await??;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A connection on which TLS is agreed, with this protocol by ALPN.
    pub(crate) async fn handshake(&self, protocol: &[u8]) -> Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::clone(&self.tls);
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = within(TcpStream::connect(self.address)).await?.context("no connection")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.server_name.clone())?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        within(handshake).await?.context("the TLS handshake failed")
    }
}

async fn body_len(answer: Response<Incoming>) -> Result<u64> {
    let mut body = answer.into_body();
    let mut bytes = 0;
    while let Some(frame) = within(body.frame()).await? {
        bytes += frame.context("the answer broke off")?.data_ref().map_or(0, Bytes::len) as u64;
    }
    Ok(bytes)
}

async fn within<T>(step: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(STEP_TIMEOUT, step).await.context("no progress for too long")
}
