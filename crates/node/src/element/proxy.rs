//! The encryption proxy of a gateway: its listeners, on a thread of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context, Result};
use ringmail_gateway::access::{AccessFile, AccessLog};
use ringmail_gateway::tls::{self, ClientTrust, Site};
use ringmail_gateway::{
    Certificates, Chain, Counters, Gateway, Limits, Policy, PolicyHandle, Services,
};
use ringmail_model::PathId;
use ringmail_model::domain::Domain;
use ringmail_model::pathset::PathSet;
use ringmail_model::rules::RuleSet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::care::{Care, Lists};
use super::chain::Addresses;

/// What one listener shows, and whom it believes.
pub(crate) struct ListenerTls {
    /// The listener's name in the domain file.
    pub(crate) name: String,
    /// Server certificates with their keys.
    pub(crate) sites: Vec<Site>,
    /// Trust anchors and revocation lists for clients.
    pub(crate) clients: ClientTrust,
    /// The files that hold these lists, to be looked at again.
    pub(crate) crl_files: Vec<PathBuf>,
    /// The file that holds the trust anchors, to be looked at again as well, if they may change.
    pub(crate) anchors_file: Option<PathBuf>,
    /// Where the access log goes.
    pub(crate) access_log: Option<PathBuf>,
}

/// A running proxy.
pub(crate) struct Proxy {
    policy: PolicyHandle,
    stop: watch::Sender<bool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    counters: Vec<Arc<Counters>>,
    /// The way to the certificates of each listener.
    shown: BTreeMap<String, Certificates>,
    care: Care,
    log: Option<AccessLog>,
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
        services: Services,
    ) -> Result<Proxy> {
        let policy = policy(domain, set, services)?.into_handle();
        let drain_ms = domain.limits.drain_ms.into();
        let limits = Limits { drain_ms, ..Limits::from(&domain.gateway.limits) };
        let (stop, _) = watch::channel(false);
        let mut proxy = Proxy {
            policy: policy.clone(),
            stop,
            threads: Vec::new(),
            counters: Vec::new(),
            shown: BTreeMap::new(),
            care: Care::default(),
            log: None,
        };
        let mut lists = Vec::new();
        proxy.log = open_log(domain, &listeners)?;
        for listener in listeners {
            let described =
                domain.gateway.listeners.iter().find(|l| l.name.as_str() == listener.name);
            let described =
                described.with_context(|| format!("no listener `{}`", listener.name))?;
            let tls = tls::settings(described.kind, listener.sites, listener.clients)
                .with_context(|| format!("listener `{}`", listener.name))?;
            let socket = ringmail_gateway::bind(described.address).with_context(|| {
                format!("listener `{}` at {}", listener.name, described.address)
            })?;
            let mut gateway = Gateway::new(tls, policy.clone(), chains.clone(), limits.clone());
            gateway = gateway.behind(&described.proxy_protocol_from);
            if let Some(log) = &proxy.log {
                gateway = gateway.with_access_log(log.sink(&listener.name));
            }
            let reopen = proxy.log.as_ref().map(AccessLog::reopen);
            proxy.counters.push(gateway.counters());
            proxy.shown.insert(listener.name.clone(), gateway.certificates());
            lists.push(Lists::new(
                listener.name.clone(),
                listener.crl_files,
                listener.anchors_file,
                gateway.revocation(),
            ));
            let mut stopping = proxy.stop.subscribe();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let serve = move || {
                let ended = runtime.block_on(async {
                    // It ends with the runtime.
                    tokio::spawn(heed_hangup(reopen));
                    let stopped = async move {
                        let _closed = stopping.wait_for(|stop| *stop).await;
                    };
                    gateway.run(socket, stopped).await
                });
                match ended {
                    Ok(drained) if drained.cut == 0 => {}
                    Ok(drained) => tracing::warn!(cut = drained.cut, "connections cut at shutdown"),
                    Err(error) => tracing::error!(%error, "a listener stopped"),
                }
            };
            let name = format!("proxy-{}", listener.name);
            proxy.threads.push(std::thread::Builder::new().name(name).spawn(serve)?);
        }
        proxy.care = Care::start(lists)?;
        Ok(proxy)
    }

    /// Requests that begin from now on are judged by this policy.
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// New connections are shown these certificates from now on.
    ///
    /// # Errors
    /// When they are refused; then those that there were are shown.
    pub(crate) fn show(&self, listener: ListenerTls) -> Result<()> {
        let ListenerTls { name, sites, .. } = listener;
        let shown = self.shown.get(&name).with_context(|| format!("no listener `{name}`"))?;
        shown.replace(sites).with_context(|| format!("listener `{name}`"))?;
        tracing::info!(listener = name, "shows renewed certificates");
        Ok(())
    }

    /// What every listener counted.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Arc<Counters>> {
        self.counters.iter()
    }

    /// Stops accepting, lets requests end, and waits for that.
    pub(crate) fn stop(self) {
        let _ended = self.stop.send(true);
        self.care.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a listener's thread panicked");
            }
        }
        if let Some(log) = self.log {
            log.close();
        }
    }
}

/// SIGHUP is for who moved the access log away, as logrotate does; it does not end the process.
async fn heed_hangup(reopen: Option<Arc<AtomicBool>>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        if let Some(reopen) = &reopen {
            reopen.store(true, Relaxed);
        }
    }
}

fn open_log(domain: &Domain, listeners: &[ListenerTls]) -> Result<Option<AccessLog>> {
    let path = listeners.iter().find_map(|listener| listener.access_log.clone());
    let (Some(path), Some(wanted)) = (path, &domain.gateway.access_log) else { return Ok(None) };
    let (max_bytes, keep) = (wanted.max_bytes.unwrap_or(0), wanted.keep);
    let file = AccessFile { path: path.clone(), max_bytes, keep };
    let log = AccessLog::open(file).with_context(|| format!("access log {}", path.display()))?;
    Ok(Some(log))
}

/// The rules of a version.
///
/// # Errors
/// When they name what is not there, which `check` would have said.
pub(crate) fn policy(domain: &Domain, set: &PathSet, services: Services) -> Result<Policy> {
    Ok(Policy { version: set.version, rules: RuleSet::compile(domain, set)?, services })
}

/// Where each service listens, by the forward path that leads to it.
pub(crate) fn services(domain: &Domain, set: &PathSet) -> Addresses {
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

/// The paths that each path over replicas became, itself first.
pub(crate) fn variants(domain: &Domain, set: &PathSet) -> BTreeMap<PathId, Vec<PathId>> {
    let mut variants: BTreeMap<PathId, Vec<PathId>> = BTreeMap::new();
    for path in &domain.paths {
        let base = path.replica_of.as_ref().and_then(|name| set.path_named(name));
        if let (Some(base), Some(variant)) = (base, set.path_named(&path.name)) {
            variants.entry(base.id).or_insert_with(|| vec![base.id]).push(variant.id);
        }
    }
    variants
}
