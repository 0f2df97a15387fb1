//! Connections to services, kept for the next request of the same client under the same rule.
//!
//! A connection's packets take the path that it was opened for, so it never serves another client
//! certificate, rule, path version or service. A worker has a pool of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ringmail_model::{PathId, PathVersion};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::chain::ChainRequest;
use crate::identity::Fingerprint;
use crate::limits::{COPY_BUFFER_BYTES, Limits, RESPONSE_HEADER_BYTES, ms};
use crate::request_body::{Flow, RequestBody};
use crate::service_io::{Open, Opened, ServiceIo};

/// What a connection may be used for again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) client: Fingerprint,
    pub(crate) version: PathVersion,
    pub(crate) path: PathId,
    pub(crate) rule: String,
    pub(crate) service: String,
    /// The client's address, where the service was told it at the beginning of the connection.
    pub(crate) source: Option<SocketAddr>,
}

impl PoolKey {
    /// What a chain is asked for to open a connection for it.
    pub(crate) fn request<'a>(&'a self, client: &'a str) -> ChainRequest<'a> {
        ChainRequest {
            path: self.path,
            version: self.version,
            service: &self.service,
            rule: &self.rule,
            client,
        }
    }
}

/// One worker's connections to services.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: Arc<Limits>,
    open: Arc<AtomicUsize>,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    connections: HashMap<Arc<PoolKey>, Vec<(Instant, Connection)>>,
    count: usize,
    version: Option<PathVersion>,
}

/// A connection to a service; dropping it closes it at once.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    received: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection in use. Dropped, it is closed; finished, it goes back to the pool.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Connection,
    key: Arc<PoolKey>,
    pool: Arc<Pool>,
    /// Whether it served a request before.
    pub(crate) reused: bool,
    /// Whether it cannot serve another.
    pub(crate) spent: bool,
    /// The body of the request that it carries.
    pub(crate) flow: Option<Arc<Flow>>,
}

impl Pool {
    pub(crate) fn new(limits: &Arc<Limits>) -> Arc<Pool> {
        Arc::new(Pool { limits: Arc::clone(limits), open: Arc::default(), idle: Mutex::default() })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        match self.idle.lock() {
            Ok(idle) => idle,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// A pooled connection for `key`, the one that was used last.
    pub(crate) fn take(self: &Arc<Pool>, key: &Arc<PoolKey>) -> Option<Lease> {
        let mut idle = self.idle();
        if idle.version < Some(key.version) {
            // Connections of older versions would only be closed when their time is over.
            idle.connections.retain(|other, _| other.version >= key.version);
            idle.count = idle.connections.values().map(Vec::len).sum();
            idle.version = Some(key.version);
        }
        loop {
            let (since, connection) = idle.connections.get_mut(key)?.pop()?;
            idle.count -= 1;
            let fresh = since.elapsed() < ms(self.limits.pool_idle_ms);
            if fresh && connection.sender.is_ready() && !connection.sender.is_closed() {
                let (key, pool) = (Arc::clone(key), Arc::clone(self));
                return Some(Lease {
                    connection,
                    key,
                    pool,
                    reused: true,
                    spent: false,
                    flow: None,
                });
            }
        }
    }

    /// Room for one more connection, if there is any.
    pub(crate) fn admit(&self) -> Option<Open> {
        Open::one_of(&self.open, self.limits.backend_connections)
    }

    /// Speaks HTTP over a connection that was just opened.
    pub(crate) async fn adopt(
        self: &Arc<Pool>,
        leg: Opened,
        open: Open,
        key: &Arc<PoolKey>,
    ) -> Result<Lease, hyper::Error> {
        let (io, received) = ServiceIo::new(leg, open);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(COPY_BUFFER_BYTES)
            .max_header_size(RESPONSE_HEADER_BYTES)
            .handshake(TokioIo::new(io))
            .await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "service connection");
            }
        });
        let connection = Connection { sender, received, task: task.abort_handle() };
        let (key, pool) = (Arc::clone(key), Arc::clone(self));
        Ok(Lease { connection, key, pool, reused: false, spent: false, flow: None })
    }

    /// Closes what is dead or idle for too long.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle();
        idle.connections.retain(|_, connections| {
            connections.retain(|(since, connection)| {
                since.elapsed() < ms(self.limits.pool_idle_ms) && !connection.sender.is_closed()
            });
            !connections.is_empty()
        });
        idle.count = idle.connections.values().map(Vec::len).sum();
    }

    /// Closes the idle connections for `key`.
    pub(crate) fn forget(&self, key: &PoolKey) {
        let mut idle = self.idle();
        let gone = idle.connections.remove(key).map_or(0, |connections| connections.len());
        idle.count -= gone;
    }

    /// Closes all that are idle.
    pub(crate) fn clear(&self) {
        *self.idle() = Idle::default();
    }

    fn put(&self, key: Arc<PoolKey>, connection: Connection) {
        let mut idle = self.idle();
        let stale = idle.version > Some(key.version);
        if stale || idle.count >= self.limits.pool_idle || connection.sender.is_closed() {
            return;
        }
        let connections = idle.connections.entry(key).or_default();
        if connections.len() < self.limits.pool_idle_per_key {
            connections.push((Instant::now(), connection));
            idle.count += 1;
        }
    }
}

impl Lease {
    pub(crate) fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.connection.sender
    }

    /// Bytes that the service sent so far.
    pub(crate) fn received(&self) -> u64 {
        self.connection.received.load(Relaxed)
    }

    /// Gives the connection back, as soon as it is done with its request.
    pub(crate) fn finish(self) {
        let Lease { mut connection, key, pool, spent, flow, .. } = self;
        if spent || connection.sender.is_closed() {
            return;
        }
        if connection.sender.is_ready() {
            pool.put(key, connection);
            return;
        }
        tokio::spawn(async move {
            // The request body may still be on its way to a service that reads it.
            let limit = ms(pool.limits.response_idle_ms);
            loop {
                match timeout(limit, connection.sender.ready()).await {
                    Ok(Ok(())) => return pool.put(key, connection),
                    Err(_) if flow.as_ref().is_some_and(|flow| flow.moved()) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        });
    }
}
