//! Certificates for the tests: one CA, a server certificate for each site, clients, a CRL.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use ringmail_gateway::tls::{ClientTrust, Site};
use rustls::RootCertStore;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};

pub(crate) const WWW: &str = "www.campus.example";
pub(crate) const OTHER: &str = "other.campus.example";

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) cert: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
}

impl Pair {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(self.key.clone_key())
    }
}

pub(crate) struct Pki {
    pub(crate) ca_pem: String,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) www: Pair,
    pub(crate) other: Pair,
    pub(crate) alice: Pair,
    /// Another certificate of the same client.
    pub(crate) alice_again: Pair,
    pub(crate) bob: Pair,
    pub(crate) revoked: Pair,
    pub(crate) nameless: Pair,
    /// Of the right name, from another CA.
    pub(crate) stranger: Pair,
    /// Of the same name, from the CA that takes the place of the first.
    pub(crate) alice_next: Pair,
    next_root: CertificateDer<'static>,
    next: Issuer<'static, KeyPair>,
    issuer: Issuer<'static, KeyPair>,
    foreign: Issuer<'static, KeyPair>,
}

pub(crate) const REVOKED_SERIAL: u64 = 99;
pub(crate) const ALICE: u64 = 11;
pub(crate) const ALICE_AGAIN: u64 = 12;

impl Pki {
    pub(crate) fn new() -> Pki {
        let (issuer, own) = ca("campus CA");
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).unwrap();
        let (foreign, _) = ca("campus CA");
        let (next, next_own) = ca("campus CA 2");
        let pair =
            |name: &str, serial: u64, names: &[SanType], issuer: &Issuer<'static, KeyPair>| {
                let mut params = CertificateParams::default();
                params.subject_alt_names = names.to_vec();
                params.serial_number = Some(SerialNumber::from(serial));
                params.distinguished_name.push(DnType::CommonName, name);
                let key = KeyPair::generate().unwrap();
                let cert = params.signed_by(&key, issuer).unwrap();
                Pair {
                    cert: cert.der().clone(),
                    key: PrivatePkcs8KeyDer::from(key.serialize_der()),
                    cert_pem: cert.pem(),
                    key_pem: key.serialize_pem(),
                }
            };
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let spiffe = |name: &str| {
            SanType::URI(format!("spiffe://campus.example/client/{name}").try_into().unwrap())
        };
        let www =
            [dns(WWW), dns("*.files.campus.example"), SanType::IpAddress([127, 0, 0, 1].into())];
        Pki {
            www: pair("www", 1, &www, &issuer),
            other: pair("other", 2, &[dns(OTHER)], &issuer),
            alice: pair("alice", ALICE, &[spiffe("alice")], &issuer),
            alice_again: pair("alice-again", ALICE_AGAIN, &[spiffe("alice")], &issuer),
            bob: pair("bob", 13, &[dns("unknown.example"), dns("bob.example")], &issuer),
            revoked: pair("revoked", REVOKED_SERIAL, &[spiffe("alice")], &issuer),
            nameless: pair("nameless", 14, &[], &issuer),
            stranger: pair("stranger", 15, &[spiffe("alice")], &foreign),
            alice_next: pair("alice-next", 16, &[spiffe("alice")], &next),
            next_root: next_own.der().clone(),
            next,
            ca_pem: own.pem(),
            roots: Arc::new(roots),
            issuer,
            foreign,
        }
    }

    pub(crate) fn sites(&self) -> Vec<Site> {
        [&self.www, &self.other]
            .map(|pair| Site { names: vec![], chain: vec![pair.cert.clone()], key: pair.key() })
            .into()
    }

    /// The CA and a list of revoked certificates that runs out at the end of `until_year`.
    pub(crate) fn trust(&self, until_year: i32) -> ClientTrust {
        let crls = self.crl(until_year, &[REVOKED_SERIAL]);
        ClientTrust { roots: Arc::clone(&self.roots), crls }
    }

    /// The CA and the one that takes its place, or that one alone; with a list of each.
    pub(crate) fn rotated(
        &self,
        both: bool,
    ) -> (RootCertStore, Vec<CertificateRevocationListDer<'static>>) {
        let (mut roots, mut crls) = (RootCertStore::empty(), Pki::signed(&self.next, 2040, &[]));
        if both {
            roots.roots.extend(self.roots.roots.iter().cloned());
            crls.extend(self.crl(2040, &[REVOKED_SERIAL]));
        }
        roots.add(self.next_root.clone()).unwrap();
        (roots, crls)
    }

    /// A list of these certificates.
    pub(crate) fn crl(
        &self,
        until_year: i32,
        serials: &[u64],
    ) -> Vec<CertificateRevocationListDer<'static>> {
        Pki::signed(&self.issuer, until_year, serials)
    }

    /// One that the other CA of the same name has signed.
    pub(crate) fn forged_crl(&self, serials: &[u64]) -> Vec<CertificateRevocationListDer<'static>> {
        Pki::signed(&self.foreign, 2040, serials)
    }

    fn signed(
        issuer: &Issuer<'static, KeyPair>,
        until_year: i32,
        serials: &[u64],
    ) -> Vec<CertificateRevocationListDer<'static>> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 2),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let crl = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(until_year, 12, 31),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        vec![crl.signed_by(issuer).unwrap().der().clone()]
    }
}

fn ca(name: &str) -> (Issuer<'static, KeyPair>, rcgen::Certificate) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    (Issuer::new(params, key), cert)
}
