//! Who and what does not get through, how the client learns of it, and what is counted.

use ringmail_trust::EmbeddedCa;

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Folder, Papers, Setting, World, live};

const WWW: &str = "10.79.0.10:80";

#[test]
fn a_client_without_a_good_certificate_never_reaches_http() {
    live(|privilege| {
        let setting = Setting::new(privilege, "campus.yaml");
        let revoked = Papers::of(setting.authority(), "client1");
        setting.authority().revoke("client/client1").expect("it is revoked");
        let world = setting.up();
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"not for everyone");
        // The same names, another authority.
        let folder = Folder::new(&format!("other-{}", world.domain));
        let other =
            EmbeddedCa::init(&folder.0.join("ca"), &world.domain.parse().expect("a domain"));
        let foreign = Papers::of(&other.expect("an authority"), "client1");
        for (who, papers) in
            [("nobody", None), ("a foreigner", Some(foreign)), ("one revoked", Some(revoked))]
        {
            for option in ["--http1.1", "--http2"] {
                let got = Curl::with(&world, "client1", papers.clone()).get("/page", &[option]);
                assert!(got.verdict.ends_with(" 000"), "{who} got {}", got.said);
                assert!(got.said.contains("alert"), "{who} heard no alert: {}", got.said);
                assert!(got.body.is_empty(), "{who}");
            }
        }
        assert_eq!(world.counter("gateway", "requests"), 0);
        assert_eq!(world.counter("gateway", "connections_authenticated"), 0);
        assert_eq!(nginx.log(), "");
        // A new certificate of the same client is as good as any.
        let got = Curl::new(&world, "client1").get("/page", &[]);
        assert_eq!(
            (got.verdict.as_str(), got.body.as_slice()),
            ("2 200", b"not for everyone".as_slice())
        );
    });
}

#[test]
fn what_no_rule_allows_gets_403_and_a_foreign_authority_421() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"not for everyone");
        let allowed = Curl::new(&world, "client1");
        let without_rule = Curl::new(&world, "client3");
        // A name of the certificate that leads nowhere.
        let spare = format!("Host: spare.{}", world.domain);
        for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let status = |curl: &Curl<'_>, args: &[&str]| {
                let got = curl.get("/page", &[&[option], args].concat());
                assert_eq!(got.exit, 0, "{}", got.said);
                got.verdict
            };
            assert_eq!(status(&allowed, &[]), format!("{version} 200"));
            assert_eq!(
                status(&allowed, &["--header", "Host: elsewhere.example"]),
                format!("{version} 421")
            );
            assert_eq!(status(&allowed, &["--header", &spare]), format!("{version} 403"));
            assert_eq!(status(&without_rule, &[]), format!("{version} 403"));
        }
        let pages = nginx.log().lines().count();
        assert_eq!(pages, 2, "{}", nginx.log());
    });
}

#[test]
fn what_the_inspection_forbids_is_reset_and_counted_where_it_was_seen() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a harmless page");
        nginx.put("/hot", &[&[b'.'; 50_000], b"contraband".as_slice()].concat());
        let inspected = Curl::new(&world, "client2");
        let plain = Curl::new(&world, "client1");
        let body = format!("{}contraband", ".".repeat(20_000));
        let from = nginx.file("/body");
        std::fs::write(&from, &body).expect("a file");
        let from = from.to_string_lossy();
        let requests: [(&str, &[&str]); 4] = [
            ("/page?contraband", &[]),
            ("/page", &["--header", "x-cargo: contraband"]),
            ("/up/body", &["--upload-file", &from]),
            ("/hot", &[]),
        ];
        let mut resets = 0;
        for (path, args) in requests {
            for option in ["--http1.1", "--http2"] {
                let args = [&[option], args].concat();
                let passed = plain.get(path, &args);
                assert_eq!(passed.exit, 0, "{}", passed.said);
                assert!(
                    [" 200", " 201", " 204"].iter().any(|ok| passed.verdict.ends_with(ok)),
                    "{path}: {}",
                    passed.said
                );
                let uploaded = nginx.file("/up/body");
                // Only the upload makes one.
                drop(std::fs::remove_file(&uploaded));
                let stopped = inspected.get(path, &args);
                assert!(!uploaded.exists(), "{option}");
                let refused = stopped.verdict.ends_with(" 502") || stopped.exit != 0;
                assert!(refused, "{path} {option}: {}", stopped.said);
                let text = String::from_utf8_lossy(&stopped.body).into_owned();
                assert!(!text.contains("contraband"), "{path} {option}");
                let now = world.drops("sf2", "function_reset");
                assert!(now > resets, "{path} {option}: {now} resets counted after {resets}");
                resets = now;
            }
        }
        // Others are not disturbed by it.
        let got = inspected.get("/page", &[]);
        assert_eq!(got.verdict, "2 200", "{}", got.said);
    });
}
