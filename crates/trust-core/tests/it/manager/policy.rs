//! Policies that make no sense are refused.

use ringmail_trust_core::manager::{Policy, PolicyError, Stages, StagesS};

#[test]
fn the_rules_without_a_file_make_sense() {
    assert_eq!(Policy::default().check(), Ok(()));
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let wrong = |change: fn(&mut Policy)| {
        let mut policy = Policy::default();
        change(&mut policy);
        policy.check().unwrap_err()
    };
    let range = |key, found, from, to| PolicyError::Range { key, found, from, to };
    assert_eq!(wrong(|policy| policy.svid_s = 9), range("svid_s", 9, 10, 86_400));
    assert_eq!(wrong(|policy| policy.lease_s = 0), range("lease_s", 0, 1, 3_600));
    assert_eq!(
        wrong(|policy| policy.evidence_fresh_s = 59),
        range("evidence_fresh_s", 59, 60, 172_800)
    );
    assert_eq!(
        wrong(|policy| policy.silence = StagesS { revoke_s: 10, ..policy.silence }),
        range("silence.revoke_s", 10, 60, 604_800)
    );
    assert_eq!(
        wrong(|policy| policy.silence = StagesS { warn_s: Some(200), ..policy.silence }),
        PolicyError::Order("silence")
    );
    assert_eq!(
        wrong(|policy| policy.refused = Stages { warn: None, quarantine: Some(3), revoke: 2 }),
        PolicyError::Order("refused")
    );
    assert_eq!(
        wrong(|policy| policy.refused = Stages { warn: None, quarantine: None, revoke: 0 }),
        range("refused.revoke", 0, 1, 1_000)
    );
}
