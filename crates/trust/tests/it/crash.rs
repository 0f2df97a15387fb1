//! A process that ends at any moment leaves an authority that works.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use ringmail_trust::{Authority, EmbeddedCa};

use crate::harness::{Place, authority, client, domain};

/// What the tests see of a write that was cut short: the file beside, not the one in its place.
#[test]
fn what_was_being_written_is_swept_away() {
    let place = Place::new();
    let ca = authority(&place);
    ca.issue(&client("alice", &[])).unwrap();
    let state = fs::read(place.ca().join("state.json")).unwrap();
    fs::write(place.ca().join(".unfinished-state.json"), &state[..state.len() / 3]).unwrap();
    fs::create_dir(place.ca().join("client/.unfinished-bob")).unwrap();
    fs::write(place.ca().join("client/.unfinished-bob/key.pem"), "-----BEGIN").unwrap();

    assert_eq!(EmbeddedCa::open(&place.ca()).unwrap().list().unwrap().len(), 1);
    assert!(!place.ca().join(".unfinished-state.json").exists());
    assert!(!place.ca().join("client/.unfinished-bob").exists());
    ca.issue(&client("bob", &[])).unwrap();
}

#[test]
fn a_list_that_other_programs_read_is_mended_after_a_crash() {
    let place = Place::new();
    let ca = authority(&place);
    let old = fs::read(place.ca().join("crl.pem")).unwrap();
    ca.issue(&client("alice", &[])).unwrap();
    ca.revoke("alice").unwrap();
    // As if the process had ended between the state and the copy.
    fs::write(place.ca().join("crl.pem"), &old).unwrap();
    let bundle = EmbeddedCa::open(&place.ca()).unwrap().trust_bundle().unwrap();
    let mended = fs::read(place.ca().join("crl.pem")).unwrap();
    assert_ne!(mended, old);
    assert_eq!(bundle, ca.trust_bundle().unwrap());
}

/// Started by the test below as a process of its own: issues and revokes until it is killed.
#[test]
#[ignore = "not a test: the process that the next test kills"]
fn child() {
    let dir = std::env::var_os("RINGMAIL_TRUST_CHILD").expect("the next test says where");
    let ca = EmbeddedCa::open(dir.as_ref()).unwrap();
    for n in 0.. {
        let mut request = client(&format!("user-{}", n % 3), &[]);
        request.replace = true;
        ca.issue(&request).unwrap();
        ca.revoke(&request.name).unwrap();
        writeln!(std::io::stdout(), "round {n}").unwrap();
    }
}

#[test]
fn a_killed_process_leaves_an_authority_that_works() {
    let place = Place::new();
    drop(authority(&place));
    let mut rounds = 0;
    for kills in 1..=12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "crash::child", "--nocapture"])
            .env("RINGMAIL_TRUST_CHILD", place.ca())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let done = output.lines().map(Result::unwrap).filter(|line| line.starts_with("round"));
        rounds += done.take(kills % 4 + 1).count();
        // In the middle of the next round, wherever that is.
        child.kill().unwrap();
        child.wait().unwrap();

        let ca = EmbeddedCa::open(&place.ca()).unwrap();
        let all = ca.list().unwrap();
        assert!(all.len() >= rounds, "{} remembered after {rounds} rounds", all.len());
        let revoked = all.iter().filter(|(_, record)| record.revoked_unix_s.is_some()).count();
        assert!(revoked >= rounds);
        ca.trust_bundle().unwrap();
        for user in 0..3 {
            let dir = place.ca().join(format!("client/user-{user}"));
            if dir.exists() {
                openssl_agrees_that_key_and_certificate_match(&dir);
            }
        }
    }
    assert_eq!(EmbeddedCa::open(&place.ca()).unwrap().trust_domain(), &domain());
}

fn openssl_agrees_that_key_and_certificate_match(dir: &std::path::Path) {
    let public = |args: &[&str], file: &str| crate::openssl::run(args, &[&dir.join(file)]);
    let of_key = public(&["pkey", "-pubout", "-in"], "key.pem");
    let of_certificate = public(&["x509", "-pubkey", "-noout", "-in"], "cert.pem");
    assert_eq!(of_key, of_certificate);
}

/// A file is never written over: whoever has the old one keeps all of it, so a reader never sees a half of the new.
#[test]
fn files_are_replaced_and_not_written_over() {
    let place = Place::new();
    let ca = authority(&place);
    ca.issue(&client("alice", &[])).unwrap();
    for name in ["state.json", "crl.pem"] {
        let kept = place.path().join(name);
        fs::hard_link(place.ca().join(name), &kept).unwrap();
        let before = fs::read(&kept).unwrap();
        ca.crl_pem(true).unwrap();
        assert_eq!(fs::read(&kept).unwrap(), before, "{name} was written over");
        assert_ne!(fs::read(place.ca().join(name)).unwrap(), before);
    }
}
