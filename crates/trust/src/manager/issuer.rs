//! The manager's own CA: an intermediate below the domain's root, so that issuing by the minute grows no file, and has a
//! revocation list of its own.
//!
//! Its key is made here and never leaves the directory: `intermediate.key`, mode 0600.

use rcgen::{
    CertificateRevocationListParams, Issuer as Signer, KeyIdMethod, KeyPair, RevokedCertParams,
    SanType, SerialNumber,
};
use ringmail_model::Name;
use ringmail_trust_core::manager::{Grant, Serial};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer,
};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::error::ManagerError;
use crate::ca::certificate::{self, backdated, moment};
use crate::ca::vouch::parsed;
use crate::ca::{EmbeddedCa, Kind, Store};
use crate::error::AuthorityError;
use crate::limits::{INTERMEDIATE_LASTS, MANAGER_CRL_LASTS};
use crate::pem;
use crate::secret::SigningKey;

const KEY: &str = "intermediate.key";
const CERTIFICATE: &str = "intermediate.pem";

/// The intermediate and its key.
#[derive(Debug)]
pub(super) struct Issuer {
    key: SigningKey,
    pub(super) certificate: CertificateDer<'static>,
}

/// A certificate that was made, and not handed out yet.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) serial: Serial,
    pub(super) der: CertificateDer<'static>,
    pub(super) not_after_unix_s: u64,
}

/// A request that was looked at: it proves possession of its key.
#[derive(Debug)]
pub(super) struct Asked {
    request: rcgen::CertificateSigningRequestParams,
    /// SubjectPublicKeyInfo in DER.
    pub(super) public_key: Vec<u8>,
}

impl Asked {
    /// Looks at a request of somebody. Names and uses in it do not count.
    pub(super) fn read(
        asker: &str,
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Asked, ManagerError> {
        let request = parsed(asker, request)?;
        let public_key = rcgen::PublicKeyData::subject_public_key_info(&request.public_key);
        Ok(Asked { request, public_key })
    }
}

impl Issuer {
    /// The intermediate of a directory; made, or made anew, where there is none that the issuing root signed and that holds
    /// for some time yet.
    pub(super) fn open(
        store: &Store,
        ca: &EmbeddedCa,
        now_unix_s: u64,
    ) -> Result<Issuer, ManagerError> {
        let key = if store.has(KEY) {
            store.check_private(KEY)?;
            SigningKey::from_pem(&store.read(KEY)?).map_err(|_| AuthorityError::Damaged {
                path: store.path(KEY),
                reason: "it holds no private key".to_owned(),
            })?
        } else {
            let key = SigningKey::generate().map_err(AuthorityError::from)?;
            store.write(KEY, &key.pem())?;
            key
        };
        let kept = store.read(CERTIFICATE).ok();
        let kept = kept.and_then(|text| CertificateDer::from_pem_slice(text.as_bytes()).ok());
        let root = ca.issuing_root()?;
        if let Some(certificate) = kept
            && still_good(&certificate, &root, &key, now_unix_s)
        {
            return Ok(Issuer { key, certificate });
        }
        let name: Name = "manager".parse().map_err(|_| AuthorityError::Signature)?;
        let request = rcgen::CertificateParams::default()
            .serialize_request(key.pair())
            .map_err(AuthorityError::from)?;
        let certificates = ca.sign_intermediate(&name, &request.into())?;
        let certificate = certificates.chain.into_iter().next().ok_or(AuthorityError::Signature)?;
        store.write(CERTIFICATE, &pem::chain(std::slice::from_ref(&certificate)))?;
        Ok(Issuer { key, certificate })
    }

    /// Makes a certificate upon a grant.
    pub(super) fn sign(
        &self,
        grant: &Grant,
        asked: &Asked,
        now_unix_s: u64,
    ) -> Result<Made, ManagerError> {
        let serial = crate::ca::Serial::random()?;
        let id = grant.spiffe_id.as_str().try_into().map_err(AuthorityError::from)?;
        let lasts = std::time::Duration::from_secs(grant.lasts_s);
        let (kind, name) = (Kind::Element, grant.subject.name.as_str());
        let names = vec![SanType::URI(id)];
        let params = certificate::end(kind, name, names, serial, now_unix_s, lasts);
        let made = params
            .signed_by(&asked.request.public_key, &self.signer()?)
            .map_err(AuthorityError::from)?;
        Ok(Made {
            serial: Serial(serial.bytes()),
            der: made.der().clone(),
            not_after_unix_s: now_unix_s.saturating_add(grant.lasts_s),
        })
    }

    /// The list of what was revoked and has not run out.
    pub(super) fn list(
        &self,
        revoked: impl Iterator<Item = (Serial, u64)>,
        number: u64,
        now_unix_s: u64,
    ) -> Result<CertificateRevocationListDer<'static>, ManagerError> {
        let one = |(serial, at_unix_s): (Serial, u64)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial.0),
            revocation_time: moment(at_unix_s),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: moment(backdated(now_unix_s)),
            next_update: moment(now_unix_s + MANAGER_CRL_LASTS.as_secs()),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.signer()?).map_err(AuthorityError::from)?;
        Ok(list.der().clone())
    }

    fn signer(&self) -> Result<Signer<'static, &KeyPair>, AuthorityError> {
        Ok(Signer::from_ca_cert_der(&self.certificate, self.key.pair())?)
    }
}

/// Whether the issuing root signed it over this key, and half of its time is left.
fn still_good(
    certificate: &CertificateDer<'_>,
    root: &CertificateDer<'_>,
    key: &SigningKey,
    now_unix_s: u64,
) -> bool {
    let (Ok((_, found)), Ok((_, root))) =
        (X509Certificate::from_der(certificate), X509Certificate::from_der(root))
    else {
        return false;
    };
    let end = u64::try_from(found.validity().not_after.timestamp()).unwrap_or_default();
    let by = found.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(by) => by.key_identifier.as_ref(),
        _ => None,
    });
    let of = root.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(of) => Some(of),
        _ => None,
    });
    found.issuer() == root.subject()
        && by.is_some()
        && by == of
        && found.public_key().raw == rcgen::PublicKeyData::subject_public_key_info(key.pair())
        && end > now_unix_s + INTERMEDIATE_LASTS.as_secs() / 2
}
