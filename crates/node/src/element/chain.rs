//! Connections of the encryption proxy into the chains: the flow's entry stands before the first SYN and outlives
//! TIME_WAIT.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringmail_gateway::{Chain, ChainError, ChainRequest, ChainStream};
use ringmail_model::PathId;
use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use super::command::Command;
use super::ports::{Ports, REST};
use super::worker::Handle;
use crate::limits::PROBE_ENDS_WITHIN;

/// How many ports are tried that the system says are taken by something else.
const PORTS_TRIED: usize = 16;

/// Opens connections through the data plane's workers.
#[derive(Clone)]
pub(crate) struct Chains {
    workers: Arc<[Handle]>,
    /// The proxy's own addresses on the inner side, one of each IP version at most.
    sources: Arc<[IpAddr]>,
    /// Where each path's service listens.
    services: Arc<BTreeMap<(PathId, String), Vec<SocketAddr>>>,
    ports: Arc<Mutex<Ports>>,
    /// The paths that one path over replicas became, itself first.
    variants: Arc<BTreeMap<PathId, Vec<PathId>>>,
    /// Flows begun, to take the variants in turn.
    begun: Arc<AtomicUsize>,
}

impl Chains {
    pub(crate) fn new(
        workers: Vec<Handle>,
        sources: Vec<IpAddr>,
        services: BTreeMap<(PathId, String), Vec<SocketAddr>>,
        variants: BTreeMap<PathId, Vec<PathId>>,
    ) -> Chains {
        Chains {
            workers: workers.into(),
            sources: sources.into(),
            services: Arc::new(services),
            ports: Arc::default(),
            variants: Arc::new(variants),
            begun: Arc::default(),
        }
    }

    /// Which replicas a new flow of this path passes, as long as it lasts.
    fn variant(&self, path: PathId) -> PathId {
        match self.variants.get(&path) {
            Some(variants) if !variants.is_empty() => {
                variants[self.begun.fetch_add(1, Ordering::Relaxed) % variants.len()]
            }
            _ => path,
        }
    }

    /// One attempt: port, entry, connection, in this order.
    async fn attempt(
        &self,
        request: ChainRequest<'_>,
        path: PathId,
        destination: SocketAddr,
    ) -> Result<ChainStream, ChainError> {
        let connect = |source| ChainError::Connect { service: request.service.to_owned(), source };
        let (socket, pin) = self.prepare(path, request.service, destination).await?;
        let stream = socket.connect(destination).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        Ok(ChainStream::new(stream, pin))
    }

    /// A socket with a port of its own whose packets take a path.
    async fn prepare(
        &self,
        path: PathId,
        service: &str,
        destination: SocketAddr,
    ) -> Result<(TcpSocket, Pin), ChainError> {
        let service = || service.to_owned();
        let source = self.sources.iter().find(|ip| ip.is_ipv4() == destination.is_ipv4());
        let source = *source.ok_or_else(|| ChainError::NoPort { service: service() })?;
        for _ in 0..PORTS_TRIED {
            let port = self.ports().take(destination, Instant::now());
            let port = port.ok_or_else(|| ChainError::NoPort { service: service() })?;
            let flow = FlowKey {
                src: source,
                dst: destination.ip(),
                src_port: port,
                dst_port: destination.port(),
                protocol: protocol::TCP,
            };
            let pin = Pin { chains: self.clone(), flow };
            let connect = |source| ChainError::Connect { service: service(), source };
            let socket = match destination {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            };
            let socket = socket.map_err(connect)?;
            // A port that somebody else holds is left alone and another one taken.
            if socket.bind(SocketAddr::new(source, port)).is_err() {
                continue;
            }
            self.pin(flow, path).await?;
            return Ok((socket, pin));
        }
        Err(ChainError::NoPort { service: service() })
    }

    /// Connects along a path to the first address of its service, and lets the connection go, for a trace.
    pub(crate) async fn probe(&self, path: PathId, within: Duration) -> Result<Probed, ChainError> {
        let service = self.services.iter().find(|((known, _), _)| *known == path);
        let unknown = || ChainError::Unknown { path, service: String::new() };
        let ((_, service), addresses) = service.ok_or_else(unknown)?;
        let destination = *addresses.first().ok_or_else(unknown)?;
        let (socket, pin) = self.prepare(path, service, destination).await?;
        let began = Instant::now();
        let outcome = tokio::time::timeout(within, socket.connect(destination)).await;
        let took = began.elapsed();
        let error = match outcome {
            Ok(Ok(mut stream)) => {
                // Its end is to be seen, too; a service that does not end it is not waited for.
                let end = async {
                    stream.shutdown().await?;
                    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
                };
                drop(tokio::time::timeout(PROBE_ENDS_WITHIN, end).await);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} s", within.as_secs())),
        };
        Ok(Probed { flow: pin.flow, took, error })
    }

    /// Gives the flow its path at every worker: which one gets its packets is the system's choice.
    async fn pin(&self, flow: FlowKey, path: PathId) -> Result<(), ChainError> {
        let not_ready = |reason: &str| ChainError::NotReady { path, reason: reason.to_owned() };
        for worker in self.workers.iter() {
            let (answer, pinned) = oneshot::channel();
            worker.give(Command::Pin(flow, path, answer));
            let pinned = pinned.await.map_err(|_| not_ready("the worker has stopped"))?;
            pinned.map_err(|full| not_ready(&full.to_string()))?;
        }
        Ok(())
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chain for Chains {
    async fn open(&self, request: ChainRequest<'_>) -> Result<ChainStream, ChainError> {
        let key = (request.path, request.service.to_owned());
        let unknown = || ChainError::Unknown { path: request.path, service: key.1.clone() };
        let path = self.variant(request.path);
        let mut outcome = Err(unknown());
        for destination in self.services.get(&key).ok_or_else(unknown)? {
            outcome = self.attempt(request, path, *destination).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// How a connection fared that was opened for a trace.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) flow: FlowKey,
    /// Until it stood, or was given up.
    pub(crate) took: Duration,
    /// Why it does not stand.
    pub(crate) error: Option<String>,
}

/// Holds a flow's entry and port; lets both rest when the connection is over.
struct Pin {
    chains: Chains,
    flow: FlowKey,
}

impl Drop for Pin {
    fn drop(&mut self) {
        for worker in self.chains.workers.iter() {
            worker.give(Command::Unpin(self.flow, REST));
        }
        let destination = SocketAddr::new(self.flow.dst, self.flow.dst_port);
        self.chains.ports().give_back(destination, self.flow.src_port, Instant::now());
    }
}
