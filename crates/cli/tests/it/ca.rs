//! `ringmail ca …` from outside.

use std::path::PathBuf;
use std::process::Output;

use crate::run::{code, json, ringmail, stderr, stdout};

/// An authority's directory, removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(of: &str) -> Place {
        let place = std::env::temp_dir().join(format!("ringmail-ca-{of}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&place));
        Place(place)
    }

    fn ca(&self, args: &[&str]) -> Output {
        let dir = self.0.to_str().expect("a path in UTF-8");
        ringmail(&[&["ca", "--dir", dir], args].concat())
    }

    fn made(of: &str) -> Place {
        let place = Place::new(of);
        let made = place.ca(&["init", "--domain", "campus.example"]);
        assert_eq!(code(&made), 0, "{}", stderr(&made));
        place
    }

    /// Without the directory, which is another in every run.
    fn bare(&self, text: &str) -> String {
        text.replace(self.0.to_str().expect("a path in UTF-8"), "DIR")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn an_authority_issues_lists_shows_and_revokes() {
    let place = Place::made("whole");
    let server = place.ca(&["server", "web", "--san", "www.campus.example", "--san", "192.0.2.1"]);
    assert_eq!(code(&server), 0, "{}", stderr(&server));
    let client = json(&place.ca(&["client", "alice", "--days", "7", "--output", "json"]));
    assert_eq!(client["schema"], "ringmail.ca/1");
    let certificate = &client["certificates"][0];
    assert_eq!(certificate["names"][0], "uri:spiffe://campus.example/client/alice");
    let files = PathBuf::from(client["files"].as_str().expect("a path"));
    assert!(files.join("key.pem").exists() && files.join("cert.pem").exists());

    let listed = json(&place.ca(&["list", "--output", "json"]));
    assert_eq!(listed["certificates"].as_array().map(Vec::len), Some(2));
    let table = stdout(&place.ca(&["list"]));
    assert!(table.lines().all(|line| line.contains("  valid  ")), "{table}");

    let serial = certificate["serial"].as_str().expect("a serial number");
    let revoked = place.ca(&["revoke", serial]);
    assert_eq!(code(&revoked), 0, "{}", stderr(&revoked));
    assert!(stdout(&revoked).ends_with("revocation list 2\n"), "{}", stdout(&revoked));
    let shown = stdout(&place.ca(&["show", "client/alice"]));
    assert!(shown.contains("  revoked     20"), "{shown}");
    let crl = stdout(&place.ca(&["crl"]));
    assert!(crl.starts_with("-----BEGIN X509 CRL-----\n"), "{crl}");
    assert_eq!(json(&place.ca(&["crl", "--renew", "--output", "json"]))["crl_number"], 3);
}

#[test]
fn an_element_s_request_becomes_a_chain() {
    let place = Place::made("element");
    let key = place.0.join("sf1.key");
    let request = place.0.join("sf1.csr");
    let made = std::process::Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=whoever", "-keyout", key.to_str().unwrap()])
        .args(["-out", request.to_str().unwrap()])
        .output()
        .expect("the program openssl is needed (Debian package `openssl`)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let signed = place.ca(&["element", "sf1", "--request", request.to_str().unwrap()]);
    assert_eq!(code(&signed), 0, "{}", stderr(&signed));
    assert_eq!(stdout(&signed).matches("-----BEGIN CERTIFICATE-----\n").count(), 2);
    let listed = json(&place.ca(&["list", "--output", "json"]));
    assert_eq!(listed["certificates"][0]["names"][0], "uri:spiffe://campus.example/element/sf1");

    std::fs::write(&request, "no request").unwrap();
    let refused = place.ca(&["element", "sf1", "--request", request.to_str().unwrap()]);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).starts_with("error: the certificate signing request of element sf1"));
}

#[test]
fn failures_say_whose_fault_it_is_what_did_not_change_and_what_helps() {
    let place = Place::new("failures");
    let missing = place.ca(&["list"]);
    assert_eq!((code(&missing), stdout(&missing).as_str()), (1, ""));
    let mut told = place.bare(&stderr(&missing));

    drop(place);
    let place = Place::made("failures");
    assert_eq!(code(&place.ca(&["client", "alice"])), 0);
    for args in [
        &["init", "--domain", "campus.example"][..],
        &["client", "alice"],
        &["server", "web"],
        &["revoke", "mallory"],
        &["show", "client/mallory"],
        &["client", "bob", "--days", "0"],
    ] {
        let failed = place.ca(args);
        assert_ne!(code(&failed), 0, "{args:?}");
        assert_eq!(stdout(&failed), "");
        told += &format!("\n{} exits {}\n{}", args.join(" "), code(&failed), stderr(&failed));
    }
    insta::assert_snapshot!(place.bare(&told));
}

#[test]
fn an_authority_is_backed_up_and_restored() {
    let place = Place::made("kept");
    assert_eq!(code(&place.ca(&["client", "alice"])), 0);
    let (file, password) = (place.0.with_extension("backup"), place.0.with_extension("password"));
    let text = |path: &PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
    let (file_text, password_text) = (text(&file), text(&password));
    std::fs::write(&password, "correct horse\n").expect("a file");
    let whole = |verb| place.ca(&[verb, &file_text, "--password-file", &password_text]);
    let made = whole("backup");
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    let said = format!("{file_text}: 8 files of campus.example, and read again\n");
    assert_eq!(stdout(&made), said);
    // Not over the one that is there.
    let refused = whole("restore");
    assert_eq!((code(&refused), stdout(&refused).as_str()), (1, ""));
    assert!(stderr(&refused).contains("holds an authority already"), "{}", stderr(&refused));
    std::fs::write(&password, "another one\n").expect("a file");
    std::fs::remove_dir_all(&place.0).expect("the authority is lost");
    let refused = whole("restore");
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("the password is another"), "{}", stderr(&refused));
    std::fs::write(&password, "correct horse\n").expect("a file");
    let restored =
        place.ca(&["restore", &file_text, "--password-file", &password_text, "--output", "json"]);
    assert_eq!(code(&restored), 0, "{}", stderr(&restored));
    let restored = json(&restored);
    assert_eq!(
        (&restored["schema"], &restored["restored"]),
        (&"ringmail.ca-backup/1".into(), &true.into())
    );
    let listed = json(&place.ca(&["list", "--output", "json"]));
    assert_eq!(listed["certificates"][0]["name"], "alice");
    for file in [file, password] {
        std::fs::remove_file(file).expect("it is there");
    }
}

#[test]
fn a_rotation_says_what_comes_next() {
    let place = Place::made("rotate");
    assert_eq!(code(&place.ca(&["client", "alice"])), 0);
    let rotate = |verb: &[&str]| place.ca(&[&["rotate"], verb].concat());
    let said = stdout(&rotate(&["status"]));
    assert!(said.ends_with("\nno rotation is under way\n"), "{said}");
    let said = stdout(&rotate(&["begin"]));
    assert!(said.contains("root 1  signs  ") && said.contains("root 2  is believed"), "{said}");
    assert!(said.contains("on: ringmail ca rotate switch\n"), "{said}");
    let early = rotate(&["switch"]);
    assert_eq!((code(&early), stdout(&early).as_str()), (1, ""));
    assert_eq!(
        stderr(&early),
        "error: it is too early: the new root is not known everywhere\n\
         unchanged: the authority and every key\nhint: see when it is time: ringmail ca rotate status\n"
    );
    let said = stdout(&rotate(&["switch", "--early"]));
    assert!(
        said.contains("root 2  signs  ") && said.contains("still holds  client/alice"),
        "{said}"
    );
    assert_eq!(code(&rotate(&["finish"])), 1);
    assert_eq!(code(&place.ca(&["revoke", "alice"])), 0);
    assert_eq!(code(&rotate(&["finish"])), 0);
    assert_eq!(code(&rotate(&["finish"])), 2, "there is nothing to finish");
}
