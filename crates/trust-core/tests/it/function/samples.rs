//! Real quotes and reports. None carries a nonce of ours, so the binding never holds; all else does.

use ringmail_trust_core::function::{
    Bytes, EVIDENCE_SCHEMA, FunctionEvidence, IntelCollateral, IntelQuote, Proof, SnpReport,
};
use serde::Deserialize;

/// A real proof, and a time at which what stands behind it is in date.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) proof: Proof,
    pub(crate) now: u64,
}

macro_rules! bytes {
    ($name:literal) => {
        &include_bytes!(concat!("../../samples/", $name))[..]
    };
}

pub(crate) fn sgx() -> Sample {
    let proof = Proof::Sgx(quote(bytes!("sgx_quote.bin"), bytes!("sgx_quote.collateral.json")));
    Sample { name: "sgx_quote", proof, now: 1_750_416_971 }
}

/// Version 4, a TD 1.0 report.
pub(crate) fn tdx() -> Sample {
    let proof = Proof::Tdx(quote(bytes!("tdx_quote.bin"), bytes!("tdx_quote.collateral.json")));
    Sample { name: "tdx_quote", proof, now: 1_750_415_547 }
}

/// Version 5, a TD 1.5 report with extensions.
pub(crate) fn tdx15() -> Sample {
    let (bin, json) = (bytes!("tdx_quote_td15ex.bin"), bytes!("tdx_quote_td15ex.collateral.json"));
    Sample { name: "tdx_quote_td15ex", proof: Proof::Tdx(quote(bin, json)), now: 1_791_504_586 }
}

/// On firmware that Intel holds for outdated.
pub(crate) fn tdx_outdated() -> Sample {
    let (bin, json) =
        (bytes!("tdx_quote_outdated.bin"), bytes!("tdx_quote_outdated.collateral.json"));
    Sample { name: "tdx_quote_outdated", proof: Proof::Tdx(quote(bin, json)), now: 1_772_000_000 }
}

pub(crate) fn snp() -> Sample {
    let proof = Proof::Snp(SnpReport {
        report: bytes!("snp_milan.bin").into(),
        certificate: bytes!("vcek_milan.der").into(),
        intermediate: None,
        crl: None,
    });
    Sample { name: "snp_milan", proof, now: 1_750_000_000 }
}

pub(crate) fn evidence(proof: Proof) -> FunctionEvidence {
    FunctionEvidence {
        schema: EVIDENCE_SCHEMA.to_owned(),
        spiffe_id: "spiffe://campus.example/element/dpi1".to_owned(),
        public_key: Bytes(vec![1; 91]),
        host_ak: Bytes(vec![2; 91]),
        nonce: Bytes(vec![3; 32]),
        proof,
    }
}

/// Collateral as `dcap-qvl` keeps it: binary parts in hex.
#[derive(Deserialize)]
struct Kept {
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
}

fn quote(quote: &[u8], collateral: &[u8]) -> IntelQuote {
    let kept: Kept = serde_json::from_slice(collateral).expect("collateral");
    IntelQuote {
        quote: quote.into(),
        collateral: Some(IntelCollateral {
            root_ca_crl: hex(&kept.root_ca_crl),
            pck_crl: hex(&kept.pck_crl),
            tcb_info: kept.tcb_info,
            tcb_info_signature: hex(&kept.tcb_info_signature),
            tcb_info_issuer_chain: kept.tcb_info_issuer_chain,
            qe_identity: kept.qe_identity,
            qe_identity_signature: hex(&kept.qe_identity_signature),
            qe_identity_issuer_chain: kept.qe_identity_issuer_chain,
        }),
    }
}

pub(crate) fn hex(text: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    Bytes((0..text.len()).step_by(2).map(byte).collect())
}
