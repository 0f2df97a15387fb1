//! Evidence that is bound to what was asked, under roots of the tests, and what a change of any part of it does.

use ringmail_model::summary::Hex;
use ringmail_trust_core::function::{
    Anchors, Bytes, CheckName, EVIDENCE_SCHEMA, EvidenceKind, Expected, FunctionEvidence,
    FunctionPolicy, FunctionVerdict, HostSigned, MeasuredPrograms, Pairing, PlatformId, Program,
    Proof, Protection, SOFTWARE_WARNING, Whose, appraise,
};
use ringmail_trust_core::host::simulated::{AK_ATTRIBUTES, SimulatedHost};
use ringmail_trust_core::host::tpm::Attributes;

use super::forge::NOW;
use super::forge::amd::{self, Amd};
use super::forge::host::{FileKey, quoted};
use super::forge::intel::{self, Intel, Says};

/// The program that hosts measure.
pub(crate) const PATH: &str = "/usr/bin/dpi";
const ID: &str = "spiffe://campus.example/element/dpi1";
const NONCE: [u8; 32] = [0x70; 32];

const POLICY: &str = "
allow-software: true
references:
  - name: dpi
    spiffe-ids: [spiffe://campus.example/element/dpi*]
    sgx: { measurements: [ENCLAVE], signers: [SIGNER], product: 7, min-svn: 3 }
    tdx: { measurements: [MACHINE], rtmr3: [RTMR3] }
    snp: { measurements: [LAUNCH], signers: [IDKEY], min-svn: 4, min-tcb: { snp: 24 } }
    tpm: { measurements: [PROGRAM], paths: [/usr/bin/dpi] }
    software: { measurements: [PROGRAM] }
";

pub(crate) fn policy() -> FunctionPolicy {
    let text = POLICY
        .replace("ENCLAVE", &"e1".repeat(32))
        .replace("SIGNER", &"51".repeat(32))
        .replace("MACHINE", &"7d".repeat(48))
        .replace("RTMR3", &"13".repeat(48))
        .replace("LAUNCH", &"3a".repeat(48))
        .replace("IDKEY", &"1d".repeat(48))
        .replace("PROGRAM", &"66".repeat(32));
    FunctionPolicy::from_yaml(&text, "functions.yaml").expect("a policy")
}

/// A host's list that holds exactly the program of these tests.
struct List;

impl MeasuredPrograms for List {
    fn holds(&self, program: &Program) -> bool {
        program.path == PATH && program.sha256[..] == [0x66; 32]
    }
}

/// Evidence, whom to believe, and the platform that was enrolled.
pub(crate) struct Case {
    pub(crate) evidence: FunctionEvidence,
    pub(crate) anchors: Anchors,
    pub(crate) pairing: Pairing,
}

pub(crate) fn unproved(host_ak: Vec<u8>) -> FunctionEvidence {
    let program = Program { path: PATH.to_owned(), sha256: Bytes(vec![0x66; 32]) };
    let proof = HostSigned { program, attest: None, signature: Bytes::default() };
    FunctionEvidence {
        schema: EVIDENCE_SCHEMA.to_owned(),
        spiffe_id: ID.to_owned(),
        public_key: Bytes(b"the function's key".to_vec()),
        host_ak: host_ak.into(),
        nonce: Bytes(NONCE.to_vec()),
        proof: Proof::Software(proof),
    }
}

/// The binding that evidence of a kind has, before there is a proof of it.
pub(crate) fn report_data(evidence: &FunctionEvidence, kind: EvidenceKind) -> [u8; 64] {
    let program = match kind {
        EvidenceKind::Tpm | EvidenceKind::Software => evidence.binding().program,
        _ => None,
    };
    ringmail_trust_core::function::Binding { kind, program, ..evidence.binding() }.report_data()
}

pub(crate) fn sgx(enclave: &intel::Enclave, says: &Says) -> Case {
    let platform = Intel::new();
    let mut evidence = unproved(FileKey::new().public());
    let data = report_data(&evidence, EvidenceKind::Sgx);
    evidence.proof = Proof::Sgx(platform.sgx(enclave, data, says));
    let pairing = Pairing::With(PlatformId::IntelPpid(Hex(intel::PPID)));
    Case { evidence, anchors: platform.anchors(), pairing }
}

pub(crate) fn tdx(machine: &intel::Machine, says: &Says) -> Case {
    let platform = Intel::new();
    let mut evidence = unproved(FileKey::new().public());
    let data = report_data(&evidence, EvidenceKind::Tdx);
    evidence.proof = Proof::Tdx(platform.tdx(machine, data, says));
    let pairing = Pairing::With(PlatformId::IntelPpid(Hex(intel::PPID)));
    Case { evidence, anchors: platform.anchors(), pairing }
}

pub(crate) fn snp(machine: &amd::Machine) -> Case {
    let platform = Amd::shared();
    let mut evidence = unproved(FileKey::new().public());
    let data = report_data(&evidence, EvidenceKind::Snp);
    evidence.proof = Proof::Snp(platform.report(machine, data));
    let pairing = Pairing::With(PlatformId::AmdChip(Hex(amd::CHIP)));
    Case { evidence, anchors: platform.anchors(), pairing }
}

pub(crate) fn simulated() -> SimulatedHost {
    SimulatedHost::new().expect("a host")
}

/// Evidence of this program, quoted by the host's TPM with these registers.
pub(crate) fn tpm(host: &mut SimulatedHost, path: &str, registers: &[u8]) -> Case {
    let mut evidence = unproved(host.ak().as_bytes().to_vec());
    let Proof::Software(mut signed) = evidence.proof else { panic!("software") };
    signed.program.path = path.to_owned();
    evidence.proof = Proof::Tpm(signed.clone());
    quoted(host, &mut signed, &evidence.binding().digest(), registers);
    evidence.proof = Proof::Tpm(signed);
    Case { evidence, anchors: Anchors::vendors(), pairing: Pairing::Nothing }
}

/// Software on a host with a TPM.
fn software_tpm() -> Case {
    let mut host = simulated();
    let mut evidence = unproved(host.ak().as_bytes().to_vec());
    let digest = evidence.binding().digest();
    let Proof::Software(signed) = &mut evidence.proof else { panic!("software") };
    quoted(&mut host, signed, &digest, &[]);
    Case { evidence, anchors: Anchors::vendors(), pairing: Pairing::Nothing }
}

pub(crate) fn software(host: &FileKey) -> Case {
    let mut evidence = unproved(host.public());
    let signature = host.sign(&evidence.binding().encode());
    let Proof::Software(signed) = &mut evidence.proof else { panic!("software") };
    signed.signature = signature.into();
    Case { evidence, anchors: Anchors::vendors(), pairing: Pairing::Nothing }
}

fn all() -> Vec<Case> {
    vec![
        sgx(&intel::Enclave::default(), &Says::default()),
        tdx(&intel::Machine::default(), &Says::default()),
        snp(&amd::Machine::default()),
        tpm(&mut simulated(), PATH, &[]),
        software_tpm(),
        software(&FileKey::new()),
    ]
}

/// As a manager appraises: everything is asked.
pub(crate) fn asked(case: &Case, policy: &FunctionPolicy) -> FunctionVerdict {
    let expected = Expected {
        nonce: Some(&NONCE),
        spiffe_id: Some(ID),
        public_key: Some(b"the function's key"),
        host_ak: Some(&case.evidence.host_ak),
        pairing: case.pairing,
        measured: Some(&List),
    };
    appraise(&case.evidence, &expected, policy, &case.anchors, NOW)
}

pub(crate) fn failed(verdict: &FunctionVerdict) -> Vec<CheckName> {
    verdict.failed().map(|check| check.check).collect()
}

#[test]
fn evidence_that_is_bound_to_what_was_asked_is_accepted() {
    for case in all() {
        let verdict = asked(&case, &policy());
        assert!(verdict.accepted, "{verdict:#?}");
        assert_eq!(verdict.reference.as_deref(), Some("dpi"));
        let kind = verdict.kind;
        assert_eq!(verdict.warning, (kind == EvidenceKind::Software).then_some(SOFTWARE_WARNING));
        let hardware = verdict.protection == Protection::Hardware;
        assert_eq!(hardware, kind.keeps_the_host_out(), "{kind:?}");
    }
}

/// Changed on the way, in the envelope or the verifier's question: each change has its name.
#[test]
fn evidence_for_another_nonce_key_name_or_host_is_refused() {
    for case in all() {
        let mut expected = Expected { nonce: Some(&NONCE), ..Expected::default() };
        let kind = case.evidence.kind();
        let refused = |evidence: &FunctionEvidence, expected: &Expected<'_>| {
            failed(&appraise(evidence, expected, &policy(), &case.anchors, NOW))
        };
        expected.nonce = Some(&[0x71; 32]);
        assert_eq!(refused(&case.evidence, &expected), [CheckName::Nonce], "{kind:?}");
        expected = Expected {
            spiffe_id: Some("spiffe://campus.example/element/dpi2"),
            ..Expected::default()
        };
        assert_eq!(refused(&case.evidence, &expected), [CheckName::SpiffeId], "{kind:?}");
        expected = Expected { public_key: Some(b"another key"), ..Expected::default() };
        assert_eq!(refused(&case.evidence, &expected), [CheckName::PublicKey], "{kind:?}");
        expected = Expected { host_ak: Some(b"another host"), ..Expected::default() };
        assert_eq!(refused(&case.evidence, &expected), [CheckName::HostAk], "{kind:?}");

        // The envelope says what is expected, and the proof is of something else.
        let changes: [fn(&mut FunctionEvidence); 3] = [
            |evidence| evidence.nonce.0[0] ^= 1,
            |evidence| evidence.public_key.0[0] ^= 1,
            |evidence| evidence.spiffe_id.push('0'),
        ];
        for change in changes {
            let mut evidence = case.evidence.clone();
            change(&mut evidence);
            let failed = refused(&evidence, &Expected::default());
            // A key that signs the binding itself does not sign another.
            let raw = matches!(&case.evidence.proof, Proof::Software(s) if s.attest.is_none());
            let expected = if raw { CheckName::Authentic } else { CheckName::Binding };
            assert_eq!(failed, [expected], "{kind:?}");
        }
    }
}

/// An enclave names another host's key: the report does not hold it; one that does speaks of a platform that was not
/// enrolled with that host.
#[test]
fn an_enclave_cannot_name_another_hosts_key() {
    for case in all().into_iter().take(3) {
        let mut evidence = case.evidence.clone();
        evidence.host_ak = FileKey::new().public().into();
        let verdict = appraise(&evidence, &Expected::default(), &policy(), &case.anchors, NOW);
        assert_eq!(failed(&verdict), [CheckName::Binding]);

        for pairing in [
            Pairing::Nothing,
            Pairing::With(PlatformId::IntelPpid(Hex([0x98; 16]))),
            Pairing::With(PlatformId::AmdChip(Hex([0xc5; 64]))),
        ] {
            let verdict = asked(
                &Case { pairing, evidence: case.evidence.clone(), anchors: case.anchors.clone() },
                &policy(),
            );
            assert_eq!(failed(&verdict), [CheckName::Platform], "{pairing:?}");
            assert_eq!(verdict.failed().next().and_then(|check| check.fault), Some(Whose::Host));
        }
    }
}

/// A quote of one kind is nothing to another, whatever it holds.
#[test]
fn a_proof_of_one_kind_does_not_pass_for_another() {
    let case = sgx(&intel::Enclave::default(), &Says::default());
    let mut evidence = case.evidence.clone();
    let Proof::Sgx(quote) = evidence.proof else { panic!("SGX") };
    evidence.proof = Proof::Tdx(quote);
    let verdict = appraise(&evidence, &Expected::default(), &policy(), &case.anchors, NOW);
    assert_eq!(failed(&verdict), [CheckName::Authentic]);

    let case = software(&FileKey::new());
    let mut evidence = case.evidence.clone();
    let Proof::Software(signed) = evidence.proof else { panic!("software") };
    evidence.proof = Proof::Tpm(signed);
    let verdict = appraise(&evidence, &Expected::default(), &policy(), &case.anchors, NOW);
    assert_eq!(failed(&verdict), [CheckName::Authentic], "no TPM signed");
}

/// Only what a TPM made itself counts as its quote, signed by a key that signs nothing else (TPM 2.0 part 1, "restricted").
#[test]
fn what_the_tpm_did_not_make_is_no_quote() {
    for at in [0, 5] {
        // The magic, then the type: any change of what was signed shows in the signature first, so sign it again.
        let mut case = tpm(&mut simulated(), PATH, &[]);
        let Proof::Tpm(signed) = &mut case.evidence.proof else { panic!("TPM") };
        signed.attest.as_mut().expect("a quote").0[at] ^= 1;
        assert_eq!(failed(&asked(&case, &policy())), [CheckName::Authentic]);
    }
    for attributes in [
        AK_ATTRIBUTES & !Attributes::RESTRICTED,
        AK_ATTRIBUTES & !Attributes::FIXED_TPM,
        AK_ATTRIBUTES | Attributes::DECRYPT,
    ] {
        let mut host = SimulatedHost::with_attributes(attributes).expect("a host");
        let verdict = asked(&tpm(&mut host, PATH, &[]), &policy());
        assert_eq!(failed(&verdict), [CheckName::Authentic], "{attributes:x}");
    }
}

/// A host answers anybody's nonce with a quote of its registers: that is evidence of the host, never of a function.
#[test]
fn a_hosts_own_evidence_is_none_of_a_function() {
    let verdict = asked(&tpm(&mut simulated(), PATH, &[10]), &policy());
    assert_eq!(failed(&verdict), [CheckName::Authentic]);
}

#[test]
fn a_program_that_the_host_did_not_measure_is_refused() {
    let verdict = asked(&tpm(&mut simulated(), "/tmp/dpi", &[]), &policy());
    assert_eq!(failed(&verdict), [CheckName::MeasuredByHost, CheckName::Configuration]);
}

#[test]
fn software_needs_a_word_in_the_policy() {
    let case = software(&FileKey::new());
    let mut policy = policy();
    policy.allow_software = false;
    let verdict = asked(&case, &policy);
    assert_eq!(failed(&verdict), [CheckName::Kind]);
    assert_eq!(verdict.warning, Some(SOFTWARE_WARNING), "red, accepted or not");
}
