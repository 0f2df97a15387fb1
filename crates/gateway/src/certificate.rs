//! What rules may ask of a client's certificate besides whose it is: its names, its issuer and its times (RFC 5280
//! sections 4.1.2.4 and 4.1.2.5).

use ringmail_model::rules::CertificateFacts;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::identity::{self, IdentityError};

/// A client's certificate, as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its names as the domain file spells them, the client's identity first.
    pub names: Vec<String>,
    /// Who issued it, as `openssl x509 -issuer -nameopt RFC2253` prints it.
    pub issuer: String,
    /// Since when it is good.
    pub not_before_unix_s: u64,
    /// Until when it is good.
    pub not_after_unix_s: u64,
}

impl ClientCertificate {
    /// What a certificate says; whether it is to be believed is the TLS verifier's business.
    ///
    /// # Errors
    /// When it cannot be read, or names nobody or two.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<ClientCertificate, IdentityError> {
        let names = identity::names(certificate)?;
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
        let validity = parsed.validity();
        // A time before 1970 is one long ago.
        let unix_s = |time: i64| u64::try_from(time).unwrap_or(0);
        Ok(ClientCertificate {
            names,
            issuer: name(parsed.issuer()),
            not_before_unix_s: unix_s(validity.not_before.timestamp()),
            not_after_unix_s: unix_s(validity.not_after.timestamp()),
        })
    }

    /// The same, to be asked about.
    pub fn facts(&self) -> CertificateFacts<'_> {
        CertificateFacts {
            names: &self.names,
            issuer: Some(&self.issuer),
            not_before_unix_s: Some(self.not_before_unix_s),
        }
    }
}

/// A distinguished name as a text (RFC 2253 section 2): the last part first, so that no two names have one text.
fn name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        let attributes: Vec<_> = part.iter().collect();
        for (nth, attribute) in attributes.into_iter().rev().enumerate() {
            if nth > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
    }
    text
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let kind = attribute.attr_type();
    let short = oid2abbrev(kind, oid_registry()).ok();
    match (short, attribute.as_str()) {
        (Some(short), Ok(value)) => {
            text.push_str(short);
            text.push('=');
            push_escaped(text, value);
        }
        (short, _) => {
            let value = attribute.attr_value();
            text.push_str(short.unwrap_or(&kind.to_id_string()));
            // What has no text stands in hexadecimal, as its tag, length and value.
            text.push_str("=#");
            let header = [u8::try_from(value.tag().0).unwrap_or(0)];
            push_hex(text, &header);
            push_hex(text, &length(value.data.len()));
            push_hex(text, value.data);
        }
    }
}

/// DER's length (X.690 section 10.1).
fn length(bytes: usize) -> Vec<u8> {
    match u8::try_from(bytes) {
        Ok(short) if short < 0x80 => vec![short],
        _ => {
            let long: Vec<u8> =
                bytes.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            let count = u8::try_from(long.len()).unwrap_or(0);
            std::iter::once(0x80 | count).chain(long).collect()
        }
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("{byte:02X}"));
    }
}

/// RFC 2253 section 2.4, with everything but printable ASCII as `\XX`.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let special = b",+\"\\<>;".contains(&byte)
            || (byte == b'#' && at == 0)
            || (byte == b' ' && (at == 0 || at == last));
        if special {
            text.push('\\');
        }
        if byte == b' ' || byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("\\{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

    use super::*;

    /// The same name from us and from openssl, which nobody here wrote.
    #[test]
    fn issuers_are_named_as_openssl_names_them() {
        for parts in [
            vec![(DnType::CommonName, "Staff CA")],
            vec![
                (DnType::CountryName, "DE"),
                (DnType::OrganizationName, "Campus, the \"large\" one"),
                (DnType::OrganizationalUnitName, "a+b;c<d>e\\f"),
                (DnType::CommonName, " #Zoë "),
            ],
            vec![(DnType::CommonName, "#a"), (DnType::LocalityName, "Ulm\nNeu")],
            // An attribute that has no short name.
            vec![(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99_999, 1]), "x")],
        ] {
            let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
            params.distinguished_name = DistinguishedName::new();
            for (kind, value) in parts {
                params.distinguished_name.push(kind, value);
            }
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("a certificate");
            let read = ClientCertificate::read(certificate.der()).expect("it can be read");
            let mut openssl = Command::new("openssl")
                .args(["x509", "-noout", "-issuer", "-nameopt", "RFC2253"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("openssl");
            let mut input = openssl.stdin.take().expect("its input");
            input.write_all(certificate.pem().as_bytes()).expect("it reads");
            drop(input);
            let said = openssl.wait_with_output().expect("its output");
            let said = String::from_utf8(said.stdout).expect("ASCII");
            assert_eq!(Some(&*read.issuer), said.trim_end_matches('\n').strip_prefix("issuer="));
        }
    }

    #[test]
    fn a_certificate_has_its_times() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let read = ClientCertificate::read(certificate.der()).expect("it can be read");
        let times = (read.not_before_unix_s, read.not_after_unix_s);
        assert_eq!(times, (1_767_225_600, 1_798_761_600));
    }
}
