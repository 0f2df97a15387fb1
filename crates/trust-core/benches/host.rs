//! What the appraisal of a host costs: a first round with 600 entries in two banks, as text and as JSON, and a later round with
//! nothing new.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringmail_trust_core::host::encoding::Base64;
use ringmail_trust_core::host::policy::{PolicySet, RuntimePolicy, ScopedPolicy};
use ringmail_trust_core::host::simulated::SimulatedHost;
use ringmail_trust_core::host::tpm::Hash;
use ringmail_trust_core::host::{
    Appraisal, Challenge, HostEvidence, HostReference, HostState, Round, appraise,
};
use serde_json::json;

const ENTRIES: usize = 600;

fn benches(criterion: &mut Criterion) {
    let mut host = SimulatedHost::new().expect("a host");
    let path = |number: usize| format!("/usr/lib/package-{number}/libsomething.so.{number}");
    (0..ENTRIES).for_each(|number| host.measure_file(&path(number), path(number).as_bytes()));
    // As long as that of a distribution's base system.
    let digests = (0..20_000).map(|number| {
        (path(number), json!([Hash::Sha256.digest(&[path(number).as_bytes()]).to_string()]))
    });
    let policy = json!({
        "meta": {"version": 1, "generator": 1},
        "release": 0,
        "digests": digests.collect::<serde_json::Map<_, _>>(),
        "excludes": ["/tmp/.*", "/var/(log|run|cache)/.*", ".*\\.pyc"],
        "keyrings": {},
        "ima": {"ignored_keyrings": [], "log_hash_alg": "sha1", "dm_policy": null},
        "ima-buf": {},
        "verification-keys": "",
    });
    let policy = RuntimePolicy::from_json(policy.to_string().as_bytes()).expect("a policy");
    let scoped = ScopedPolicy::everywhere("base", policy.into());
    let policies = PolicySet::unite(vec![scoped]).expect("a policy");
    let mut reference = HostReference::of_policies(policies);
    reference.banks = vec![Hash::Sha1, Hash::Sha256];

    let challenge = Challenge { nonce: Base64(vec![7; 32]), issued_unix_ms: 0 };
    let enrolled = host.ak().name();
    let round = Round { enrolled: &enrolled, challenge: &challenge, received_unix_ms: 0 };
    let registers = reference.wanted_registers();
    let first = host.evidence(&challenge.nonce.0, &registers, 0).expect("evidence");
    let judge = |evidence: &HostEvidence, state: &HostState| -> Appraisal {
        let appraisal = appraise(evidence, &round, &reference, state);
        assert!(appraisal.verdict.trusted, "{:?}", appraisal.verdict.failed);
        appraisal
    };
    let state = judge(&first, &HostState::default()).state;
    let later = host.evidence(&challenge.nonce.0, &registers, ENTRIES as u64).expect("evidence");
    let text = first.to_json().expect("JSON");

    let mut group = criterion.benchmark_group("host");
    group.bench_function("first round, 600 entries", |bencher| {
        bencher.iter(|| judge(black_box(&first), &HostState::default()));
    });
    group.bench_function("first round, 600 entries, from JSON", |bencher| {
        bencher.iter(|| {
            let evidence = HostEvidence::from_json(black_box(text.as_bytes())).expect("evidence");
            judge(&evidence, &HostState::default())
        });
    });
    group.bench_function("later round, nothing new", |bencher| {
        bencher.iter(|| judge(black_box(&later), &state));
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
