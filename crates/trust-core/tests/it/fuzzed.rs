//! The fuzzers' bodies over their corpus, and over what proptest makes of it.

use std::path::Path;

use proptest::prelude::*;

use crate::fuzz_replay::{every_input, targets_are_the_bodies};
use crate::fuzz_trust::{TARGETS, fuzz_evidence, fuzz_ima, fuzz_policy, fuzz_quote};

#[test]
fn the_corpus_is_no_trouble() {
    every_input(&TARGETS);
}

#[test]
fn every_body_has_a_target() {
    targets_are_the_bodies("trust_", &TARGETS);
}

fn seed(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    std::fs::read(folder.join(name)).expect("a seed")
}

/// The seeds are what they are called, or nothing of them is fuzzed but the reader.
#[test]
fn the_seeds_are_read() {
    use ringmail_trust_core::host::HostEvidence;
    use ringmail_trust_core::host::policy::RuntimePolicy;
    use ringmail_trust_core::host::tpm::{Hash, Public, Quote, make_credential};
    assert!(Quote::parse(&seed("trust_quote/quote")[1..]).is_ok());
    for name in ["trust_quote/key_ek_ecc", "trust_quote/key_ek_rsa"] {
        let key = Public::parse(&seed(name)[1..]).expect("a key");
        assert!(make_credential(&key, &key.name(), b"secret").is_ok(), "{name}");
    }
    assert!(RuntimePolicy::from_json(&seed("trust_policy/policy")).is_ok());
    for name in ["trust_evidence/text", "trust_evidence/binary"] {
        let evidence = HostEvidence::from_json(&seed(name)).expect("evidence");
        let list = ringmail_trust_core::host::ima::entries(&evidence.ima.entries, Hash::Sha1);
        assert_eq!(list.filter(Result::is_ok).count(), 10, "{name}");
    }
}

/// One of the seeds with some bytes changed, and cut.
fn changed(name: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let bytes = seed(name);
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (prop::collection::vec(change, 0..6), any::<prop::sample::Index>(), any::<bool>()).prop_map(
        move |(changes, end, cut)| {
            let mut bytes = bytes.clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_trouble(data in prop::collection::vec(any::<u8>(), 0..600)) {
        TARGETS.iter().for_each(|(_, body)| body(&data));
    }

    #[test]
    fn lists_that_somebody_changed_are_no_trouble(
        text in changed("trust_ima/text"), binary in changed("trust_ima/binary")
    ) {
        fuzz_ima(&text);
        fuzz_ima(&binary);
    }

    #[test]
    fn what_a_tpm_never_said_is_no_trouble(
        quote in changed("trust_quote/quote"),
        ecc in changed("trust_quote/key_ek_ecc"),
        rsa in changed("trust_quote/key_ek_rsa"),
        signature in changed("trust_quote/signature"),
    ) {
        [quote, ecc, rsa, signature].iter().for_each(|data| fuzz_quote(data));
    }

    #[test]
    fn documents_that_somebody_changed_are_no_trouble(
        evidence in changed("trust_evidence/text"), policy in changed("trust_policy/policy"),
        certificate in changed("trust_policy/certificate"),
    ) {
        fuzz_evidence(&evidence);
        fuzz_policy(&policy);
        fuzz_policy(&certificate);
    }
}
