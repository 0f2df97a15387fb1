//! The bodies of the fuzz targets of function evidence: each takes any bytes and panics where `ringmail-trust-core` breaks a
//! promise. `crates/trust-core/tests` calls them too, with the committed corpus.

use std::sync::LazyLock;

use ringmail_trust_core::function::{
    Anchors, Bytes, EVIDENCE_SCHEMA, Ear, EarAlgorithm, EarContext, Expected, FunctionEvidence,
    FunctionPolicy, IntelCollateral, IntelQuote, Proof, SnpReport, appraise,
};
use serde_json::Value;

/// The body of one target.
pub type Body = fn(&[u8]);

/// Every target by name; the name is the corpus's folder too.
pub const TARGETS: [(&str, Body); 4] = [
    ("function_ear", fuzz_ear),
    ("function_evidence", fuzz_evidence),
    ("function_policy", fuzz_policy),
    ("function_quote", fuzz_quote),
];

/// When all real samples but one are in date.
const NOW: u64 = 1_750_416_971;

/// Accepts the code of every real sample; software of none.
static POLICY: LazyLock<FunctionPolicy> = LazyLock::new(|| {
    let text = include_str!("../corpus/function_policy/real.yaml");
    FunctionPolicy::from_yaml(text, "real.yaml").expect("a policy")
});

static ANCHORS: LazyLock<Anchors> = LazyLock::new(Anchors::vendors);

static SGX: LazyLock<IntelCollateral> = LazyLock::new(|| {
    let kept = include_bytes!("../../crates/trust-core/tests/samples/sgx_quote.collateral.json");
    collateral(kept)
});

static TDX: LazyLock<IntelCollateral> = LazyLock::new(|| {
    let kept = include_bytes!("../../crates/trust-core/tests/samples/tdx_quote.collateral.json");
    collateral(kept)
});

const VCEK: &[u8] = include_bytes!("../../crates/trust-core/tests/samples/vcek_milan.der");

/// Evidence: what is read is written the same, and nothing that somebody makes up is accepted.
pub fn fuzz_evidence(data: &[u8]) {
    let Ok(evidence) = FunctionEvidence::from_json(data) else { return };
    let again = FunctionEvidence::from_json(evidence.to_json().as_bytes());
    assert_eq!(again.ok().as_ref(), Some(&evidence));
    refused(&evidence);
}

/// A quote or report, by its first byte, with real collateral: no real one is bound to what is asked here, so none is
/// accepted; and what has claims has the bytes of a real one.
pub fn fuzz_quote(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let intel = |collateral: &LazyLock<IntelCollateral>| IntelQuote {
        quote: bytes.into(),
        collateral: Some(IntelCollateral::clone(collateral)),
    };
    let proof = match kind {
        b's' => Proof::Sgx(intel(&SGX)),
        b't' => Proof::Tdx(intel(&TDX)),
        _ => Proof::Snp(SnpReport {
            report: bytes.into(),
            certificate: VCEK.into(),
            intermediate: None,
            crl: None,
        }),
    };
    refused(&FunctionEvidence {
        schema: EVIDENCE_SCHEMA.to_owned(),
        spiffe_id: "spiffe://campus.example/element/dpi1".to_owned(),
        public_key: Bytes(vec![1; 91]),
        host_ak: Bytes(vec![2; 91]),
        nonce: Bytes(vec![3; 32]),
        proof,
    });
}

/// A policy: whatever is read says no to evidence of nobody.
pub fn fuzz_policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match FunctionPolicy::from_yaml(text, "fuzz") {
        Ok(policy) => assert!(policy.references.iter().all(|known| !known.spiffe_ids.is_empty())),
        Err(diagnostics) => assert!(diagnostics.has_errors()),
    }
}

/// A token: none counts that this key, whose other half nobody has, did not sign.
pub fn fuzz_ear(data: &[u8]) {
    let Ok(token) = std::str::from_utf8(data) else { return };
    // A point of P-256: its generator (SEC 2 section 2.4.2).
    const KEY: [u8; 65] = [
        0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4,
        0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8,
        0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a,
        0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40,
        0x68, 0x37, 0xbf, 0x51, 0xf5,
    ];
    assert!(Ear::verify(token, EarAlgorithm::Es256, &KEY, NOW).is_err());
    assert!(Ear::verify(token, EarAlgorithm::EdDsa, &KEY[1..33], NOW).is_err());
}

/// Appraises, and looks at what is promised of every verdict.
fn refused(evidence: &FunctionEvidence) {
    let verdict = appraise(evidence, &Expected::default(), &POLICY, &ANCHORS, NOW);
    assert!(!verdict.accepted, "{verdict:?}");
    for check in verdict.failed() {
        assert!(check.fault.is_some() && check.hint.is_some(), "{check:?}");
    }
    let context = EarContext {
        developer: "campus.example",
        build: "fuzz",
        policy: "real",
        now_unix_s: NOW,
        lasts_s: 300,
    };
    let ear = Ear::of(evidence, &verdict, &context);
    let text = serde_json::to_string(&ear).expect("a token's claims");
    assert_eq!(serde_json::from_str::<Ear>(&text).ok(), Some(ear));
}

fn collateral(kept: &[u8]) -> IntelCollateral {
    let kept: Value = serde_json::from_slice(kept).expect("collateral");
    let text = |name: &str| kept[name].as_str().expect(name).to_owned();
    let bytes = |name: &str| {
        let digits = text(name);
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
        Bytes((0..digits.len()).step_by(2).map(byte).collect())
    };
    IntelCollateral {
        root_ca_crl: bytes("root_ca_crl"),
        pck_crl: bytes("pck_crl"),
        tcb_info: text("tcb_info"),
        tcb_info_signature: bytes("tcb_info_signature"),
        tcb_info_issuer_chain: text("tcb_info_issuer_chain"),
        qe_identity: text("qe_identity"),
        qe_identity_signature: bytes("qe_identity_signature"),
        qe_identity_issuer_chain: text("qe_identity_issuer_chain"),
    }
}
