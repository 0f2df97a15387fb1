//! What Intel says of a platform: whether it is there, in date, and as young as the policy wants.

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::function::evidence::IntelCollateral;
use crate::function::policy::CollateralPolicy;
use crate::function::verdict::{CheckName, Checks, Whose};

/// When what was issued, in seconds since 1970. Signed, but whoever reads this has yet to look at the signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dates {
    /// The oldest, the root's revocation list apart.
    pub(super) issued: u64,
    /// The youngest, the root's revocation list included: nothing is in date before.
    pub(super) since: u64,
    /// When the first of them goes out of date.
    pub(super) until: u64,
    /// The least number of Intel's evaluation.
    pub(super) evaluation: u32,
}

/// What TCB information and the quoting enclave's identity have in common.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
}

impl Dates {
    /// Reads them; none where one of them is not there to be read.
    pub(super) fn of(collateral: &IntelCollateral) -> Option<Dates> {
        let tcb: Dated = serde_json::from_str(&collateral.tcb_info).ok()?;
        let qe: Dated = serde_json::from_str(&collateral.qe_identity).ok()?;
        let (pck, root) = (crl(&collateral.pck_crl)?, crl(&collateral.root_ca_crl)?);
        let issued = [seconds(&tcb.issue_date)?, seconds(&qe.issue_date)?, pck.0];
        let until = [seconds(&tcb.next_update)?, seconds(&qe.next_update)?, pck.1, root.1];
        Some(Dates {
            issued: issued.into_iter().min()?,
            since: issued.into_iter().max()?.max(root.0),
            until: until.into_iter().min()?,
            evaluation: tcb.tcb_evaluation_data_number.min(qe.tcb_evaluation_data_number),
        })
    }
}

/// Looks at the dates; none where they cannot be read, and then nothing else can be either.
pub(super) fn check(
    collateral: Option<&IntelCollateral>,
    policy: &CollateralPolicy,
    now: u64,
    checks: &mut Checks,
) -> Option<Dates> {
    let refresh = "fetch it anew from Intel's provisioning certification service, or a cache of it";
    let mut no = |found: String| {
        checks.failed(CheckName::Collateral, Whose::Verifier, found, refresh);
    };
    let Some(dates) = collateral.map(Dates::of) else {
        no("there is none".to_owned());
        return None;
    };
    let Some(dates) = dates else {
        no("it cannot be read".to_owned());
        return None;
    };
    let age = now.saturating_sub(dates.issued);
    if now < dates.since {
        no(format!("part of it is issued {} s from now", dates.since - now));
    } else if now > dates.until {
        no(format!("part of it is out of date since {} s", now - dates.until));
    } else if age > policy.max_age_s {
        no(format!("the oldest part has {age} s, more than {}", policy.max_age_s));
    } else if dates.evaluation < policy.min_tcb_evaluation {
        let (has, least) = (dates.evaluation, policy.min_tcb_evaluation);
        no(format!("it is of evaluation {has}, and the policy wants {least}"));
    } else {
        checks.passed(CheckName::Collateral, format!("the oldest part has {age} s"));
    }
    Some(dates)
}

fn crl(der: &[u8]) -> Option<(u64, u64)> {
    let (_, crl) = CertificateRevocationList::from_der(der).ok()?;
    let second = |time: i64| u64::try_from(time).ok();
    Some((second(crl.last_update().timestamp())?, second(crl.next_update()?.timestamp())?))
}

fn seconds(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}
