//! Server certificates by name: which one a client is shown, and what its connection may be used
//! for (RFC 6066 section 3, RFC 6125 section 6.4, RFC 9110 section 7.4).

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::tls::{Site, TlsError};

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

    /// The one that stands for a client which asks for none: never a wildcard.
    pub(crate) fn first(&self) -> Option<String> {
        self.exact.first().cloned().or_else(|| self.addresses.first().map(ToString::to_string))
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
    pub(crate) fn new(sites: Vec<Site>, provider: &CryptoProvider) -> Result<Sites, TlsError> {
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

/// The certificates that are shown now; others can take their place while connections run.
pub(crate) struct Shown {
    sites: ArcSwap<Sites>,
    provider: Arc<CryptoProvider>,
}

impl Shown {
    pub(crate) fn new(sites: Vec<Site>, provider: Arc<CryptoProvider>) -> Result<Shown, TlsError> {
        let sites = ArcSwap::from_pointee(Sites::new(sites, &provider)?);
        Ok(Shown { sites, provider })
    }

    fn replace(&self, sites: Vec<Site>) -> Result<(), TlsError> {
        self.sites.store(Arc::new(Sites::new(sites, &self.provider)?));
        Ok(())
    }

    /// What a connection that asked for `sni` may be used for.
    pub(crate) fn names(&self, sni: Option<&str>) -> Option<Arc<Names>> {
        self.sites.load().names(sni)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sites.load().fmt(f)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.sites.load().resolve(hello)
    }
}

/// The way to a gateway's certificates while it runs.
#[derive(Clone, Debug)]
pub struct Certificates(pub(crate) Arc<Shown>);

impl Certificates {
    /// New connections are shown these from now on, in the place of all that were shown; those that are open go on.
    ///
    /// # Errors
    /// [`TlsError`] names the certificate at fault; then nothing changed.
    pub fn replace(&self, sites: Vec<Site>) -> Result<(), TlsError> {
        self.0.replace(sites)
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
