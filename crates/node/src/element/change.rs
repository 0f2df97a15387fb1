//! What an element does for another version of the domain: builds it beside what runs, switches to it, lets go of what is
//! over ([`Versions`] decides).

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ringmail_dataplane::Neighbour;
use ringmail_dataplane::sap::SegmentView;
use ringmail_gateway::Policy;
use ringmail_model::PathVersion;
use ringmail_model::pathset::{PathSet, PublicKey, Role, SignedPathSet};
use ringmail_trust::{Identity, TrustBundle};
use tokio::sync::oneshot;

use super::agreement::Agreement;
use super::chain::{Addresses, Chains, Variants};
use super::command::{Command, NewPath, NewPaths};
use super::flows::Flows;
use super::guard::Guard;
use super::knowledge::Knowledge;
use super::legend::Legend;
use super::proxy::{self, Prepared, Proxy};
use super::psk::Psk;
use super::replicas::{self, Replicas};
use super::versions::{Ability, Retired, Version, Versions};
use super::wireguard::Wanted;
use super::worker::Handle;
use super::{build, inner, plan, told};
use crate::control::{Fault, FromElement, ListenerTls, Nack, ServiceTls};
use crate::limits::{COUNTS_STAGED_WITHIN, STAGE_WITHIN};

/// Everything of a running element that changes with the domain.
pub(super) struct Serving {
    pub(super) versions: Versions,
    pub(super) workers: Vec<Handle>,
    pub(super) agreement: Option<Agreement>,
    /// Instead of it, with keying `psk`.
    pub(super) psk: Option<Psk>,
    /// The gateway's.
    pub(super) proxy: Option<(Proxy, Chains)>,
    /// The gateway's look at replicas of functions.
    pub(super) replicas: Option<Replicas>,
    pub(super) ability: Ability,
    /// Exports records of flows, where the domain wants them.
    pub(super) flows: Option<Flows>,
    /// Of an egress.
    pub(super) guard: Option<Guard>,
    /// Who the element is.
    pub(super) identity: Identity,
    /// Whom the element believes, and the key that path sets are signed with.
    pub(super) bundle: TrustBundle,
    staging: Option<Staging>,
    /// The gateway's rules and listeners of the version that is staged.
    policy: Option<(Policy, Prepared<Chains>, Option<Wanted>)>,
    /// What a hop's function takes in place with it, for each worker.
    retuning: Vec<Box<dyn Any + Send>>,
}

/// How the gateway meets clients and services in a version.
pub(super) struct Fronts {
    pub(super) listeners: Vec<ListenerTls>,
    pub(super) services: Vec<ServiceTls>,
}

/// A version whose keys are being agreed.
struct Staging {
    request: u64,
    until: Instant,
    /// Keys that are missing then do not matter.
    counts: bool,
    /// Elements that are away: keys with them are not waited for.
    absent: BTreeSet<String>,
}

impl Serving {
    pub(super) fn new(
        versions: Versions,
        workers: Vec<Handle>,
        agreement: Option<Agreement>,
        psk: Option<Psk>,
        proxy: Option<(Proxy, Chains)>,
        ability: Ability,
        (identity, bundle): (Identity, TrustBundle),
    ) -> Serving {
        let replicas = match (&agreement, &proxy) {
            (Some(agreement), Some((_, chains))) => {
                Some(Replicas::new(agreement.agreements(), chains.clone()))
            }
            _ => None,
        };
        if let Some(agreement) = &agreement {
            agreement.agreements().answer_by(replicas::look(workers.clone()));
        }
        let mut serving = Serving {
            versions,
            workers,
            agreement,
            psk,
            proxy,
            replicas,
            ability,
            flows: None,
            guard: None,
            identity,
            bundle,
            staging: None,
            policy: None,
            retuning: Vec::new(),
        };
        serving.look_after_replicas();
        serving
    }

    /// Asks replicas, and answers who asks, as all versions that are live say.
    fn look_after_replicas(&mut self) {
        let Serving { versions, agreement, replicas, .. } = self;
        let Some(agreement) = agreement else { return };
        let own = versions.active().element.id;
        let live = || versions.live().map(|version| (&version.domain, &version.set));
        let partners = live().flat_map(|(domain, set)| replicas::partners(domain, set, own));
        let partners: BTreeSet<String> = partners.collect();
        if let Err(error) = agreement.agreements().set_partners(partners.into_iter().collect()) {
            tracing::error!(%error, "replicas are not looked after");
        }
        if let Some(replicas) = replicas {
            replicas.set(&versions.active().domain.availability, live());
        }
    }

    /// Builds a version beside what runs. The answer comes from [`Serving::staged`], unless it is a no already.
    pub(super) async fn stage(
        &mut self,
        request: u64,
        text: &str,
        signed: &SignedPathSet,
        fronts: Fronts,
        counts: bool,
    ) -> Option<FromElement> {
        let key = PublicKey(self.bundle.path_key);
        let judged = self.versions.judge(text, signed, &key, self.ability);
        let built = match judged {
            Ok(version) => self.build(version, fronts).await,
            Err(nack) => Err(nack),
        };
        match built {
            Ok(()) => {
                let within = if counts { COUNTS_STAGED_WITHIN } else { STAGE_WITHIN };
                let until = Instant::now() + within;
                let absent = BTreeSet::new();
                self.staging = Some(Staging { request, until, counts, absent });
                self.staged(Instant::now()).await
            }
            Err(nack) => Some(FromElement::Staged { request, nack: Some(nack) }),
        }
    }

    /// The answer to the version that is being staged, once there is one.
    pub(super) async fn staged(&mut self, now: Instant) -> Option<FromElement> {
        let Staging { request, until, counts, absent } = self.staging.as_ref()?;
        let (request, until, counts) = (*request, *until, *counts);
        let set = &self.versions.staged()?.set;
        let version = set.version;
        let nack = match &self.agreement {
            Some(agreement) if !missing(agreement, set, absent).is_empty() => {
                if now < until {
                    return None;
                }
                let nack = no_keys(agreement, set, absent);
                if counts {
                    tracing::warn!(%version, %nack, "the paths stay closed until then");
                }
                (!counts).then_some(nack)
            }
            _ => None,
        };
        self.staging = None;
        if nack.is_some() {
            self.abandon(version).await;
        }
        Some(FromElement::Staged { request, nack })
    }

    /// These elements are away: the version that is being staged does without keys with them.
    pub(super) async fn absent(
        &mut self,
        version: PathVersion,
        elements: Vec<String>,
    ) -> Option<FromElement> {
        let staged = self.versions.staged().is_some_and(|staged| staged.set.version == version);
        self.staging.as_mut().filter(|_| staged)?.absent = elements.into_iter().collect();
        self.staged(Instant::now()).await
    }

    /// What begins from now on takes the version that is staged.
    pub(super) async fn activate(&mut self, request: u64, version: u64) -> FromElement {
        let now = Instant::now();
        let activated = match self.staging {
            Some(_) => {
                let reason = format!("version {version} has no keys yet");
                Err(Nack::new(Fault::Signer, reason))
            }
            None => self.versions.activate(PathVersion(version), now),
        };
        if activated.is_ok() {
            let function = self.versions.active().function;
            for (worker, settings) in self.workers.iter().zip(self.retuning.drain(..)) {
                worker.give(Command::Retune(function, settings));
            }
            if self.versions.active().served().is_some_and(|served| served.logger.is_some()) {
                for worker in &self.workers {
                    worker.give(Command::Retune(function, Box::new(self.legend())));
                }
            }
            self.workers.iter().for_each(|worker| worker.give(Command::UseFunction(function)));
            self.take_limits().await;
            self.look_after_replicas();
            if let Some(flows) = &self.flows {
                flows.learn(&self.versions.active().set);
            }
            if let (Some((proxy, _)), Some((policy, listeners, packets))) =
                (&mut self.proxy, self.policy.take())
            {
                proxy.set_policy(policy);
                proxy.take(listeners);
                proxy.take_wireguard(packets);
            }
            tracing::info!(version, "another version of the domain is active");
        }
        FromElement::Activated { request, nack: activated.err() }
    }

    /// Sizes and times of the version that is active.
    async fn take_limits(&mut self) {
        let limits = &self.versions.active().domain.limits;
        for worker in &self.workers {
            worker.give(Command::FlowIdle(limits.flow_idle_s));
        }
        if let Some(agreement) = &mut self.agreement
            && let Err(error) = agreement.set_limits(limits).await
        {
            tracing::error!(error = &*error, "the limits of the domain are not all in force");
        }
    }

    /// Forgets what is staged, if it is this version.
    pub(super) async fn abandon(&mut self, version: PathVersion) {
        if self.versions.staged().is_some_and(|staged| staged.set.version == version) {
            (self.staging, self.policy) = (None, None);
            self.retuning.clear();
            let retired = self.versions.abandon(version);
            self.let_go(retired).await;
        }
    }

    /// Ends what drained long enough, and lets go of it.
    pub(super) async fn retire(&mut self, now: Instant) {
        let over = self.versions.cut(now);
        if let Some((proxy, chains)) = self.proxy.as_ref().filter(|_| !over.is_empty()) {
            let cut = chains.cut(&over);
            proxy.cut_wireguard(&over);
            if let Some(counters) = proxy.counters().next() {
                counters.connections_path_removed.add(cut as u64);
            }
            if cut > 0 {
                tracing::warn!(connections = cut, "did not end before their path did");
            }
        }
        let retired = self.versions.retire(now);
        self.let_go(retired).await;
    }

    /// When [`Serving::staged`] or [`Serving::retire`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let staging = self.staging.as_ref().map(|staging| staging.until);
        staging.into_iter().chain(self.versions.next_timeout()).min()
    }

    async fn build(&mut self, version: Version, fronts: Fronts) -> Result<(), Nack> {
        let number = version.set.version;
        let new = self.versions.new_paths(&version);
        let needs_function = self.versions.needs_function(&version);
        let retunes = self.versions.retunes(&version);
        self.versions.stage(version);
        let built = async {
            self.prepare_inner().await?;
            self.put(new, needs_function).await?;
            self.prepare_function(retunes)?;
            self.agree().await?;
            self.prepare_proxy(fronts)
        };
        let Err(error) = built.await else { return Ok(()) };
        self.abandon(number).await;
        Err(Nack::new(Fault::Element, format!("{error:#}")))
    }

    /// Other settings for the function that stays, checked now and taken when the version counts.
    fn prepare_function(&mut self, retunes: bool) -> Result<()> {
        self.retuning.clear();
        let served = self.versions.staged().and_then(|staged| staged.served().cloned());
        let Some(served) = served.filter(|_| retunes) else { return Ok(()) };
        for _ in &self.workers {
            self.retuning.extend(build::settings_of(&served)?);
        }
        Ok(())
    }

    /// The new paths, at every worker; a new instance of the function first, where it changed.
    async fn put(
        &mut self,
        new: BTreeSet<ringmail_model::PathId>,
        needs_function: bool,
    ) -> Result<()> {
        let Some(staged) = self.versions.staged().cloned() else { return Ok(()) };
        let mut paths = Vec::new();
        for config in plan::paths(&staged.set, &staged.domain, staged.element.id)? {
            if new.contains(&config.id) {
                let like = self.versions.like(&staged.set, config.id);
                paths.push(NewPath { config, function: Some(staged.function), like });
            }
        }
        paths.extend(self.returns()?.into_iter().filter(|known| !new.contains(&known.config.id)));
        let came = staged
            .set
            .elements
            .iter()
            .any(|element| self.versions.active().set.element(element.id) != Some(element));
        let functions = match staged.served().filter(|_| needs_function) {
            Some(served) => build::functions_of(served, &self.legend(), self.workers.len())?,
            None => Vec::new(),
        };
        let mut functions = functions.into_iter();
        for worker in &self.workers {
            let function = functions.next().map(|function| (staged.function, function));
            if came {
                let (answer, taken) = oneshot::channel();
                let peers = self.peers();
                worker.give(Command::SetPeers(peers, answer));
                let taken =
                    taken.await.context("a worker has stopped")? || self.ability.links_are_fixed;
                ensure!(taken, "the link takes no new neighbours while it runs");
            }
            let (answer, done) = oneshot::channel();
            let new = NewPaths { function, paths: paths.clone() };
            worker.give(Command::PutPaths(Box::new(new), answer));
            done.await.context("a worker has stopped")??;
        }
        Ok(())
    }

    /// What the paths of every version that is live are called.
    fn legend(&self) -> Legend {
        let live = self.versions.live().map(|version| &version.set);
        Legend::new(live, self.versions.active().element.id)
    }

    /// Where neighbours receive, of every version that is live: one that goes gets what is still on its way.
    fn peers(&self) -> Vec<(Neighbour, SocketAddr)> {
        let own = self.versions.active().element.id;
        let all = self.versions.live().flat_map(|version| build::peers(&version.set, own));
        all.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// The ways back of return paths, which depend on all versions that are live.
    fn returns(&self) -> Result<Vec<NewPath>> {
        let live = self.versions.live().map(|version| (&version.set, &version.domain));
        let configs = plan::returns(live, self.versions.active().element.id)?.into_iter();
        Ok(configs.map(|config| NewPath { config, function: None, like: None }).collect())
    }

    /// Agrees on keys for all that is live.
    async fn agree(&mut self) -> Result<()> {
        let Serving { versions, agreement, .. } = self;
        if let Some(agreement) = agreement {
            agreement.set_paths(versions.live().map(|v| &v.set)).await?;
        }
        self.look_after_replicas();
        Ok(())
    }

    /// MTU and routes of the TUN fit every version that is live.
    async fn prepare_inner(&self) -> Result<()> {
        let role = self.versions.active().element.role;
        if role == Role::Hop {
            return Ok(());
        }
        let sets: Vec<&PathSet> = self.versions.live().map(|version| &version.set).collect();
        if let Some(staged) = self.versions.staged() {
            inner::adapt(&staged.domain, role, &sets).await.context("the inner side")?;
            if let Some(guard) = &self.guard {
                guard.learn(&staged.domain).await?;
            }
        } else {
            inner::set_mtu(&sets).await.context("the inner side")?;
        }
        Ok(())
    }

    fn prepare_proxy(&mut self, fronts: Fronts) -> Result<()> {
        let (Some((proxy, chains)), Some(staged)) = (&self.proxy, self.versions.staged()) else {
            return Ok(());
        };
        let now = &self.versions.active().domain.gateway;
        ensure!(
            now.access_log == staged.domain.gateway.access_log,
            "the access log of the gateway cannot change while it runs"
        );
        let legs = told::legs(&staged.domain, fronts.services)?;
        let listeners = fronts.listeners.into_iter().map(told::listener);
        let listeners = listeners.collect::<Result<Vec<_>>>()?;
        let keys = listeners.iter().find_map(|listener| listener.wireguard.clone());
        let policy = proxy::policy(&staged.domain, &staged.set, legs)?;
        let packets = proxy.prepare_wireguard(&staged.domain, &staged.set, keys.as_ref())?;
        self.policy = Some((policy, proxy.prepare(&staged.domain, chains, listeners)?, packets));
        chains.set_services(self.services(), self.variants());
        chains.set_knowledge(self.knowledge());
        Ok(())
    }

    /// Where services are by every path that is live.
    fn services(&self) -> Addresses {
        let live = self.versions.live();
        live.flat_map(|version| proxy::services(&version.domain, &version.set)).collect()
    }

    /// What is known of flows by every version that is live.
    fn knowledge(&self) -> Knowledge {
        Knowledge::of(self.versions.live().map(|version| (&version.domain, &version.set)))
    }

    /// The replicas of every path that is live.
    fn variants(&self) -> Variants {
        let live = self.versions.live();
        live.flat_map(|version| proxy::variants(&version.domain, &version.set)).collect()
    }

    async fn let_go(&mut self, Retired { paths, functions }: Retired) {
        if paths.is_empty() && functions.is_empty() {
            return;
        }
        tracing::debug!(paths = paths.len(), functions = functions.len(), "let go");
        if let Some((_, chains)) = &self.proxy {
            chains.set_services(self.services(), self.variants());
            chains.set_knowledge(self.knowledge());
        }
        // What cannot be done here could not be done before either, and then there would be no such version.
        if let Err(error) = self.agree().await {
            tracing::error!(error = &*error, "keys of old paths run out with their leases");
        }
        for worker in &self.workers {
            worker.give(Command::RemovePaths(paths.clone(), functions.clone()));
            if let Ok(paths) = self.returns() {
                let (answer, _) = oneshot::channel();
                worker
                    .give(Command::PutPaths(Box::new(NewPaths { function: None, paths }), answer));
            }
        }
        if let Err(error) = self.prepare_inner().await {
            tracing::warn!(error = &*error, "the TUN keeps its MTU");
        }
    }
}

/// What is not agreed on yet, but for what elements that are away would have to.
fn missing(agreement: &Agreement, set: &PathSet, absent: &BTreeSet<String>) -> Vec<SegmentView> {
    let mut missing = agreement.missing(set);
    missing.retain(|view| {
        set.element(view.receiver).is_none_or(|element| !absent.contains(&element.name))
    });
    missing
}

/// The no to a version for which a neighbour did not agree in time.
fn no_keys(agreement: &Agreement, set: &PathSet, absent: &BTreeSet<String>) -> Nack {
    let missing: BTreeSet<String> = missing(agreement, set, absent)
        .iter()
        .map(|view| {
            let to = set.element(view.receiver).map_or("?", |element| &element.name);
            let path = set.path(view.path).map_or("?", |path| &path.name);
            format!("path `{path}` to `{to}`")
        })
        .collect();
    let missing: Vec<String> = missing.into_iter().collect();
    let within = STAGE_WITHIN.as_secs();
    let reason = format!("no keys within {within} s for {}", missing.join(", "));
    Nack::new(Fault::Neighbour, reason).hint("see `ringmail status` for how that element is")
}
