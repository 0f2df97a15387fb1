//! What a gateway shows to clients and services: certificates that it was given, or that files hold where it runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ringmail_gateway::tls::Site;
use ringmail_model::domain::{
    Certificate, CertificateFiles, Domain, Gateway, Listener, ListenerKind, decode_key,
};
use ringmail_trust::TrustBundle;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::conductor::blobs;
use crate::control::{
    Blob, ListenerTls, Secret, ServerCertificate, ServiceTls, TlsPeer, WireguardKeys,
};

/// What the gateway is told of one listener. Certificates that no files hold are `issued`, by their place in the list;
/// `crl` is the file of the authority's revocation list here.
pub(crate) fn described(
    gateway: &Gateway,
    listener: &Listener,
    bundle: &TrustBundle,
    folder: &Path,
    (roots_file, crl): (&Path, &Path),
    issued: &dyn Fn(usize, &Certificate) -> Result<Site>,
) -> Result<ListenerTls> {
    let sites = listener.certificates.iter().enumerate();
    let certificates = sites.map(|(index, wanted)| {
        let site = match &wanted.files {
            Some(files) => from_files(&folder.join(&files.chain), &folder.join(&files.key))?,
            None => issued(index, wanted)?,
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
    let mut crl_files = vec![crl.to_owned()];
    let mut anchors_file = Some(std::path::absolute(roots_file)?);
    if !auth.ca_files.is_empty() {
        crl_files.clear();
        anchors_file = None;
        anchors = read_all::<CertificateDer<'static>>(&auth.ca_files, folder)?;
        crls.clear();
    }
    crls.extend(read_all::<CertificateRevocationListDer<'static>>(&auth.crl_files, folder)?);
    crl_files.extend(auth.crl_files.iter().map(|file| folder.join(file)));
    let crl_files = crl_files.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
    Ok(ListenerTls {
        name: listener.name.to_string(),
        certificates: certificates.collect::<Result<_>>()?,
        trust_anchors: anchors,
        crls,
        crl_files,
        anchors_file,
        access_log: access_log(gateway, folder)?,
        wireguard: None,
    })
}

/// The keys of a listener of kind `wireguard`, from the files that the domain names.
pub(crate) fn wireguard_keys(
    domain: &Domain,
    listener: &Listener,
    folder: &Path,
) -> Result<Option<WireguardKeys>> {
    if listener.kind != ListenerKind::Wireguard {
        return Ok(None);
    }
    let name = &listener.name;
    let file = listener.key_file.as_ref();
    let file = file.with_context(|| format!("listener `{name}` has no `key_file`"))?;
    let key = wireguard_key(&folder.join(file)).with_context(|| format!("listener `{name}`"))?;
    let mut preshared = BTreeMap::new();
    for client in &domain.clients {
        let peer = client.wireguard.as_ref();
        let Some(file) = peer.and_then(|peer| peer.preshared_key_file.as_ref()) else { continue };
        let shared = wireguard_key(&folder.join(file));
        let shared = shared.with_context(|| format!("client `{}`", client.name))?;
        preshared.insert(client.name.to_string(), shared);
    }
    Ok(Some(WireguardKeys { key, preshared }))
}

pub(crate) fn wireguard_key(path: &Path) -> Result<Secret> {
    let text = Zeroizing::new(read(path)?);
    let key = std::str::from_utf8(&text).ok().and_then(|text| decode_key(text.trim_end()));
    let key = key.with_context(|| {
        format!("{} holds no key as `wg genkey` and `wg genpsk` print it", path.display())
    })?;
    Ok(Secret::new(key.to_vec()))
}

/// What the gateway is told of the TLS of services and decision points.
pub(crate) fn peers(domain: &Domain, folder: &Path) -> Result<Vec<ServiceTls>> {
    let mut told = Vec::new();
    for service in &domain.services {
        let Some(tls) = &service.tls else { continue };
        let peer = TlsPeer::Service(service.name.to_string());
        let peer = peer_tls(peer, &tls.ca, tls.certificate.as_ref(), folder);
        told.push(peer.with_context(|| format!("service `{}`", service.name))?);
    }
    for point in &domain.decision_points {
        let Some(ca) = &point.ca else { continue };
        let peer = TlsPeer::DecisionPoint(point.name.to_string());
        let peer = peer_tls(peer, ca, point.certificate.as_ref(), folder);
        told.push(peer.with_context(|| format!("decision point `{}`", point.name))?);
    }
    Ok(told)
}

fn peer_tls(
    peer: TlsPeer,
    ca: &Path,
    own: Option<&CertificateFiles>,
    folder: &Path,
) -> Result<ServiceTls> {
    let certificate = own.map(|files| {
        let site = from_files(&folder.join(&files.chain), &folder.join(&files.key))?;
        let key = Secret::new(site.key.secret_der().to_vec());
        let chain = blobs(&site.chain);
        Ok::<_, anyhow::Error>(ServerCertificate { server_names: Vec::new(), chain, key })
    });
    let ca = ca.to_owned();
    let trust_anchors = read_all::<CertificateDer<'static>>(std::slice::from_ref(&ca), folder)?;
    Ok(ServiceTls { peer, trust_anchors, certificate: certificate.transpose()? })
}

/// An absolute path: an element has no folder of the domain file's.
fn access_log(gateway: &Gateway, folder: &Path) -> Result<Option<PathBuf>> {
    let Some(log) = &gateway.access_log else { return Ok(None) };
    if log.file == Path::new("-") {
        return Ok(Some(log.file.clone()));
    }
    Ok(Some(std::path::absolute(folder.join(&log.file))?))
}

fn from_files(chain: &Path, key: &Path) -> Result<Site> {
    let (what, keyed) = (chain.display(), key);
    let chain = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{} is no PEM chain", chain.display()))?;
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .with_context(|| format!("{} holds no private key", key.display()))?;
    // A pair that is just being replaced on disk may be of two makes.
    let pair = CertifiedKey::from_der(chain.clone(), key.clone_key(), &default_provider());
    pair.with_context(|| format!("{what} and {} do not go together", keyed.display()))?;
    Ok(Site { names: Vec::new(), chain, key })
}

/// Whether other certificates are shown than before. A key is another one where its certificate is.
pub(crate) fn shows_others(was: &ListenerTls, is: &ListenerTls) -> bool {
    let chains = |told: &ListenerTls| {
        let shown = told.certificates.iter();
        shown.map(|shown| (shown.server_names.clone(), shown.chain.clone())).collect::<Vec<_>>()
    };
    chains(was) != chains(is)
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

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
