//! What the certificates of the authority say (RFC 5280; X509-SVID for those with a SPIFFE id).

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CidrSubnet,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyIdMethod,
    KeyUsagePurpose, NameConstraints, RevokedCertParams, SanType, SerialNumber,
};
use ringmail_model::names::TrustDomain;
use time::OffsetDateTime;

use super::state::{Kind, Serial, State};
use crate::error::AuthorityError;
use crate::limits::{BACKDATED, CRL_LASTS, INTERMEDIATE_LASTS, ROOT_LASTS};

/// A time in seconds since 1970 as certificates hold it. One beyond year 9999 cannot be, and is that year's end.
pub(crate) fn moment(unix_s: u64) -> OffsetDateTime {
    const LAST: i64 = 253_402_300_799;
    let seconds = i64::try_from(unix_s).unwrap_or(LAST).min(LAST);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// When something made now begins to hold.
pub(crate) fn backdated(now_unix_s: u64) -> u64 {
    now_unix_s.saturating_sub(BACKDATED.as_secs())
}

/// The root certificate: it signs end certificates, lists, and intermediates that sign end certificates only.
pub(crate) fn root(
    domain: &TrustDomain,
    number: u32,
    serial: Serial,
    now_unix_s: u64,
) -> Result<CertificateParams, AuthorityError> {
    // Lists of two roots are told apart by the names of those.
    let name = match number {
        1 => format!("ringmail CA of {domain}"),
        _ => format!("ringmail CA {number} of {domain}"),
    };
    let mut params = common(&name, serial, now_unix_s, ROOT_LASTS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names =
        vec![SanType::URI(format!("spiffe://{domain}").as_str().try_into()?)];
    params.use_authority_key_identifier_extension = false;
    Ok(params)
}

/// An intermediate: it signs end certificates only, and lists; and those have nothing but URIs for names.
///
/// A constraint on URIs themselves would be the natural one. webpki refuses every URI below such a constraint, so that
/// whoever verifies compares the SPIFFE id's trust domain; the other kinds of names are excluded here altogether.
pub(crate) fn intermediate(
    domain: &TrustDomain,
    name: &str,
    serial: Serial,
    now_unix_s: u64,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = common(&format!("{name} of {domain}"), serial, now_unix_s, INTERMEDIATE_LASTS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names =
        vec![SanType::URI(format!("spiffe://{domain}").as_str().try_into()?)];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: Vec::new(),
        excluded_subtrees: vec![
            GeneralSubtree::DnsName(String::new()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    Ok(params)
}

/// An end certificate.
pub(crate) fn end(
    kind: Kind,
    name: &str,
    names: Vec<SanType>,
    serial: Serial,
    now_unix_s: u64,
    lasts: Duration,
) -> CertificateParams {
    let mut params = common(name, serial, now_unix_s, lasts);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match kind {
        Kind::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Kind::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Kind::Element | Kind::Control | Kind::Intermediate => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
    };
    params.subject_alt_names = names;
    params
}

/// The list of what a root signed, was revoked and has not run out.
pub(crate) fn revocations(
    state: &State,
    root: u32,
    now_unix_s: u64,
) -> CertificateRevocationListParams {
    let revoked = |(serial, record): (&Serial, &super::Record)| {
        let revoked_unix_s = record.revoked_unix_s.filter(|_| record.root == root)?;
        Some(RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial.bytes()),
            revocation_time: moment(revoked_unix_s),
            reason_code: None,
            invalidity_date: None,
        })
    };
    CertificateRevocationListParams {
        this_update: moment(backdated(now_unix_s)),
        next_update: moment(now_unix_s + CRL_LASTS.as_secs()),
        crl_number: SerialNumber::from(state.crl_number),
        issuing_distribution_point: None,
        revoked_certs: state.certificates.iter().filter_map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

fn common(name: &str, serial: Serial, now_unix_s: u64, lasts: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&serial.bytes()));
    params.not_before = moment(backdated(now_unix_s));
    params.not_after = moment(now_unix_s.saturating_add(lasts.as_secs()));
    params.use_authority_key_identifier_extension = true;
    params
}
