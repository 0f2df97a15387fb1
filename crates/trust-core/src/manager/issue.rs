//! What is issued upon good evidence, certificates and leases, and how it is taken back.

use ringmail_model::Name;

use super::Now;
use super::audit::{Act, Issued, cut};
use super::effect::Effect;
use super::host::{Live, prune};
use super::machine::{Manager, Refusal};
use super::merkle::Hash;
use super::subject::{Kind, Serial, Subject};
use crate::limits::{AGENT_LASTS_S, LIVE_CERTIFICATES};

/// A certificate that may be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// For whom.
    pub subject: Subject,
    /// On which host.
    pub host: Name,
    /// The one name in it.
    pub spiffe_id: String,
    /// How long it holds.
    pub lasts_s: u64,
    /// SHA-256 of the evidence on which it stands; zeros for an agent's.
    pub evidence: Hash,
}

/// A lease of standing that may be signed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// For whom.
    pub subject: Subject,
    /// Its SPIFFE id.
    pub spiffe_id: String,
    /// How long it holds from the moment at which its holder asked.
    pub lasts_ms: u64,
}

/// A certificate that was revoked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) at_unix_s: u64,
    pub(super) not_after_unix_s: u64,
}

impl Manager {
    /// Whether a host or function may have a certificate over the key with this SHA-256 now.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn may_issue(&mut self, now: Now, subject: &Subject, key: &Hash) -> Result<Grant, Refusal> {
        if subject.kind == Kind::Agent {
            return Err(Refusal::Stale(subject.clone()));
        }
        let attested = self.fresh(now, subject)?;
        if attested.key.as_ref() != Some(key) {
            return Err(Refusal::AnotherKey(subject.clone()));
        }
        let evidence = attested.evidence;
        self.room(now, subject)?;
        Ok(Grant {
            subject: subject.clone(),
            host: self.host_of(subject),
            spiffe_id: subject.spiffe_id(&self.trust_domain),
            lasts_s: self.policy.svid_s,
            evidence,
        })
    }

    /// Whether the agent of a host may have a certificate. It is good for talking to the manager only.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn may_issue_agent(&mut self, now: Now, host: &Name) -> Result<Grant, Refusal> {
        self.known(host)?;
        let subject = Subject::agent(host.clone());
        self.room(now, &subject)?;
        let spiffe_id = subject.spiffe_id(&self.trust_domain);
        let (host, lasts_s) = (host.clone(), AGENT_LASTS_S);
        Ok(Grant { subject, host, spiffe_id, lasts_s, evidence: [0; 32] })
    }

    /// A certificate was made upon a grant. It may be handed out once the effects of this are durable.
    pub fn handle_issued(
        &mut self,
        grant: Grant,
        serial: Serial,
        certificate: Hash,
        not_after_unix_s: u64,
    ) {
        if let Some(live) = self.live_mut(&grant.subject) {
            live.push(Live { serial, not_after_unix_s });
        }
        let Grant { subject, host, spiffe_id, evidence, .. } = grant;
        let issued =
            Issued { subject, host, spiffe_id, serial, certificate, evidence, not_after_unix_s };
        self.effects.push_back(Effect::Log(Act::Issued(issued)));
    }

    /// Whether a host or function is in good standing now, and for how long its holder may say so.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn may_lease(&self, now: Now, subject: &Subject) -> Result<Leased, Refusal> {
        if subject.kind == Kind::Agent {
            return Err(Refusal::Unknown(subject.clone()));
        }
        self.fresh(now, subject)?;
        Ok(Leased {
            subject: subject.clone(),
            spiffe_id: subject.spiffe_id(&self.trust_domain),
            lasts_ms: self.policy.lease_s.saturating_mul(1000),
        })
    }

    /// Whether a certificate was revoked.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.gone.contains_key(serial)
    }

    /// Whether a certificate is one of those that hold.
    pub fn is_live(&mut self, subject: &Subject, serial: &Serial) -> bool {
        self.live_mut(subject).is_some_and(|live| live.iter().any(|held| held.serial == *serial))
    }

    /// What the revocation list names: each with the time at which it was revoked, in seconds since 1970.
    pub fn revoked(&self) -> impl Iterator<Item = (Serial, u64)> + '_ {
        self.gone.iter().map(|(serial, gone)| (*serial, gone.at_unix_s))
    }

    /// Revokes what a host or function has; a host's functions go with it.
    pub(super) fn revoke_all(&mut self, now: Now, subject: &Subject, cause: &str) {
        let on_it = self.functions_of(subject);
        self.revoke(now, subject, cause);
        for function in &on_it {
            self.revoke(now, function, &format!("its {subject} is not trusted: {cause}"));
        }
        self.cut_off(subject);
    }

    /// Revokes what the agent of a host has.
    pub(super) fn revoke_agent(&mut self, now: Now, host: &Name, cause: &str) {
        self.revoke(now, &Subject::agent(host.clone()), cause);
    }

    fn revoke(&mut self, now: Now, subject: &Subject, cause: &str) {
        if let Some(trust) = self.trust_mut(subject) {
            trust.attested = None;
        }
        let Some(live) = self.live_mut(subject) else { return };
        prune(live, now.unix_s());
        let live = std::mem::take(live);
        if live.is_empty() {
            return;
        }
        let at_unix_s = now.unix_s();
        let gone = live
            .iter()
            .map(|held| (held.serial, Gone { at_unix_s, not_after_unix_s: held.not_after_unix_s }));
        self.gone.extend(gone);
        let serials: Vec<Serial> = live.iter().map(|held| held.serial).collect();
        let (subject, cause) = (subject.clone(), cut(cause).to_owned());
        let act = Act::Revoked { subject: subject.clone(), serials: serials.clone(), cause };
        self.effects.push_back(Effect::Log(act));
        self.effects.push_back(Effect::Revoked { subject, serials });
    }

    fn room(&mut self, now: Now, subject: &Subject) -> Result<(), Refusal> {
        let unknown = || Refusal::Unknown(subject.clone());
        let live = self.live_mut(subject).ok_or_else(unknown)?;
        prune(live, now.unix_s());
        match live.len() < LIVE_CERTIFICATES {
            true => Ok(()),
            false => Err(Refusal::TooMany("certificates of one holder")),
        }
    }

    pub(super) fn host_of(&self, subject: &Subject) -> Name {
        let function = self.functions.get(&subject.name).filter(|_| subject.kind == Kind::Function);
        function.map_or_else(|| subject.name.clone(), |function| function.host.clone())
    }
}
