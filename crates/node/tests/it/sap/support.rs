//! A certification authority, elements with sap drivers, and data planes that do what they are told.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use ringmail_dataplane::esp;
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease as SaLease, OutboundOptions, OutboundSa, SegmentIndex, Suite,
};
use ringmail_dataplane::sap::{
    AgreedKey, Cause, Event, Lease, Place, Profile, SegmentView, SignedLease, Use,
};
use ringmail_model::{ElementId, PathDigest, PathId};
use ringmail_node::sap::{Agreements, Dial, Driver, Neighbour, Notice, Settings, TcpDial};
use ringmail_trust::{Certificates, Identity, PrivateKey, TrustBundle};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::net::TcpListener;

pub(super) const DOMAIN: &str = "sap.test";
pub(super) const DIGEST: PathDigest = PathDigest([0x51; 32]);

/// Signs certificates, revocation lists and leases.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    path_key: Ed25519KeyPair,
    pub(super) revoked: Vec<u64>,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    Expired,
    NotYet,
    TwoNames,
    NoName,
    ServerOnly,
}

fn usual(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::from_secs(3600);
    params.not_after = now + Duration::from_secs(3600);
    params
}

impl Authority {
    pub(super) fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = usual("root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).unwrap().der().clone();
        Authority {
            issuer: Issuer::new(params, key),
            root,
            path_key: Ed25519KeyPair::generate().unwrap(),
            revoked: Vec::new(),
        }
    }

    pub(super) fn identity(&self, name: &str, serial: u64, flaw: Flaw) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = usual(name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(spiffe_id(name).as_str().try_into().unwrap())];
        let now = OffsetDateTime::now_utc();
        match flaw {
            Flaw::None => {}
            Flaw::Expired => params.not_after = now - Duration::from_secs(60),
            Flaw::NotYet => params.not_before = now + Duration::from_secs(60),
            Flaw::TwoNames => params
                .subject_alt_names
                .push(SanType::URI(spiffe_id("other").as_str().try_into().unwrap())),
            Flaw::NoName => params.subject_alt_names.clear(),
            Flaw::ServerOnly => params.extended_key_usages.truncate(1),
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![certificate.der().clone()];
        let certificates = Certificates { chain, not_after_unix_s: unix_s() + 3600 };
        Identity::new(certificates, PrivateKey::from_pkcs8(key.serialize_der()))
    }

    pub(super) fn bundle(&self) -> TrustBundle {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now - Duration::from_secs(60),
            next_update: now + Duration::from_secs(3600),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: self.revoked.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        TrustBundle {
            trust_domain: DOMAIN.parse().unwrap(),
            roots: vec![self.root.clone()],
            crls: vec![list.signed_by(&self.issuer).unwrap().der().clone()],
            path_key: self.path_key.public_key().as_ref().try_into().unwrap(),
        }
    }

    fn lease(&self, element: ElementId) -> SignedLease {
        let serial = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let not_after_unix_s = unix_s() + 60;
        let lease = Lease { element, digest: DIGEST, not_after_unix_s, serial };
        let signature = self.path_key.sign(&lease.signed_bytes());
        lease.signed(signature.as_ref().try_into().unwrap())
    }
}

pub(super) fn spiffe_id(name: &str) -> String {
    format!("spiffe://{DOMAIN}/element/{name}")
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Elements 1, `alpha`, and 2, `beta`; alpha sends, in every use.
pub(super) fn segments() -> Vec<SegmentView> {
    Use::ALL.map(segment).to_vec()
}

fn segment(usage: Use) -> SegmentView {
    SegmentView {
        path: PathId(1),
        digest: DIGEST,
        usage,
        index: SegmentIndex(0),
        profile: Profile::Mpls,
        suite: Suite::Aes128Gcm,
        sender: ElementId(1),
        receiver: ElementId(2),
        sender_workers: 1,
    }
}

pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An element: its driver and a data plane.
pub(super) struct Element {
    pub(super) id: u16,
    pub(super) driver: Driver,
    pub(super) agreements: Agreements,
    pub(super) inbound: BTreeMap<u32, InboundSa>,
    pub(super) outbound: Option<OutboundSa>,
    /// Keys of other uses than ESP, of what comes in and of what goes out, by SPI.
    pub(super) keys: [BTreeMap<u32, (Place, Vec<u8>)>; 2],
    pub(super) sessions: u32,
    pub(super) stops: Vec<Cause>,
}

impl Element {
    pub(super) fn start(
        authority: &Authority,
        id: u16,
        identity: &Identity,
        listener: TcpListener,
        peer: SocketAddr,
    ) -> Element {
        Element::start_with(authority, id, identity, listener, peer, Arc::new(TcpDial))
    }

    pub(super) fn start_with(
        authority: &Authority,
        id: u16,
        identity: &Identity,
        listener: TcpListener,
        peer: SocketAddr,
        dial: Arc<dyn Dial>,
    ) -> Element {
        let name = if id == 1 { "beta" } else { "alpha" };
        let neighbour = Neighbour {
            element: ElementId(3 - id),
            spiffe_id: spiffe_id(name),
            control: peer,
            segments: segments(),
        };
        let settings = Settings {
            element: ElementId(id),
            neighbours: vec![neighbour],
            epoch_lifetime: Duration::from_secs(3600),
        };
        let driver =
            Driver::start(settings, identity, &authority.bundle(), listener, dial).unwrap();
        Element {
            id,
            agreements: driver.agreements(),
            driver,
            inbound: BTreeMap::new(),
            outbound: None,
            keys: Default::default(),
            sessions: 0,
            stops: Vec::new(),
        }
    }

    /// Does what one notice says.
    pub(super) async fn turn(&mut self, authority: &Authority) {
        let Notice { neighbour, event } = self.driver.next_notice().await.unwrap();
        let lease = |expires: Instant| {
            let now = Instant::now();
            SaLease::new(now, expires.saturating_duration_since(now))
        };
        match event {
            Event::InstallInbound { place, spi, key, expires } => {
                let (path, segment) = (place.path, place.segment);
                let options = InboundOptions::default();
                if let AgreedKey::Esp(key) = &key {
                    let sa = InboundSa::new(spi, key, path, segment, lease(expires), options);
                    self.inbound.insert(spi.0, sa.unwrap());
                } else {
                    self.keys[0].insert(spi.0, (place, bytes(&key)));
                }
                self.agreements.installed(neighbour, spi).await;
            }
            Event::RemoveInbound { spi, .. } => {
                self.inbound.remove(&spi.0);
                self.keys[0].remove(&spi.0);
                self.agreements.removed(spi);
            }
            Event::InstallOutbound { place, spi, key, expires } => {
                let options = OutboundOptions::default();
                if let AgreedKey::Esp(key) = &key {
                    let sa = OutboundSa::new(spi, key, lease(expires), options);
                    self.outbound = Some(sa.unwrap());
                } else {
                    self.keys[1].insert(spi.0, (place, bytes(&key)));
                }
            }
            Event::StopSending { place, spi, cause } => {
                if place.usage == Use::Esp {
                    self.outbound.take_if(|sa| sa.spi() == spi);
                    self.stops.push(cause);
                }
                self.keys[1].remove(&spi.0);
                self.agreements.stopped(neighbour, spi, 1).await;
            }
            Event::RenewLease { .. } => {
                self.agreements.set_lease(&authority.lease(ElementId(self.id))).await;
            }
            Event::Established { .. } => self.sessions += 1,
            _ => {}
        }
    }
}

fn bytes(key: &AgreedKey) -> Vec<u8> {
    match key {
        AgreedKey::Esp(key) | AgreedKey::Metadata(key) => key.danger_material().to_vec(),
        AgreedKey::Link(key) | AgreedKey::Proof(key) => key.danger_bytes().to_vec(),
    }
}

/// Both elements do what they are told until `done`.
pub(super) async fn until(
    authority: &Authority,
    [alpha, beta]: [&mut Element; 2],
    done: impl Fn(&Element, &Element) -> bool,
) {
    let agreed = async {
        while !done(alpha, beta) {
            tokio::select! {
                () = alpha.turn(authority) => {}
                () = beta.turn(authority) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), agreed).await.expect("it never comes to that");
}

const INNER: &[u8; 32] = b"through one segment, no further.";

/// Whether what alpha seals beta opens.
pub(super) fn crosses(alpha: &mut Element, beta: &Element) -> bool {
    let Some(outbound) = &mut alpha.outbound else { return false };
    let Some(inbound) = beta.inbound.get(&outbound.spi().0) else { return false };
    let mut buf = [0; 128];
    buf[16..48].copy_from_slice(INNER);
    let now = Instant::now();
    let len = esp::seal(outbound, &mut buf, 32, 4, now).unwrap();
    match esp::open(inbound, &mut buf[..len], now) {
        Ok(_) => buf[16..48] == *INNER,
        Err(_) => false,
    }
}
