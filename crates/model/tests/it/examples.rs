//! The examples that ship are right: no error, no warning, and they compile.

use ringmail_model::check;
use ringmail_model::pathset::{Issue, PathSet};
use ringmail_model::rules::RuleSet;
use ringmail_model::{Domain, PathVersion, Severity};

use crate::golden;

pub(crate) const ISSUE: Issue = Issue {
    version: PathVersion(1),
    not_before_unix_s: 1_795_000_000,
    not_after_unix_s: 1_795_086_400,
};

pub(crate) fn campus() -> Domain {
    let text = golden::read(&golden::repository_path("examples/campus.yaml"));
    match check::load(&text, "campus.yaml") {
        Ok(loaded) => loaded.domain,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

#[test]
fn every_example_loads_without_a_word() {
    let folder = golden::repository_path("examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        seen += 1;
        let text = golden::read(&path);
        let loaded =
            check::load(&text, &path.display().to_string()).unwrap_or_else(|d| panic!("{d}"));
        if !text.contains("keying: psk") {
            let warned = loaded.warnings.iter().any(|d| d.severity != Severity::Note);
            assert!(!warned, "{}", loaded.warnings);
        }
        let set = PathSet::compile(&loaded.domain, ISSUE).expect("a path set");
        RuleSet::compile(&loaded.domain, &set).expect("a rule set");
        let printed = loaded.domain.to_yaml().expect("printable");
        let again = ringmail_model::domain::parse(&printed, "printed")
            .unwrap_or_else(|d| panic!("{d}\n{printed}"));
        assert_eq!(again, loaded.domain);
    }
    assert!(seen > 0, "no example in {}", folder.display());
}
