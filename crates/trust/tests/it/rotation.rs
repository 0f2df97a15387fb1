//! One root takes the place of another, and whoever believes the authority loses nobody on the way.

use std::path::Path;
use std::time::Duration;

use ringmail_trust::{
    Authority, AuthorityError, ElementKey, EmbeddedCa, Issued, Request, Stage, limits,
};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::harness::{Hands, Place, client, domain, name, server};
use crate::openssl::ask;

const DAY: Duration = Duration::from_secs(86_400);

/// An authority at a time that OpenSSL can be told.
fn begun(place: &Place) -> (EmbeddedCa, Hands) {
    let hands = Hands::at(1_800_000_000);
    (EmbeddedCa::init_at(&place.ca(), &domain(), hands.clock()).unwrap(), hands)
}

/// What OpenSSL says of a certificate, with roots from a file and the authority's own lists.
fn verified(place: &Place, hands: &Hands, roots: &Path, issued: &Issued) -> Result<(), String> {
    let (now, crl) = (hands.unix_s().to_string(), place.ca().join("crl.pem"));
    let args = ["verify", "-attime", &now, "-crl_check", "-CRLfile", crl.to_str().unwrap()];
    let roots = ["-CAfile", roots.to_str().unwrap()];
    let (ok, said) = ask(&[&args[..], &roots].concat(), &[&issued.dir.join("cert.pem")]);
    if ok { Ok(()) } else { Err(said) }
}

/// The roots as they are now, for later.
fn kept(place: &Place, as_name: &str) -> std::path::PathBuf {
    let copy = place.path().join(as_name);
    std::fs::copy(place.ca().join("root.pem"), &copy).unwrap();
    copy
}

#[test]
fn certificates_of_both_roots_hold_until_the_old_one_goes() {
    let place = Place::new();
    let (ca, hands) = begun(&place);
    // Another process that has it open all the while.
    let other = EmbeddedCa::open_at(&place.ca(), hands.clock()).unwrap();
    let old_root = kept(&place, "old.pem");
    let alice = ca.issue(&client("alice", &[])).unwrap();

    let begun = ca.rotate_begin().unwrap();
    assert_eq!(begun.stage, Some(Stage::Announced));
    assert_eq!(begun.anchors.iter().map(|a| a.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(begun.ready_unix_s, Some(hands.unix_s() + limits::ROOT_KNOWN_AFTER.as_secs()));
    let both = kept(&place, "both.pem");
    let bundle = other.trust_bundle().unwrap();
    assert_eq!((bundle.roots.len(), bundle.crls.len()), (2, 2));
    // The new root signs nothing: who knows the old one alone can check everything.
    let bob = other.issue(&client("bob", &[])).unwrap();
    verified(&place, &hands, &old_root, &bob).unwrap();

    let early = ca.rotate_switch(false);
    assert!(matches!(early, Err(AuthorityError::TooEarly { .. })), "{early:?}");
    hands.turn(limits::ROOT_KNOWN_AFTER);
    let switched = ca.rotate_switch(false).unwrap();
    assert_eq!(switched.anchors.iter().map(|a| a.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(switched.waits_for.len(), 2);
    assert_eq!(switched.ready_unix_s, Some(bob.record.not_after_unix_s + 1));
    let carol = other.issue(&client("carol", &[])).unwrap();
    for issued in [&alice, &bob, &carol] {
        verified(&place, &hands, &both, issued).unwrap();
    }
    verified(&place, &hands, &old_root, &carol).expect_err("the old root signs still");
    // Each is revoked by a list of the root that signed it.
    ca.revoke("bob").unwrap();
    let said = verified(&place, &hands, &both, &bob).unwrap_err();
    assert!(said.contains("certificate revoked"), "{said}");
    ca.revoke("carol").unwrap();
    let said = verified(&place, &hands, &both, &carol).unwrap_err();
    assert!(said.contains("certificate revoked"), "{said}");
    verified(&place, &hands, &both, &alice).unwrap();
    for crl in &other.trust_bundle().unwrap().crls {
        let (_, list) = CertificateRevocationList::from_der(crl).unwrap();
        assert_eq!(list.iter_revoked_certificates().count(), 1, "{}", list.issuer());
    }

    let early = ca.rotate_finish(false);
    assert!(matches!(early, Err(AuthorityError::TooEarly { .. })), "{early:?}");
    hands.turn(limits::CERTIFICATE_LASTS + DAY);
    let done = ca.rotate_finish(false).unwrap();
    assert_eq!((done.anchors.len(), done.anchors[0].number, done.stage), (1, 2, None));
    assert!(!place.ca().join("root.key").exists(), "the old key is there still");
    let bundle = other.trust_bundle().unwrap();
    assert_eq!((bundle.roots.len(), bundle.crls.len()), (1, 1));
    let new_root = kept(&place, "new.pem");
    let dave = other.issue(&client("dave", &[])).unwrap();
    verified(&place, &hands, &new_root, &dave).unwrap();
    // And the next one after it.
    ca.rotate_begin().unwrap();
    assert!(place.ca().join("root-3.key").exists());
}

#[test]
fn one_that_goes_early_takes_what_it_signed_along() {
    let place = Place::new();
    let (ca, _) = begun(&place);
    ca.issue(&client("alice", &[])).unwrap();
    ca.rotate_begin().unwrap();
    ca.rotate_switch(true).unwrap();
    ca.issue(&client("bob", &[])).unwrap();
    ca.rotate_finish(true).unwrap();
    assert!(ca.find("alice").unwrap()[0].1.revoked_unix_s.is_some());
    assert!(ca.find("bob").unwrap()[0].1.revoked_unix_s.is_none());
}

#[test]
fn stages_come_in_their_order_and_a_new_root_can_be_taken_back() {
    let place = Place::new();
    let (ca, _) = begun(&place);
    let before = ca.roots_pem().unwrap();
    let refused = |done: Result<_, AuthorityError>| {
        assert!(matches!(done, Err(AuthorityError::BadRequest(_))), "{done:?}");
    };
    refused(ca.rotate_switch(true));
    refused(ca.rotate_finish(true));
    refused(ca.rotate_cancel());
    ca.rotate_begin().unwrap();
    refused(ca.rotate_begin());
    refused(ca.rotate_finish(true));
    ca.rotate_cancel().unwrap();
    assert_eq!(ca.roots_pem().unwrap(), before);
    assert_eq!(std::fs::read_to_string(place.ca().join("root.pem")).unwrap(), before);
    assert!(!place.ca().join("root-2.key").exists());
    ca.rotate_begin().unwrap();
    ca.rotate_switch(true).unwrap();
    refused(ca.rotate_cancel());
    refused(ca.rotate_switch(true));
}

#[test]
fn a_token_names_the_root_that_signs() {
    let place = Place::new();
    let (ca, _) = begun(&place);
    let token = || ca.token(&name("sf1"), Duration::from_secs(60)).unwrap();
    let roots = || ca.trust_bundle().unwrap().roots;
    ca.rotate_begin().unwrap();
    assert!(token().names_root(&roots()[0]) && !token().names_root(&roots()[1]));
    ca.rotate_switch(true).unwrap();
    assert!(token().names_root(&roots()[0]) && !token().names_root(&roots()[1]));
    let key = ElementKey::generate().unwrap();
    let request = key.signing_request(&domain(), &name("sf1")).unwrap();
    let before = ca.list().unwrap().len();
    ca.enrol(&name("sf1"), token().danger_secret(), &request).unwrap();
    assert_eq!(ca.list().unwrap().len(), before + 1);
}

#[test]
fn a_backup_in_between_comes_back_with_both() {
    let place = Place::new();
    let (ca, hands) = begun(&place);
    ca.rotate_begin().unwrap();
    ca.rotate_switch(true).unwrap();
    let (file, password) = (place.path().join("backup"), "correct horse".parse().unwrap());
    ca.backup(&file, &password).unwrap();
    let status = ca.rotation().unwrap();
    std::fs::remove_dir_all(place.ca()).unwrap();
    let (back, _) = EmbeddedCa::restore_at(&file, &place.ca(), &password, hands.clock()).unwrap();
    assert_eq!(back.rotation().unwrap(), status);
    back.issue(&client("alice", &[])).unwrap();
    back.rotate_finish(true).unwrap();
}

/// What an element shows now is of the new root; a client may still show its old certificate.
#[test]
fn whoever_has_a_newer_certificate_is_not_waited_for_unless_it_may_have_several() {
    let place = Place::new();
    let (ca, hands) = begun(&place);
    let enrols = |element: &str| {
        let token = ca.token(&name(element), Duration::from_secs(60)).unwrap();
        let request = ElementKey::generate().unwrap();
        let request = request.signing_request(&domain(), &name(element)).unwrap();
        ca.enrol(&name(element), token.danger_secret(), &request).unwrap();
    };
    let waits_for = || {
        let waits_for = ca.rotation().unwrap().waits_for;
        let mut names: Vec<_> =
            waits_for.iter().map(|(_, record)| record.name.to_string()).collect();
        names.sort();
        names
    };
    let everybody = ["alice", "sf1", "sf2", "web"];
    enrols("sf1");
    enrols("sf2");
    ca.issue(&client("alice", &[])).unwrap();
    ca.issue(&server("web", &["www.campus.example"])).unwrap();
    ca.rotate_begin().unwrap();
    ca.rotate_switch(true).unwrap();
    assert_eq!(waits_for(), everybody);
    hands.turn(DAY);
    enrols("sf1");
    assert_eq!(waits_for(), ["alice", "sf2", "web"]);
    ca.issue(&Request { replace: true, ..server("web", &["www.campus.example"]) }).unwrap();
    ca.issue(&Request { replace: true, ..client("alice", &[]) }).unwrap();
    assert_eq!(waits_for(), ["alice", "sf2"]);
}

/// A crash after the state was saved and before the copy for other programs.
#[test]
fn the_copy_of_the_roots_is_mended() {
    let place = Place::new();
    let (ca, hands) = begun(&place);
    let before = ca.roots_pem().unwrap();
    ca.rotate_begin().unwrap();
    let both = ca.roots_pem().unwrap();
    std::fs::write(place.ca().join("root.pem"), before).unwrap();
    drop(EmbeddedCa::open_at(&place.ca(), hands.clock()).unwrap());
    assert_eq!(std::fs::read_to_string(place.ca().join("root.pem")).unwrap(), both);
}
