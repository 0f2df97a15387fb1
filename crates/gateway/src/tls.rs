//! TLS towards clients: certificates by SNI (RFC 6066 section 3), client certificates required and
//! checked against revocation lists (RFC 5280 section 6.3), HTTP versions by ALPN (RFC 7301).

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::identity;

/// A server certificate with the names that it is shown for.
#[derive(Debug)]
pub struct Site {
    /// The names (SNI) that it is shown for, `*.` in front standing for one label. Empty: the DNS
    /// names and addresses in the certificate itself.
    pub names: Vec<String>,
    /// The certificate chain, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

/// Whom client certificates come from, and which are revoked.
#[derive(Debug)]
pub struct ClientTrust {
    /// The trust anchors.
    pub roots: Arc<RootCertStore>,
    /// Revocation lists. With any, a certificate whose issuer has no current list is refused.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

/// Why the TLS settings cannot be used; the fault is the operator's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate at all.
    #[error("the gateway has no server certificate")]
    NoSite,
    /// A certificate that cannot be read.
    #[error("server certificate {index} cannot be read")]
    Certificate {
        /// Its place in the list.
        index: usize,
    },
    /// A certificate that is shown for nothing.
    #[error("server certificate {index} has no name (hint: issue it with DNS names)")]
    Nameless {
        /// Its place in the list.
        index: usize,
    },
    /// A key that cannot be used, or that is another certificate's.
    #[error("the key of server certificate {index} is not usable")]
    Key {
        /// Its place in the list.
        index: usize,
        /// What rustls says.
        source: rustls::Error,
    },
    /// Two certificates for one name.
    #[error("two server certificates are shown for {name:?}")]
    Twice {
        /// The name.
        name: String,
    },
    /// No trust anchor, or a revocation list that cannot be read.
    #[error("client certificates cannot be checked")]
    Clients(#[from] VerifierBuilderError),
    /// The provider refuses the protocol versions.
    #[error("TLS cannot be set up")]
    Versions(#[source] rustls::Error),
}

/// What a listener needs: the rustls configuration and the names behind each certificate.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) sites: Arc<Sites>,
}

/// TLS 1.3 and 1.2 for `sites`, with client certificates required.
///
/// A client without server name gets the first site; one that asks for an unknown name gets none.
/// Sessions are not resumed: a ticket would outlive the revocation of its certificate.
///
/// # Errors
/// [`TlsError`] names the certificate at fault.
pub fn settings(sites: Vec<Site>, clients: ClientTrust) -> Result<TlsSettings, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let sites = Arc::new(Sites::new(sites, &provider)?);
    let mut verifier =
        WebPkiClientVerifier::builder_with_provider(clients.roots, Arc::clone(&provider));
    if !clients.crls.is_empty() {
        verifier = verifier.with_crls(clients.crls).enforce_revocation_expiration();
    }
    let verifier = Arc::new(NamedClients(verifier.build()?));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&sites) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsSettings { config: Arc::new(config), sites })
}

/// The names of one certificate: what its connections may be used for.
#[derive(Debug, Default)]
pub(crate) struct Names {
    exact: Vec<String>,
    wildcard: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    pub(crate) fn add(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if let Some(rest) = name.strip_prefix("*.") {
            self.wildcard.push(rest.to_owned());
        } else if let Ok(address) = name.parse() {
            self.addresses.push(address);
        } else {
            self.exact.push(name);
        }
    }

    fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Names> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let mut names = Names::default();
        if let Some(extension) = parsed.subject_alternative_name().ok()? {
            for name in &extension.value.general_names {
                match name {
                    GeneralName::DNSName(dns) => names.add(dns),
                    GeneralName::IPAddress(bytes) => {
                        names.addresses.extend(address(bytes));
                    }
                    _ => {}
                }
            }
        }
        Some(names)
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.addresses.is_empty()
    }

    /// Whether `host` (lower case, no port, no brackets) is one of them (RFC 6125 section 6.4).
    pub(crate) fn cover(&self, host: &str) -> bool {
        self.exact.iter().any(|name| name == host)
            || host.split_once('.').is_some_and(|(label, rest)| {
                !label.is_empty() && self.wildcard.iter().any(|name| name == rest)
            })
            || host.parse().is_ok_and(|address| self.addresses.contains(&address))
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// All certificates, by name.
pub(crate) struct Sites {
    sites: Vec<(Arc<CertifiedKey>, Arc<Names>)>,
    exact: HashMap<String, usize>,
    wildcard: HashMap<String, usize>,
}

impl Sites {
    fn new(sites: Vec<Site>, provider: &CryptoProvider) -> Result<Sites, TlsError> {
        let mut all = Sites { sites: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new() };
        for (index, site) in sites.into_iter().enumerate() {
            let own = site.chain.first().ok_or(TlsError::Certificate { index })?;
            let mut names = Names::of_certificate(own).ok_or(TlsError::Certificate { index })?;
            if !site.names.is_empty() {
                names = Names::default();
                site.names.iter().for_each(|name| names.add(name));
            }
            if names.is_empty() {
                return Err(TlsError::Nameless { index });
            }
            for name in &names.exact {
                if all.exact.insert(name.clone(), index).is_some() {
                    return Err(TlsError::Twice { name: name.clone() });
                }
            }
            for name in &names.wildcard {
                if all.wildcard.insert(name.clone(), index).is_some() {
                    return Err(TlsError::Twice { name: format!("*.{name}") });
                }
            }
            let key = CertifiedKey::from_der(site.chain, site.key, provider)
                .map_err(|source| TlsError::Key { index, source })?;
            all.sites.push((Arc::new(key), Arc::new(names)));
        }
        if all.sites.is_empty() { Err(TlsError::NoSite) } else { Ok(all) }
    }

    fn select(&self, sni: Option<&str>) -> Option<&(Arc<CertifiedKey>, Arc<Names>)> {
        let Some(sni) = sni else { return self.sites.first() };
        let sni = sni.to_ascii_lowercase();
        let index = self
            .exact
            .get(&sni)
            .or_else(|| sni.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest)))?;
        self.sites.get(*index)
    }

    /// What a connection that asked for `sni` may be used for.
    pub(crate) fn names(&self, sni: Option<&str>) -> Option<Arc<Names>> {
        self.select(sni).map(|(_, names)| Arc::clone(names))
    }
}

impl fmt::Debug for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sites.iter().map(|(_, names)| names)).finish()
    }
}

impl ResolvesServerCert for Sites {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.select(hello.server_name()).map(|(key, _)| Arc::clone(key))
    }
}

/// A verifier that also wants a name, so that a nameless client is refused by an alert.
#[derive(Debug)]
struct NamedClients(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for NamedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        identity::names(end_entity)
            .map_err(|_| rustls::Error::from(CertificateError::ApplicationVerificationFailure))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let mut names = Names::default();
        ["WWW.campus.example", "*.files.example", "192.0.2.1", "2001:db8::1"]
            .iter()
            .for_each(|name| names.add(name));
        for host in ["www.campus.example", "a.files.example", "192.0.2.1", "2001:db8::1"] {
            assert!(names.cover(host), "{host}");
        }
        for host in ["campus.example", "files.example", "a.b.files.example", ".files.example", ""] {
            assert!(!names.cover(host), "{host}");
        }
    }
}
