//! The encryption proxy of a gateway: its listeners, on a thread of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use ringmail_gateway::tls::{self, ClientTrust, Site};
use ringmail_gateway::{Chain, Counters, Gateway, Limits, Policy};
use ringmail_model::PathId;
use ringmail_model::domain::{Domain, GatewayLimits};
use ringmail_model::pathset::PathSet;
use ringmail_model::rules::RuleSet;
use tokio::sync::watch;

/// What one listener shows, and whom it believes.
pub(crate) struct ListenerTls {
    /// The listener's name in the domain file.
    pub(crate) name: String,
    /// Server certificates with their keys.
    pub(crate) sites: Vec<Site>,
    /// Trust anchors and revocation lists for clients.
    pub(crate) clients: ClientTrust,
}

/// A running proxy.
pub(crate) struct Proxy {
    stop: watch::Sender<bool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    counters: Vec<Arc<Counters>>,
}

impl Proxy {
    /// Binds every listener of the domain in the namespace of the calling thread, and serves them.
    ///
    /// # Errors
    /// When a listener cannot be bound, or its certificates or the rules are refused.
    pub(crate) fn start(
        domain: &Domain,
        set: &PathSet,
        chains: &(impl Chain + Clone),
        listeners: Vec<ListenerTls>,
    ) -> Result<Proxy> {
        let rules = RuleSet::compile(domain, set)?;
        let policy = Policy { version: set.version, rules }.into_handle();
        let limits = limits(&domain.gateway.limits);
        let (stop, _) = watch::channel(false);
        let mut proxy = Proxy { stop, threads: Vec::new(), counters: Vec::new() };
        for listener in listeners {
            let described =
                domain.gateway.listeners.iter().find(|l| l.name.as_str() == listener.name);
            let described =
                described.with_context(|| format!("no listener `{}`", listener.name))?;
            let tls = tls::settings(listener.sites, listener.clients)
                .with_context(|| format!("listener `{}`", listener.name))?;
            let socket = ringmail_gateway::bind(described.address).with_context(|| {
                format!("listener `{}` at {}", listener.name, described.address)
            })?;
            let gateway = Gateway::new(tls, policy.clone(), chains.clone(), limits.clone());
            proxy.counters.push(gateway.counters());
            let mut stopping = proxy.stop.subscribe();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let serve = move || {
                let ended = runtime.block_on(gateway.run(socket, async move {
                    let _closed = stopping.wait_for(|stop| *stop).await;
                }));
                match ended {
                    Ok(drained) if drained.cut == 0 => {}
                    Ok(drained) => tracing::warn!(cut = drained.cut, "connections cut at shutdown"),
                    Err(error) => tracing::error!(%error, "a listener stopped"),
                }
            };
            let name = format!("proxy-{}", listener.name);
            proxy.threads.push(std::thread::Builder::new().name(name).spawn(serve)?);
        }
        Ok(proxy)
    }

    /// What every listener counted.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Arc<Counters>> {
        self.counters.iter()
    }

    /// Stops accepting, lets requests end, and waits for that.
    pub(crate) fn stop(self) {
        let _ended = self.stop.send(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a listener's thread panicked");
            }
        }
    }
}

/// Where each service listens, by the forward path that leads to it.
pub(crate) fn services(
    domain: &Domain,
    set: &PathSet,
) -> BTreeMap<(PathId, String), Vec<SocketAddr>> {
    let mut services = BTreeMap::new();
    for path in &set.paths {
        let found =
            path.service.as_ref().and_then(|name| domain.services.iter().find(|s| s.name == *name));
        if let Some(service) = found {
            services.insert((path.id, service.name.to_string()), service.addresses.clone());
        }
    }
    services
}

fn limits(wanted: &GatewayLimits) -> Limits {
    Limits {
        header_bytes: wanted.header_bytes,
        connections: wanted.connections as usize,
        connections_per_client: wanted.connections_a_client as usize,
        h2_streams: wanted.streams_a_connection,
        handshake_ms: wanted.handshake_timeout_ms.into(),
        header_read_ms: wanted.header_timeout_ms.into(),
        idle_ms: wanted.idle_timeout_ms.into(),
        connect_ms: wanted.connect_timeout_ms.into(),
        pool_idle_per_key: wanted.pool_idle_connections as usize,
        pool_idle_ms: wanted.pool_idle_timeout_ms.into(),
        body_prefix_bytes: wanted.body_prefix_bytes as usize,
        ..Limits::default()
    }
}
