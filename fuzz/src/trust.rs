//! The bodies of the fuzz targets of `ringmail-trust-core`: each takes any bytes and panics where the crate breaks a promise.
//! `crates/trust-core/tests` calls them too, with the committed corpus.

use std::sync::LazyLock;

use ringmail_trust_core::host::encoding::Base64;
use ringmail_trust_core::host::ima::{Replay, entries, entry_lengths};
use ringmail_trust_core::host::policy::{PolicySet, RuntimePolicy, ScopedPolicy, SigningKey};
use ringmail_trust_core::host::tpm::{Hash, Public, Quote, Signature, TpmName, make_credential};
use ringmail_trust_core::host::{
    Challenge, HostEvidence, HostReference, HostState, ImaEntries, ImaList, Round, appraise,
};

/// The body of one target.
pub type Body = fn(&[u8]);

/// Every target by name; the name is the corpus's folder too.
pub const TARGETS: [(&str, Body); 4] = [
    ("trust_evidence", fuzz_evidence),
    ("trust_ima", fuzz_ima),
    ("trust_policy", fuzz_policy),
    ("trust_quote", fuzz_quote),
];

static REFERENCE: LazyLock<HostReference> = LazyLock::new(|| {
    let policy = br#"{"meta": {"version": 1, "generator": 1}, "release": 0, "digests": {}, "excludes": ["/tmp/.*"],
        "keyrings": {}, "ima": {"ignored_keyrings": ["*"], "log_hash_alg": "sha1", "dm_policy": null}, "ima-buf": {},
        "verification-keys": ""}"#;
    let policy = RuntimePolicy::from_json(policy).expect("a policy");
    let scoped = ScopedPolicy::everywhere("fuzz", policy.into());
    HostReference::of_policies(PolicySet::unite(vec![scoped]).expect("a policy"))
});

fn enrolled() -> TpmName {
    let text = format!("\"000b{}\"", "00".repeat(32));
    serde_json::from_str(&text).expect("a name")
}

fn judge(evidence: &HostEvidence) {
    let challenge = Challenge { nonce: Base64(vec![7; 32]), issued_unix_ms: 0 };
    let enrolled = enrolled();
    let round = Round { enrolled: &enrolled, challenge: &challenge, received_unix_ms: 0 };
    let appraisal = appraise(evidence, &round, &REFERENCE, &HostState::default());
    assert!(!appraisal.verdict.trusted, "no key has this name");
    assert_eq!(appraisal.state, HostState::default(), "nothing is learned from a stranger");
    assert!(appraisal.verdict.failed.len() <= 64);
}

/// Evidence as JSON: what is read is written again as it was, and is never trusted.
pub fn fuzz_evidence(data: &[u8]) {
    let Ok(evidence) = HostEvidence::from_json(data) else { return };
    let text = evidence.to_json().expect("evidence prints");
    assert_eq!(HostEvidence::from_json(text.as_bytes()).expect("printed"), evidence);
    judge(&evidence);
}

/// A list in either form, by the first byte: no more entries than bytes allow, whole ones at the lengths that are said, and a
/// replay that two banks survive.
pub fn fuzz_ima(data: &[u8]) {
    let Some((form, bytes)) = data.split_first() else { return };
    let (list, binary) = match form & 1 {
        0 => {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            (ImaEntries::Text(text.to_owned()), None)
        }
        _ => (ImaEntries::Binary(Base64(bytes.to_vec())), Some(Hash::Sha1)),
    };
    let mut replay = Replay::of_boot([Hash::Sha1, Hash::Sha256], Hash::Sha1);
    let mut count = 0;
    for entry in entries(&list, Hash::Sha1).flatten() {
        replay.extend(&entry);
        count += 1;
    }
    let lengths: Vec<usize> = entry_lengths(bytes, binary).collect();
    assert!(lengths.iter().sum::<usize>() <= bytes.len());
    if binary.is_some() {
        assert_eq!(lengths.len(), count, "records are counted as they are read");
    }
    let ima = ImaList { first_entry: 0, entries: list };
    let evidence = HostEvidence {
        schema: "ringmail.host-evidence/1".to_owned(),
        ak_public: Base64::default(),
        quote: Base64(QUOTE.clone()),
        signature: Base64(vec![0, 0x18, 0, 0x0b, 0, 0, 0, 0]),
        pcrs: Default::default(),
        ima,
    };
    judge(&evidence);
}

/// A quote of register 10, so that lists are looked at.
static QUOTE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let corpus = include_bytes!("../corpus/trust_quote/quote");
    corpus[1..].to_vec()
});

/// A runtime policy of Keylime, and a measured key: whatever compiles has one fingerprint.
pub fn fuzz_policy(data: &[u8]) {
    drop(format!("{:?}", SigningKey::parse(data)));
    let Ok(policy) = RuntimePolicy::from_json(data) else { return };
    let again = RuntimePolicy::from_json(data).expect("it was read before");
    assert_eq!(again.fingerprint(), policy.fingerprint());
    let scoped = ScopedPolicy::everywhere("fuzz", policy.into());
    let set = PolicySet::unite(vec![scoped.clone(), scoped]).expect("the same twice");
    assert!(!set.is_empty());
}

/// What a TPM says, by the first byte: quotes are written again as they were, keys have one name.
pub fn fuzz_quote(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 3 {
        0 => {
            let Ok(quote) = Quote::parse(bytes) else { return };
            let again = Quote::parse(&quote.to_bytes(&[])).expect("a written quote is read");
            let short = |quote: &Quote| quote.selection.iter().all(|(_, pcr)| pcr < 24);
            if short(&quote) {
                assert_eq!(again, quote);
            }
        }
        1 => {
            let Ok(key) = Public::parse(bytes) else { return };
            assert_eq!(Public::parse(key.as_bytes()).expect("itself").name(), key.name());
            drop(make_credential(&key, &key.name(), b"secret"));
            let ecdsa = Signature::ecdsa_p256_to_bytes(&[1; 64]);
            let signature = Signature::parse(&ecdsa).expect("a signature");
            assert!(signature.verify(&key, b"message").is_err());
        }
        _ => drop(Signature::parse(bytes)),
    }
}
