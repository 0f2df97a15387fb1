//! Enrolment: a token is good once, for its element, for a while; and what control has signed besides.

use std::fs;
use std::time::Duration;

use ringmail_trust::{AuthorityError, ElementKey, EmbeddedCa, Kind, Token};
use rustls_pki_types::CertificateSigningRequestDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::harness::{Hands, Place, authority, domain, name};

const HOUR: Duration = Duration::from_secs(3600);

fn request() -> CertificateSigningRequestDer<'static> {
    ElementKey::generate().unwrap().signing_request(&domain(), &name("x")).unwrap()
}

#[test]
fn a_token_is_good_once() {
    let place = Place::new();
    let ca = authority(&place);
    let token = ca.token(&name("sf1"), HOUR).unwrap();
    let certificates = ca.enrol(&name("sf1"), token.danger_secret(), &request()).unwrap();
    let (_, parsed) = X509Certificate::from_der(&certificates.chain[0]).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names, [GeneralName::URI("spiffe://campus.example/element/sf1")]);
    let again = ca.enrol(&name("sf1"), token.danger_secret(), &request());
    assert!(matches!(again, Err(AuthorityError::BadToken { .. })));
}

#[test]
fn a_token_is_good_for_its_element_and_its_time_only() {
    let place = Place::new();
    let hands = Hands::at(1_800_000_000);
    let ca = EmbeddedCa::init_at(&place.ca(), &domain(), hands.clock()).unwrap();
    let token = ca.token(&name("sf1"), HOUR).unwrap();
    let refused = |element: &str, secret: &[u8; 32]| {
        let refused = ca.enrol(&name(element), secret, &request());
        matches!(refused, Err(AuthorityError::BadToken { .. }))
    };
    assert!(refused("gateway", token.danger_secret()));
    assert!(refused("sf1", &[7; 32]));
    hands.turn(HOUR + Duration::from_secs(1));
    assert!(refused("sf1", token.danger_secret()));
    for wrong in [Duration::ZERO, 25 * HOUR] {
        let asked = ca.token(&name("sf1"), wrong);
        assert!(matches!(asked, Err(AuthorityError::BadRequest(_))));
    }
}

#[test]
fn a_bad_request_does_not_spend_a_token() {
    let place = Place::new();
    let ca = authority(&place);
    let token = ca.token(&name("sf1"), HOUR).unwrap();
    let bad = CertificateSigningRequestDer::from([1, 2, 3].as_slice());
    let refused = ca.enrol(&name("sf1"), token.danger_secret(), &bad);
    assert!(matches!(refused, Err(AuthorityError::BadSigningRequest { .. })));
    ca.enrol(&name("sf1"), token.danger_secret(), &request()).unwrap();
}

#[test]
fn the_directory_holds_no_secret_of_a_token() {
    let place = Place::new();
    let ca = authority(&place);
    let token = ca.token(&name("sf1"), HOUR).unwrap();
    let text = token.danger_text();
    let secret = text.rsplit(':').next().unwrap();
    let kept = fs::read_to_string(place.ca().join("tokens.json")).unwrap();
    assert!(kept.contains("sf1") && !kept.contains(secret), "{kept}");
    assert!(!format!("{token:?}").contains(secret));
}

#[test]
fn a_token_is_read_as_it_is_written() {
    let place = Place::new();
    let ca = authority(&place);
    let token = ca.token(&name("sf1"), HOUR).unwrap();
    let text = token.danger_text();
    assert_eq!(format!(" {text}\n").parse::<Token>().unwrap(), token);
    let root = pem_root(&ca);
    assert!(token.names_root(&root));
    for wrong in ["", "token", &text[1..], &text[..text.len() - 1], &format!("{text}:1")] {
        assert!(wrong.parse::<Token>().is_err(), "{wrong}");
    }
}

fn pem_root(ca: &EmbeddedCa) -> rustls_pki_types::CertificateDer<'static> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::from_pem_slice(ca.roots_pem().unwrap().as_bytes()).unwrap()
}

#[test]
fn control_has_a_name_that_no_element_can_have() {
    let place = Place::new();
    let ca = authority(&place);
    let certificates = ca.sign_control(&request()).unwrap();
    let (_, parsed) = X509Certificate::from_der(&certificates.chain[0]).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names, [GeneralName::URI("spiffe://campus.example/control")]);
    assert_eq!(ca.find("control/control").unwrap()[0].1.kind, Kind::Control);
}

#[test]
fn a_gateway_gets_the_names_of_its_listener_and_no_others() {
    let place = Place::new();
    let ca = authority(&place);
    let names = ["www.campus.example".parse().unwrap()];
    let signed = ca.sign_server(&name("web-0"), &names, HOUR, &request()).unwrap();
    let (_, parsed) = X509Certificate::from_der(&signed.chain[0]).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names, [GeneralName::DNSName("www.campus.example")]);
    let uses = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.server_auth && !uses.client_auth);
    let none = ca.sign_server(&name("web-0"), &[], HOUR, &request());
    assert!(matches!(none, Err(AuthorityError::BadRequest(_))));
}
