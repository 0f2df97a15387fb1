//! `ringmail ca client NAME --p12`, judged by the programs that read such files: OpenSSL's and NSS's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::run::{code, json, ringmail, stderr, stdout};

const PASSWORD: &str = "correct horse battery staple";

/// A folder with an authority in it, removed when dropped.
struct Place(PathBuf);

impl Place {
    fn made(of: &str) -> Place {
        let place = std::env::temp_dir().join(format!("ringmail-p12-{of}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&place));
        std::fs::create_dir(&place).expect("a folder");
        let place = Place(place);
        std::fs::write(place.path("password"), format!("{PASSWORD}\n")).expect("a file");
        let made = place.ca(&["init", "--domain", "campus.example"]);
        assert_eq!(code(&made), 0, "{}", stderr(&made));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").to_owned()
    }

    fn ca(&self, args: &[&str]) -> Output {
        ringmail(&[&["ca", "--dir", &self.text("ca")], args].concat())
    }

    /// A file for this client.
    fn p12(&self, client: &str) -> PathBuf {
        let (file, password) = (self.text(&format!("{client}.p12")), self.text("password"));
        let made = self.ca(&["client", client, "--p12", &file, "--password-file", &password]);
        assert_eq!(code(&made), 0, "{}", stderr(&made));
        assert!(stdout(&made).ends_with(&format!("for browsers: {file}\n")), "{}", stdout(&made));
        PathBuf::from(file)
    }

    fn listed(&self) -> usize {
        let listed = json(&self.ca(&["list", "--output", "json"]));
        listed["certificates"].as_array().expect("a list").len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn run(program: &str, args: &[&str], files: &[&Path]) -> (bool, String) {
    let output = Command::new(program)
        .args(args)
        .args(files)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("the program {program} is needed: {error}"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

fn openssl(args: &[&str], files: &[&Path]) -> String {
    let (done, said) = run("openssl", args, files);
    assert!(done, "openssl {args:?}: {said}");
    said
}

#[test]
fn openssl_reads_the_file_and_its_key_is_the_certificate_s() {
    let place = Place::made("openssl");
    let file = place.p12("alice");
    let password = format!("file:{}", place.text("password"));
    let out = place.text("out.pem");
    let info = openssl(
        &["pkcs12", "-info", "-nodes", "-passin", &password, "-out", &out, "-in"],
        &[&file],
    );
    assert!(info.contains("MAC: sha256, Iteration 200000"), "{info}");
    let shrouded = "PBES2, PBKDF2, AES-256-CBC, Iteration 200000, PRF hmacWithSHA256";
    assert_eq!(info.matches(shrouded).count(), 2, "{info}");
    let opened = std::fs::read_to_string(&out).expect("what is in it");
    assert_eq!(opened.matches("friendlyName: alice (campus.example)").count(), 2, "{opened}");
    let filed = place.path("ca/client/alice/cert.pem");
    let of_certificate = openssl(&["x509", "-noout", "-pubkey", "-in"], &[&filed]);
    let of_key = openssl(&["pkey", "-pubout", "-in"], &[Path::new(&out)]);
    assert_eq!(of_certificate, of_key);
    // Certificate and root, as in the other file.
    let certificates = |text: &str| {
        let parts = text.split("-----BEGIN CERTIFICATE-----").skip(1);
        let part = |part: &str| part.split("-----END").next().unwrap_or_default().to_owned();
        parts.map(part).collect::<Vec<_>>()
    };
    let filed = std::fs::read_to_string(filed).expect("the chain");
    assert_eq!(certificates(&opened), certificates(&filed));
    assert_eq!(certificates(&opened).len(), 2);

    let (opens, _) =
        run("openssl", &["pkcs12", "-noout", "-passin", "pass:wrong", "-in"], &[&file]);
    assert!(!opens, "any password opens it");
}

#[test]
fn nss_takes_the_key_in() {
    let place = Place::made("nss");
    let file = place.p12("alice");
    let database = place.path("nssdb");
    std::fs::create_dir(&database).expect("a folder");
    let database = format!("sql:{}", database.display());
    let (made, said) = run("certutil", &["-N", "--empty-password", "-d", &database], &[]);
    assert!(made, "{said}");
    let password = place.text("password");
    let (imported, said) = run("pk12util", &["-d", &database, "-w", &password, "-i"], &[&file]);
    assert!(imported && said.contains("PKCS12 IMPORT SUCCESSFUL"), "{said}");
    let (listed, said) = run("certutil", &["-L", "-d", &database], &[]);
    let alice = said.lines().find(|line| line.starts_with("alice (campus.example)"));
    assert!(listed && alice.is_some_and(|line| line.trim_end().ends_with("u,u,u")), "{said}");
    let (listed, said) = run("certutil", &["-K", "-d", &database], &[]);
    assert!(listed && said.contains("alice (campus.example)"), "{said}");
}

#[test]
fn nothing_is_issued_where_the_file_cannot_be_made() {
    let place = Place::made("refused");
    let (file, password) = (place.text("there.p12"), place.text("password"));
    std::fs::write(&file, "something else").expect("a file");
    let there = ["client", "alice", "--p12", &file, "--password-file", &password];
    let refused = place.ca(&there);
    assert_eq!((code(&refused), stdout(&refused).as_str()), (1, ""));
    assert_eq!(
        stderr(&refused),
        format!(
            "error: {file} exists already\nunchanged: the authority and every key\n\
             hint: name another file, or move that one away\n"
        )
    );
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "something else");

    let short = place.text("short");
    std::fs::write(&short, "1234567\n").expect("a file");
    let refused = place.ca(&["client", "alice", "--p12", "--password-file", &short]);
    assert_eq!(code(&refused), 2);
    assert!(stderr(&refused).contains("8 to 128 characters"), "{}", stderr(&refused));
    let refused = place.ca(&["client", "alice", "--password-file", &password]);
    assert_eq!(code(&refused), 2, "{}", stdout(&refused));
    assert_eq!(place.listed(), 0, "a certificate was issued");

    let made = place.ca(&["client", "alice", "--p12", "--password-file", &password]);
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    assert!(place.path("ca/client/alice/alice.p12").exists());
}

/// A terminal of its own, as a person has one: asked twice, and nothing that is typed is seen.
#[test]
fn a_person_is_asked_on_the_terminal() {
    const TERMINAL: &str = r"
import os, pty, sys
typed = sys.stdin.read().splitlines()
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b''
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    seen += piece
    if piece.endswith(b': ') and typed:
        os.write(terminal, typed.pop(0).encode() + b'\n')
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
    let place = Place::made("asked");
    let ask = |client: &str, typed: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", TERMINAL, env!("CARGO_BIN_EXE_ringmail")]);
        python.args(["ca", "--dir", &place.text("ca"), "client", client, "--p12"]);
        let mut python =
            python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut input = python.stdin.take().expect("it is piped");
        input.write_all(typed.as_bytes()).expect("it reads");
        drop(input);
        let output = python.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, seen) = ask("alice", &format!("{PASSWORD}\n{PASSWORD}\n"));
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.starts_with("Password for the file of alice: \r\nThe same again: \r\n"), "{seen}");
    assert!(!seen.contains("horse"), "{seen}");
    let password = format!("file:{}", place.text("password"));
    let file = place.path("ca/client/alice/alice.p12");
    openssl(&["pkcs12", "-noout", "-passin", &password, "-in"], &[&file]);

    let (code, seen) = ask("bob", &format!("{PASSWORD}\nanother one\n"));
    assert_eq!(code, Some(2), "{seen}");
    assert!(seen.contains("error: the two passwords differ"), "{seen}");
    assert_eq!(place.listed(), 1);
}
