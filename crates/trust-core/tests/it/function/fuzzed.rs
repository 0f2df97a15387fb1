//! The fuzzers' bodies over their corpus, and over what proptest makes of real evidence.

use proptest::prelude::*;

use crate::fuzz_bodies::{TARGETS, fuzz_ear, fuzz_evidence, fuzz_policy, fuzz_quote};
use crate::fuzz_replay;

#[test]
fn the_corpus_is_replayed() {
    fuzz_replay::every_input(&TARGETS);
}

#[test]
fn every_body_is_fuzzed() {
    fuzz_replay::targets_are_the_bodies("function_", &TARGETS);
}

const SGX: &[u8] = include_bytes!("../../../../../fuzz/corpus/function_quote/sgx_quote");
const TDX: &[u8] = include_bytes!("../../../../../fuzz/corpus/function_quote/tdx_quote");
const SNP: &[u8] = include_bytes!("../../../../../fuzz/corpus/function_quote/snp_milan");
const EVIDENCE: &str = include_str!("../../../../../fuzz/corpus/function_evidence/snp");
const POLICY: &str = include_str!("../../../../../fuzz/corpus/function_policy/real.yaml");
const TOKEN: &str = include_str!("../../../../../fuzz/corpus/function_ear/es256");

/// Bytes with a part of them replaced by others, fewer or more.
fn changed(bytes: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let part = (0..bytes.len(), 0..64usize, prop::collection::vec(any::<u8>(), 0..64));
    prop::collection::vec(part, 1..4).prop_map(move |parts| {
        let mut bytes = bytes.to_vec();
        for (at, gone, new) in parts {
            let at = at.min(bytes.len());
            let end = (at + gone).min(bytes.len());
            bytes.splice(at..end, new);
        }
        bytes
    })
}

proptest! {
    #[test]
    fn quotes_that_were_changed_break_nothing(
        sgx in changed(SGX),
        tdx in changed(TDX),
        snp in changed(SNP),
        // A length that lies, where each version has its own.
        (at, length) in (430..700usize, any::<u32>()),
    ) {
        for bytes in [&sgx, &tdx, &snp] {
            fuzz_quote(bytes);
        }
        for quote in [SGX, TDX] {
            let mut bytes = quote.to_vec();
            bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            fuzz_quote(&bytes);
        }
    }

    #[test]
    fn evidence_that_was_changed_breaks_nothing(text in changed(EVIDENCE.as_bytes())) {
        fuzz_evidence(&text);
    }

    #[test]
    fn policies_that_were_changed_break_nothing(text in changed(POLICY.as_bytes())) {
        fuzz_policy(&text);
    }

    #[test]
    fn tokens_that_were_changed_do_not_count(text in changed(TOKEN.as_bytes())) {
        fuzz_ear(&text);
    }

    #[test]
    fn any_bytes_break_nothing(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        for (_, body) in TARGETS {
            body(&bytes);
        }
    }
}
