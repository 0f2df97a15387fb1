//! Real quotes and reports against what is known of them.

use ringmail_trust_core::function::{
    AmdCrl, Anchors, CheckName, CheckOutcome, Claims, Expected, FunctionPolicy, FunctionVerdict,
    PlatformId, SnpTcb, TcbStatus, Whose, appraise,
};

use super::samples::{self, Sample, evidence};

/// A policy for all real samples, which accepts their code and firmware; AMD's list of that time is not at hand.
pub(crate) const POLICY: &str = "
collateral: { amd-crl: optional }
references:
  - name: sgx
    spiffe-ids: [spiffe://campus.example/element/dpi*]
    sgx:
      measurements: [33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb]
      signers: [815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6]
      product: 0
      tcb: [UpToDate, ConfigurationAndSWHardeningNeeded]
      advisories: [INTEL-SA-00289, INTEL-SA-00615]
  - name: tdx10
    spiffe-ids: [spiffe://campus.example/element/dpi*]
    tdx: { measurements: [91eb2b44d141d4ece09f0c75c2c53d247a3c68edd7fafe8a3520c942a604a407de03ae6dc5f87f27428b2538873118b7] }
  - name: tdx15
    spiffe-ids: [spiffe://campus.example/element/dpi*]
    tdx: { measurements: [2a674327c50218dba880066b349b8d559d749ed68dce33fd651c184a877d084b07a9e583767a7ad5da13ed91deec2b70] }
  - name: snp
    spiffe-ids: [spiffe://campus.example/element/dpi*]
    snp:
      measurements: [7a1e5c266c0108dbc9bb94fa926951320940915d0aafb42464bd88b579ea158d3e1a0dc39b2c60bd95b9c480cd81841f]
      products: [Milan]
      min-tcb: { bootloader: 3, snp: 8, microcode: 115 }
";

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
