//! Help, usage errors, completions and manual pages: what all verbs share.

use crate::run::{code, json, ringmail, stderr, stdout};

#[test]
fn help_goes_to_standard_output_and_is_no_failure() {
    let help = ringmail(&["--help"]);
    assert_eq!(code(&help), 0);
    assert_eq!(stderr(&help), "");
    insta::assert_snapshot!(stdout(&help));
}

#[test]
fn an_unknown_verb_is_wrong_usage() {
    let wrong = ringmail(&["fly"]);
    assert_eq!(code(&wrong), 2);
    assert_eq!(stdout(&wrong), "");
    insta::assert_snapshot!(stderr(&wrong));
}

#[test]
fn quiet_and_verbose_exclude_each_other() {
    let wrong = ringmail(&["-q", "-v", "man"]);
    assert_eq!(code(&wrong), 2);
    assert!(stderr(&wrong).starts_with("error:"), "{}", stderr(&wrong));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = ringmail(&["completions", shell]);
        assert_eq!(code(&script), 0, "{shell}: {}", stderr(&script));
        assert!(stdout(&script).contains("completions"), "{shell}");
    }
}

#[test]
fn json_names_its_schema() {
    let script = ringmail(&["completions", "bash", "--output", "json"]);
    assert_eq!(code(&script), 0);
    let report = json(&script);
    assert_eq!(report["schema"], "ringmail.completions/1");
    assert_eq!(report["shell"], "bash");
}

#[test]
fn man_writes_a_page_for_every_verb_that_people_use() {
    let dir = std::env::temp_dir().join(format!("ringmail-man-{}", std::process::id()));
    let pages = ringmail(&["man", "--dir", dir.to_str().unwrap(), "--output", "json"]);
    assert_eq!(code(&pages), 0, "{}", stderr(&pages));
    let files: Vec<String> = serde_json::from_value(json(&pages)["files"].clone()).unwrap();
    let verb = format!("{}/ringmail-completions.1", dir.display());
    assert!(files.contains(&verb), "{files:?}");
    for file in &files {
        let page = std::fs::read_to_string(file).unwrap();
        assert!(page.contains(".TH ringmail"), "{file} is no manual page");
    }
    assert!(
        !files.iter().any(|file| file.contains("help") || file.contains("ringmail-element")),
        "{files:?}"
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_a_failure_with_its_cause() {
    let failed = ringmail(&["man", "--dir", "/proc/self/none"]);
    assert_eq!(code(&failed), 1);
    assert_eq!(stdout(&failed), "");
    insta::assert_snapshot!(stderr(&failed));
}
