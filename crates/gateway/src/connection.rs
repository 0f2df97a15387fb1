//! One client connection: TLS handshake, then HTTP until it ends, with a watchdog beside it.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ringmail_model::defence::{Defence, off};
use ringmail_model::domain::ListenerKind;
use ringmail_model::net::Cidr;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::access::{AccessSink, Entry, Kind, Record};
use crate::activity::{Activity, Watch};
use crate::census::{Census, Place};
use crate::chain::Chain;
use crate::client_trust::ClientCheck;
use crate::counters::Counters;
use crate::exchange::Exchange;
use crate::failed::{self, Failed};
use crate::identity::Client;
use crate::limits::{
    COPY_BUFFER_BYTES, H2_CONNECTION_WINDOW_BYTES, H2_PENDING_RESETS, H2_SEND_BUFFER_BYTES,
    H2_STREAM_WINDOW_BYTES, Limits, ms,
};
use crate::passing::Asking;
use crate::policy::PolicyHandle;
use crate::preamble;
use crate::proxy::Session;
use crate::proxy_protocol;
use crate::response_body::ResponseBody;
use crate::tls::{self, TlsSettings};
use crate::tls_io::ClientIo;

/// What a connection is told while it is served.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct News {
    /// The gateway shuts down: end in good order.
    pub(crate) stopping: bool,
    /// How often revocation lists were replaced.
    pub(crate) trust: u64,
}

/// What the connections of one worker share.
#[derive(Debug)]
pub(crate) struct Worker<C> {
    pub(crate) tls: TlsSettings,
    pub(crate) policy: PolicyHandle,
    pub(crate) exchange: Arc<Exchange<C>>,
    pub(crate) census: Arc<Census>,
    pub(crate) access: Option<AccessSink>,
    /// Who speaks for others, by the PROXY protocol.
    pub(crate) load_balancers: Arc<[Cidr]>,
}

impl<C: Chain> Worker<C> {
    /// Serves a connection until it ends; `news` may ask to end it.
    pub(crate) async fn serve(
        self: Arc<Worker<C>>,
        tcp: TcpStream,
        peer: SocketAddr,
        place: Place,
        mut news: watch::Receiver<News>,
    ) {
        let counters = &self.exchange.counters;
        let begun = Instant::now();
        // One that has no address any more is of no use.
        let Ok(destination) = tcp.local_addr() else { return };
        let mut source = peer;
        let Some((tcp, tls, client)) = self.handshake(tcp, &place, begun, &mut source).await else {
            return;
        };
        let Some(of_client) = place.for_client(&client.identity) else {
            tracing::debug!(client = &*client.identity, "too many connections of one client");
            let reason = "the client holds as many connections as it may";
            let failed = Failed::new(&counters.refused_per_client, reason);
            return failed.log_of(self.access.as_ref(), begun, source, &client);
        };
        let sni = tls.server_name().map(str::to_owned);
        let handshake_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let access = self
            .access
            .as_ref()
            .map(|sink| (sink.clone(), Entry::of(&client, source, sni.as_deref(), handshake_us)));
        let Some(names) = self.tls.sites.names(sni.as_deref()) else { return };
        let h2 = tls.alpn_protocol() == Some(b"h2");
        counters.connections_authenticated.one();
        let activity = Arc::new(Activity::new(h2));
        let limits = &self.exchange.limits;
        let io = ClientIo::new(tcp, tls, Arc::clone(&activity), limits.linger_ms);
        let ends = (!off(Defence::ClientExpiry))
            .then(|| Instant::now() + client.holds_for(SystemTime::now()));
        if self.tls.kind == ListenerKind::Tls {
            let sni = sni.as_deref();
            let record = access.map(|(sink, known)| Record::new(&sink, Kind::Connection, &known));
            let asking =
                Asking { client: &client, sni, names: &names, source, destination, record };
            return self.guard(&io, &mut news, ends, self.pass(io.clone(), asking)).await;
        }
        let session = Arc::new(Session {
            exchange: Arc::clone(&self.exchange),
            policy: Arc::clone(&self.policy),
            client,
            sni,
            names,
            source,
            destination,
            access,
            activity: Arc::clone(&activity),
            requests: Arc::clone(&of_client.requests),
            tunnel: Mutex::new(None),
        });
        let for_requests = Arc::clone(&session);
        let service = service_fn(move |request: Request<Incoming>| {
            let session = Arc::clone(&for_requests);
            async move { Ok::<_, Infallible>(session.answer(request).await) }
        });
        let (clients, news) = (&*self.tls.clients, &mut news);
        let watched = Watched { io: io.clone(), activity, limits, counters, clients, news, ends };
        if h2 {
            counters.connections_http2.one();
            watched.drive(http2(limits).serve_connection(TokioIo::new(io), service)).await;
        } else {
            counters.connections_http1.one();
            let connection = http1(limits).serve_connection(TokioIo::new(io.clone()), service);
            watched.drive(connection.with_upgrades()).await;
            if let Some(tunnel) = session.take_tunnel() {
                io.pass();
                self.guard(&io, news, ends, tunnel.run()).await;
            }
        }
    }

    /// Does `work` on a connection until it ends, or the client's certificate ends or is revoked.
    async fn guard(
        &self,
        io: &ClientIo,
        news: &mut watch::Receiver<News>,
        ends: Option<Instant>,
        work: impl Future<Output = ()>,
    ) {
        let mut work = pin!(work);
        let mut ended = pin!(sleep_until(ends.unwrap_or_else(Instant::now)));
        loop {
            tokio::select! {
                biased;
                () = &mut work => return,
                () = &mut ended, if ends.is_some() => return expired(&self.exchange.counters),
                Ok(()) = news.changed() => {
                    if io.is_revoked(&self.tls.clients) {
                        return revoked(&self.exchange.counters);
                    }
                }
            }
        }
    }

    /// Authenticates both sides. `None`: refused, counted, logged, and the client told by an alert.
    async fn handshake(
        &self,
        tcp: TcpStream,
        place: &Place,
        begun: Instant,
        source: &mut SocketAddr,
    ) -> Option<(TcpStream, rustls::ServerConnection, Client)> {
        let Exchange { counters, limits, .. } = &*self.exchange;
        let sink = self.access.as_ref();
        let Some(under_way) = place.for_handshake() else {
            let reason = "as many handshakes as allowed are under way";
            Failed::new(&counters.refused_handshakes, reason).log(sink, begun, *source, None);
            return None;
        };
        let patience = match off(Defence::HandshakeTime) {
            true => Duration::MAX,
            false => ms(limits.handshake_ms),
        };
        let accepted = timeout(patience, failed::watch(self.accept(tcp, place, source)));
        let (error, tcp, shown) = match accepted.await {
            Err(_) => {
                let failed =
                    Failed::new(&counters.handshake_timeout, "the handshake took too long");
                failed.log(sink, begun, *source, None);
                return None;
            }
            Ok((Ok(stream), _)) => {
                let (tcp, tls) = stream.into_inner();
                let client = match tls.peer_certificates().and_then(<[_]>::first) {
                    Some(certificate) => Client::of(certificate).ok()?,
                    #[cfg(feature = "weaken")]
                    None if off(Defence::ClientCertificate) => Client::nobody(),
                    None => return None,
                };
                return Some((tcp, tls, client));
            }
            Ok((Err((error, tcp)), shown)) => (error, tcp, shown),
        };
        tracing::debug!(error = &error as &dyn StdError, "handshake");
        Failed::of(&error, counters).log(sink, begun, *source, shown.as_ref());
        drop(under_way);
        if let Some(tcp) = tcp {
            linger(tcp, limits).await;
        }
        None
    }
}

fn expired(counters: &Counters) {
    tracing::info!("a connection is cut: its client's certificate has ended");
    counters.connections_expired.one();
}

fn revoked(counters: &Counters) {
    tracing::info!("a connection is cut: its client's certificate was revoked");
    counters.connections_revoked.one();
}

/// A socket with TLS on it, or what went wrong and the socket, if there is an alert that the client is to read.
type Accepted = Result<TlsStream<TcpStream>, (io::Error, Option<TcpStream>)>;

/// As many handshakes as allowed come from there.
#[derive(Debug, thiserror::Error)]
#[error("as many handshakes as allowed are under way from this address")]
pub(crate) struct ManyFromThere;

impl<C: Chain> Worker<C> {
    async fn accept(&self, mut tcp: TcpStream, place: &Place, source: &mut SocketAddr) -> Accepted {
        let whole = |(error, tcp)| (error, Some(tcp));
        let balancer = source.ip().to_canonical();
        if self.load_balancers.iter().any(|network| network.contains(balancer)) {
            let named = proxy_protocol::read(&mut tcp).await.map_err(|error| (error, None))?;
            *source = named.unwrap_or(*source);
        }
        let Some(_from_there) = place.for_handshake_from(source.ip()) else {
            return Err((io::Error::other(ManyFromThere), None));
        };
        if self.tls.kind == ListenerKind::Https {
            let acceptor = TlsAcceptor::from(Arc::clone(&self.tls.config));
            #[cfg(feature = "weaken")]
            let acceptor = match off(Defence::ClientResumption) {
                true => TlsAcceptor::from(Arc::clone(&self.tls.resuming)),
                false => acceptor,
            };
            return acceptor.accept(tcp).into_fallible().await.map_err(whole);
        }
        preamble::answer(&mut tcp).await.map_err(|error| (error, None))?;
        let mut hello = pin!(LazyConfigAcceptor::new(Acceptor::default(), tcp));
        let start = match hello.as_mut().await {
            Ok(start) => start,
            Err(error) => return Err((error, hello.take_io())),
        };
        let postgresql = start
            .client_hello()
            .alpn()
            .is_some_and(|mut offered| offered.any(|name| name == tls::POSTGRESQL.as_bytes()));
        let config = if postgresql { &self.tls.postgresql } else { &self.tls.config };
        start.into_stream(Arc::clone(config)).into_fallible().await.map_err(whole)
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
        .max_pending_accept_reset_streams(match off(Defence::CancelledRequests) {
            true => usize::MAX,
            false => H2_PENDING_RESETS,
        })
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .enable_connect_protocol();
    http
}

/// hyper's connections, of either version.
trait Connection: Future<Output = hyper::Result<()>> {
    fn wind_up(self: Pin<&mut Self>);
}

impl<S> Connection for http1::UpgradeableConnection<TokioIo<ClientIo>, S>
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
    clients: &'a ClientCheck,
    news: &'a mut watch::Receiver<News>,
    /// When the client's certificate ends.
    ends: Option<Instant>,
}

/// How a poll of the connection ended it.
enum End {
    Done(hyper::Result<()>),
    Unsent(io::Error),
    Flooded,
}

impl Watched<'_> {
    async fn drive(self, connection: impl Connection) {
        let mut connection = pin!(connection);
        let mut watchdog = pin!(sleep_until(Instant::now()));
        let mut ended = pin!(sleep_until(self.ends.unwrap_or_else(Instant::now)));
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
                () = &mut ended, if self.ends.is_some() => return expired(self.counters),
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
                Ok(()) = self.news.changed() => {
                    if self.io.is_revoked(self.clients) {
                        return revoked(self.counters);
                    }
                    if self.news.borrow_and_update().stopping && !winding_up {
                        winding_up = true;
                        connection.as_mut().wind_up();
                    }
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
