//! Reports of AMD SEV-SNP: signed by a key of the chip, whose certificate chains to AMD's root for its generation.

mod certificate;
mod report;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use ringmail_model::summary::Hex;

use self::certificate::{ChainError, Chip};
use self::report::{POLICY_DEBUG, POLICY_MIGRATION, POLICY_SMT, Report, ReportError, VLEK};
use super::anchors::{AmdAnchor, Anchors};
use super::claims::{Claims, SnpClaims, SnpKey};
use super::evidence::SnpReport;
use super::policy::{AmdCrl, CollateralPolicy};
use super::verdict::{CheckName, Checks, Whose};

/// Why a report does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum SnpError {
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the certificate's key did not sign the report")]
    Signature,
    #[error("the certificate is of another chip")]
    Chip,
    #[error("the certificate is for other versions of firmware")]
    Versions,
}

/// What a report says, if its signatures hold.
pub(super) fn verify(
    evidence: &SnpReport,
    anchors: &Anchors,
    policy: &CollateralPolicy,
    now: u64,
    checks: &mut Checks,
) -> Option<Claims> {
    let (report, anchor) = match authentic(evidence, anchors, now) {
        Ok(found) => found,
        Err(error) => {
            let hint = "send the report as the machine got it, with the certificate of the key that signed it";
            checks.failed(CheckName::Authentic, Whose::Sender, error.to_string(), hint);
            return None;
        }
    };
    checks.passed(CheckName::Authentic, "every signature up to AMD's root holds");
    let crl_issued_unix_s = collateral(evidence, anchor, policy, now, checks);
    Some(Claims::Snp(Box::new(claims(&report, anchor, crl_issued_unix_s))))
}

fn authentic<'a>(
    evidence: &'a SnpReport,
    anchors: &'a Anchors,
    now: u64,
) -> Result<(Report<'a>, &'a AmdAnchor), SnpError> {
    let report = Report::parse(&evidence.report)?;
    let vlek = report.signing_key() == VLEK;
    let leaf = certificate::parse(&evidence.certificate, "chip's certificate")?;
    let anchor = certificate::chain(&leaf, evidence.intermediate.as_deref(), &anchors.amd, now)?;
    let Chip { tcb, id } = certificate::chip(&leaf, vlek)?;
    let key = &leaf.public_key().subject_public_key.data;
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key);
    key.verify(report.signed(), &report.signature()).map_err(|_| SnpError::Signature)?;
    if tcb != report.reported_tcb(&anchor.product) {
        return Err(SnpError::Versions);
    }
    // Where the host's owner hides the chip's id, the certificate alone says which it is, and nothing is claimed of it.
    let hidden = report.chip_id() == [0; 64];
    if id.is_some_and(|id| id != report.chip_id() && !hidden) {
        return Err(SnpError::Chip);
    }
    Ok((report, anchor))
}

/// Looks at AMD's revocation list; when it was issued, if it counts.
fn collateral(
    evidence: &SnpReport,
    anchor: &AmdAnchor,
    policy: &CollateralPolicy,
    now: u64,
    checks: &mut Checks,
) -> Option<u64> {
    let refresh =
        "fetch the revocation list of this generation anew from AMD's key distribution service";
    let mut no = |fault, found: String| {
        checks.failed(CheckName::Collateral, fault, found, refresh);
        None
    };
    let Some(der) = &evidence.crl else {
        if policy.amd_crl == AmdCrl::Optional {
            checks.not_asked(
                CheckName::Collateral,
                "no revocation list, and the policy asks for none",
            );
            return None;
        }
        return no(Whose::Verifier, "there is no revocation list".to_owned());
    };
    match certificate::crl(der, anchor, evidence.intermediate.as_deref()) {
        Err(ChainError::Revoked) => no(Whose::Host, ChainError::Revoked.to_string()),
        Err(error) => no(Whose::Sender, error.to_string()),
        Ok((issued, until)) if now < issued || now > until => {
            no(Whose::Verifier, "the revocation list is not of this time".to_owned())
        }
        Ok((issued, _)) if now - issued > policy.max_age_s => {
            let (age, most) = (now - issued, policy.max_age_s);
            no(Whose::Verifier, format!("the revocation list has {age} s, more than {most}"))
        }
        Ok((issued, _)) => {
            let age = now - issued;
            checks.passed(CheckName::Collateral, format!("the revocation list has {age} s"));
            Some(issued)
        }
    }
}

fn claims(report: &Report<'_>, anchor: &AmdAnchor, crl_issued_unix_s: Option<u64>) -> SnpClaims {
    let policy = report.policy();
    let vlek = report.signing_key() == VLEK;
    let chip_id = report.chip_id();
    SnpClaims {
        measurement: Hex(report.measurement()),
        id_key: Hex(report.id_key()),
        author_key: Hex(report.author_key()),
        host_data: Hex(report.host_data()),
        family_id: Hex(report.family_id()),
        image_id: Hex(report.image_id()),
        guest_svn: report.guest_svn(),
        vmpl: report.vmpl(),
        debug: policy & POLICY_DEBUG != 0,
        migration: policy & POLICY_MIGRATION != 0,
        smt: policy & POLICY_SMT != 0,
        report_data: Hex(report.report_data()),
        product: anchor.product.clone(),
        tcb: report.reported_tcb(&anchor.product),
        chip_id: (chip_id != [0; 64]).then_some(Hex(chip_id)),
        signed_by: if vlek { SnpKey::Vlek } else { SnpKey::Vcek },
        crl_issued_unix_s,
    }
}
