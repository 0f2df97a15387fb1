//! A simulated host, the reference values that allow it, and rounds between it and a verifier.

use std::sync::Arc;

use ringmail_trust_core::host::encoding::Base64;
use ringmail_trust_core::host::policy::{PolicySet, RuntimePolicy, ScopedPolicy};
use ringmail_trust_core::host::simulated::SimulatedHost;
use ringmail_trust_core::host::tpm::{Hash, TpmName};
use ringmail_trust_core::host::{
    Appraisal, Challenge, Check, HostEvidence, HostReference, HostState, HostVerdict, Round,
    appraise,
};
use serde_json::{Value, json};

/// Contents of a file of the world are its path, unless a test says otherwise.
pub(super) const FILES: [&str; 5] =
    ["/usr/bin/bash", "/usr/bin/sshd", "/usr/lib/libc.so", "/opt/firewall/run", "/etc/init"];

/// A runtime policy of Keylime that lists [`FILES`], changed by a test.
pub(super) fn policy(change: impl FnOnce(&mut Value)) -> RuntimePolicy {
    RuntimePolicy::from_json(policy_json(change).to_string().as_bytes()).expect("a policy")
}

pub(super) fn policy_json(change: impl FnOnce(&mut Value)) -> Value {
    let digest = |path: &&str| {
        ((*path).to_owned(), json!([Hash::Sha256.digest(&[path.as_bytes()]).to_string()]))
    };
    let mut policy = json!({
        "meta": {"version": 1, "generator": 1},
        "release": 0,
        "digests": FILES.iter().map(digest).collect::<serde_json::Map<_, _>>(),
        "excludes": ["boot_aggregate$", "/tmp/"],
        "keyrings": {},
        "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null},
        "ima-buf": {},
        "verification-keys": "",
    });
    change(&mut policy);
    policy
}

/// Reference values of one policy, everywhere.
pub(super) fn reference(policy: RuntimePolicy) -> HostReference {
    let scoped = ScopedPolicy::everywhere("base", Arc::new(policy));
    HostReference::of_policies(PolicySet::unite(vec![scoped]).expect("one policy"))
}

/// A host and its verifier.
pub(super) struct World {
    pub(super) host: SimulatedHost,
    pub(super) enrolled: TpmName,
    pub(super) reference: HostReference,
    pub(super) state: HostState,
    pub(super) challenge: Challenge,
    pub(super) received_unix_ms: u64,
    rounds: u8,
}

impl World {
    /// A host that measured all [`FILES`] since its boot.
    pub(super) fn new() -> World {
        let mut host = SimulatedHost::new().expect("a key");
        host.measure_boot_aggregate();
        FILES.iter().for_each(|path| host.measure_file(path, path.as_bytes()));
        World::of(host, reference(policy(|_| {})))
    }

    pub(super) fn of(host: SimulatedHost, reference: HostReference) -> World {
        let enrolled = host.ak().name();
        let challenge = Challenge { nonce: Base64::default(), issued_unix_ms: 0 };
        World {
            host,
            enrolled,
            reference,
            state: HostState::default(),
            challenge,
            received_unix_ms: 0,
            rounds: 0,
        }
    }

    /// Asks: a new nonce, and what the host answers to it.
    pub(super) fn ask(&mut self) -> HostEvidence {
        self.rounds += 1;
        let nonce = Base64(vec![self.rounds; 32]);
        self.challenge = Challenge { nonce, issued_unix_ms: 1_000_000 };
        self.received_unix_ms = 1_000_050;
        let first = self.state.next_entry(&self.reference.fingerprint());
        self.answer(first)
    }

    /// What the host answers to the last nonce, with its list from an entry on.
    pub(super) fn answer(&mut self, first_entry: u64) -> HostEvidence {
        let registers = self.reference.wanted_registers();
        let nonce = self.challenge.nonce.0.clone();
        self.host.evidence(&nonce, &registers, first_entry).expect("evidence")
    }

    /// Appraises, without keeping the new state.
    pub(super) fn appraise(&self, evidence: &HostEvidence) -> Appraisal {
        let round = Round {
            enrolled: &self.enrolled,
            challenge: &self.challenge,
            received_unix_ms: self.received_unix_ms,
        };
        appraise(evidence, &round, &self.reference, &self.state)
    }

    /// A whole round.
    pub(super) fn round(&mut self) -> HostVerdict {
        let evidence = self.ask();
        self.judge(&evidence)
    }

    /// Appraises and keeps the new state.
    pub(super) fn judge(&mut self, evidence: &HostEvidence) -> HostVerdict {
        let appraisal = self.appraise(evidence);
        self.state = appraisal.state;
        appraisal.verdict
    }
}

/// The checks that failed, each once, in order.
pub(super) fn failed(verdict: &HostVerdict) -> Vec<Check> {
    let mut checks: Vec<Check> = verdict.failed.iter().map(|failed| failed.check).collect();
    checks.dedup();
    assert_eq!(verdict.trusted, checks.is_empty());
    checks
}
