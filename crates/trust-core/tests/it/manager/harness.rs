//! A manager whose clock the test turns, and evidence that is good or bad as the test says.

use std::time::{Duration, Instant};

use ringmail_model::Name;
use ringmail_trust_core::manager::audit::Act;
use ringmail_trust_core::manager::{
    Effect, Judged, Manager, Now, Policy, Refusal, Serial, Subject, Verdict,
};

/// The time at which tests begin, in seconds since 1970.
pub(crate) const BEGINNING_UNIX_S: u64 = 1_800_000_000;

/// The key that all good evidence vouches for.
pub(crate) const KEY: [u8; 32] = [7; 32];

pub(crate) struct World {
    pub(crate) manager: Manager,
    pub(crate) now: Now,
    nonces: u8,
    serials: u8,
}

impl World {
    pub(crate) fn new(policy: Policy) -> World {
        let manager = Manager::new("campus.example".parse().unwrap(), policy);
        let now = Now { instant: Instant::now(), unix_ms: BEGINNING_UNIX_S * 1000 };
        World { manager, now, nonces: 0, serials: 0 }
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now.instant += Duration::from_secs(seconds);
        self.now.unix_ms += seconds * 1000;
        self.manager.handle_timeout(self.now);
    }

    pub(crate) fn enrol(&mut self, host: &str) {
        self.manager.handle_enrolment(self.now, &name(host), [1; 32]).unwrap();
    }

    fn random(&mut self) -> [u8; 32] {
        self.nonces += 1;
        [self.nonces; 32]
    }

    fn verdict(&self, refused: Option<&str>) -> Verdict {
        let refused = refused.map(str::to_owned);
        let policy = self.manager.policy_number();
        Verdict { evidence: [9; 32], key: Some(KEY), refused, policy }
    }

    pub(crate) fn host_shows(
        &mut self,
        host: &str,
        refused: Option<&str>,
    ) -> Result<Judged, Refusal> {
        let (host, random) = (name(host), self.random());
        let nonce = self.manager.handle_nonce(self.now, &host, random)?;
        let taken = self.manager.handle_evidence(self.now, &host, &nonce)?;
        self.manager.handle_host_verdict(self.now, &host, taken, &self.verdict(refused))
    }

    pub(crate) fn function_shows(
        &mut self,
        function: &str,
        host: &str,
        refused: Option<&str>,
    ) -> Result<Judged, Refusal> {
        let (function, host, random) = (name(function), name(host), self.random());
        let nonce = self.manager.handle_nonce(self.now, &host, random)?;
        let taken = self.manager.handle_evidence(self.now, &host, &nonce)?;
        let verdict = self.verdict(refused);
        self.manager.handle_function_verdict(self.now, &function, &host, taken, &verdict)
    }

    /// Asks for a certificate, and has it made.
    pub(crate) fn issue(&mut self, subject: &Subject) -> Result<Serial, Refusal> {
        let grant = self.manager.may_issue(self.now, subject, &KEY)?;
        self.serials += 1;
        let serial = Serial([self.serials; 16]);
        let not_after = self.now.unix_s() + grant.lasts_s;
        self.manager.handle_issued(grant, serial, [3; 32], not_after);
        Ok(serial)
    }

    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.manager.poll_effect()).collect()
    }

    /// What was logged since it was asked last.
    pub(crate) fn acts(&mut self) -> Vec<Act> {
        let act = |effect| match effect {
            Effect::Log(act) => Some(act),
            _ => None,
        };
        self.effects().into_iter().filter_map(act).collect()
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn host(text: &str) -> Subject {
    Subject::host(name(text))
}

pub(crate) fn function(text: &str) -> Subject {
    Subject::function(name(text))
}

/// The default rules, with functions sf1 on h1 only and sf2 anywhere.
pub(crate) fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.functions.entry(name("sf1")).or_default().hosts.insert(name("h1"));
    policy.functions.entry(name("sf2")).or_default();
    policy
}
