//! Who a client is: the names in its certificate, SPIFFE first.
//!
//! The order is the SPIFFE id (X509-SVID section 2: exactly one URI), other URIs, DNS names, email
//! addresses (RFC 5280 section 4.2.1.6). A certificate without any of them names nobody. The
//! forms are those of the domain file: `spiffe://…`, `uri:…`, `dns:…`, `email:…`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use ringmail_model::rules::RuleSet;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::certificate::ClientCertificate;
use crate::limits::CONNECTION_LASTS;

/// SHA-256 over a certificate's DER encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of this certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Fingerprint {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Fingerprint(fingerprint)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An authenticated client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Its first name: for limits and logs.
    pub(crate) identity: Arc<str>,
    /// All that rules may ask of its certificate, with all its names.
    pub(crate) certificate: Arc<ClientCertificate>,
    /// The subject of its certificate (RFC 4514).
    pub(crate) subject: Arc<str>,
    /// Its certificate, for keeping its connections apart from others'.
    pub(crate) fingerprint: Fingerprint,
}

/// Why a certificate names no client; the fault is its issuer's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not an X.509 certificate.
    #[error("the client's certificate cannot be read")]
    Malformed,
    /// No URI, DNS name or email address.
    #[error(
        "the client's certificate has no URI, DNS or email name (hint: issue it with a SPIFFE id)"
    )]
    Nameless,
    /// A SPIFFE id beside another URI, which X509-SVID section 2 forbids.
    #[error("the client's certificate has a SPIFFE id and another URI")]
    Ambiguous,
}

impl Client {
    /// The client that `certificate` names; trust in it is the TLS verifier's business.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Client, IdentityError> {
        let read = ClientCertificate::read(certificate)?;
        let identity =
            read.names.first().map(String::as_str).ok_or(IdentityError::Nameless)?.into();
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
        let subject = parsed.subject().to_string().into();
        let fingerprint = Fingerprint::of(certificate);
        Ok(Client { identity, certificate: Arc::new(read), subject, fingerprint })
    }

    /// Somebody who showed no certificate.
    #[cfg(feature = "weaken")]
    pub(crate) fn nobody() -> Client {
        let (identity, subject) = ("nobody".into(), "".into());
        let fingerprint = Fingerprint([0; 32]);
        let certificate = Arc::new(ClientCertificate {
            names: Vec::new(),
            issuer: String::new(),
            not_before_unix_s: 0,
            not_after_unix_s: u64::MAX,
        });
        Client { identity, certificate, subject, fingerprint }
    }

    /// How long its certificate still holds at `now`: through the second that it names (RFC 5280 section 4.1.2.5).
    pub(crate) fn holds_for(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = Duration::from_secs(self.certificate.not_after_unix_s.saturating_add(1));
        end.saturating_sub(now).min(CONNECTION_LASTS)
    }

    /// All its names, as the domain file spells them.
    pub(crate) fn names(&self) -> &[String] {
        &self.certificate.names
    }

    /// The name that `rules` know it by; its first where they know none.
    pub(crate) fn known_to(&self, rules: &RuleSet) -> &str {
        rules.identify(self.names().iter().map(String::as_str)).unwrap_or(&self.identity)
    }
}

/// The names of the client that `certificate` was issued to; at least one.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, IdentityError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
    let given = parsed.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
    let given = given.map(|extension| extension.value.general_names.as_slice()).unwrap_or(&[]);
    let uris: Vec<&str> = given.iter().filter_map(uri).collect();
    if uris.iter().any(|uri| uri.starts_with("spiffe://")) && uris.len() > 1 {
        return Err(IdentityError::Ambiguous);
    }
    let uris = uris.into_iter().map(|uri| {
        if uri.starts_with("spiffe://") { uri.to_owned() } else { format!("uri:{uri}") }
    });
    let dns = given.iter().filter_map(dns);
    let names: Vec<String> = uris.chain(dns).chain(given.iter().filter_map(email)).collect();
    if names.is_empty() { Err(IdentityError::Nameless) } else { Ok(names) }
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(uri) = name { Some(uri) } else { None }
}

fn dns(name: &GeneralName<'_>) -> Option<String> {
    let GeneralName::DNSName(dns) = name else { return None };
    (!dns.is_empty()).then(|| format!("dns:{}", dns.to_ascii_lowercase()))
}

fn email(name: &GeneralName<'_>) -> Option<String> {
    let GeneralName::RFC822Name(email) = name else { return None };
    (!email.is_empty()).then(|| format!("email:{}", email.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn named(given: &[SanType]) -> Result<Vec<String>, IdentityError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = given.to_vec();
        let key = KeyPair::generate().expect("a key");
        names(params.self_signed(&key).expect("a certificate").der())
    }

    fn uri(value: &str) -> SanType {
        SanType::URI(value.try_into().expect("ASCII"))
    }

    #[test]
    fn spiffe_id_then_uri_then_dns_then_email() {
        let dns = SanType::DnsName("Alice.example".try_into().expect("ASCII"));
        let email = SanType::Rfc822Name("Alice@example".try_into().expect("ASCII"));
        let spiffe = uri("spiffe://campus/client/alice");
        let all = named(&[email.clone(), dns.clone(), spiffe]).expect("names");
        let expected = ["spiffe://campus/client/alice", "dns:alice.example", "email:alice@example"];
        assert_eq!(all, expected);
        let other = named(&[dns, uri("https://a/")]).expect("names");
        assert_eq!(other, ["uri:https://a/", "dns:alice.example"]);
        assert_eq!(named(&[email]).expect("names"), ["email:alice@example"]);
    }

    #[test]
    fn certificates_that_name_nobody_or_two_are_refused() {
        assert_eq!(named(&[]), Err(IdentityError::Nameless));
        let two = [uri("spiffe://campus/client/alice"), uri("spiffe://campus/client/bob")];
        assert_eq!(named(&two), Err(IdentityError::Ambiguous));
        let beside = [uri("https://a/"), uri("spiffe://campus/client/alice")];
        assert_eq!(named(&beside), Err(IdentityError::Ambiguous));
        assert_eq!(names(&CertificateDer::from(vec![1, 2, 3])), Err(IdentityError::Malformed));
    }
}
