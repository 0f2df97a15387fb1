//! Collateral that is kept: for quotes without it, and against those who bring an older one.

use ringmail_trust_core::function::{
    Anchors, CheckName, CollateralCache, EvidenceKind, Expected, FunctionEvidence, Pairing, Proof,
    appraise,
};

use super::bound::{self, Case, asked, failed, policy};
use super::forge::host::FileKey;
use super::forge::intel::{Enclave, Intel, Says};
use super::forge::{DAY, NOW};
use super::{real, samples};

fn without(evidence: &FunctionEvidence) -> FunctionEvidence {
    let mut evidence = evidence.clone();
    if let Proof::Sgx(quote) | Proof::Tdx(quote) = &mut evidence.proof {
        quote.collateral = None;
    }
    evidence
}

#[test]
fn a_quote_without_collateral_gets_what_is_known_of_its_platform() {
    for sample in [samples::sgx(), samples::tdx(), samples::tdx15()] {
        let mut cache = CollateralCache::default();
        let evidence = samples::evidence(sample.proof.clone());
        let look = |evidence: &FunctionEvidence| {
            let anchors = Anchors::vendors();
            appraise(evidence, &Expected::default(), &real::policy(), &anchors, sample.now)
        };
        let mut bare = without(&evidence);
        cache.complete(&mut bare);
        assert_eq!(failed(&look(&bare)), [CheckName::Collateral], "{}: none is known", sample.name);
        assert!(!cache.learn(&bare, &look(&bare)), "nothing to learn");
        assert!(cache.learn(&evidence, &look(&evidence)), "{}", sample.name);
        assert!(!cache.learn(&evidence, &look(&evidence)), "known");
        cache.complete(&mut bare);
        assert_eq!(bare, evidence, "{}", sample.name);
        assert_eq!(cache.len(), 1);
    }
}

/// Intel found the firmware outdated; the platform shows what Intel said before, which is in date for weeks.
#[test]
fn older_words_do_not_hide_newer_ones() {
    let platform = Intel::new();
    let with = |says: &Says| {
        let mut evidence = bound::unproved(FileKey::new().public());
        let data = bound::report_data(&evidence, EvidenceKind::Sgx);
        evidence.proof = Proof::Sgx(platform.sgx(&Enclave::default(), data, says));
        Case { evidence, anchors: platform.anchors(), pairing: Pairing::NotAsked }
    };
    let mut case = with(&Says { issued: NOW - 20 * DAY, evaluation: 19, ..Says::default() });
    assert!(asked(&case, &policy()).accepted, "in date, and nobody knows better");

    let newer = with(&Says { status: "OutOfDate", ..Says::default() });
    let verdict = asked(&newer, &policy());
    assert_eq!(failed(&verdict), [CheckName::Tcb]);
    let mut cache = CollateralCache::default();
    assert!(cache.learn(&newer.evidence, &verdict), "refused, but what Intel says holds");
    cache.complete(&mut case.evidence);
    assert_eq!(failed(&asked(&case, &policy())), [CheckName::Tcb]);

    // The other way round nothing is lost.
    let mut newer_again = newer.evidence.clone();
    cache.complete(&mut newer_again);
    assert_eq!(newer_again, newer.evidence);
}

/// Only what Intel signed is learned.
#[test]
fn collateral_that_was_edited_is_not_kept() {
    let mut case = bound::sgx(&Enclave::default(), &Says::default());
    let Proof::Sgx(quote) = &mut case.evidence.proof else { panic!("SGX") };
    let collateral = quote.collateral.as_mut().expect("collateral");
    collateral.tcb_info = collateral.tcb_info.replace("\":20", "\":99");
    let mut cache = CollateralCache::default();
    assert!(!cache.learn(&case.evidence, &asked(&case, &policy())));
    assert!(cache.is_empty());
}
