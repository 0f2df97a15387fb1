//! What an element is told before it begins, and again when it is renewed: read from messages, checked, in the types that
//! the element works with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ringmail_gateway::tls::{ClientTrust, Site};
use ringmail_gateway::{
    DecisionPoint, DecisionPoints, DecisionTrust, ServiceOptions, ServiceTls, Services,
};
use ringmail_model::PathVersion;
use ringmail_model::domain::{Domain, Keying};
use ringmail_model::pathset::{Expected, PublicKey, Role, SignedPathSet};
use ringmail_trust::{Certificates, ElementKey, Identity, PrivateKey, TrustBundle};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::proxy::ListenerTls;
use super::psk::Psk;
use super::versions::Version;
use crate::control::{
    self, Blob, FromElement, Receiver, Secret, Sender, ServerCertificate, TlsPeer, ToElement,
};

/// What an element was told before it begins.
pub(super) struct Told {
    pub(super) version: Version,
    pub(super) identity: Identity,
    pub(super) bundle: TrustBundle,
    pub(super) listeners: Vec<ListenerTls>,
    /// How the gateway speaks to services and decision points.
    pub(super) legs: Legs,
    pub(super) psk: Option<Psk>,
}

/// How the gateway speaks to services, and whom else it asks.
#[derive(Debug, Default)]
pub(super) struct Legs {
    pub(super) services: Services,
    pub(super) decision_points: DecisionPoints,
}

/// Says hello and listens until everything is there; `None` if the parent has no use for the element any more.
pub(super) async fn learn(
    name: &str,
    receiver: &mut Receiver<ToElement>,
    sender: &mut Sender<FromElement>,
) -> Result<Option<Told>> {
    let key = ElementKey::generate()?;
    // The name in the request does not count, so that the domain need not be known yet.
    let csr = key.signing_request(&"element.invalid".parse()?, &name.parse()?)?;
    sender.send(&FromElement::Hello { csr: csr.to_vec().into() }).await?;
    let (mut domain, mut paths, mut listeners, mut psk) = (None, None, Vec::new(), None);
    let mut legs = Vec::new();
    loop {
        let (message, kept) = match receiver.recv().await? {
            Some(ToElement::KeptIdentity {
                key, certificate_chain, trust_anchors, crls, ..
            }) => (Some(ToElement::Identity { certificate_chain, trust_anchors, crls }), Some(key)),
            other => (other, None),
        };
        match message {
            None | Some(ToElement::Shutdown { .. }) => return Ok(None),
            Some(ToElement::Domain { text }) => {
                let loaded = ringmail_model::check::load(&text, "domain file")?;
                domain = Some(loaded.domain);
            }
            Some(ToElement::PathSet { document, signature, signing_key }) => {
                let signed = SignedPathSet { bytes: document.0, signature: signature.0 };
                paths = Some((signed, signing_key));
            }
            Some(ToElement::Listener(told)) => listeners.push(listener(told)?),
            Some(ToElement::ServiceTls(leg)) => legs.push(leg),
            Some(ToElement::Psk { secret, lives }) => psk = Some(Psk { secret, lives }),
            Some(ToElement::Identity { certificate_chain, trust_anchors, crls }) => {
                let domain: Domain = domain.context("no domain was told before the identity")?;
                let (signed, signing_key) =
                    paths.context("no paths were told before the identity")?;
                let path_key = <[u8; 32]>::try_from(signing_key.0.as_slice())?;
                let expected = Expected {
                    domain: &domain.domain,
                    highest_version: PathVersion(0),
                    now_unix_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
                };
                let set = signed.verify(&PublicKey(path_key), &expected)?;
                if (domain.keying == Keying::Psk) != psk.is_some() {
                    bail!("the keying of the domain and the keys that were told do not agree");
                }
                let bundle = TrustBundle {
                    trust_domain: domain.domain.clone(),
                    roots: certificates(trust_anchors),
                    crls: lists(crls),
                    path_key,
                };
                let identity = match kept {
                    Some(kept) => kept_identity(certificate_chain, &kept),
                    None => {
                        let chain = certificates(certificate_chain);
                        key.into_identity(Certificates { chain, not_after_unix_s: 0 })
                    }
                };
                let version = Version::new(domain, set, name)?;
                let legs = match version.element.role {
                    Role::Gateway => self::legs(&version.domain, legs)?,
                    _ => Legs::default(),
                };
                let told = Told { version, identity, bundle, listeners, legs, psk };
                return Ok(Some(told));
            }
            Some(other) => tracing::debug!(?other, "nothing to do with this message yet"),
        }
    }
}

/// The identity of an element with another certificate over its key.
pub(super) fn renewed(identity: &Identity, chain: Vec<Blob>) -> Identity {
    identity.renewed(Certificates { chain: certificates(chain), not_after_unix_s: 0 })
}

/// Whom an element believes from now on.
pub(super) fn believed(before: TrustBundle, roots: Vec<Blob>, crls: Vec<Blob>) -> TrustBundle {
    TrustBundle { roots: certificates(roots), crls: lists(crls), ..before }
}

/// The identity of an element whose key its state directory keeps.
pub(super) fn kept_identity(chain: Vec<Blob>, key: &Secret) -> Identity {
    let svid = Certificates { chain: certificates(chain), not_after_unix_s: 0 };
    Identity::new(svid, PrivateKey::from_pkcs8(key.danger_bytes().to_vec()))
}

/// Whom an element believes from now on, that believed `before`.
pub(super) fn bundle(
    before: TrustBundle,
    anchors: Vec<Blob>,
    crls: Vec<Blob>,
    signing_key: &Blob,
) -> Result<TrustBundle> {
    let path_key = signing_key.0.as_slice().try_into();
    let path_key = path_key.context("a path-signing key has 32 bytes")?;
    Ok(TrustBundle { roots: certificates(anchors), crls: lists(crls), path_key, ..before })
}

/// How the gateway speaks to services and decision points: what the domain file says, with what was read of its files.
///
/// # Errors
/// When what was read is no certificate or key, or nothing was told of one that needs it.
pub(super) fn legs(domain: &Domain, told: Vec<control::ServiceTls>) -> Result<Legs> {
    let (mut of_services, mut of_points) = (Vec::new(), BTreeMap::new());
    for control::ServiceTls { peer, trust_anchors: anchors, certificate: own } in told {
        let read = || {
            let mut roots = rustls::RootCertStore::empty();
            for anchor in certificates(anchors) {
                roots.add(anchor).context("a trust anchor is none")?;
            }
            let own = own.map(|own| {
                let key = PrivateKeyDer::try_from(own.key.danger_bytes().to_vec());
                let key = key.map_err(|error| anyhow::anyhow!("its key: {error}"))?;
                Ok::<_, anyhow::Error>((certificates(own.chain), key))
            });
            Ok::<_, anyhow::Error>((roots, own.transpose()?))
        };
        let (anchors, own) = read().with_context(|| format!("{peer:?}"))?;
        let trust = DecisionTrust { anchors, own };
        match peer {
            TlsPeer::Service(name) => of_services.push((name, trust)),
            TlsPeer::DecisionPoint(name) => drop(of_points.insert(name, trust)),
        }
    }
    Ok(Legs {
        services: services(domain, of_services)?,
        decision_points: decision_points(domain, of_points)?,
    })
}

fn decision_points(
    domain: &Domain,
    mut told: BTreeMap<String, DecisionTrust>,
) -> Result<DecisionPoints> {
    let points = domain.decision_points.iter().map(|described| {
        let point = DecisionPoint::new(described, told.remove(&*described.name));
        let point = point.with_context(|| format!("decision point `{}`", described.name))?;
        Ok((described.name.to_string(), Arc::new(point)))
    });
    points.collect()
}

fn services(domain: &Domain, told: Vec<(String, DecisionTrust)>) -> Result<Services> {
    let mut services = Services::new();
    for service in &domain.services {
        let options = ServiceOptions {
            tls: None,
            proxy_protocol: service.proxy_protocol,
            forwarded: service.forwarded,
            client_certificate: service.x_forwarded_client_cert,
        };
        services.insert(service.name.to_string(), options);
    }
    for (name, DecisionTrust { anchors, own }) in told {
        let wanted = domain.services.iter().find(|service| *service.name == *name);
        let wanted = wanted.and_then(|service| service.tls.as_ref());
        let (Some(wanted), Some(options)) = (wanted, services.get_mut(&name)) else { continue };
        let tls = ServiceTls::new(anchors, &wanted.server_name, own);
        options.tls = Some(tls.with_context(|| format!("service `{name}`"))?);
    }
    for service in &domain.services {
        let ready = services.get(&*service.name).is_some_and(|options| options.tls.is_some());
        if service.tls.is_some() && !ready {
            bail!("the trust anchors of service `{}` were not told", service.name);
        }
    }
    Ok(services)
}

/// What one of the gateway's listeners shows, and whom it believes.
pub(super) fn listener(told: control::ListenerTls) -> Result<ListenerTls> {
    let control::ListenerTls {
        name,
        certificates: sites,
        trust_anchors,
        crls,
        crl_files,
        anchors_file,
        access_log,
        wireguard,
    } = told;
    let mut roots = rustls::RootCertStore::empty();
    for anchor in certificates(trust_anchors) {
        roots.add(anchor).with_context(|| format!("listener `{name}`: a trust anchor is none"))?;
    }
    let site = |site: ServerCertificate| -> Result<Site> {
        let key = PrivateKeyDer::try_from(site.key.danger_bytes().to_vec());
        let key = key.map_err(|error| anyhow::anyhow!("listener key: {error}"))?;
        Ok(Site { names: site.server_names, chain: certificates(site.chain), key })
    };
    Ok(ListenerTls {
        sites: sites.into_iter().map(site).collect::<Result<_>>()?,
        clients: ClientTrust { roots: roots.into(), crls: lists(crls) },
        crl_files,
        anchors_file,
        access_log,
        wireguard,
        name,
    })
}

fn certificates(blobs: Vec<Blob>) -> Vec<CertificateDer<'static>> {
    blobs.into_iter().map(|blob| CertificateDer::from(blob.0)).collect()
}

fn lists(blobs: Vec<Blob>) -> Vec<CertificateRevocationListDer<'static>> {
    blobs.into_iter().map(|blob| CertificateRevocationListDer::from(blob.0)).collect()
}
