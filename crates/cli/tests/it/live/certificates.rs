//! What a listener shows is renewed while it serves: no version of the domain, and no connection, goes for it.

use std::io::Read;
use std::time::Duration;

use ringmail_trust::{Authority, EmbeddedCa, Kind, Request};

use crate::live::programs::{Answer, Curl, Nginx};
use crate::live::world::{Setting, eventually, live};

const WWW: &str = "10.79.0.10:80";

/// A certificate for the listener, in files that those before made room for.
fn issue(authority: &EmbeddedCa) -> std::path::PathBuf {
    let request = Request {
        kind: Kind::Server,
        name: "web-files".parse().expect("a name"),
        names: vec![name(authority).parse().expect("a name")],
        lasts: Duration::from_secs(86_400),
        replace: true,
    };
    authority.issue(&request).expect("a certificate").dir
}

/// The listener's first name.
fn name(authority: &EmbeddedCa) -> String {
    format!("www.{}", authority.trust_domain())
}

/// The certificates that a new connection is shown.
fn shown(curl: &Curl<'_>) -> String {
    let answer = curl.get(
        "/page",
        &["--write-out", "%{certs}\n%{stderr}\nverdict %{http_version} %{http_code}\n"],
    );
    assert_eq!(answer.verdict, "2 200", "{}", answer.said);
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[test]
fn a_certificate_whose_files_change_is_shown_to_who_comes_next() {
    live(|privilege| {
        let setting = Setting::new(privilege, "campus.yaml");
        let dir = issue(setting.authority());
        let (chain, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        let names = format!("- server_names: [{}", name(setting.authority()));
        let files = format!(
            "- files: {{chain: {}, key: {}}}\n          {}",
            chain.display(),
            key.display(),
            &names[2..]
        );
        let world = setting.with(&names, &files).up();
        let nginx = Nginx::start(&world, "www", WWW);
        let body = vec![7; 20_000_000];
        nginx.put("/slow", &body);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client1");
        let (before, version) = (shown(&curl), world.status("gateway").version);
        let mut slow = curl.spawn("/slow", &["--limit-rate", "8M"]);
        let mut stdout = slow.stdout.take().expect("a pipe");
        let mut got = vec![0];
        stdout.read_exact(&mut got).expect("the download has begun");

        issue(world.authority());
        eventually("the new certificate is shown", || (shown(&curl) != before).then_some(()));
        assert_eq!(world.status("gateway").version, version, "no version went for it");
        stdout.read_to_end(&mut got).expect("the download goes on");
        let answer = Answer::of(&slow.wait_with_output().expect("it ends"));
        assert_eq!((answer.exit, &*answer.verdict), (0, "2 200"), "{}", answer.said);
        assert!(got == body, "{} bytes, and not the right ones", got.len());
    });
}
