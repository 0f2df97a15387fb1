//! What the rest of ringmail asks of an authority.

use std::time::Duration;

use ringmail_dataplane::sap::{PathKey, VerifyLease};
use ringmail_model::pathset::PublicKey;
use ringmail_model::pathset::VerifyPathSet;
use ringmail_model::{ElementId, PathDigest};
use ringmail_trust::{Authority, AuthorityError, ElementKey, EmbeddedCa, Kind, limits};
use rustls_pki_types::CertificateSigningRequestDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::harness::{Hands, Place, authority, client, domain, name};

#[test]
fn an_element_gets_a_short_lived_certificate_for_its_name_only() {
    let place = Place::new();
    let hands = Hands::at(1_800_000_000);
    let ca = EmbeddedCa::init_at(&place.ca(), &domain(), hands.clock()).unwrap();
    let key = ElementKey::generate().unwrap();
    // The request asks for another name than the caller vouches for.
    let request = key.signing_request(&domain(), &name("gateway")).unwrap();
    let certificates = ca.sign_element(&name("sf1"), &request).unwrap();
    assert_eq!(certificates.not_after_unix_s, hands.unix_s() + limits::ELEMENT_LASTS.as_secs());

    let (_, parsed) = X509Certificate::from_der(&certificates.chain[0]).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names, [GeneralName::URI("spiffe://campus.example/element/sf1")]);
    assert!(!parsed.is_ca());
    let uses = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.client_auth && uses.server_auth && !uses.any);
    assert_eq!(parsed.validity().not_after.timestamp() as u64, certificates.not_after_unix_s);

    let listed = ca.find("element/sf1").unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].0.bytes()[..], *parsed.raw_serial().trim_ascii_start_zero());
}

trait TrimZero {
    fn trim_ascii_start_zero(&self) -> &[u8];
}

impl TrimZero for [u8] {
    /// DER puts a zero before a number whose first bit is set.
    fn trim_ascii_start_zero(&self) -> &[u8] {
        self.strip_prefix(&[0]).unwrap_or(self)
    }
}

#[test]
fn a_request_that_is_none_or_was_tampered_with_is_refused() {
    let place = Place::new();
    let ca = authority(&place);
    let key = ElementKey::generate().unwrap();
    let mut request = key.signing_request(&domain(), &name("sf1")).unwrap().to_vec();
    let refused = |bytes: &[u8]| {
        let request = CertificateSigningRequestDer::from(bytes);
        matches!(
            ca.sign_element(&name("sf1"), &request),
            Err(AuthorityError::BadSigningRequest { .. })
        )
    };
    assert!(refused(b""));
    assert!(refused(&request[..request.len() - 1]));
    assert!(refused(&vec![0x30; limits::REQUEST_BYTES + 1]));
    let middle = request.len() / 2;
    request[middle] ^= 1;
    assert!(refused(&request));
    assert!(ca.list().unwrap().is_empty());
}

#[test]
fn paths_and_leases_are_signed_by_a_key_that_is_not_the_ca_s() {
    let place = Place::new();
    let ca = authority(&place);
    let bundle = ca.trust_bundle().unwrap();
    let digest = PathDigest([7; 32]);
    let lease = ca.sign_lease(ElementId(3), digest, Duration::from_secs(60)).unwrap();
    assert!(PathKey(bundle.path_key).verify_lease(&lease));
    assert_eq!((lease.lease.element, lease.lease.digest), (ElementId(3), digest));
    let mut forged = lease;
    forged.lease.not_after_unix_s += 1;
    assert!(!PathKey(bundle.path_key).verify_lease(&forged));
    assert!(!PublicKey(bundle.path_key).verifies(b"anything", &lease.signature));
    let (_, root) = X509Certificate::from_der(&bundle.roots[0]).unwrap();
    assert_ne!(*root.public_key().subject_public_key.data, bundle.path_key);
}

#[test]
fn serial_numbers_of_leases_grow_over_restarts() {
    let place = Place::new();
    let mut last = 0;
    drop(authority(&place));
    for _ in 0..3 {
        let ca = EmbeddedCa::open(&place.ca()).unwrap();
        for _ in 0..3 {
            let lease = ca.sign_lease(ElementId(1), PathDigest([0; 32]), Duration::ZERO).unwrap();
            assert!(lease.lease.serial > last);
            last = lease.lease.serial;
        }
    }
}

#[test]
fn the_revocation_list_is_renewed_before_it_runs_out_and_its_number_grows() {
    let place = Place::new();
    let hands = Hands::at(1_800_000_000);
    let ca = EmbeddedCa::init_at(&place.ca(), &domain(), hands.clock()).unwrap();
    assert_eq!(ca.crl_pem(false).unwrap().1, 1);
    hands.turn(limits::CRL_LASTS - limits::CRL_RENEWED_BEFORE - Duration::from_secs(1));
    assert_eq!(ca.crl_pem(false).unwrap().1, 1);
    hands.turn(Duration::from_secs(1));
    assert_eq!(ca.crl_pem(false).unwrap().1, 2);
    assert_eq!(ca.crl_pem(false).unwrap().1, 2);
    ca.issue(&client("alice", &[])).unwrap();
    ca.revoke("alice").unwrap();
    assert_eq!(ca.crl_pem(false).unwrap().1, 3);
    assert_eq!(ca.crl_pem(true).unwrap().1, 4);
}

#[test]
fn what_ran_out_is_forgotten_and_leaves_the_list() {
    let place = Place::new();
    let hands = Hands::at(1_800_000_000);
    let ca = EmbeddedCa::init_at(&place.ca(), &domain(), hands.clock()).unwrap();
    ca.issue(&client("alice", &[])).unwrap();
    ca.revoke("client/alice").unwrap();
    hands.turn(limits::CERTIFICATE_LASTS);
    assert!(matches!(ca.revoke("alice"), Err(AuthorityError::AlreadyRevoked(_))));
    assert_eq!(ca.list().unwrap().len(), 1);
    hands.turn(limits::RECORDS_OUTLIVE + Duration::from_secs(1));
    let empty = ca.crl_pem(true).unwrap().0;
    assert!(ca.list().unwrap().is_empty());
    assert!(empty.len() < 700, "{empty}");
}

#[test]
fn a_certificate_is_revoked_by_serial_or_name_and_only_once() {
    let place = Place::new();
    let ca = authority(&place);
    let first = ca.issue(&client("alice", &[])).unwrap();
    let mut again = client("alice", &[]);
    again.replace = true;
    let second = ca.issue(&again).unwrap();
    assert_ne!(first.serial, second.serial);

    let revoked = ca.revoke(&first.serial.to_string()).unwrap();
    assert_eq!(revoked.iter().map(|(serial, _)| *serial).collect::<Vec<_>>(), [first.serial]);
    let revoked = ca.revoke("alice").unwrap();
    assert_eq!(revoked.iter().map(|(serial, _)| *serial).collect::<Vec<_>>(), [second.serial]);
    assert!(matches!(ca.revoke("alice"), Err(AuthorityError::AlreadyRevoked(_))));
    assert!(matches!(ca.revoke("mallory"), Err(AuthorityError::NoSuchCertificate(_))));
    assert!(matches!(ca.revoke("server/alice"), Err(AuthorityError::NoSuchCertificate(_))));
}

#[test]
fn a_name_of_two_kinds_must_say_which() {
    let place = Place::new();
    let ca = authority(&place);
    ca.issue(&client("web", &[])).unwrap();
    ca.issue(&crate::harness::server("web", &["www.campus.example"])).unwrap();
    assert!(matches!(ca.find("web"), Err(AuthorityError::BadRequest(_))));
    assert_eq!(ca.find("server/web").unwrap()[0].1.kind, Kind::Server);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let place = Place::new();
    let ca = authority(&place);
    let refused = |request: &ringmail_trust::Request| {
        matches!(ca.issue(request), Err(AuthorityError::BadRequest(_)))
    };
    assert!(refused(&crate::harness::server("web", &[])));
    assert!(refused(&crate::harness::server("web", &["email:web@campus.example"])));
    let mut long = client("alice", &[]);
    long.lasts = limits::CERTIFICATE_LASTS_MAX + Duration::from_secs(1);
    assert!(refused(&long));
    let mut element = client("sf1", &[]);
    element.kind = Kind::Element;
    assert!(refused(&element));
    assert!(ca.list().unwrap().is_empty());
}

#[test]
fn secrets_are_not_printed() {
    let place = Place::new();
    let ca = authority(&place);
    let issued = ca.issue(&client("alice", &[])).unwrap();
    let key = ElementKey::generate().unwrap();
    let printed = format!("{ca:?} {:?} {key:?}", issued.identity);
    assert!(printed.contains("PrivateKey(…)") && printed.contains("SigningKey(…)"), "{printed}");
    let (_, der) = issued.identity.for_tls();
    let inside = format!("{:?}", &der.secret_der()[8..16]);
    assert!(!printed.contains(inside.trim_matches(['[', ']'])));
}
