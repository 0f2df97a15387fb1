//! What a verdict does: better or worse standing, and what follows from that.

use std::time::Instant;

use ringmail_model::Name;

use super::Now;
use super::effect::Effect;
use super::host::Attested;
use super::machine::{Manager, Refusal};
use super::merkle::Hash;
use super::nonces::Taken;
use super::policy::Recovery;
use super::subject::{Kind, Standing, Subject};

/// What an appraisal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// SHA-256 of the evidence.
    pub evidence: Hash,
    /// SHA-256 of the public key (SubjectPublicKeyInfo in DER) that the evidence vouches for, if it does for one.
    pub key: Option<Hash>,
    /// Why it is refused; `None` when it is good.
    pub refused: Option<String>,
    /// The number of the policy that it was appraised by.
    pub policy: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// How the host or function stands now.
    pub standing: Standing,
    /// Why.
    pub cause: String,
    /// Whether something could be issued upon this evidence.
    pub takes_part: bool,
}

impl Manager {
    /// Judges a host by its newest evidence.
    ///
    /// # Errors
    /// [`Refusal::Unknown`]; [`Refusal::Overtaken`], and then nothing has changed.
    pub fn handle_host_verdict(
        &mut self,
        now: Now,
        host: &Name,
        taken: Taken,
        verdict: &Verdict,
    ) -> Result<Judged, Refusal> {
        let subject = Subject::host(host.clone());
        self.known(host)?;
        self.judge(now, &subject, taken, verdict)?;
        if verdict.refused.is_none()
            && let Some(known) = self.hosts.get_mut(host)
        {
            known.heard = now.instant;
        }
        self.watch(host);
        self.judged(&subject)
    }

    /// Judges a function on a host by its newest evidence.
    ///
    /// # Errors
    /// [`Refusal`] when it may not be there at all, or its host is not trusted; then nothing has changed.
    pub fn handle_function_verdict(
        &mut self,
        now: Now,
        function: &Name,
        host: &Name,
        taken: Taken,
        verdict: &Verdict,
    ) -> Result<Judged, Refusal> {
        self.fresh(now, &Subject::host(host.clone()))?;
        let (function_name, host_name) = (function.clone(), host.clone());
        if !self.policy.places(function, host) {
            return Err(Refusal::NotPlaced { function: function_name, host: host_name });
        }
        // Evidence that is refused moves nobody: another host could bring bad evidence for it.
        if verdict.refused.is_none() || !self.functions.contains_key(function) {
            self.place(now, function, host)?;
        } else if let Some(known) = self.functions.get(function)
            && known.host != *host
        {
            let elsewhere = known.host.clone();
            return Err(Refusal::Elsewhere { function: function_name, host: elsewhere });
        }
        let subject = Subject::function(function_name);
        self.judge(now, &subject, taken, verdict)?;
        self.judged(&subject)
    }

    fn judged(&self, subject: &Subject) -> Result<Judged, Refusal> {
        let trust = match subject.kind {
            Kind::Host => self.hosts.get(&subject.name).map(|host| &host.trust),
            _ => self.functions.get(&subject.name).map(|function| &function.trust),
        };
        let trust = trust.ok_or_else(|| Refusal::Unknown(subject.clone()))?;
        Ok(Judged {
            standing: trust.standing,
            cause: trust.cause.clone(),
            takes_part: trust.standing.takes_part() && trust.attested.is_some(),
        })
    }

    fn judge(
        &mut self,
        now: Now,
        subject: &Subject,
        taken: Taken,
        verdict: &Verdict,
    ) -> Result<(), Refusal> {
        let (current, recovery) = (self.policy_number, self.policy.recovery);
        let stages = self.policy.refused;
        let unknown = || Refusal::Unknown(subject.clone());
        let trust = self.trust_mut(subject).ok_or_else(unknown)?;
        if taken.number <= trust.judged || verdict.policy != current {
            return Err(Refusal::Overtaken);
        }
        trust.judged = taken.number;
        let Some(cause) = &verdict.refused else {
            trust.attested = Some(Attested {
                at: now.instant,
                at_unix_ms: now.unix_ms,
                evidence: verdict.evidence,
                key: verdict.key,
            });
            let had_refusals = std::mem::take(&mut trust.refusals) > 0;
            let automatic = trust.pardoned || (recovery == Recovery::Automatic && !trust.held);
            let to = match trust.standing {
                Standing::Enrolling => Standing::Trusted,
                Standing::Warned | Standing::Quarantined if !trust.held => Standing::Trusted,
                Standing::Revoked if automatic => Standing::Trusted,
                Standing::Revoked => Standing::Recovering,
                same => same,
            };
            if to != trust.standing {
                trust.pardoned = false;
                self.improve(now, subject, to, "its evidence is good");
            } else if had_refusals {
                self.keep(subject);
            }
            self.readmit(subject);
            return Ok(());
        };
        trust.attested = None;
        trust.pardoned = false;
        trust.refusals = trust.refusals.saturating_add(1);
        let (refusals, standing) = (trust.refusals, trust.standing);
        match stages.reached(refusals) {
            Some(_) if standing == Standing::Enrolling => {}
            Some(stage) => self.worsen(now, subject, stage, cause),
            None => self.keep(subject),
        }
        Ok(())
    }

    /// Whether something may be issued to it: it and its host are trusted, and their evidence is fresh.
    pub(super) fn fresh(&self, now: Now, subject: &Subject) -> Result<&Attested, Refusal> {
        let stale = || Refusal::Stale(subject.clone());
        let trust = match subject.kind {
            Kind::Host | Kind::Agent => &self.known(&subject.name)?.trust,
            Kind::Function => {
                let unknown = || Refusal::Unknown(subject.clone());
                let function = self.functions.get(&subject.name).ok_or_else(unknown)?;
                self.fresh(now, &Subject::host(function.host.clone()))?;
                &function.trust
            }
        };
        if !trust.standing.takes_part() {
            let (standing, cause) = (trust.standing, trust.cause.clone());
            return Err(Refusal::NotTrusted { subject: subject.clone(), standing, cause });
        }
        let attested = trust.attested.as_ref().ok_or_else(stale)?;
        if self.is_fresh(now.instant, attested) { Ok(attested) } else { Err(stale()) }
    }

    pub(super) fn is_fresh(&self, now: Instant, attested: &Attested) -> bool {
        now.saturating_duration_since(attested.at).as_secs() < self.policy.evidence_fresh_s
    }

    /// Lets it stand better than before.
    pub(super) fn improve(&mut self, now: Now, subject: &Subject, to: Standing, cause: &str) {
        let Some(trust) = self.trust_mut(subject) else { return };
        if to != trust.standing {
            self.log_standing(now, subject, to, cause);
        }
        self.readmit(subject);
    }

    /// Lets it, and what is on it, into its paths again where it was taken out and may be there now. What was revoked with
    /// its host has to show evidence of its own first.
    fn readmit(&mut self, subject: &Subject) {
        for who in std::iter::once(subject.clone()).chain(self.functions_of(subject)) {
            let host = self.hosts.get(&self.host_of(&who));
            let host_takes_part = host.is_some_and(|host| host.trust.standing.takes_part());
            let Some(trust) = self.trust_mut(&who) else { continue };
            let takes_part = trust.standing.takes_part() && trust.attested.is_some();
            if trust.withdrawn && takes_part && host_takes_part {
                trust.withdrawn = false;
                self.effects.push_back(Effect::Readmit(who));
            }
        }
    }

    /// Lets it stand worse than before, with what follows; nothing if it stands so or worse already.
    pub(super) fn worsen(&mut self, now: Now, subject: &Subject, to: Standing, cause: &str) {
        let Some(trust) = self.trust_mut(subject) else { return };
        if severity(to) <= severity(trust.standing) {
            self.keep(subject);
            return;
        }
        self.log_standing(now, subject, to, cause);
        match to {
            Standing::Revoked => self.revoke_all(now, subject, cause),
            Standing::Quarantined => self.cut_off(subject),
            _ => {}
        }
    }

    /// It and all that is on it leave their paths, and neighbours end their sessions.
    pub(super) fn cut_off(&mut self, subject: &Subject) {
        for who in std::iter::once(subject.clone()).chain(self.functions_of(subject)) {
            if let Some(trust) = self.trust_mut(&who) {
                trust.withdrawn = true;
            }
            self.effects.push_back(Effect::CloseLeases(who.clone()));
            self.effects.push_back(Effect::Withdraw(who));
        }
    }

    /// The functions on a host; none on a function.
    pub(super) fn functions_of(&self, subject: &Subject) -> Vec<Subject> {
        if subject.kind != Kind::Host {
            return Vec::new();
        }
        let on_host = self.on_host.get(&subject.name).into_iter().flatten();
        on_host.cloned().map(Subject::function).collect()
    }
}

fn severity(standing: Standing) -> u8 {
    match standing {
        Standing::Enrolling | Standing::Trusted => 0,
        Standing::Warned => 1,
        Standing::Quarantined => 2,
        Standing::Recovering => 3,
        Standing::Revoked => 4,
    }
}
