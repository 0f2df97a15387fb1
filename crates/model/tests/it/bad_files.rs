//! Files that are wrong on purpose: `tests/bad/NAME.yaml` and, beside it, what is said of it in `NAME.txt`.

use std::collections::BTreeSet;

use ringmail_model::{Severity, check};

use crate::golden;

#[test]
fn every_bad_file_is_told_its_line_and_its_mend() {
    let mut failures = Vec::new();
    let mut codes = BTreeSet::new();
    for path in bad_files() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = golden::read(&path);
        let diagnostics = match check::load(&text, &name) {
            Ok(loaded) => loaded.warnings,
            Err(diagnostics) => diagnostics,
        };
        for diagnostic in &diagnostics {
            codes.insert(diagnostic.code);
            let whole_file = diagnostic.code == "file-too-large";
            if !whole_file && (diagnostic.line == 0 || diagnostic.mend.is_empty()) {
                failures.push(format!("without line or mend: {diagnostic}"));
            }
        }
        // Notes belong to nearly every file; only those that are about them show them.
        let shown = diagnostics
            .iter()
            .filter(|d| d.severity != Severity::Note || name.starts_with("last-leg"));
        let said: Vec<String> = shown.map(|d| format!("[{}] {d}\n", d.code)).collect();
        if said.is_empty() {
            failures.push(format!("{name}: nothing is said of it"));
        }
        if let Err(difference) = golden::compare(&path.with_extension("txt"), &said.concat()) {
            failures.push(difference);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let missing: Vec<String> =
        codes_in_the_source().into_iter().filter(|code| !codes.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "no bad file shows these diagnostics: {missing:?}");
}

fn bad_files() -> Vec<std::path::PathBuf> {
    let folder = std::fs::read_dir(golden::crate_path("tests/bad")).expect("the bad files");
    let mut paths: Vec<_> = folder
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    paths.sort();
    paths
}

/// Every code that the checks can give, read from their source: a string literal in the place of a code.
fn codes_in_the_source() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    let folder = std::fs::read_dir(golden::crate_path("src/check")).expect("the checks");
    let mut sources: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    sources.push(golden::crate_path("src/domain/parse.rs"));
    for path in sources {
        let text = golden::read(&path);
        let before_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
        for literal in before_tests.split('"').skip(1).step_by(2) {
            let kebab = literal.contains('-')
                && literal.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
                && !literal.starts_with('-')
                && !literal.ends_with('-');
            if kebab {
                codes.insert(literal.to_owned());
            }
        }
    }
    assert!(codes.len() > 30, "the source was not understood: {codes:?}");
    // It takes two files to show `not-in-place`; the tests beside it do.
    for no_code in ["file-too-large", "mpls-nsh", "x-role", "not-in-place"] {
        codes.remove(no_code);
    }
    codes
}
