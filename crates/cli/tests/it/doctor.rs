//! `ringmail doctor` on this machine, which runs chains in other tests.

use std::process::Command;

use crate::run::ringmail;

#[test]
fn the_machine_of_the_tests_lacks_nothing_that_chains_need() {
    let output = ringmail(&["doctor", "--output", "json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["schema"], "ringmail.doctor/1");
    let findings = report["findings"].as_array().expect("findings");
    for finding in findings {
        assert_ne!(finding["state"], "missing", "{finding}");
        let mend = finding["mend"].as_str().expect("a text");
        assert_eq!(mend.is_empty(), finding["state"] == "ok", "{finding}");
    }
    assert!(findings.len() >= 15, "{text}");
    assert_eq!(output.status.code(), Some(0));
    let shown = ringmail(&["doctor"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.lines().any(|line| line.starts_with("ok        tun ")), "{shown}");
}

#[test]
fn what_was_tried_is_gone_again() {
    let links = || {
        let mut names: Vec<_> = std::fs::read_dir("/sys/class/net")
            .expect("interfaces")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("ringmail"))
            .collect();
        names.sort();
        names
    };
    let before = links();
    drop(ringmail(&["doctor"]));
    assert_eq!(links(), before);
    // Nothing of it reached the machine's own rules.
    let listed = Command::new("nft").args(["list", "tables"]).output();
    if let Ok(listed) = listed {
        assert!(!String::from_utf8_lossy(&listed.stdout).contains("doctor"));
    }
}
