//! Evidence that is genuine, and still refused: its code, its settings, its platform, or what the vendor says of it.

use ringmail_trust_core::function::{Bytes, CheckName, CheckOutcome, Proof, Whose};

use super::bound::{self, Case, asked, failed, policy};
use super::forge::amd::{self, Amd};
use super::forge::intel::{Enclave, Intel, Machine, Says};
use super::forge::{DAY, NOW};

fn sgx(change: impl FnOnce(&mut Enclave)) -> Vec<CheckName> {
    let mut enclave = Enclave::default();
    change(&mut enclave);
    failed(&asked(&bound::sgx(&enclave, &Says::default()), &policy()))
}

fn says(change: impl FnOnce(&mut Says)) -> (Vec<CheckName>, Option<Whose>) {
    let mut says = Says::default();
    change(&mut says);
    let mut both = Vec::new();
    for case in [bound::sgx(&Enclave::default(), &says), bound::tdx(&Machine::default(), &says)] {
        let verdict = asked(&case, &policy());
        both.push((failed(&verdict), verdict.failed().next().and_then(|check| check.fault)));
    }
    assert_eq!(both[0], both[1], "SGX and TDX");
    both.remove(0)
}

fn snp(change: impl FnOnce(&mut amd::Machine)) -> Vec<CheckName> {
    let mut machine = amd::Machine::default();
    change(&mut machine);
    failed(&asked(&bound::snp(&machine), &policy()))
}

#[test]
fn an_enclave_of_other_code_signer_product_or_version() {
    assert_eq!(sgx(|_| ()), []);
    assert_eq!(sgx(|enclave| enclave.mr_enclave[31] ^= 1), [CheckName::Measurement]);
    assert_eq!(sgx(|enclave| enclave.mr_signer[0] ^= 1), [CheckName::Signer]);
    assert_eq!(sgx(|enclave| enclave.product = 8), [CheckName::Version]);
    assert_eq!(sgx(|enclave| enclave.svn = 2), [CheckName::Version]);
    assert_eq!(sgx(|enclave| enclave.svn = 4), [], "newer");
    assert_eq!(sgx(|enclave| enclave.debug = true), [CheckName::Debug]);
}

#[test]
fn a_machine_of_other_code_or_settings() {
    let tdx = |change: &dyn Fn(&mut Machine)| {
        let mut machine = Machine::default();
        change(&mut machine);
        failed(&asked(&bound::tdx(&machine, &Says::default()), &policy()))
    };
    assert_eq!(tdx(&|machine| machine.mr_td[0] ^= 1), [CheckName::Measurement]);
    assert_eq!(tdx(&|machine| machine.rtmrs[3][0] ^= 1), [CheckName::Measurement]);
    assert_eq!(tdx(&|machine| machine.rtmrs[2][0] ^= 1), [], "the policy says nothing of it");
    assert_eq!(tdx(&|machine| machine.attributes[0] = 1), [CheckName::Debug]);
    assert_eq!(tdx(&|machine| machine.attributes[0] = 0x10), [CheckName::Debug], "profiling");
    assert_eq!(tdx(&|machine| machine.attributes[3] = 0), [CheckName::Configuration]);
    assert_eq!(
        tdx(&|machine| machine.attributes[3] |= 0x20),
        [CheckName::Configuration],
        "migration"
    );
}

#[test]
fn a_platform_that_its_vendor_does_not_vouch_for() {
    assert_eq!(says(|_| ()), (vec![], None));
    let host = Some(Whose::Host);
    assert_eq!(says(|says| says.status = "OutOfDate"), (vec![CheckName::Tcb], host));
    assert_eq!(says(|says| says.status = "SWHardeningNeeded"), (vec![CheckName::Tcb], host));
    assert_eq!(says(|says| says.status = "Revoked"), (vec![CheckName::Tcb], host));
    assert_eq!(says(|says| says.wants = 6), (vec![CheckName::Tcb], host), "below every level");
    let advisory = says(|says| says.advisories = vec!["INTEL-SA-01234"]);
    assert_eq!(advisory, (vec![CheckName::Advisories], host));
    assert_eq!(says(|says| says.pck_revoked = true), (vec![CheckName::Authentic], host));
    assert_eq!(says(|says| says.signer_revoked = true), (vec![CheckName::Authentic], host));
    let verifier = Some(Whose::Verifier);
    assert_eq!(says(|says| says.issued = NOW - 31 * DAY), (vec![CheckName::Collateral], verifier));
    assert_eq!(says(|says| says.issued = NOW + 1), (vec![CheckName::Collateral], verifier));
}

#[test]
fn what_the_policy_lives_with_is_accepted() {
    let mut says = Says { status: "OutOfDate", ..Says::default() };
    says.advisories = vec!["INTEL-SA-01234"];
    let mut policy = policy();
    let sgx = policy.references[0].sgx.as_mut().expect("SGX");
    sgx.tcb = vec![ringmail_trust_core::function::TcbStatus::OutOfDate];
    sgx.advisories = vec!["INTEL-SA-01234".to_owned()];
    assert_eq!(failed(&asked(&bound::sgx(&Enclave::default(), &says), &policy)), []);
    // Keys that everybody may hold are never lived with.
    let sgx = policy.references[0].sgx.as_mut().expect("SGX");
    sgx.tcb = vec![ringmail_trust_core::function::TcbStatus::Revoked];
    let revoked = Says { status: "Revoked", ..Says::default() };
    let verdict = asked(&bound::sgx(&Enclave::default(), &revoked), &policy);
    assert_eq!(failed(&verdict), [CheckName::Tcb]);
}

#[test]
fn quotes_and_collateral_of_strangers() {
    let case = bound::sgx(&Enclave::default(), &Says::default());
    let other = Intel::new();
    let verdict = asked(&Case { anchors: other.anchors(), ..copy(&case) }, &policy());
    assert_eq!(failed(&verdict), [CheckName::Authentic], "another root");

    let mut mixed = copy(&case);
    let Proof::Sgx(quote) = &mut mixed.evidence.proof else { panic!("SGX") };
    quote.collateral = Some(other.collateral("SGX", &Says::default()));
    assert_eq!(failed(&asked(&mixed, &policy())), [CheckName::Authentic], "another's collateral");

    let Proof::Sgx(quote) = &mut mixed.evidence.proof else { panic!("SGX") };
    quote.collateral = None;
    assert_eq!(failed(&asked(&mixed, &policy())), [CheckName::Collateral], "none");
}

/// What Intel says is signed: a better word in it is not believed.
#[test]
fn collateral_that_was_edited() {
    let says = Says { status: "OutOfDate", ..Says::default() };
    let mut case = bound::sgx(&Enclave::default(), &says);
    let Proof::Sgx(quote) = &mut case.evidence.proof else { panic!("SGX") };
    let collateral = quote.collateral.as_mut().expect("collateral");
    collateral.tcb_info = collateral.tcb_info.replace("OutOfDate", "UpToDate");
    assert_eq!(failed(&asked(&case, &policy())), [CheckName::Authentic]);
}

#[test]
fn an_snp_machine_of_other_code_settings_or_firmware() {
    assert_eq!(snp(|_| ()), []);
    assert_eq!(snp(|machine| machine.measurement[0] ^= 1), [CheckName::Measurement]);
    assert_eq!(snp(|machine| machine.id_key[0] ^= 1), [CheckName::Signer]);
    assert_eq!(snp(|machine| machine.guest_svn = 3), [CheckName::Version]);
    assert_eq!(snp(|machine| machine.policy |= 1 << 19), [CheckName::Debug]);
    assert_eq!(snp(|machine| machine.policy |= 1 << 18), [CheckName::Configuration], "migration");
    assert_eq!(snp(|machine| machine.vmpl = 1), [CheckName::Configuration]);
    assert_eq!(snp(|machine| machine.tcb[6] = 25), [CheckName::Authentic], "not its certificate's");
    assert_eq!(
        snp(|machine| machine.chip[0] ^= 1),
        [CheckName::Authentic],
        "not its certificate's"
    );
    assert_eq!(snp(|machine| machine.chip = [0; 64]), [CheckName::Platform], "hidden");
    let vlek = snp(|machine| machine.vlek = true);
    assert_eq!(vlek, [CheckName::Configuration], "a cloud's key");
    let mut strict = policy();
    strict.references[0].snp.as_mut().expect("SNP").min_tcb.snp = 25;
    let case = bound::snp(&amd::Machine::default());
    assert_eq!(failed(&asked(&case, &strict)), [CheckName::Tcb]);
    strict.references[0].snp.as_mut().expect("SNP").min_tcb.snp = 24;
    strict.references[0].snp.as_mut().expect("SNP").products = vec!["Genoa".to_owned()];
    assert_eq!(failed(&asked(&case, &strict)), [CheckName::Tcb]);
}

#[test]
fn a_clouds_key_counts_where_the_policy_says_so() {
    let mut policy = policy();
    policy.references[0].snp.as_mut().expect("SNP").allow_vlek = true;
    let machine = amd::Machine { vlek: true, ..amd::Machine::default() };
    assert_eq!(failed(&asked(&bound::snp(&machine), &policy)), []);
    // The certificate says which kind of key it is of, and so does the report: both under a signature.
    let mut case = bound::snp(&machine);
    let chip = bound::snp(&amd::Machine::default());
    let (Proof::Snp(cloud), Proof::Snp(chip)) = (&mut case.evidence.proof, &chip.evidence.proof)
    else {
        panic!("SNP")
    };
    cloud.certificate = chip.certificate.clone();
    assert_eq!(failed(&asked(&case, &policy)), [CheckName::Authentic]);
}

#[test]
fn amds_revocation_list() {
    let platform = Amd::shared();
    let with = |crl: Option<Vec<u8>>| {
        let mut evidence = bound::unproved(super::forge::host::FileKey::new().public());
        let data = bound::report_data(&evidence, ringmail_trust_core::function::EvidenceKind::Snp);
        let mut report = platform.report(&amd::Machine::default(), data);
        report.crl = crl.map(Bytes);
        evidence.proof = Proof::Snp(report);
        let pairing = bound::snp(&amd::Machine::default()).pairing;
        let verdict = asked(&Case { evidence, anchors: platform.anchors(), pairing }, &policy());
        let check = verdict.checks.iter().find(|check| check.check == CheckName::Collateral);
        let check = check.expect("a check");
        assert_eq!(verdict.accepted, check.outcome == CheckOutcome::Passed, "{verdict:#?}");
        check.fault
    };
    assert_eq!(with(Some(platform.crl(NOW - DAY, &[]))), None);
    assert_eq!(with(Some(platform.crl(NOW - DAY, &[3]))), None, "clouds only");
    assert_eq!(with(Some(platform.crl(NOW - DAY, &[2]))), Some(Whose::Host), "revoked");
    assert_eq!(with(Some(platform.crl(NOW - 31 * DAY, &[]))), Some(Whose::Verifier), "old");
    assert_eq!(with(Some(platform.crl(NOW + DAY, &[]))), Some(Whose::Verifier), "not yet");
    assert_eq!(with(None), Some(Whose::Verifier), "none");
    assert_eq!(with(Some(Amd::new().crl(NOW - DAY, &[]))), Some(Whose::Sender), "a stranger's");
    let mut edited = platform.crl(NOW - DAY, &[2]);
    let at = edited.iter().rposition(|byte| *byte == 2).expect("there");
    edited[at] ^= 1;
    assert_eq!(with(Some(edited)), Some(Whose::Sender), "edited");
}

fn copy(case: &Case) -> Case {
    Case { evidence: case.evidence.clone(), anchors: case.anchors.clone(), pairing: case.pairing }
}

/// A reference speaks for the names that it says, on the kinds that it says; of several the nearest is told.
#[test]
fn a_reference_is_for_its_names_and_kinds() {
    let case = bound::sgx(&Enclave::default(), &Says::default());
    let mut other = policy();
    other.references[0].spiffe_ids =
        vec!["spiffe://campus.example/element/nat*".parse().expect("a pattern")];
    let verdict = asked(&case, &other);
    assert_eq!(failed(&verdict), [CheckName::Reference], "another name");
    assert_eq!(verdict.failed().next().and_then(|check| check.fault), Some(Whose::Policy));
    let mut other = policy();
    other.references[0].sgx = None;
    assert_eq!(failed(&asked(&case, &other)), [CheckName::Reference], "another kind");

    // An older release beside the newest, which is refused twice over: that is not what this enclave was meant to be.
    let mut two = policy();
    let mut older = two.references[0].clone();
    older.name = "older".parse().expect("a name");
    let sgx = older.sgx.as_mut().expect("SGX");
    (sgx.measurements[0].0[0], sgx.product) = (0, Some(6));
    two.references.insert(0, older);
    let verdict = asked(&case, &two);
    assert_eq!((verdict.accepted, verdict.reference.as_deref()), (true, Some("dpi")));
    let case = bound::sgx(&Enclave { svn: 1, ..Enclave::default() }, &Says::default());
    let verdict = asked(&case, &two);
    assert_eq!(verdict.reference.as_deref(), Some("dpi"), "one check short, not two");
    assert_eq!(failed(&verdict), [CheckName::Version]);
}
