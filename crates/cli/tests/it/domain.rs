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
    assert_eq!(report["inner_mtu"], 1406);
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
