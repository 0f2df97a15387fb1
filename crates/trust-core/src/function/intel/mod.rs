//! Quotes of Intel SGX and TDX (Intel SGX DCAP, ECDSA quotes), verified by `dcap-qvl` with collateral that is at hand: nothing
//! is fetched.

mod backend;
mod cache;
mod collateral;
mod quote;

use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::quote::{EnclaveReport, Report, TDReport10};
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};
use ringmail_model::summary::Hex;

use self::backend::Backend;
pub use self::cache::CollateralCache;
use self::collateral::Dates;
use self::quote::Tee;
use super::anchors::Anchors;
use super::claims::{Claims, IntelPlatform, SgxClaims, TcbStatus, TdxClaims};
use super::evidence::{IntelCollateral, IntelQuote};
use super::policy::CollateralPolicy;
use super::verdict::{CheckName, Checks, Whose};

/// What an SGX quote says, if its signatures hold.
pub(super) fn sgx(
    quote: &IntelQuote,
    anchors: &Anchors,
    policy: &CollateralPolicy,
    now: u64,
    checks: &mut Checks,
) -> Option<Claims> {
    let (report, platform) = verify(quote, Tee::Sgx, anchors, policy, now, checks)?;
    report.as_sgx().map(|report| Claims::Sgx(sgx_claims(report, platform)))
}

/// What a TDX quote says, if its signatures hold.
pub(super) fn tdx(
    quote: &IntelQuote,
    anchors: &Anchors,
    policy: &CollateralPolicy,
    now: u64,
    checks: &mut Checks,
) -> Option<Claims> {
    let (report, platform) = verify(quote, Tee::Tdx, anchors, policy, now, checks)?;
    report.as_td10().map(|report| Claims::Tdx(Box::new(tdx_claims(report, platform))))
}

fn verify(
    quote: &IntelQuote,
    tee: Tee,
    anchors: &Anchors,
    policy: &CollateralPolicy,
    now: u64,
    checks: &mut Checks,
) -> Option<(Report, IntelPlatform)> {
    let dates = collateral::check(quote.collateral.as_ref(), policy, now, checks)?;
    if let Err(error) = quote::strict(&quote.quote, tee, &anchors.intel) {
        let hint = "send the quote as the quoting enclave wrote it, with the platform's certificate chain in it";
        checks.failed(CheckName::Authentic, Whose::Sender, error.to_string(), hint);
        return None;
    }
    let collateral = quote.collateral.as_ref().map(for_library)?;
    let verifier = QuoteVerifier::<Backend>::new_with_config(anchors.intel.clone());
    // Whether a debugger may look inside is a check of its own, by name: `reference`.
    let verifier = verifier.allow_debug(true);
    // Collateral that is out of date was refused above; what it was good for is looked at as of its own time.
    let at = if (dates.since..=dates.until).contains(&now) { now } else { dates.since };
    match verifier.verify(&quote.quote, &collateral, at) {
        Ok(verified) => platform(verified, dates, checks),
        Err(error) => {
            let (check, fault, hint) = refusal(&format!("{error:#}"));
            checks.failed(check, fault, format!("{error:#}"), hint);
            None
        }
    }
}

fn platform(
    verified: VerifiedReport,
    dates: Dates,
    checks: &mut Checks,
) -> Option<(Report, IntelPlatform)> {
    let ppid = <[u8; 16]>::try_from(verified.ppid.as_slice()).ok();
    let tcb = STATUSES.into_iter().find(|status| status.name() == verified.status);
    let (Some(ppid), Some(tcb)) = (ppid, tcb) else {
        let found = "its certificate or TCB information says what nobody knows";
        checks.failed(CheckName::Authentic, Whose::Host, found, "use a newer ringmail");
        return None;
    };
    checks.passed(CheckName::Authentic, "every signature up to Intel's root holds");
    let platform = IntelPlatform {
        ppid: Hex(ppid),
        tcb,
        advisories: verified.advisory_ids,
        tcb_evaluation: dates.evaluation,
        collateral_issued_unix_s: dates.issued,
        collateral_until_unix_s: dates.until,
    };
    Some((verified.report, platform))
}

/// Which check a refusal of the library is, by its words: it has one error type. Unknown words are about signatures.
fn refusal(words: &str) -> (CheckName, Whose, &'static str) {
    let has = |part: &str| words.contains(part);
    if has("TCB status is invalid: Revoked") {
        let hint = "Intel holds this platform's keys for known: replace it";
        return (CheckName::Tcb, Whose::Host, hint);
    }
    if has("No matching TCB level") || has("below minimum required") {
        return (CheckName::Tcb, Whose::Host, "bring the platform's firmware up to date");
    }
    if ["TD migration", "SERVTD", "service TD", "SEPT_VE_DISABLE", "Reserved bits"]
        .iter()
        .any(|p| has(p))
    {
        let hint = "start the machine without migration and service TDs, with SEPT_VE_DISABLE";
        return (CheckName::Configuration, Whose::Host, hint);
    }
    if has("CertRevoked") || has("certificate is revoked") {
        return (CheckName::Authentic, Whose::Host, "Intel revoked this platform: replace it");
    }
    (
        CheckName::Authentic,
        Whose::Sender,
        "send the quote, and what Intel says of the platform, unchanged",
    )
}

fn for_library(collateral: &IntelCollateral) -> QuoteCollateralV3 {
    QuoteCollateralV3 {
        // The issuer of the PCK certificates signs it, and stands in the quote's chain.
        pck_crl_issuer_chain: String::new(),
        root_ca_crl: collateral.root_ca_crl.0.clone(),
        pck_crl: collateral.pck_crl.0.clone(),
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain.clone(),
        tcb_info: collateral.tcb_info.clone(),
        tcb_info_signature: collateral.tcb_info_signature.0.clone(),
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain.clone(),
        qe_identity: collateral.qe_identity.clone(),
        qe_identity_signature: collateral.qe_identity_signature.0.clone(),
        pck_certificate_chain: None,
    }
}

fn sgx_claims(report: &EnclaveReport, platform: IntelPlatform) -> SgxClaims {
    SgxClaims {
        mr_enclave: Hex(report.mr_enclave),
        mr_signer: Hex(report.mr_signer),
        product: report.isv_prod_id,
        svn: report.isv_svn,
        debug: report.attributes[0] & SGX_DEBUG != 0,
        report_data: Hex(report.report_data),
        platform,
    }
}

fn tdx_claims(report: &TDReport10, platform: IntelPlatform) -> TdxClaims {
    TdxClaims {
        mr_td: Hex(report.mr_td),
        rtmrs: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3].map(Hex),
        mr_config_id: Hex(report.mr_config_id),
        mr_owner: Hex(report.mr_owner),
        mr_owner_config: Hex(report.mr_owner_config),
        mr_seam: Hex(report.mr_seam),
        attributes: Hex(report.td_attributes),
        xfam: Hex(report.xfam),
        debug: report.td_attributes[0] != 0,
        report_data: Hex(report.report_data),
        platform,
    }
}

/// ATTRIBUTES.DEBUG (Intel SDM, SECS attributes).
const SGX_DEBUG: u8 = 0x02;

const STATUSES: [TcbStatus; 9] = [
    TcbStatus::UpToDate,
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::TDRelaunchAdvised,
    TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
    TcbStatus::Revoked,
];
