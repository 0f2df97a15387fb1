//! OpenSSL's own program judges what the authority makes. Without it these tests fail: install the package `openssl`.

use std::path::Path;
use std::process::Command;

use ringmail_trust::{Authority, ElementKey};

use crate::harness::{Place, authority, client, domain, name, server};

/// Runs `openssl ARGS FILES` and gives what it says; the test fails where it does.
pub(crate) fn run(args: &[&str], files: &[&Path]) -> String {
    let (ok, said) = ask(args, files);
    assert!(ok, "openssl {args:?}: {said}");
    said
}

pub(crate) fn ask(args: &[&str], files: &[&Path]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(args)
        .args(files)
        .output()
        .expect("the program openssl is needed (Debian package `openssl`)");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn chains_verify_for_their_purpose_and_for_no_other() {
    let place = Place::new();
    let ca = authority(&place);
    let root = place.ca().join("root.pem");
    let crl = place.ca().join("crl.pem");
    let verify = |purpose: &str, certificate: &Path| {
        let root = root.to_str().unwrap();
        let crl = crl.to_str().unwrap();
        let args = [
            "verify",
            "-x509_strict",
            "-CAfile",
            root,
            "-crl_check",
            "-CRLfile",
            crl,
            "-purpose",
            purpose,
        ];
        ask(&args, &[certificate])
    };
    let web = ca.issue(&server("web", &["www.campus.example", "192.0.2.1"])).unwrap();
    let alice = ca.issue(&client("alice", &["email:alice@campus.example"])).unwrap();
    let key = ElementKey::generate().unwrap();
    let request = key.signing_request(&domain(), &name("sf1")).unwrap();
    let element = ca.sign_element(&name("sf1"), &request).unwrap();
    let element_der = place.path().join("sf1.der");
    std::fs::write(&element_der, &element.chain[0]).unwrap();

    for (purpose, certificate, good) in [
        ("sslserver", web.dir.join("cert.pem"), true),
        ("sslclient", web.dir.join("cert.pem"), false),
        ("sslclient", alice.dir.join("cert.pem"), true),
        ("sslserver", alice.dir.join("cert.pem"), false),
        ("sslserver", element_der.clone(), true),
        ("sslclient", element_der.clone(), true),
    ] {
        let (ok, said) = verify(purpose, &certificate);
        assert_eq!(ok, good, "{purpose} {}: {said}", certificate.display());
    }

    ca.revoke("alice").unwrap();
    let (ok, said) = verify("sslclient", &alice.dir.join("cert.pem"));
    assert!(!ok && said.contains("certificate revoked"), "{said}");
    assert!(verify("sslserver", &web.dir.join("cert.pem")).0);
}

#[test]
fn names_and_lists_read_as_written() {
    let place = Place::new();
    let ca = authority(&place);
    let names = |dir: &Path| {
        let args = ["x509", "-noout", "-ext", "subjectAltName", "-in"];
        run(&args, &[&dir.join("cert.pem")]).lines().nth(1).unwrap_or_default().trim().to_owned()
    };
    let web = ca.issue(&server("web", &["*.campus.example", "192.0.2.1", "2001:db8::1"])).unwrap();
    assert_eq!(
        names(&web.dir),
        "DNS:*.campus.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1"
    );
    let alice =
        ca.issue(&client("alice", &["email:alice@campus.example", "pc.campus.example"])).unwrap();
    assert_eq!(
        names(&alice.dir),
        "URI:spiffe://campus.example/client/alice, email:alice@campus.example, DNS:pc.campus.example"
    );

    let crl = place.ca().join("crl.pem");
    let text = run(&["crl", "-noout", "-text", "-in"], &[&crl]);
    assert!(text.contains("No Revoked Certificates"), "{text}");
    ca.revoke("alice").unwrap();
    let text = run(&["crl", "-noout", "-text", "-in"], &[&crl]);
    let serial = alice.serial.to_string().to_uppercase();
    assert!(text.contains(&format!("Serial Number: {serial}")), "{text}");
    assert!(text.lines().any(|line| line.trim() == "2"), "the number of the list: {text}");
}

#[test]
fn requests_are_valid() {
    let key = ElementKey::generate().unwrap();
    let request = key.signing_request(&domain(), &name("sf1")).unwrap();
    let place = Place::new();
    let path = place.path().join("sf1.csr");
    std::fs::write(&path, &request).unwrap();
    let said = run(&["req", "-inform", "DER", "-noout", "-verify", "-text", "-in"], &[&path]);
    assert!(said.contains("URI:spiffe://campus.example/element/sf1"), "{said}");
}

#[test]
fn the_path_signing_key_reads_as_ed25519() {
    let place = Place::new();
    drop(authority(&place));
    let said = run(&["pkey", "-pubin", "-noout", "-text", "-in"], &[&place.ca().join("path.pub")]);
    assert!(said.contains("ED25519"), "{said}");
    run(&["pkey", "-noout", "-in"], &[&place.ca().join("path.key")]);
}
