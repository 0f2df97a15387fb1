//! What a proof says, compared with one reference of the policy.

use super::claims::TcbStatus;
use super::claims::{
    Claims, IntelPlatform, ProgramClaims, SgxClaims, SnpClaims, SnpKey, TdxClaims,
};
use super::policy::{
    FunctionReference, ProgramReference, SgxReference, SnpReference, TdxReference,
};
use super::verdict::{CheckName, Checks, Whose};
use ringmail_model::summary::Hex;

/// Makes the checks of a reference; no where it is not for this kind of evidence.
pub(super) fn compare(reference: &FunctionReference, claims: &Claims, checks: &mut Checks) -> bool {
    match (claims, reference) {
        (Claims::Sgx(claims), FunctionReference { sgx: Some(wanted), .. }) => {
            sgx(wanted, claims, checks);
        }
        (Claims::Tdx(claims), FunctionReference { tdx: Some(wanted), .. }) => {
            tdx(wanted, claims, checks);
        }
        (Claims::Snp(claims), FunctionReference { snp: Some(wanted), .. }) => {
            snp(wanted, claims, checks);
        }
        (Claims::Tpm(claims), FunctionReference { tpm: Some(wanted), .. })
        | (Claims::Software(claims), FunctionReference { software: Some(wanted), .. }) => {
            program(wanted, claims, checks);
        }
        _ => return false,
    }
    true
}

fn sgx(wanted: &SgxReference, claims: &SgxClaims, checks: &mut Checks) {
    debug(claims.debug, checks);
    measured(&wanted.measurements, &claims.mr_enclave, "MRENCLAVE", checks);
    signed(&wanted.signers, &claims.mr_signer, "MRSIGNER", checks);
    let found = format!("product {}, ISVSVN {}", claims.product, claims.svn);
    let product = wanted.product.is_none_or(|product| product == claims.product);
    version(product && claims.svn >= wanted.min_svn, found, checks);
    platform(&wanted.tcb, &wanted.advisories, &claims.platform, checks);
}

fn tdx(wanted: &TdxReference, claims: &TdxClaims, checks: &mut Checks) {
    debug(claims.debug, checks);
    let values = [
        (&wanted.measurements, &claims.mr_td, "MRTD"),
        (&wanted.rtmr0, &claims.rtmrs[0], "RTMR0"),
        (&wanted.rtmr1, &claims.rtmrs[1], "RTMR1"),
        (&wanted.rtmr2, &claims.rtmrs[2], "RTMR2"),
        (&wanted.rtmr3, &claims.rtmrs[3], "RTMR3"),
        (&wanted.config_ids, &claims.mr_config_id, "MRCONFIGID"),
    ];
    for (list, found, what) in values {
        measured(list, found, what, checks);
    }
    signed(&wanted.signers, &claims.mr_owner, "MROWNER", checks);
    platform(&wanted.tcb, &wanted.advisories, &claims.platform, checks);
}

fn snp(wanted: &SnpReference, claims: &SnpClaims, checks: &mut Checks) {
    debug(claims.debug, checks);
    measured(&wanted.measurements, &claims.measurement, "launch digest", checks);
    measured(&wanted.host_data, &claims.host_data, "HOST_DATA", checks);
    signed(&wanted.signers, &claims.id_key, "ID key", checks);
    signed(&wanted.authors, &claims.author_key, "author key", checks);
    let found = format!("guest SVN {}", claims.guest_svn);
    version(claims.guest_svn >= wanted.min_svn, found, checks);
    let mut wrong = Vec::new();
    if claims.migration {
        wrong.push("a migration agent may move it".to_owned());
    }
    if claims.smt && !wanted.allow_smt {
        wrong.push("it may share a core with others".to_owned());
    }
    if claims.vmpl > wanted.max_vmpl {
        wrong.push(format!("the report is of VMPL {}", claims.vmpl));
    }
    if claims.signed_by == SnpKey::Vlek && !wanted.allow_vlek {
        wrong.push("a cloud's key signed (VLEK)".to_owned());
    }
    let good = wrong.is_empty();
    let found = if good { "as the policy wants".to_owned() } else { wrong.join(", ") };
    let hint = "launch it with another guest policy, or allow that in the reference";
    checks.judge(good, CheckName::Configuration, found, Whose::Host, hint);
    let mut old = claims.tcb.below(&wanted.min_tcb);
    if !wanted.products.is_empty() && !wanted.products.contains(&claims.product) {
        old.push(format!("product {}", claims.product));
    }
    let good = old.is_empty();
    let found = if good { claims.product.clone() } else { old.join(", ") };
    checks.judge(good, CheckName::Tcb, found, Whose::Host, FIRMWARE);
}

fn program(wanted: &ProgramReference, claims: &ProgramClaims, checks: &mut Checks) {
    measured(&wanted.measurements, &claims.sha256, "SHA-256 of the program", checks);
    let good = wanted.paths.is_empty() || wanted.paths.contains(&claims.path);
    let hint = "start the program from a path that the policy names";
    checks.judge(good, CheckName::Configuration, &claims.path, Whose::Host, hint);
}

fn debug(debug: bool, checks: &mut Checks) {
    let found = if debug { "a debugger may look inside" } else { "off" };
    let hint = "build and launch it without debugging";
    checks.judge(!debug, CheckName::Debug, found, Whose::Sender, hint);
}

fn measured<const N: usize>(list: &[Hex<N>], found: &Hex<N>, what: &str, checks: &mut Checks) {
    if !list.is_empty() {
        let hint = "run the code that was reviewed, or add its measurement to the policy";
        let text = format!("{what} {found}");
        checks.judge(list.contains(found), CheckName::Measurement, text, Whose::Sender, hint);
    }
}

fn signed<const N: usize>(list: &[Hex<N>], found: &Hex<N>, what: &str, checks: &mut Checks) {
    if !list.is_empty() {
        let hint = "have it signed with a key that the policy names";
        let text = format!("{what} {found}");
        checks.judge(list.contains(found), CheckName::Signer, text, Whose::Sender, hint);
    }
}

fn version(good: bool, found: String, checks: &mut Checks) {
    let hint = "bring the function up to date";
    checks.judge(good, CheckName::Version, found, Whose::Sender, hint);
}

fn platform(
    statuses: &[TcbStatus],
    allowed: &[String],
    platform: &IntelPlatform,
    checks: &mut Checks,
) {
    let good = statuses.contains(&platform.tcb) && platform.tcb != TcbStatus::Revoked;
    checks.judge(good, CheckName::Tcb, platform.tcb.name(), Whose::Host, FIRMWARE);
    let open: Vec<&str> = platform
        .advisories
        .iter()
        .filter(|advisory| !allowed.contains(advisory))
        .map(String::as_str)
        .collect();
    let hint = "mend the platform; or, where the advisory does not matter there, allow it in the reference";
    let found = if open.is_empty() { "none that is open".to_owned() } else { open.join(", ") };
    checks.judge(open.is_empty(), CheckName::Advisories, found, Whose::Host, hint);
}

const FIRMWARE: &str = "bring the platform's firmware up to date";
