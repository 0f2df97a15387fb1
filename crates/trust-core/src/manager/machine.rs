//! The machine: hosts, functions, deadlines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use ringmail_model::{Name, TrustDomain};

use super::Now;
use super::audit::{Act, cut};
use super::effect::{Effect, FunctionRecord, HostRecord};
use super::function::{Function, FunctionView};
use super::host::{Host, HostView, Live, Trust};
use super::issue::Gone;
use super::merkle::Hash;
use super::nonces::{Nonce, Nonces, Taken};
use super::policy::Policy;
use super::subject::{Kind, Serial, Standing, Subject};
use crate::limits::{FUNCTIONS, HOSTS};

/// Decides who may hold an identity. Every `handle_…` may leave effects behind: [`Manager::poll_effect`].
#[derive(Debug)]
pub struct Manager {
    pub(super) trust_domain: TrustDomain,
    pub(super) policy: Policy,
    /// Grows with every change of the policy: a verdict by an earlier one does not count.
    pub(super) policy_number: u64,
    pub(super) hosts: BTreeMap<Name, Host>,
    pub(super) functions: BTreeMap<Name, Function>,
    pub(super) on_host: BTreeMap<Name, BTreeSet<Name>>,
    pub(super) nonces: Nonces,
    due: BTreeSet<(Instant, Name)>,
    pub(super) gone: BTreeMap<Serial, Gone>,
    pub(super) effects: VecDeque<Effect>,
}

/// Why something is not done. The asker is at fault, or its evidence, or its host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody of this name was ever taken in.
    #[error("{0} is not known")]
    Unknown(Subject),
    /// The policy does not name the function, or puts it elsewhere.
    #[error("policy does not let function {function} be on host {host}")]
    NotPlaced {
        /// The function.
        function: Name,
        /// Where it wants to be.
        host: Name,
    },
    /// Another host has it, and is in good standing.
    #[error("function {function} is on host {host}, which is trusted")]
    Elsewhere {
        /// The function.
        function: Name,
        /// Where it is.
        host: Name,
    },
    /// Nobody trusts the host or function now.
    #[error("{subject} is {standing}: {cause}")]
    NotTrusted {
        /// Who.
        subject: Subject,
        /// How it stands.
        standing: Standing,
        /// Why.
        cause: String,
    },
    /// Its evidence is too old, or was never seen by this process.
    #[error("{0} has to show new evidence first")]
    Stale(Subject),
    /// The nonce was never made for this host, was used before, or is too old.
    #[error(
        "the nonce is refused: it was never made for this host, was used before, or is too old"
    )]
    BadNonce,
    /// Newer evidence was judged while this one was.
    #[error("newer evidence, or a newer policy, has overtaken this evidence")]
    Overtaken,
    /// The evidence vouches for another key than the request has.
    #[error("the evidence of {0} does not vouch for the key of the request")]
    AnotherKey(Subject),
    /// There is nothing that an operator's word could bring back.
    #[error("{subject} is {standing}, and needs nobody's word")]
    NothingToRecover {
        /// Who.
        subject: Subject,
        /// How it stands.
        standing: Standing,
    },
    /// A table is full.
    #[error("there are too many {0}")]
    TooMany(&'static str),
}

/// How many stand how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hosts by standing.
    pub hosts: BTreeMap<Standing, usize>,
    /// Functions by standing.
    pub functions: BTreeMap<Standing, usize>,
    /// Certificates that hold.
    pub certificates: usize,
    /// Certificates that were revoked and have not run out.
    pub revoked: usize,
}

impl Manager {
    /// Knows nobody yet.
    pub fn new(trust_domain: TrustDomain, policy: Policy) -> Manager {
        Manager {
            trust_domain,
            policy,
            policy_number: 1,
            hosts: BTreeMap::new(),
            functions: BTreeMap::new(),
            on_host: BTreeMap::new(),
            nonces: Nonces::default(),
            due: BTreeSet::new(),
            gone: BTreeMap::new(),
            effects: VecDeque::new(),
        }
    }

    /// The rules.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Which rules: what is appraised has to be judged by the same.
    pub const fn policy_number(&self) -> u64 {
        self.policy_number
    }

    /// The domain.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// A host as it was remembered. Its silence counts from now on, and nothing is issued before it shows evidence again.
    pub fn restore_host(&mut self, now: Now, record: HostRecord) {
        let HostRecord { name, standing, anchor, refusals, held, cause, since_unix_ms } = record;
        let withdrawn = !standing.takes_part();
        let new = Trust::new(standing, &cause, since_unix_ms);
        let trust = Trust { refusals, held, withdrawn, ..new };
        let host = Host { anchor, trust, heard: now.instant, due: None, agent_live: Vec::new() };
        self.hosts.insert(name.clone(), host);
        self.watch(&name);
    }

    /// A function as it was remembered; its host comes first.
    pub fn restore_function(&mut self, record: FunctionRecord) {
        let FunctionRecord { name, host, standing, refusals, held, cause, since_unix_ms } = record;
        let on = self.hosts.get(&host);
        let withdrawn = !standing.takes_part() || on.is_none_or(|host| host.trust.withdrawn);
        let new = Trust::new(standing, &cause, since_unix_ms);
        let trust = Trust { refusals, held, withdrawn, ..new };
        self.on_host.entry(host.clone()).or_default().insert(name.clone());
        self.functions.insert(name, Function { host, trust });
    }

    /// A certificate as it was remembered.
    pub fn restore_certificate(
        &mut self,
        subject: &Subject,
        serial: Serial,
        not_after_unix_s: u64,
        revoked_unix_s: Option<u64>,
    ) {
        if let Some(at_unix_s) = revoked_unix_s {
            self.gone.insert(serial, Gone { at_unix_s, not_after_unix_s });
        } else if let Some(live) = self.live_mut(subject) {
            live.push(Live { serial, not_after_unix_s });
        }
    }

    /// Other rules from now on. What was judged by the old ones stands until its next evidence, and evidence that is
    /// being judged has to come again.
    pub fn handle_policy(&mut self, policy: Policy, digest: Hash, by: &str) {
        self.policy = policy;
        self.policy_number += 1;
        self.effects.push_back(Effect::Log(Act::PolicySet { policy: digest, by: by.to_owned() }));
        let hosts: Vec<Name> = self.hosts.keys().cloned().collect();
        hosts.iter().for_each(|host| self.watch(host));
    }

    /// Takes a host in: `anchor` is what its evidence will be bound to. Whether it may come the caller found out, by a
    /// token that an operator made.
    ///
    /// # Errors
    /// [`Refusal::TooMany`].
    pub fn handle_enrolment(&mut self, now: Now, host: &Name, anchor: Hash) -> Result<(), Refusal> {
        if let Some(known) = self.hosts.get(host) {
            if known.anchor == anchor {
                return Ok(());
            }
            let subject = Subject::host(host.clone());
            self.revoke_all(now, &subject, "it enrolled anew with another key");
            self.log_standing(now, &subject, Standing::Enrolling, "it enrolled anew");
        } else if self.hosts.len() >= HOSTS {
            return Err(Refusal::TooMany("hosts"));
        }
        let trust = Trust::new(Standing::Enrolling, "it enrolled", now.unix_ms);
        let taken = Host { anchor, trust, heard: now.instant, due: None, agent_live: Vec::new() };
        self.effects.push_back(Effect::Log(Act::Enrolled { host: host.clone(), anchor }));
        self.effects.push_back(Effect::KeepHost(taken.record(host)));
        self.hosts.insert(host.clone(), taken);
        self.watch(host);
        Ok(())
    }

    /// A nonce for the evidence of a host or of what is on it.
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::TooMany`].
    pub fn handle_nonce(&mut self, now: Now, host: &Name, random: Nonce) -> Result<Nonce, Refusal> {
        self.known(host)?;
        self.nonces.make(now, host, random).ok_or(Refusal::TooMany("nonces"))
    }

    /// A nonce that came back with evidence: it is used now, whatever becomes of the evidence.
    ///
    /// # Errors
    /// [`Refusal::BadNonce`].
    pub fn handle_evidence(
        &mut self,
        now: Now,
        host: &Name,
        nonce: &Nonce,
    ) -> Result<Taken, Refusal> {
        self.nonces.take(now.instant, host, nonce).ok_or(Refusal::BadNonce)
    }

    /// When [`Manager::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let silent = self.due.first().map(|(due, _)| *due);
        [silent, self.nonces.oldest_ends()].into_iter().flatten().min()
    }

    /// What silence does.
    pub fn handle_timeout(&mut self, now: Now) {
        self.nonces.forget_old(now.instant);
        self.gone.retain(|_, gone| gone.not_after_unix_s >= now.unix_s());
        while let Some((due, name)) = self.due.first().cloned() {
            if due > now.instant {
                return;
            }
            self.due.pop_first();
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            host.due = None;
            let silent = now.instant.saturating_duration_since(host.heard);
            if let Some(stage) = self.policy.silence.reached(silent) {
                let cause = format!("no good evidence for {} s", silent.as_secs());
                self.worsen(now, &Subject::host(name.clone()), stage, &cause);
            }
            self.watch(&name);
        }
    }

    /// What the driver has to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A host as reports show it.
    pub fn host(&self, name: &Name) -> Option<HostView> {
        let host = self.hosts.get(name)?;
        Some(HostView {
            record: host.record(name),
            attested_unix_ms: host.trust.attested.as_ref().map(|attested| attested.at_unix_ms),
            certificates: host.trust.live.len(),
            functions: self.on_host.get(name).into_iter().flatten().cloned().collect(),
        })
    }

    /// A function as reports show it.
    pub fn function(&self, name: &Name) -> Option<FunctionView> {
        let function = self.functions.get(name)?;
        let host = self.hosts.get(&function.host);
        Some(FunctionView {
            record: function.record(name),
            attested_unix_ms: function.trust.attested.as_ref().map(|good| good.at_unix_ms),
            certificates: function.trust.live.len(),
            takes_part: function.trust.standing.takes_part()
                && host.is_some_and(|host| host.trust.standing.takes_part()),
        })
    }

    /// All hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = HostView> + '_ {
        self.hosts.keys().filter_map(|name| self.host(name))
    }

    /// All functions, by name.
    pub fn functions(&self) -> impl Iterator<Item = FunctionView> + '_ {
        self.functions.keys().filter_map(|name| self.function(name))
    }

    /// How many stand how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { revoked: self.gone.len(), ..Counts::default() };
        for host in self.hosts.values() {
            *counts.hosts.entry(host.trust.standing).or_default() += 1;
            counts.certificates += host.trust.live.len() + host.agent_live.len();
        }
        for function in self.functions.values() {
            *counts.functions.entry(function.trust.standing).or_default() += 1;
            counts.certificates += function.trust.live.len();
        }
        counts
    }

    pub(super) fn known(&self, host: &Name) -> Result<&Host, Refusal> {
        self.hosts.get(host).ok_or_else(|| Refusal::Unknown(Subject::host(host.clone())))
    }

    pub(super) fn trust_mut(&mut self, subject: &Subject) -> Option<&mut Trust> {
        match subject.kind {
            Kind::Host => self.hosts.get_mut(&subject.name).map(|host| &mut host.trust),
            Kind::Function => self.functions.get_mut(&subject.name).map(|known| &mut known.trust),
            Kind::Agent => None,
        }
    }

    pub(super) fn live_mut(&mut self, subject: &Subject) -> Option<&mut Vec<Live>> {
        match subject.kind {
            Kind::Agent => self.hosts.get_mut(&subject.name).map(|host| &mut host.agent_live),
            Kind::Host | Kind::Function => self.trust_mut(subject).map(|trust| &mut trust.live),
        }
    }

    /// A place for a function on a host, which policy allows.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn place(&mut self, now: Now, function: &Name, host: &Name) -> Result<(), Refusal> {
        if let Some(known) = self.functions.get(function) {
            if known.host == *host {
                return Ok(());
            }
            let (was, subject) = (known.host.clone(), Subject::function(function.clone()));
            if self.fresh(now, &subject).is_ok() {
                return Err(Refusal::Elsewhere { function: function.clone(), host: was });
            }
            self.revoke_all(now, &subject, &format!("it moved to host {host}"));
            if let Some(on_host) = self.on_host.get_mut(&was) {
                on_host.remove(function);
            }
            if let Some(known) = self.functions.get_mut(function) {
                known.host = host.clone();
            }
        } else {
            if self.functions.len() >= FUNCTIONS {
                return Err(Refusal::TooMany("functions"));
            }
            let trust = Trust::new(Standing::Enrolling, "it came", now.unix_ms);
            self.functions.insert(function.clone(), Function { host: host.clone(), trust });
        }
        self.on_host.entry(host.clone()).or_default().insert(function.clone());
        self.keep(&Subject::function(function.clone()));
        Ok(())
    }

    /// Lets a subject stand differently: it is logged and remembered.
    pub(super) fn log_standing(&mut self, now: Now, subject: &Subject, to: Standing, cause: &str) {
        let Some(trust) = self.trust_mut(subject) else { return };
        let from = std::mem::replace(&mut trust.standing, to);
        trust.cause = cut(cause).to_owned();
        trust.since_unix_ms = now.unix_ms;
        let cause = trust.cause.clone();
        let subject = subject.clone();
        self.effects.push_back(Effect::Log(Act::Stands {
            subject: subject.clone(),
            from,
            to,
            cause,
        }));
        self.keep(&subject);
    }

    pub(super) fn keep(&mut self, subject: &Subject) {
        let name = &subject.name;
        let effect = match subject.kind {
            Kind::Host => self.hosts.get(name).map(|host| Effect::KeepHost(host.record(name))),
            Kind::Function => {
                self.functions.get(name).map(|known| Effect::KeepFunction(known.record(name)))
            }
            Kind::Agent => None,
        };
        self.effects.extend(effect);
    }

    /// Sets the clock on a host's silence.
    pub(super) fn watch(&mut self, name: &Name) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        let next = self.policy.silence.next(host.trust.standing);
        let due = next.and_then(|after| host.heard.checked_add(after));
        if let Some(old) = std::mem::replace(&mut host.due, due) {
            self.due.remove(&(old, name.clone()));
        }
        if let Some(due) = due {
            self.due.insert((due, name.clone()));
        }
    }
}
