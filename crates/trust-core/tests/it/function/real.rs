//! Real quotes and reports against what is known of them.

use ringmail_trust_core::function::{
    AmdCrl, Anchors, CheckName, CheckOutcome, Claims, Expected, FunctionPolicy, FunctionVerdict,
    PlatformId, SnpTcb, TcbStatus, Whose, appraise,
};

use super::samples::{self, Sample, evidence};

/// A policy for all real samples, which accepts their code and firmware; AMD's list of that time is not at hand.
pub(crate) const POLICY: &str =
    include_str!("../../../../../fuzz/corpus/function_policy/real.yaml");

pub(crate) fn policy() -> FunctionPolicy {
    FunctionPolicy::from_yaml(POLICY, "functions.yaml").expect("a policy")
}

pub(crate) fn all() -> [Sample; 4] {
    [samples::sgx(), samples::tdx(), samples::tdx15(), samples::snp()]
}

fn verdict(sample: &Sample, policy: &FunctionPolicy) -> FunctionVerdict {
    let evidence = evidence(sample.proof.clone());
    appraise(&evidence, &Expected::default(), policy, &Anchors::vendors(), sample.now)
}

fn failed(verdict: &FunctionVerdict) -> Vec<CheckName> {
    verdict.failed().map(|check| check.check).collect()
}

#[test]
fn of_real_evidence_only_the_binding_is_missing() {
    for sample in all() {
        let verdict = verdict(&sample, &policy());
        assert_eq!(failed(&verdict), [CheckName::Binding], "{}: {verdict:#?}", sample.name);
        assert!(!verdict.accepted);
        assert!(verdict.reference.is_some() && verdict.warning.is_none(), "{}", sample.name);
    }
}

#[test]
fn real_evidence_says_what_is_known_of_it() {
    let claims = |sample: &Sample| verdict(sample, &policy()).claims.expect("claims");
    let Claims::Sgx(sgx) = claims(&samples::sgx()) else { panic!("not SGX") };
    assert_eq!(sgx.platform.tcb, TcbStatus::ConfigurationAndSWHardeningNeeded);
    assert_eq!(sgx.platform.advisories, ["INTEL-SA-00289", "INTEL-SA-00615"]);
    assert_eq!((sgx.debug, sgx.platform.tcb_evaluation), (false, 17));
    let Claims::Tdx(tdx) = claims(&samples::tdx()) else { panic!("not TDX") };
    assert_eq!(tdx.platform.tcb, TcbStatus::UpToDate);
    assert_eq!(tdx.platform.ppid.to_string(), "811dca2a26b952e85bb6448b097ba4fd");
    let Claims::Snp(snp) = claims(&samples::snp()) else { panic!("not SNP") };
    let tcb = SnpTcb { bootloader: 3, tee: 0, snp: 8, microcode: 115, fmc: 0 };
    assert_eq!((snp.tcb, snp.product.as_str(), snp.vmpl), (tcb, "Milan", 0));
    let id = verdict(&samples::snp(), &policy()).platform_id.expect("a chip");
    assert!(matches!(id, PlatformId::AmdChip(chip) if chip.to_string().starts_with("d49554ec")));
}

/// Intel says when its statements go out of date; the policy may be stricter, not laxer.
#[test]
fn collateral_ages() {
    let found = |sample: Sample, policy: &FunctionPolicy| {
        let verdict = verdict(&sample, policy);
        let check = verdict.checks.iter().find(|check| check.check == CheckName::Collateral);
        let check = check.expect("a check").clone();
        (check.outcome, check.fault, verdict.claims.is_some())
    };
    let refused = (CheckOutcome::Failed, Some(Whose::Verifier), true);
    let sample = |now| Sample { now, ..samples::tdx() };
    let mut policy = policy();
    assert_eq!(found(sample(1_752_919_235), &policy).0, CheckOutcome::Passed, "to the second");
    policy.collateral.max_age_s = u64::MAX;
    assert_eq!(found(sample(1_752_919_236), &policy), refused, "out of date");
    assert_eq!(found(sample(1_740_000_000), &policy), refused, "before its time");
    policy.collateral.max_age_s = 88_312;
    assert_eq!(found(sample(1_750_415_547), &policy).0, CheckOutcome::Passed);
    policy.collateral.max_age_s = 88_311;
    assert_eq!(found(sample(1_750_415_547), &policy), refused, "too old for the policy");
    policy.collateral.max_age_s = u64::MAX;
    policy.collateral.min_tcb_evaluation = 18;
    assert_eq!(found(sample(1_750_415_547), &policy), refused, "before the last recovery");
    policy.collateral.amd_crl = AmdCrl::Required;
    let snp = found(samples::snp(), &policy);
    assert_eq!(snp, refused, "no revocation list");
}

#[test]
fn outdated_firmware_is_the_hosts_fault() {
    let verdict = verdict(&samples::tdx_outdated(), &policy());
    let tcb = verdict.failed().find(|check| check.check == CheckName::Tcb).expect("named");
    assert_eq!(tcb.fault, Some(Whose::Host), "{verdict:#?}");
}
