//! Every byte of each real proof is flipped: not one can be changed without being noticed.
//!
//! What no signature covers of a quote (lengths, types, the text of the certificate chain, padding) and of a report (what is
//! left of the signature's fields) has one permitted value; `docs/evidence.md` lists it.

use ringmail_trust_core::function::{Anchors, Bytes, CheckName, Expected, Proof, appraise};

use super::real::{all, policy};
use super::samples::{Sample, evidence};

/// Byte ranges of a proof whose change nobody notices, by flipping one bit of each byte.
fn unnoticed(sample: &Sample) -> Vec<std::ops::Range<usize>> {
    let (policy, anchors) = (policy(), Anchors::vendors());
    let good = evidence(sample.proof.clone());
    let verdict = |proof: Proof| {
        let evidence = ringmail_trust_core::function::FunctionEvidence { proof, ..good.clone() };
        appraise(&evidence, &Expected::default(), &policy, &anchors, sample.now)
    };
    let expected = verdict(sample.proof.clone());
    let failed: Vec<_> = expected.failed().map(|check| check.check).collect();
    assert_eq!(failed, [CheckName::Binding], "{}", sample.name);
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    for at in 0..bytes(&mut sample.proof.clone()).len() {
        let mut proof = sample.proof.clone();
        bytes(&mut proof)[at] ^= 1 << (at % 8);
        let found = verdict(proof);
        let refused = found.failed().any(|check| check.check != CheckName::Binding);
        if !refused || found.claims == expected.claims {
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end += 1,
                _ => ranges.push(at..at + 1),
            }
        }
    }
    ranges
}

fn bytes(proof: &mut Proof) -> &mut Vec<u8> {
    let Bytes(bytes) = match proof {
        Proof::Sgx(quote) | Proof::Tdx(quote) => &mut quote.quote,
        Proof::Snp(report) => &mut report.report,
        Proof::Tpm(_) | Proof::Software(_) => panic!("no real proof"),
    };
    bytes
}

#[test]
fn no_byte_of_a_real_proof_can_be_changed() {
    // The samples share nothing: one thread each.
    let found = std::thread::scope(|scope| {
        let each = all().map(|sample| scope.spawn(move || (sample.name, unnoticed(&sample))));
        each.map(|thread| thread.join().expect("looked at"))
    });
    for (name, ranges) in found {
        assert!(ranges.is_empty(), "{name}: nobody notices a change of {ranges:?}");
    }
}
