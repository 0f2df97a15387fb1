//! The encryption proxy of a gateway: its listeners, each on a thread of its own, and what another version of the domain
//! changes about them while they run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use ringmail_gateway::access::{AccessFile, AccessLog};
use ringmail_gateway::tls::{self, ClientTrust, Site};
use ringmail_gateway::{Chain, Counters, Gateway, Limits, Policy, PolicyHandle, Rates, Reserved};
use ringmail_model::PathId;
use ringmail_model::domain::{Domain, ListenerKind};
use ringmail_model::pathset::PathSet;
use ringmail_model::rules::RuleSet;

use super::care::Care;
use super::chain::{Addresses, Chains};
use super::listener::{Coming, Difference, End, Open, Place, Running};
use super::told::Legs;
use super::wireguard::{Joints, Wanted, Wireguard};
use crate::control::{ListenerLists, WireguardKeys};

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
    /// Its keys, where it is of kind `wireguard`.
    pub(crate) wireguard: Option<WireguardKeys>,
}

/// A running proxy.
pub(crate) struct Proxy {
    policy: PolicyHandle,
    /// The listeners that take connections.
    open: BTreeMap<String, Open>,
    /// Those that take none any more, while their connections last.
    past: Vec<Running>,
    /// What listeners counted, by their names: one that changes counts on.
    counters: BTreeMap<String, Arc<Counters>>,
    /// How often clients came, over all listeners and versions.
    rates: Arc<Rates>,
    care: Care,
    log: Option<AccessLog>,
    /// Where this gateway has workers.
    wireguard: Option<Wireguard>,
}

/// What another version changes about listeners, checked and bound; nobody is let in yet.
pub(crate) struct Prepared<C> {
    come: Vec<Coming<C>>,
    /// Other certificates for listeners that stay.
    show: Vec<(String, Vec<Site>)>,
    /// Listeners that are no more.
    go: Vec<String>,
}

impl Proxy {
    /// Binds every listener of the domain in the namespace of the calling thread, and serves them.
    ///
    /// # Errors
    /// When a listener cannot be bound, or its certificates or the rules are refused.
    pub(crate) fn start<C: Chain + Clone>(
        domain: &Domain,
        set: &PathSet,
        chains: &C,
        listeners: Vec<ListenerTls>,
        legs: Legs,
    ) -> Result<Proxy> {
        let mut proxy = Proxy {
            policy: policy(domain, set, legs)?.into_handle(),
            open: BTreeMap::new(),
            past: Vec::new(),
            counters: BTreeMap::new(),
            rates: Arc::default(),
            care: Care::start()?,
            log: open_log(domain, &listeners)?,
            wireguard: None,
        };
        for coming in proxy.prepare(domain, chains, listeners)?.come {
            proxy.open(coming)?;
        }
        Ok(proxy)
    }

    /// Prepares what a version of the domain changes about listeners and their limits. Addresses are bound in the
    /// namespace of the calling thread.
    ///
    /// # Errors
    /// When an address cannot be bound, or certificates are refused.
    pub(crate) fn prepare<C: Chain + Clone>(
        &self,
        domain: &Domain,
        chains: &C,
        listeners: Vec<ListenerTls>,
    ) -> Result<Prepared<C>> {
        let drain_ms = domain.limits.drain_ms.into();
        let limits = Limits { drain_ms, ..Limits::from(&domain.gateway.limits) };
        let named = |name: &str| domain.gateway.listeners.iter().find(|l| l.name.as_str() == name);
        let mut prepared = Prepared { come: Vec::new(), show: Vec::new(), go: Vec::new() };
        for ListenerTls { name, sites, clients, crl_files, anchors_file, .. } in listeners {
            let listener = || format!("listener `{name}`");
            let described = named(&name).with_context(|| format!("no listener `{name}`"))?;
            if described.kind == ListenerKind::Wireguard {
                continue;
            }
            let difference = self
                .open
                .get(&name)
                .map_or(Difference::New, |open| open.difference(described, &limits));
            if difference == Difference::Nothing {
                continue;
            }
            let tls = tls::settings(described.kind, sites.iter().map(copy).collect(), clients)
                .with_context(listener)?;
            let replaces = match difference {
                Difference::New => None,
                Difference::Replaced(end) => Some(end),
                Difference::Nothing | Difference::Certificates => {
                    prepared.show.push((name, sites));
                    continue;
                }
            };
            let mut gateway =
                Gateway::new(tls, self.policy.clone(), chains.clone(), limits.clone());
            gateway = gateway.behind(&described.proxy_protocol_from);
            gateway = gateway.rated_by(Arc::clone(&self.rates));
            if let Some(counters) = self.counters.get(&name) {
                gateway = gateway.counted_by(Arc::clone(counters));
            }
            if let Some(log) = &self.log {
                gateway = gateway.with_access_log(log.sink(&name));
            }
            let shared = domain.gateway.standby.is_some();
            let place = self.place(described.address, shared);
            prepared.come.push(Coming {
                place: place.with_context(|| format!("{} at {}", listener(), described.address))?,
                described: described.clone(),
                limits: limits.clone(),
                gateway,
                crl_files,
                anchors_file,
                replaces,
            });
        }
        prepared.go = self.open.keys().filter(|name| named(name).is_none()).cloned().collect();
        Ok(prepared)
    }

    /// Has the listeners as they were prepared: new ones take connections before others stop. One that cannot is told in
    /// the log, and goes on as it did.
    pub(crate) fn take<C: Chain + Clone>(&mut self, prepared: Prepared<C>) {
        let Prepared { come, show, go } = prepared;
        self.past.retain(|past| !past.is_over());
        for coming in come {
            let (name, address) = (coming.described.name.clone(), coming.described.address);
            let (before, end) = (self.open.remove(name.as_str()), coming.replaces);
            match (self.open(coming), before) {
                (Ok(()), before) => {
                    tracing::info!(listener = %name, %address, "takes connections");
                    self.end(before, end.unwrap_or(End::Stop));
                }
                (Err(error), before) => {
                    tracing::error!(listener = %name, error = &*error, "cannot take connections");
                    self.open.extend(before.map(|before| (name.to_string(), before)));
                }
            }
        }
        for name in go {
            let gone = self.open.remove(&name);
            self.end(gone, End::Stop);
            tracing::info!(listener = name, "takes no more connections");
        }
        for (name, sites) in show {
            if let Err(error) = self.show(&name, sites) {
                tracing::error!(listener = name, error = &*error, "the old certificates are shown");
            }
        }
    }

    /// Gives it its WireGuard end.
    pub(super) fn with_wireguard(&mut self, joints: Joints, chains: Chains) {
        let wireguard = Wireguard::new(joints, chains, Arc::clone(&self.rates));
        self.counters.insert("wireguard".to_owned(), Arc::clone(wireguard.counters()));
        self.wireguard = Some(wireguard);
    }

    /// Prepares what a version of the domain says of WireGuard; `listeners` are all of it.
    ///
    /// # Errors
    /// When an address cannot be bound, or a key is none.
    pub(super) fn prepare_wireguard(
        &self,
        domain: &Domain,
        set: &PathSet,
        keys: Option<&WireguardKeys>,
    ) -> Result<Option<Wanted>> {
        let prepare =
            |wireguard: &Wireguard| wireguard.prepare(domain, set, keys, self.log.as_ref());
        self.wireguard.as_ref().map(prepare).transpose()
    }

    /// Has WireGuard as it was prepared.
    pub(super) fn take_wireguard(&mut self, wanted: Option<Wanted>) {
        if let (Some(wireguard), Some(wanted)) = (&mut self.wireguard, wanted) {
            wireguard.take(wanted);
        }
    }

    /// These paths are over, for flows of WireGuard clients as well.
    pub(super) fn cut_wireguard(&self, paths: &[PathId]) {
        if let Some(wireguard) = &self.wireguard {
            wireguard.cut(paths);
        }
    }

    /// Where a listener of this address takes connections. One that two gateways share need not be here now.
    fn place(&self, address: std::net::SocketAddr, shared: bool) -> std::io::Result<Place> {
        match self.open.values().find(|open| open.described.address == address) {
            Some(open) => Ok(Place::Shared(open.socket.try_clone()?)),
            None if shared => Ok(Place::Reserved(Reserved::bind_ahead(address)?)),
            None => Ok(Place::Reserved(Reserved::bind(address)?)),
        }
    }

    fn open<C: Chain + Clone>(&mut self, coming: Coming<C>) -> Result<()> {
        let name = coming.described.name.to_string();
        let counters = coming.gateway.counters();
        let reopen = self.log.as_ref().map(AccessLog::reopen);
        let (open, lists) = coming.serve(reopen)?;
        self.care.add(lists);
        self.counters.insert(name.clone(), counters);
        self.open.insert(name, open);
        Ok(())
    }

    fn end(&mut self, open: Option<Open>, end: End) {
        if let Some(Open { running, .. }) = open {
            running.end(end);
            self.past.push(running);
        }
    }

    /// Requests that begin from now on are judged by this policy.
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// New connections are shown these certificates from now on.
    ///
    /// # Errors
    /// When they are refused; then those that there were are shown.
    pub(crate) fn show(&self, name: &str, sites: Vec<Site>) -> Result<()> {
        let open = self.open.get(name).with_context(|| format!("no listener `{name}`"))?;
        open.shown.replace(sites).with_context(|| format!("listener `{name}`"))?;
        tracing::info!(listener = name, "shows renewed certificates");
        Ok(())
    }

    /// Reads the revocation lists of every listener now.
    pub(crate) fn read_lists(&self) -> Vec<ListenerLists> {
        self.care.read()
    }

    /// What every listener counted.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Arc<Counters>> {
        self.counters.values()
    }

    /// Stops accepting, lets requests end, and waits for that.
    pub(crate) fn stop(self) {
        let open = self.open.into_values().map(|open| open.running);
        let all: Vec<Running> = open.chain(self.past).collect();
        all.iter().for_each(|running| running.end(End::Stop));
        self.care.stop();
        all.into_iter().for_each(Running::join);
        if let Some(wireguard) = self.wireguard {
            wireguard.stop();
        }
        if let Some(log) = self.log {
            log.close();
        }
    }
}

/// The same certificate with the same key.
fn copy(site: &Site) -> Site {
    let Site { names, chain, key } = site;
    Site { names: names.clone(), chain: chain.clone(), key: key.clone_key() }
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
pub(crate) fn policy(domain: &Domain, set: &PathSet, legs: Legs) -> Result<Policy> {
    let Legs { services, decision_points } = legs;
    let rules = RuleSet::compile(domain, set)?;
    Ok(Policy { version: set.version, rules, services, decision_points })
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
