//! The gateway as its owner sees it: made once, run by as many workers as there are cores.

use std::future::{Future, pending, ready};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;

use ringmail_model::net::Cidr;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::access::AccessSink;
use crate::census::Census;
use crate::chain::Chain;
use crate::client_trust::Revocation;
use crate::connection::{News, Worker};
use crate::counters::Counters;
use crate::exchange::Exchange;
use crate::limits::{ACCEPT_QUEUE, ACCEPT_RETRY_MS, Limits, ms};
use crate::policy::PolicyHandle;
use crate::pool::Pool;
use crate::rate::Rates;
use crate::sites::Certificates;
use crate::tls::TlsSettings;

/// The encryption proxy at the edge of a chain.
#[derive(Debug)]
pub struct Gateway<C> {
    tls: TlsSettings,
    policy: PolicyHandle,
    chain: Arc<C>,
    limits: Arc<Limits>,
    counters: Arc<Counters>,
    census: Arc<Census>,
    access: Option<AccessSink>,
    load_balancers: Arc<[Cidr]>,
    rates: Arc<Rates>,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut when the time to drain was over.
    pub cut: usize,
}

/// A listening socket that several workers may bind at once (SO_REUSEPORT).
///
/// # Errors
/// What the system says, such as an address in use by another program.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    Reserved::bind(address)?.listen()
}

/// An address that is ours, and at which nobody is let in yet.
#[derive(Debug)]
pub struct Reserved(Socket);

/// Lets a socket be bound to an address that this machine does not have yet.
///
/// # Errors
/// What the system says.
pub fn bind_ahead(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true),
        SocketAddr::V6(_) => socket.set_freebind_v6(true),
    }
}

impl Reserved {
    /// As [`bind`], but for listening.
    ///
    /// # Errors
    /// As [`bind`].
    pub fn bind(address: SocketAddr) -> io::Result<Reserved> {
        Reserved::bound(address, false)
    }

    /// As [`Reserved::bind`], of an address that this machine need not have yet (`IP_FREEBIND`, ip(7)).
    ///
    /// # Errors
    /// As [`bind`], but for that.
    pub fn bind_ahead(address: SocketAddr) -> io::Result<Reserved> {
        Reserved::bound(address, true)
    }

    fn bound(address: SocketAddr, ahead: bool) -> io::Result<Reserved> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        if ahead {
            bind_ahead(&socket, address)?;
        }
        socket.bind(&address.into())?;
        Ok(Reserved(socket))
    }

    /// Lets clients in.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(self) -> io::Result<StdListener> {
        self.0.listen(ACCEPT_QUEUE)?;
        Ok(self.0.into())
    }
}

impl<C: Chain> Gateway<C> {
    /// A gateway that authenticates by `tls`, allows by `policy` and reaches services by `chain`.
    pub fn new(tls: TlsSettings, policy: PolicyHandle, chain: C, limits: Limits) -> Gateway<C> {
        let limits = Arc::new(limits);
        let census = Census::new(&limits);
        Gateway {
            tls,
            policy,
            chain: Arc::new(chain),
            limits,
            counters: Arc::default(),
            census,
            access: None,
            load_balancers: Arc::default(),
            rates: Arc::default(),
        }
    }

    /// Counts on where another gateway of the same listener did. To be called before [`Gateway::with_access_log`].
    #[must_use]
    pub fn counted_by(self, counters: Arc<Counters>) -> Gateway<C> {
        Gateway { counters, ..self }
    }

    /// Writes a line for every request and connection.
    #[must_use]
    pub fn with_access_log(self, access: AccessSink) -> Gateway<C> {
        let access = Some(access.counted_by(self.counters()));
        Gateway { access, ..self }
    }

    /// Takes a PROXY header from connections of these networks, and the client's address from it.
    #[must_use]
    pub fn behind(self, load_balancers: &[Cidr]) -> Gateway<C> {
        Gateway { load_balancers: load_balancers.into(), ..self }
    }

    /// Counts how often clients come together with the other gateways that have these.
    #[must_use]
    pub fn rated_by(self, rates: Arc<Rates>) -> Gateway<C> {
        Gateway { rates, ..self }
    }

    /// What it did so far, over all workers.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The way to its revocation lists.
    pub fn revocation(&self) -> Revocation {
        Revocation { check: Arc::clone(&self.tls.clients), counters: self.counters() }
    }

    /// The way to its certificates.
    pub fn certificates(&self) -> Certificates {
        Certificates(Arc::clone(&self.tls.sites))
    }

    /// One worker: serves what `listener` accepts until `shutdown` completes, then lets requests in
    /// progress end, for at most [`Limits::drain_ms`].
    ///
    /// Meant for a current-thread runtime of its own: its connections and those to services stay on
    /// the thread that it runs on.
    ///
    /// # Errors
    /// Only at the start, if the listener cannot be used by this runtime.
    pub async fn run(
        &self,
        listener: StdListener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<Drained> {
        self.run_until_retired(listener, pending(), shutdown).await
    }

    /// As [`Gateway::run`]; once `retired` completes it accepts nothing more, and its connections go on for as long as
    /// they last, or until `shutdown` completes.
    ///
    /// # Errors
    /// As [`Gateway::run`].
    pub async fn run_until_retired(
        &self,
        listener: StdListener,
        retired: impl Future<Output = ()>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<Drained> {
        let mut listener = Some(TcpListener::from_std(listener)?);
        let pool = Pool::new(&self.limits);
        let worker = Arc::new(Worker {
            tls: self.tls.clone(),
            policy: Arc::clone(&self.policy),
            exchange: Arc::new(Exchange {
                chain: Arc::clone(&self.chain),
                pool: Arc::clone(&pool),
                limits: Arc::clone(&self.limits),
                counters: Arc::clone(&self.counters),
                rates: Arc::clone(&self.rates),
            }),
            census: Arc::clone(&self.census),
            access: self.access.clone(),
            load_balancers: Arc::clone(&self.load_balancers),
        });
        let (tell, mut told) = watch::channel(News::default());
        let mut trust = self.tls.clients.changes();
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut retired = pin!(retired);
        let mut sweep = interval(ms(self.limits.pool_idle_ms.max(2) / 2));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = &mut retired, if listener.is_some() => listener = None,
                Some(_) = connections.join_next() => {}
                () = ready(()), if listener.is_none() && connections.is_empty() => break,
                _ = sweep.tick() => pool.sweep(),
                Ok(()) = trust.changed() => tell.send_modify(|news| news.trust += 1),
                accepted = accept(listener.as_ref()) => match accepted {
                    Ok((tcp, peer)) => {
                        self.counters.connections.one();
                        // Ours to send when there is something to send; a failure costs time only.
                        let _ = tcp.set_nodelay(true);
                        let Some(place) = worker.census.admit() else {
                            self.counters.refused_connections.one();
                            continue;
                        };
                        let worker = Arc::clone(&worker);
                        // What is old news for it does not have to be looked at.
                        told.mark_unchanged();
                        connections.spawn(worker.serve(tcp, peer, place, told.clone()));
                    }
                    Err(error) => {
                        self.counters.accept_failed.one();
                        tracing::warn!(error = &error as &dyn std::error::Error, "accept");
                        sleep(ms(ACCEPT_RETRY_MS)).await;
                    }
                }
            }
        }
        drop(listener);
        pool.clear();
        tell.send_modify(|news| news.stopping = true);
        let drained = timeout(ms(self.limits.drain_ms), async {
            while connections.join_next().await.is_some() {}
        });
        let cut = if drained.await.is_ok() { 0 } else { connections.len() };
        self.counters.connections_cut.add(cut as u64);
        connections.shutdown().await;
        pool.clear();
        Ok(Drained { cut })
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => pending().await,
    }
}
