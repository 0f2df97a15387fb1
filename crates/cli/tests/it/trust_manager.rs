//! `ringmail trust …` from outside: a manager that serves, and an operator who asks it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::run::{code, json, ringmail, stderr, stdout};

/// A domain's authority with an operator, and a policy, in a directory that is removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(of: &str) -> Place {
        let place =
            std::env::temp_dir().join(format!("ringmail-trust-{of}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&place));
        std::fs::create_dir_all(&place).expect("a directory");
        let place = Place(place);
        let ca = place.path("ca");
        for args in [
            &["init", "--domain", "campus.example"][..],
            &["client", "operator"],
            &["client", "mallory"],
        ] {
            let made = ringmail(&[&["ca", "--dir", &ca], args].concat());
            assert_eq!(code(&made), 0, "{}", stderr(&made));
        }
        std::fs::write(place.0.join("policy.yaml"), "operators: [operator]\n").expect("a file");
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    fn serve(&self) -> Manager {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringmail"))
            .args(["trust", "serve", "--listen", "127.0.0.1:0", "--output", "json"])
            .args(["--dir", &self.path("manager"), "--ca", &self.path("ca")])
            .args(["--policy", &self.path("policy.yaml"), "--references", &self.path("references")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut text = String::new();
        let mut output = child.stdout.take().expect("a pipe");
        let mut byte = [0];
        while !text.ends_with("\n}\n") && output.read(&mut byte).expect("the pipe") == 1 {
            text.push(char::from(byte[0]));
        }
        let serving: serde_json::Value = serde_json::from_str(&text).expect("a report");
        assert_eq!(serving["schema"], "ringmail.trust-serve/1");
        let listen = serving["listen"].as_str().expect("an address").to_owned();
        Manager { child, listen }
    }

    fn ask(&self, manager: &Manager, who: &str, args: &[&str]) -> Output {
        let (identity, roots) = (self.path(&format!("ca/client/{who}")), self.path("ca/root.pem"));
        let reach = ["--manager", &manager.listen, "--identity", &identity, "--roots", &roots];
        ringmail(&[&["trust"], args, &reach].concat())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

struct Manager {
    child: Child,
    listen: String,
}

impl Drop for Manager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn an_operator_sees_and_rules_and_others_do_not() {
    let place = Place::new("rules");
    let manager = place.serve();
    let status = json(&place.ask(&manager, "operator", &["status", "--output", "json"]));
    assert_eq!(
        (&status["trust_domain"], &status["log_size"]),
        (&"campus.example".into(), &2.into())
    );

    let token = place.ask(&manager, "operator", &["token", "h1"]);
    assert!(
        stdout(&token).starts_with("ringmail-token-1:campus.example:h1:"),
        "{}",
        stderr(&token)
    );
    let refused = place.ask(&manager, "mallory", &["token", "h1"]);
    assert_eq!(code(&refused), 1);
    assert_eq!(stderr(&refused), "error: Operators may ask.\nunchanged: the manager did nothing\n");

    let unknown = place.ask(&manager, "operator", &["revoke", "host/h9", "--why", "a test"]);
    assert!(stderr(&unknown).contains("host h9 is not known"), "{}", stderr(&unknown));
    assert_eq!(code(&place.ask(&manager, "operator", &["revoke", "h9"])), 2);

    let policy = place.path("policy.yaml");
    std::fs::write(&policy, "operators: [operator]\nsvid_s: 5\n").expect("a file");
    let wrong = place.ask(&manager, "operator", &["policy", "--set", &policy]);
    assert!(stderr(&wrong).contains("`svid_s` is 5"), "{}", stderr(&wrong));
    std::fs::write(&policy, "operators: [operator]\nsvid_s: 60\n").expect("a file");
    let set = place.ask(&manager, "operator", &["policy", "--set", &policy]);
    assert_eq!(stdout(&set), "operators: [operator]\nsvid_s: 60\n", "{}", stderr(&set));

    let audit = json(&place.ask(&manager, "operator", &["audit", "--output", "json"]));
    assert_eq!((&audit["whole"], &audit["entries"]), (&true.into(), &3.into()));
    assert_eq!(audit["shown"][2]["text"], "spiffe://campus.example/client/operator set the policy");
}

/// Whoever looked at the log before notices that it is another one now.
#[test]
fn an_auditor_notices_a_database_that_was_put_back() {
    let place = Place::new("back");
    let policy = place.path("policy.yaml");
    let (dir, old) = (place.0.join("manager"), place.0.join("old"));
    drop(place.serve());
    copy(&dir, &old);
    let manager = place.serve();
    std::fs::write(&policy, "operators: [operator]\nsvid_s: 60\n").expect("a file");
    assert_eq!(code(&place.ask(&manager, "operator", &["policy", "--set", &policy])), 0);
    let seen = place.ask(&manager, "operator", &["audit"]);
    assert_eq!(code(&seen), 0, "{}", stderr(&seen));
    drop(manager);

    std::fs::write(&policy, "operators: [operator]\n").expect("a file");
    std::fs::remove_dir_all(&dir).expect("the directory");
    copy(&old, &dir);
    let manager = place.serve();
    let noticed = place.ask(&manager, "operator", &["audit"]);
    assert_eq!(code(&noticed), 3, "{}", stderr(&noticed));
    assert!(stdout(&noticed).contains("the database was rolled back"), "{}", stdout(&noticed));
    // Grown again, to the same length and further, it is still another.
    for (svid_s, entries) in [(70, 3), (80, 4)] {
        std::fs::write(&policy, format!("operators: [operator]\nsvid_s: {svid_s}\n"))
            .expect("a file");
        assert_eq!(code(&place.ask(&manager, "operator", &["policy", "--set", &policy])), 0);
        let noticed = place.ask(&manager, "operator", &["audit"]);
        assert_eq!(code(&noticed), 3, "{entries}: {}", stdout(&noticed));
        assert!(stdout(&noticed).contains("it was changed"), "{}", stdout(&noticed));
    }
}

#[test]
fn one_manager_serves_from_a_directory() {
    let place = Place::new("one");
    let _manager = place.serve();
    let second = ringmail(&[
        "trust",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--dir",
        &place.path("manager"),
        "--ca",
        &place.path("ca"),
        "--references",
        &place.path("references"),
    ]);
    assert_eq!(code(&second), 1);
    assert!(stderr(&second).contains("another manager serves from"), "{}", stderr(&second));
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp");
    assert!(copied.success());
}
