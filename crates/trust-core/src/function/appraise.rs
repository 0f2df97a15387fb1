//! Appraisal: signatures first, then whom and what the proof speaks of, then whether the policy wants it.

use super::anchors::Anchors;
use super::claims::{Claims, PlatformId};
use super::evidence::{EvidenceKind, FunctionEvidence, Program, Proof};
use super::policy::{FunctionPolicy, FunctionReference};
use super::verdict::{
    Check, CheckName, CheckOutcome, Checks, FunctionVerdict, Protection, SOFTWARE_WARNING, Whose,
};
use super::{intel, reference, signed, snp};

/// What the verifier knows besides the evidence. What is `None` is not asked, as when a saved bundle is looked at offline.
#[derive(Clone, Copy, Default)]
pub struct Expected<'a> {
    /// The nonce that was sent.
    pub nonce: Option<&'a [u8]>,
    /// The SPIFFE id that this function may have.
    pub spiffe_id: Option<&'a str>,
    /// The key that asks for a certificate: a DER SubjectPublicKeyInfo.
    pub public_key: Option<&'a [u8]>,
    /// The attestation key of the enrolled host, as the evidence has to name it: TPMT_PUBLIC, or SubjectPublicKeyInfo.
    pub host_ak: Option<&'a [u8]>,
    /// The platform that was enrolled with that host.
    pub pairing: Pairing,
    /// What the host's accepted measurement list holds.
    pub measured: Option<&'a dyn MeasuredPrograms>,
}

/// Which platform was enrolled with a host, beside its TPM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairing {
    /// Nobody asks.
    #[default]
    NotAsked,
    /// None: no enclave or machine may speak of this host.
    Nothing,
    /// This one, and only it.
    With(PlatformId),
}

/// The measurement list of a host, as its own appraisal accepted it.
pub trait MeasuredPrograms {
    /// Whether this file was measured, with this SHA-256, and nothing else under that path since.
    fn holds(&self, program: &Program) -> bool;
}

impl std::fmt::Debug for Expected<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expected").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

/// Looks at evidence as of `now_unix_s`, and says all that is wrong with it. Never fails: hostile evidence is refused.
pub fn appraise(
    evidence: &FunctionEvidence,
    expected: &Expected<'_>,
    policy: &FunctionPolicy,
    anchors: &Anchors,
    now_unix_s: u64,
) -> FunctionVerdict {
    let mut checks = Checks::default();
    let kind = evidence.kind();
    software(kind, policy, &mut checks);
    freshness(evidence, expected, &mut checks);
    let collateral = &policy.collateral;
    let claims = match &evidence.proof {
        Proof::Sgx(quote) => intel::sgx(quote, anchors, collateral, now_unix_s, &mut checks),
        Proof::Tdx(quote) => intel::tdx(quote, anchors, collateral, now_unix_s, &mut checks),
        Proof::Snp(report) => snp::verify(report, anchors, collateral, now_unix_s, &mut checks),
        Proof::Tpm(signed) | Proof::Software(signed) => {
            signed::verify(signed, kind, &evidence.binding(), expected.measured, &mut checks)
        }
    };
    let mut name = None;
    if let Some(claims) = &claims {
        bound(evidence, claims, &mut checks);
        paired(claims, expected.pairing, &mut checks);
        name = referred(evidence, claims, policy, &mut checks);
    }
    let checks = checks.0;
    FunctionVerdict {
        accepted: !checks.iter().any(|check| check.outcome == CheckOutcome::Failed),
        spiffe_id: evidence.spiffe_id.clone(),
        kind,
        protection: Protection::of(kind),
        warning: (kind == EvidenceKind::Software).then_some(SOFTWARE_WARNING),
        reference: name,
        platform_id: claims.as_ref().and_then(Claims::platform_id),
        claims,
        checks,
    }
}

fn software(kind: EvidenceKind, policy: &FunctionPolicy, checks: &mut Checks) {
    match kind {
        EvidenceKind::Software if !policy.allow_software => checks.failed(
            CheckName::Kind,
            Whose::Policy,
            "software evidence, which this policy does not allow",
            "run the function where hardware protects it; for a trial, say `allow-software: true`",
        ),
        kind => checks.passed(CheckName::Kind, kind.name()),
    }
}

/// Whether the evidence is the one that was asked for.
fn freshness(evidence: &FunctionEvidence, expected: &Expected<'_>, checks: &mut Checks) {
    let mut same = |check, expected: Option<&[u8]>, found: &[u8], what: &str, hint| match expected {
        None => checks.not_asked(check, format!("{what} is taken as it stands there")),
        Some(expected) if expected == found => checks.passed(check, format!("{what} as expected")),
        Some(_) => checks.failed(check, Whose::Sender, format!("another {what}"), hint),
    };
    same(
        CheckName::Nonce,
        expected.nonce,
        &evidence.nonce,
        "nonce",
        "answer the nonce that was sent last; old evidence is not taken twice",
    );
    same(
        CheckName::SpiffeId,
        expected.spiffe_id.map(str::as_bytes),
        evidence.spiffe_id.as_bytes(),
        "SPIFFE id",
        "ask for the function's own name",
    );
    same(
        CheckName::PublicKey,
        expected.public_key,
        &evidence.public_key,
        "public key",
        "make evidence for the key of the signing request",
    );
    same(
        CheckName::HostAk,
        expected.host_ak,
        &evidence.host_ak,
        "attestation key of the host",
        "enrol the host on which the function runs",
    );
}

/// Whether an enclave's or machine's report is bound to this evidence; what a host signed was looked at with its signature.
fn bound(evidence: &FunctionEvidence, claims: &Claims, checks: &mut Checks) {
    let report_data = match claims {
        Claims::Sgx(sgx) => sgx.report_data.0,
        Claims::Tdx(tdx) => tdx.report_data.0,
        Claims::Snp(snp) => snp.report_data.0,
        Claims::Tpm(_) | Claims::Software(_) => return,
    };
    checks.judge(
        report_data == evidence.binding().report_data(),
        CheckName::Binding,
        "report data against nonce, key, name and host",
        Whose::Sender,
        "the report was made for other evidence: make both together, as docs/evidence.md says",
    );
}

/// Whether the platform is the one that was enrolled with the host's TPM.
fn paired(claims: &Claims, pairing: Pairing, checks: &mut Checks) {
    if !claims.kind().keeps_the_host_out() {
        return;
    }
    let hint = "enrol the platform together with the host's TPM; a machine that was moved is enrolled anew";
    let mut no = |found: &str| checks.failed(CheckName::Platform, Whose::Host, found, hint);
    match (pairing, claims.platform_id()) {
        (Pairing::NotAsked, _) => {
            checks.not_asked(CheckName::Platform, "no enrolment to compare with");
        }
        (Pairing::Nothing, _) => no("this host was enrolled without a platform of this kind"),
        (Pairing::With(_), None) => no("the platform hides its id, so it could be any"),
        (Pairing::With(enrolled), Some(id)) if enrolled == id => {
            checks.passed(CheckName::Platform, "the one that was enrolled with the host");
        }
        (Pairing::With(_), Some(_)) => no("another platform than the one enrolled with this host"),
    }
}

/// Compares with every reference that is for this name and kind; where none agrees, the nearest is told.
fn referred(
    evidence: &FunctionEvidence,
    claims: &Claims,
    policy: &FunctionPolicy,
    checks: &mut Checks,
) -> Option<String> {
    let meant = |reference: &&FunctionReference| {
        reference.spiffe_ids.iter().any(|pattern| pattern.matches(&evidence.spiffe_id))
    };
    let compared = policy.references.iter().filter(meant).filter_map(|reference| {
        let mut found = Checks::default();
        reference::compare(reference, claims, &mut found).then_some((reference, found))
    });
    let nearest = compared.min_by_key(|(_, found)| found.failures());
    let Some((reference, found)) = nearest else {
        let text = format!("none is for {} as {}", evidence.spiffe_id, claims.kind().name());
        let hint = "add a reference of this kind and name to the policy";
        checks.failed(CheckName::Reference, Whose::Policy, text, hint);
        return None;
    };
    checks.passed(CheckName::Reference, reference.name.to_string());
    checks.0.extend::<Vec<Check>>(found.0);
    Some(reference.name.to_string())
}
