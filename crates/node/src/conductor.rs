//! What a domain's elements are told: certificates for their keys, the signed paths, leases, the gateway's listeners.
//!
//! The conductor is the only one that talks to the authority; elements see what it signs and nothing else of it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ringmail_gateway::tls::Site;
use ringmail_model::PathDigest;
use ringmail_model::domain::{Certificate, Domain, Gateway, Keying, Listener, Service};
use ringmail_model::names::Name;
use ringmail_model::pathset::{PathSet, SignedPathSet};
use ringmail_trust::{Authority, EmbeddedCa, Kind, Request, TrustBundle};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer, PrivateKeyDer,
};
use zeroize::Zeroizing;

use crate::control::{Blob, FromElement, Secret, ServerCertificate, ToElement};
use crate::element::psk;
use crate::random;
use crate::supervise::Conductor;

/// How long a server certificate holds that the embedded authority issues for a listener.
const SERVER_LASTS: Duration = Duration::from_secs(90 * 86_400);

/// Bytes of the secret of keying `psk`, at least.
const PSK_BYTES: usize = 32;

/// Answers the elements of one domain.
#[derive(Debug)]
pub struct DomainConductor {
    authority: Arc<EmbeddedCa>,
    text: String,
    set: PathSet,
    signed: SignedPathSet,
    lease: Duration,
    listeners: Vec<ToElement>,
    psk: Option<Secret>,
    /// Elements that have the secret of keying `psk`: a second life of one would count from 1 again under its keys.
    keyed: BTreeSet<String>,
}

impl DomainConductor {
    /// A conductor of a checked domain. `text` is the domain file, `folder` where its relative paths begin.
    ///
    /// # Errors
    /// When the authority refuses to sign, or a certificate file cannot be read.
    pub fn new(
        authority: Arc<EmbeddedCa>,
        domain: &Domain,
        text: String,
        set: PathSet,
        folder: &Path,
    ) -> Result<DomainConductor> {
        ensure!(
            authority.trust_domain() == &domain.domain,
            "the authority in {} is that of {}, not of {}",
            authority.dir().display(),
            authority.trust_domain(),
            domain.domain
        );
        let signed = authority.sign_path_set(&set)?;
        let bundle = authority.trust_bundle()?;
        let listeners = domain.gateway.listeners.iter().map(|listener| {
            let told = described(&authority, &domain.gateway, listener, &bundle, folder);
            told.with_context(|| format!("listener `{}`", listener.name))
        });
        let mut listeners = listeners.collect::<Result<Vec<_>>>()?;
        for service in &domain.services {
            let told = service_tls(service, folder);
            listeners.extend(told.with_context(|| format!("service `{}`", service.name))?);
        }
        let lease = Duration::from_secs(u64::from(domain.limits.lease_s));
        let psk = psk_secret(domain, folder)?;
        Ok(DomainConductor {
            authority,
            text,
            set,
            signed,
            lease,
            listeners,
            psk,
            keyed: BTreeSet::new(),
        })
    }

    fn hello(&mut self, name: &str, request: &Blob) -> Result<Vec<ToElement>> {
        let known = self.set.element_named(name);
        let element = known.with_context(|| format!("no element is named `{name}`"))?;
        ensure!(
            self.psk.is_none() || self.keyed.insert(name.to_owned()),
            "with keying `psk` an element does not start twice: it would repeat nonces (hint: start the whole domain again, \
             or write `keying: sap`)"
        );
        let request = CertificateSigningRequestDer::from(request.0.as_slice());
        let certificates = self.authority.sign_element(&name.parse::<Name>()?, &request)?;
        let bundle = self.authority.trust_bundle()?;
        let mut told = vec![
            ToElement::Domain { text: self.text.clone() },
            ToElement::PathSet {
                document: self.signed.bytes.clone().into(),
                signature: self.signed.signature.clone().into(),
                signing_key: bundle.path_key.to_vec().into(),
            },
        ];
        if element.role == ringmail_model::pathset::Role::Gateway {
            told.extend(self.listeners.iter().cloned());
        }
        told.extend(self.psk.clone().map(|secret| ToElement::Psk { secret }));
        // Last, because the element begins with it.
        told.push(ToElement::Identity {
            certificate_chain: blobs(&certificates.chain),
            trust_anchors: blobs(&bundle.roots),
            crls: blobs(&bundle.crls),
        });
        Ok(told)
    }

    fn lease(&self, name: &str, digest: &Blob) -> Result<Vec<ToElement>> {
        let known = self.set.element_named(name);
        let element = known.with_context(|| format!("no element is named `{name}`"))?;
        let digest = digest.0.as_slice().try_into().map(PathDigest);
        let digest = digest.map_err(|_| anyhow!("a path digest has 32 bytes"))?;
        let path = self.set.paths.iter().find(|path| path.digest == digest);
        let path = path.with_context(|| format!("no path has the digest {digest}"))?;
        let mut on_it = std::iter::once(path.origin).chain(path.visits().map(|hop| hop.element));
        ensure!(on_it.any(|id| id == element.id), "`{name}` is not on path `{}`", path.name);
        let signed = self.authority.sign_lease(element.id, digest, self.lease)?;
        Ok(vec![ToElement::Lease { signed: signed.to_bytes().to_vec().into() }])
    }
}

impl Conductor for DomainConductor {
    fn answer(
        &mut self,
        element: &str,
        message: FromElement,
    ) -> Result<Vec<ToElement>, Box<dyn Error + Send + Sync>> {
        let told = match message {
            FromElement::Hello { csr } => self.hello(element, &csr),
            FromElement::LeaseRequest { digest } => self.lease(element, &digest),
            other => bail_unexpected(&other),
        };
        Ok(told?)
    }
}

fn bail_unexpected(message: &FromElement) -> Result<Vec<ToElement>> {
    bail!("an element says what nobody asked for: {message:?}")
}

/// The secret of keying `psk` for this run: made for it, or from a file and mixed with what is drawn for it.
fn psk_secret(domain: &Domain, folder: &Path) -> Result<Option<Secret>> {
    if domain.keying != Keying::Psk {
        return Ok(None);
    }
    let drawn = random::bytes::<{ psk::DRAWN_BYTES }>()?;
    let settings = domain.psk.clone().unwrap_or_default();
    let Some(file) = &settings.keys_file else { return Ok(Some(Secret::new(drawn.to_vec()))) };
    let secret = Zeroizing::new(read(&folder.join(file))?);
    ensure!(secret.len() >= PSK_BYTES, "the file of `psk` holds fewer than {PSK_BYTES} bytes");
    let used = match settings.danger_same_keys_every_start {
        true => secret,
        false => psk::of_this_start(&secret, &drawn)?,
    };
    Ok(Some(Secret::new(used.to_vec())))
}

/// What the gateway is told of one listener.
fn described(
    authority: &EmbeddedCa,
    gateway: &Gateway,
    listener: &Listener,
    bundle: &TrustBundle,
    folder: &Path,
) -> Result<ToElement> {
    let sites = listener.certificates.iter().enumerate();
    let certificates = sites.map(|(index, wanted)| {
        let site = match &wanted.files {
            Some(files) => from_files(&folder.join(&files.chain), &folder.join(&files.key))?,
            None => issued(authority, listener, index, wanted)?,
        };
        let names = wanted.server_names.iter().map(ToString::to_string);
        Ok(ServerCertificate {
            server_names: names.collect(),
            chain: blobs(&site.chain),
            key: Secret::new(site.key.secret_der().to_vec()),
        })
    });
    let auth = &listener.client_auth;
    let mut anchors = blobs(&bundle.roots);
    let mut crls = blobs(&bundle.crls);
    let mut crl_files = vec![authority.crl_file()];
    if !auth.ca_files.is_empty() {
        crl_files.clear();
        anchors = read_all::<CertificateDer<'static>>(&auth.ca_files, folder)?;
        crls.clear();
    }
    crls.extend(read_all::<CertificateRevocationListDer<'static>>(&auth.crl_files, folder)?);
    crl_files.extend(auth.crl_files.iter().map(|file| folder.join(file)));
    let crl_files = crl_files.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
    Ok(ToElement::Listener {
        name: listener.name.to_string(),
        certificates: certificates.collect::<Result<_>>()?,
        trust_anchors: anchors,
        crls,
        crl_files,
        access_log: access_log(gateway, folder)?,
    })
}

/// What the gateway is told of a service's TLS.
fn service_tls(service: &Service, folder: &Path) -> Result<Option<ToElement>> {
    let Some(tls) = &service.tls else { return Ok(None) };
    let certificate = tls.certificate.as_ref().map(|files| {
        let site = from_files(&folder.join(&files.chain), &folder.join(&files.key))?;
        let key = Secret::new(site.key.secret_der().to_vec());
        let chain = blobs(&site.chain);
        Ok::<_, anyhow::Error>(ServerCertificate { server_names: Vec::new(), chain, key })
    });
    Ok(Some(ToElement::ServiceTls {
        service: service.name.to_string(),
        trust_anchors: read_all::<CertificateDer<'static>>(std::slice::from_ref(&tls.ca), folder)?,
        certificate: certificate.transpose()?,
    }))
}

/// An absolute path: an element has no folder of the domain file's.
fn access_log(gateway: &Gateway, folder: &Path) -> Result<Option<PathBuf>> {
    let Some(log) = &gateway.access_log else { return Ok(None) };
    if log.file == Path::new("-") {
        return Ok(Some(log.file.clone()));
    }
    Ok(Some(std::path::absolute(folder.join(&log.file))?))
}

/// A certificate of the embedded authority, with a key that lasts as long as this run.
fn issued(
    authority: &EmbeddedCa,
    listener: &Listener,
    index: usize,
    wanted: &Certificate,
) -> Result<Site> {
    let mut names = BTreeSet::new();
    for name in &wanted.server_names {
        names.insert(name.to_string());
    }
    let request = Request {
        kind: Kind::Server,
        name: format!("{}-{index}", listener.name).parse()?,
        names: names
            .iter()
            .map(|n| n.parse().map_err(anyhow::Error::msg))
            .collect::<Result<_>>()?,
        lasts: SERVER_LASTS,
        replace: true,
    };
    let (chain, key) = authority.issue(&request)?.identity.for_tls();
    Ok(Site { names: names.into_iter().collect(), chain, key })
}

fn from_files(chain: &Path, key: &Path) -> Result<Site> {
    let chain = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{} is no PEM chain", chain.display()))?;
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .with_context(|| format!("{} holds no private key", key.display()))?;
    Ok(Site { names: Vec::new(), chain, key })
}

fn read_all<T: PemObject + AsRef<[u8]>>(files: &[PathBuf], folder: &Path) -> Result<Vec<Blob>> {
    let mut found = Vec::new();
    for file in files {
        let path = folder.join(file);
        let parsed = T::pem_slice_iter(&read(&path)?).collect::<Result<Vec<T>, _>>();
        let parsed = parsed.with_context(|| format!("{} is no PEM file", path.display()))?;
        ensure!(!parsed.is_empty(), "{} holds nothing of its kind", path.display());
        found.extend(blobs(&parsed));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn blobs<T: AsRef<[u8]>>(all: &[T]) -> Vec<Blob> {
    all.iter().map(|der| Blob::from(der.as_ref().to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(settings: &str) -> Vec<u8> {
        let folder = std::env::temp_dir().join(format!("ringmail-psk-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("keys"), [7; 40]).expect("a file");
        let text = include_str!("../../../examples/psk-transport.yaml");
        let text = text.replace("\npsk:\n", &format!("\npsk:\n{settings}"));
        let domain = ringmail_model::check::load(&text, "psk.yaml").expect("a good domain").domain;
        let secret = psk_secret(&domain, &folder).expect("a secret").expect("keying psk");
        secret.danger_bytes().to_vec()
    }

    #[test]
    fn two_starts_never_share_the_secret_unless_a_danger_is_asked_for() {
        for settings in ["", "  keys_file: keys\n"] {
            assert_ne!(secret(settings), secret(settings), "{settings:?}");
        }
        let danger = "  keys_file: keys\n  danger_same_keys_every_start: true\n";
        assert_eq!(secret(danger), [7; 40]);
    }
}
