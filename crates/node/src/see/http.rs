//! The HTTP server of metrics and health, on a Unix socket or a TCP address, apart from the data plane. It only reads.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::geteuid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Format, metrics, readiness, render};
use crate::admin::{Backend, DomainStatus};
use crate::limits::{ADMIN_CONNECTIONS, ADMIN_IDLE, METRICS_CONNECTION_LASTS};

/// Whom the server asks.
pub trait Source: Send + Sync {
    /// The domain as of now. Elements that do not answer in time say so in their report.
    fn status(&self) -> BoxFuture<'_, DomainStatus>;
}

impl<B: Backend + ?Sized> Source for B {
    fn status(&self) -> BoxFuture<'_, DomainStatus> {
        Backend::status(self)
    }
}

/// Where the server listens.
#[derive(Debug)]
pub enum Listener {
    /// For processes of the same user, and root.
    Unix(UnixListener),
    /// For everybody who reaches the address.
    Tcp(TcpListener),
}

/// A bound server.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
}

impl Server {
    /// Makes the socket. Needs a tokio runtime.
    ///
    /// # Errors
    /// The file is there, or the path is longer than a socket's may be (107 bytes).
    pub fn bind_unix(path: &Path) -> io::Result<Server> {
        Ok(Server { listener: Listener::Unix(UnixListener::bind(path)?) })
    }

    /// Binds the address in the namespace of the calling thread. Needs a tokio runtime.
    ///
    /// # Errors
    /// It is taken, or not of this machine.
    pub async fn bind_tcp(address: SocketAddr) -> io::Result<Server> {
        Ok(Server { listener: Listener::Tcp(TcpListener::bind(address).await?) })
    }

    /// The bound address, of TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Unix(_) => None,
            Listener::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    /// Answers until it is dropped.
    pub async fn serve(self, source: Arc<impl Source + ?Sized + 'static>) {
        let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            let source = Arc::clone(&source);
            let accepted = match &self.listener {
                Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    let peer = stream.peer_cred().map(|peer| peer.uid());
                    let known = peer.is_ok_and(|uid| uid == 0 || uid == geteuid().as_raw());
                    if known {
                        connections.spawn(async move {
                            converse(stream, source).await;
                            drop(place);
                        });
                    }
                }),
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    connections.spawn(async move {
                        converse(stream, source).await;
                        drop(place);
                    });
                }),
            };
            if let Err(error) = accepted {
                // Out of descriptors: those in use go away, or their time runs out.
                tracing::warn!(%error, "no connection for metrics");
                tokio::time::sleep(ADMIN_IDLE / 10).await;
            }
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    source: Arc<impl Source + ?Sized + 'static>,
) {
    let service = service_fn(move |request| {
        let source = Arc::clone(&source);
        async move { Ok::<_, Infallible>(answer(&request, &*source).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_IDLE)
        .serve_connection(TokioIo::new(stream), service);
    // A client that neither reads nor goes away does not keep its place for ever.
    let ended = tokio::time::timeout(METRICS_CONNECTION_LASTS, connection).await;
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a connection for metrics ended");
    }
}

async fn answer(
    request: &Request<Incoming>,
    source: &(impl Source + ?Sized),
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET or HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::accepted(accept);
            let text = render(&metrics::samples(&source.status().await), format);
            response(StatusCode::OK, format.content_type(), text)
        }
        "/healthz" => response(StatusCode::OK, "application/json", "{\"alive\":true}\n"),
        "/readyz" => {
            let readiness = readiness(&source.status().await);
            let status = match readiness.ready {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            let body = serde_json::to_string(&readiness).unwrap_or_default() + "\n";
            response(status, "application/json", body)
        }
        _ => response(StatusCode::NOT_FOUND, "text/plain", "/metrics, /healthz or /readyz\n"),
    }
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
