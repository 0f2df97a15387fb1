//! One client connection: TLS handshake, then HTTP until it ends, with a watchdog beside it.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::CertificateError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::activity::{Activity, Watch};
use crate::census::{Census, Place};
use crate::chain::Chain;
use crate::counters::{Counter, Counters};
use crate::exchange::Exchange;
use crate::identity::Client;
use crate::limits::{
    COPY_BUFFER_BYTES, H2_CONNECTION_WINDOW_BYTES, H2_PENDING_RESETS, H2_SEND_BUFFER_BYTES,
    H2_STREAM_WINDOW_BYTES, Limits, ms,
};
use crate::policy::PolicyHandle;
use crate::proxy::Session;
use crate::response_body::ResponseBody;
use crate::tls::TlsSettings;
use crate::tls_io::ClientIo;

/// What the connections of one worker share.
#[derive(Debug)]
pub(crate) struct Worker<C> {
    pub(crate) tls: TlsSettings,
    pub(crate) policy: PolicyHandle,
    pub(crate) exchange: Arc<Exchange<C>>,
    pub(crate) census: Arc<Census>,
}

impl<C: Chain> Worker<C> {
    /// Serves a connection until it ends; `shutdown` asks to end it in good order.
    pub(crate) async fn serve(
        self: Arc<Worker<C>>,
        tcp: TcpStream,
        peer: SocketAddr,
        place: Place,
        shutdown: watch::Receiver<bool>,
    ) {
        let counters = &self.exchange.counters;
        let Some((tcp, tls, client)) = self.handshake(tcp, &place).await else { return };
        let Some(_of_client) = place.for_client(&client.identity) else {
            tracing::debug!(client = &*client.identity, "too many connections of one client");
            return counters.refused_per_client.one();
        };
        let sni = tls.server_name().map(str::to_owned);
        let Some(names) = self.tls.sites.names(sni.as_deref()) else { return };
        let h2 = tls.alpn_protocol() == Some(b"h2");
        counters.connections_authenticated.one();
        let activity = Arc::new(Activity::new(h2));
        let limits = &self.exchange.limits;
        let io = ClientIo::new(tcp, tls, Arc::clone(&activity), limits.linger_ms);
        let session = Arc::new(Session {
            exchange: Arc::clone(&self.exchange),
            policy: Arc::clone(&self.policy),
            client,
            sni,
            names,
            source: peer.ip(),
            activity: Arc::clone(&activity),
        });
        let service = service_fn(move |request: Request<Incoming>| {
            let session = Arc::clone(&session);
            async move { Ok::<_, Infallible>(session.answer(request).await) }
        });
        let watched = Watched { io: io.clone(), activity, limits, counters, shutdown };
        if h2 {
            counters.connections_http2.one();
            watched.drive(http2(limits).serve_connection(TokioIo::new(io), service)).await;
        } else {
            counters.connections_http1.one();
            watched.drive(http1(limits).serve_connection(TokioIo::new(io), service)).await;
        }
    }

    /// Authenticates both sides. `None`: refused, counted, and the client told by an alert.
    async fn handshake(
        &self,
        tcp: TcpStream,
        place: &Place,
    ) -> Option<(TcpStream, rustls::ServerConnection, Client)> {
        let Exchange { counters, limits, .. } = &*self.exchange;
        let Some(under_way) = place.for_handshake() else {
            counters.refused_handshakes.one();
            return None;
        };
        let accept = TlsAcceptor::from(Arc::clone(&self.tls.config)).accept(tcp).into_fallible();
        match timeout(ms(limits.handshake_ms), accept).await {
            Err(_) => {
                counters.handshake_timeout.one();
                None
            }
            Ok(Err((error, tcp))) => {
                tracing::debug!(error = &error as &dyn StdError, "handshake");
                handshake_counter(&error, counters).one();
                drop(under_way);
                linger(tcp, limits).await;
                None
            }
            Ok(Ok(stream)) => {
                let (tcp, tls) = stream.into_inner();
                let client = Client::of(tls.peer_certificates()?.first()?).ok()?;
                Some((tcp, tls, client))
            }
        }
    }
}

fn handshake_counter<'a>(error: &io::Error, counters: &'a Counters) -> &'a Counter {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::NoCertificatesPresented) => &counters.handshake_no_certificate,
        Some(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => {
            &counters.handshake_revoked
        }
        Some(rustls::Error::InvalidCertificate(_)) => &counters.handshake_untrusted,
        _ => &counters.handshake_failed,
    }
}

/// Reads on until the client closes, so that it gets our alert and not a reset.
async fn linger(mut tcp: TcpStream, limits: &Limits) {
    let _ = timeout(ms(limits.linger_ms), async {
        tcp.shutdown().await?;
        let mut scrap = [0; 4096];
        while tcp.read(&mut scrap).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_buf_size(COPY_BUFFER_BYTES.max(limits.header_bytes as usize))
        .max_header_size(limits.header_bytes as usize)
        .max_headers(limits.header_count);
    http
}

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.max_concurrent_streams(limits.h2_streams)
        // What the library refuses itself it does not report: it gets twice what is allowed.
        .max_header_list_size(limits.header_bytes.saturating_mul(2))
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES);
    http
}

/// hyper's connections, of either version.
trait Connection: Future<Output = hyper::Result<()>> {
    fn wind_up(self: Pin<&mut Self>);
}

impl<S> Connection for http1::Connection<TokioIo<ClientIo>, S>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    fn wind_up(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Connection for http2::Connection<TokioIo<ClientIo>, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    S::Future: Send + 'static,
{
    fn wind_up(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// A connection with everything that may end it.
struct Watched<'a> {
    io: ClientIo,
    activity: Arc<Activity>,
    limits: &'a Limits,
    counters: &'a Counters,
    shutdown: watch::Receiver<bool>,
}

/// How a poll of the connection ended it.
enum End {
    Done(hyper::Result<()>),
    Unsent(io::Error),
    Flooded,
}

impl Watched<'_> {
    async fn drive(mut self, connection: impl Connection) {
        let mut connection = pin!(connection);
        let mut watchdog = pin!(sleep_until(Instant::now()));
        let mut winding_up = false;
        loop {
            let step = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                if let Err(error) = self.io.flush(cx) {
                    return Poll::Ready(End::Unsent(error));
                }
                if self.activity.flooded(self.limits) {
                    return Poll::Ready(End::Flooded);
                }
                polled.map(End::Done)
            });
            tokio::select! {
                biased;
                end = step => return self.ended(end),
                () = &mut watchdog => match self.activity.watch(self.limits) {
                    Watch::Until(due) => watchdog.as_mut().reset(due),
                    // Counted when it was told to wind up; it did not in time.
                    Watch::Idle if winding_up => return,
                    Watch::Idle => {
                        self.counters.idle_closed.one();
                        winding_up = true;
                        connection.as_mut().wind_up();
                        watchdog.as_mut().reset(Instant::now() + ms(self.limits.linger_ms));
                    }
                    Watch::SlowHeaders => return self.counters.slow_headers.one(),
                    Watch::Stalled => return self.counters.stalled_closed.one(),
                    Watch::CancelFlood => return self.ended(End::Flooded),
                },
                _ = self.shutdown.changed(), if !winding_up => {
                    winding_up = true;
                    connection.as_mut().wind_up();
                }
            }
        }
    }

    fn ended(&self, end: End) {
        let error = match end {
            End::Done(Ok(())) => return,
            End::Flooded => {
                tracing::debug!("a client cancels its requests unanswered");
                return self.counters.h2_cancel_floods.one();
            }
            End::Unsent(error) => {
                tracing::debug!(error = &error as &dyn StdError, "client connection");
                return self.counters.connections_broken.one();
            }
            End::Done(Err(error)) => error,
        };
        tracing::debug!(error = &error as &dyn StdError, "client connection");
        let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        if error.is_parse_too_large() {
            self.counters.refused_header_size.one();
        } else if error.is_parse() {
            self.counters.refused_malformed.one();
        } else if h2.is_some_and(|h2| !h2.is_io()) {
            self.counters.h2_protocol_errors.one();
        } else {
            self.counters.connections_broken.one();
        }
    }
}
