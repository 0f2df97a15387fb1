//! `ringmail domain …` from outside.

use std::path::PathBuf;

use crate::run::{code, json, ringmail, stderr, stdout};

fn repository(below: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(below).display().to_string()
}

fn bad(name: &str) -> String {
    repository(&format!("crates/model/tests/bad/{name}.yaml"))
}

/// Without the folder, which is another on every machine.
fn bare(text: &str) -> String {
    let folder = repository("crates/model/tests/bad/");
    text.replace(&folder, "")
}

#[test]
fn the_campus_is_right() {
    let checked = ringmail(&["domain", "check", &repository("examples/campus.yaml")]);
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
    assert!(stdout(&checked).ends_with("campus.yaml: the domain can be used\n"));
}

#[test]
fn a_bad_file_is_told_all_its_mistakes_and_fails() {
    let checked = ringmail(&["domain", "check", &bad("address-outside")]);
    assert_eq!(code(&checked), 1);
    insta::assert_snapshot!(bare(&format!("{}---\n{}", stdout(&checked), stderr(&checked))));
}

#[test]
fn json_has_each_mistake_with_its_place() {
    let checked = ringmail(&["domain", "check", &bad("key-unknown"), "--output", "json"]);
    assert_eq!(code(&checked), 1);
    let report = json(&checked);
    assert_eq!(report["schema"], "ringmail.domain-check/1");
    assert_eq!((&report["usable"], &report["errors"]), (&false.into(), &1.into()));
    let first = &report["diagnostics"][0];
    assert_eq!((&first["line"], &first["column"]), (&37.into(), &5.into()));
    assert_eq!(first["mend"], "did you mean `hops`?");
}

#[test]
fn a_warning_is_no_failure() {
    let checked = ringmail(&["domain", "check", &bad("psk")]);
    assert_eq!(code(&checked), 0);
    assert!(stdout(&checked).contains("warning: `keying: psk`"), "{}", stdout(&checked));
    let shown = ringmail(&["domain", "show", &bad("psk")]);
    assert_eq!(code(&shown), 0);
    assert!(stderr(&shown).contains("warning: `keying: psk`"), "{}", stderr(&shown));
    assert!(!stdout(&shown).contains("warning"), "data only: {}", stdout(&shown));
}

#[test]
fn show_lays_the_domain_out_for_people_and_for_programs() {
    let campus = repository("examples/campus.yaml");
    let shown = ringmail(&["domain", "show", &campus]);
    assert_eq!(code(&shown), 0, "{}", stderr(&shown));
    assert!(stdout(&shown).contains("gateway > [sf1] > sf2 > egress"), "{}", stdout(&shown));
    let report = json(&ringmail(&["domain", "show", &campus, "--output", "json"]));
    assert_eq!(report["schema"], "ringmail.domain/1");
    assert_eq!(report["inner_mtu"], 1314);
    assert_eq!(report["paths"][0]["labels"], serde_json::json!([1001, 1002, 1003]));
}

#[test]
fn show_of_a_bad_file_writes_no_data() {
    let shown = ringmail(&["domain", "show", &bad("function-twice")]);
    assert_eq!(code(&shown), 1);
    assert_eq!(stdout(&shown), "");
    insta::assert_snapshot!(bare(&stderr(&shown)));
}

#[test]
fn the_schema_is_that_of_the_repository() {
    let kept = std::fs::read_to_string(repository("docs/schema/domain.schema.json"));
    let written = ringmail(&["domain", "schema"]);
    assert_eq!(stdout(&written), kept.expect("the schema"));
    let report = json(&ringmail(&["domain", "schema", "--output", "json"]));
    assert_eq!(report["schema"], "ringmail.domain-schema/1");
    assert_eq!(report["json_schema"]["title"], "ringmail domain file");
}

#[test]
fn a_file_that_is_not_there_is_a_failure_with_its_cause() {
    let missing = ringmail(&["domain", "check", "/nowhere/campus.yaml"]);
    assert_eq!(code(&missing), 1);
    insta::assert_snapshot!(stderr(&missing));
}

/// Says which condition failed, with what is known of the certificate and the time, and what only a request can tell.
#[test]
fn a_question_has_a_time_and_a_certificate() {
    let example = repository("examples/least-privilege.yaml");
    let ask = |args: &[&str]| {
        let all = [&["domain", "test", &example, "--output", "json"], args].concat();
        json(&ringmail(&all))
    };
    let admin = "https://www.campus.example/admin/x";
    let named = ask(&["--client", "client1", "--url", admin, "--at", "2026-11-20T08:00:00Z"]);
    assert_eq!(named["allowed"], false);
    let unknown = "it looks at the certificate, which is not known here";
    assert_eq!(named["rules"][0]["failed"], serde_json::json!([unknown]));
    let folder = std::env::temp_dir().join(format!("ringmail-ask-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (key, file) = (folder.join("key.pem"), folder.join("client.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "3650", "-subj", "/CN=x", "-keyout"])
        .args([&key, std::path::Path::new("-out"), &file])
        .args(["-addext", "subjectAltName=URI:spiffe://campus.example/client/client1"])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
    let file = file.to_str().expect("UTF-8");
    // Weekdays far from now: the certificate is old then; and a Sunday before it was made.
    for (at, failed) in [
        ("2030-11-20T09:00:00Z", vec!["the certificate is too old"]),
        ("2030-11-20T19:00:00+01:00", vec!["the certificate is too old", "it is not the time"]),
        ("2020-11-22T09:00:00Z", vec!["it is not the time"]),
    ] {
        let asked = ask(&["--certificate", file, "--url", admin, "--at", at]);
        assert_eq!(asked["client"], "spiffe://campus.example/client/client1");
        assert_eq!(asked["rules"][0]["failed"], serde_json::json!(failed), "{at}");
    }
    let good = ask(&["--certificate", file, "--url", admin, "--at", "2020-11-20T08:00:00Z"]);
    assert_eq!((&good["allowed"], &good["rule"]), (&true.into(), &"admin".into()));
    let point = "the decision point opa, http://opa/v1/data/campus/allow";
    assert_eq!(good["at_run_time"], serde_json::json!([point]));
    let page = ask(&["--client", "client1", "--url", "https://www.campus.example/a.html"]);
    let rate = "its rate, 20 a second for each client, 100 at once";
    assert_eq!(page["at_run_time"], serde_json::json!([rate]));
    std::fs::remove_dir_all(&folder).expect("its own folder");
}
