//! Services for the tests: hyper with a handler, or a raw socket with a script.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A service on loopback.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Arc<AtomicUsize>,
}

impl Backend {
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// A hyper server with this handler.
    pub(crate) async fn http<F, R>(handler: F) -> Backend
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        Backend::raw(move |tcp, _| {
            let handler = handler.clone();
            async move {
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(tcp), service).await;
            }
        })
        .await
    }

    /// A script for each connection, which is told its number.
    pub(crate) async fn raw<F, R>(script: F) -> Backend
    where
        F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(script(tcp, count.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Backend { address, accepted }
    }

    /// Echoes method, path, fields and body.
    pub(crate) async fn echo() -> Backend {
        Backend::http(|request| async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await;
            let (body, trailers) = match body {
                Ok(body) => {
                    let trailers = body.trailers().cloned();
                    (body.to_bytes(), trailers)
                }
                Err(_) => (Bytes::new(), None),
            };
            let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
            let mut line = |kind: &str, fields: &HeaderMap| {
                for (name, value) in fields {
                    text +=
                        &format!("{kind}{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
                }
            };
            line("", &head.headers);
            line("trailer ", &trailers.unwrap_or_default());
            text += &format!(
                "body {} {}\n",
                body.len(),
                String::from_utf8_lossy(&body[..body.len().min(64)])
            );
            Response::new(full(text))
        })
        .await
    }
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A body that the test sends piece by piece.
pub(crate) fn pieces() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, mut receiver) = mpsc::channel(1);
    let stream = futures_util::stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|frame| frame.map(Ok::<_, Infallible>))
    });
    (sender, StreamBody::new(stream).boxed())
}

/// Reads a request's head off a raw connection; gives it with what came behind it.
pub(crate) async fn read_head(tcp: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if tcp.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

pub(crate) async fn say(tcp: &mut TcpStream, text: &str) {
    tcp.write_all(text.as_bytes()).await.unwrap();
}
