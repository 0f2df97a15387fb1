//! Bodies of the fuzz targets, so that `fuzz/` and the tests that replay its corpus run the same code.
//!
//! Each takes arbitrary bytes and panics only where the crate is broken.

use crate::check;
use crate::domain;
use crate::ids::PathVersion;
use crate::pathset::{Issue, PathSet, SignedPathSet};
use crate::rules::{RequestFacts, RuleSet, host, url};

/// A domain file: whatever parses prints and parses to itself; whatever passes the checks compiles, and its path set
/// decodes to itself.
///
/// # Panics
/// Where one of these does not hold.
pub fn fuzz_domain(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = domain::parse(text, "fuzz") else { return };
    let printed = parsed.to_yaml().expect("a parsed domain prints");
    let again = domain::parse(&printed, "printed").expect("a printed domain parses");
    assert_eq!(again, parsed, "{printed}");
    let Ok(loaded) = check::load(text, "fuzz") else { return };
    let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
    let set = PathSet::compile(&loaded.domain, issue).expect("a checked domain compiles");
    assert_eq!(PathSet::decode(&set.encode()).as_ref(), Ok(&set));
    RuleSet::compile(&loaded.domain, &set).expect("rules of a checked domain compile");
}

/// Bytes of a path set: whatever decodes encodes to the same bytes.
///
/// # Panics
/// Where it does not.
pub fn fuzz_pathset(data: &[u8]) {
    if let Ok(set) = PathSet::decode(data) {
        assert_eq!(set.encode(), data);
    }
    if let Ok(signed) = SignedPathSet::from_bytes(data) {
        assert_eq!(signed.to_bytes(), data);
    }
}

/// A request: the first line is the host, the second the URL path. One form is its own one form.
///
/// # Panics
/// Where it is not.
pub fn fuzz_request(data: &[u8], rules: &RuleSet) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (given_host, given_path) = text.split_once('\n').unwrap_or((text, "/"));
    if let Some(form) = host::canonical(given_host) {
        // An IPv6 address loses the brackets that it needs to be read again.
        if !form.contains(':') {
            assert_eq!(host::canonical(&form).as_deref(), Some(form.as_ref()));
        }
    }
    if let Ok(form) = url::normalise(given_path) {
        assert_eq!(url::normalise(&form).as_deref(), Ok(form.as_ref()), "{given_path}");
        assert!(!form.split('/').any(|segment| matches!(segment, "." | "..")), "{form}");
    }
    let facts = RequestFacts {
        client: "",
        sni: Some(given_host),
        source: std::net::Ipv4Addr::LOCALHOST.into(),
        host: given_host,
        method: "GET",
        path: given_path,
        headers: &[],
        body_prefix: Some(data),
    };
    assert_eq!(rules.explain(&facts).decision, rules.evaluate(&facts));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    const CAMPUS: &str = include_str!("../../../examples/campus.yaml");

    fn campus_set() -> (domain::Domain, PathSet) {
        let domain = domain::parse(CAMPUS, "campus.yaml").expect("the campus");
        let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: 1 };
        let set = PathSet::compile(&domain, issue).expect("a path set");
        (domain, set)
    }

    /// The bad files are the first corpus of `fuzz_domain`, the examples the second.
    #[test]
    fn the_corpus_of_domain_files_is_replayed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut seen = 0;
        for folder in ["tests/bad", "../../examples"] {
            for entry in fs::read_dir(root.join(folder)).expect("a corpus") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    fuzz_domain(&fs::read(path).expect("a file"));
                    seen += 1;
                }
            }
        }
        assert!(seen > 100, "the corpus is gone");
    }

    #[test]
    fn the_campus_with_any_line_gone_or_any_byte_changed_is_no_trouble() {
        let lines: Vec<&str> = CAMPUS.lines().collect();
        for gone in 0..lines.len() {
            let mut left = lines.clone();
            left.remove(gone);
            fuzz_domain(left.join("\n").as_bytes());
        }
        for at in (0..CAMPUS.len()).step_by(7) {
            let mut bytes = CAMPUS.as_bytes().to_vec();
            bytes[at] = b"-:[{\"*&!|\n\t0"[at % 12];
            fuzz_domain(&bytes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_bytes_are_no_trouble(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            fuzz_domain(&data);
            fuzz_pathset(&data);
        }

        #[test]
        fn arbitrary_yaml_is_no_trouble(text in "[-a-z0-9:#&*!|>'\"%@{}\\[\\], \n~<.?]{0,200}") {
            fuzz_domain(text.as_bytes());
        }

        #[test]
        fn path_sets_with_some_bytes_changed_are_no_trouble(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
        ) {
            let mut bytes = campus_set().1.encode();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            fuzz_pathset(&bytes);
        }

        #[test]
        fn hosts_and_paths_have_one_form(
            host in "[-a-zA-Z0-9.:@\\[\\]%_x ]{0,30}",
            path in "(/|[-a-z.;%2ef5cC03BA0?#*~ä]){0,30}",
        ) {
            let (domain, set) = campus_set();
            let rules = RuleSet::compile(&domain, &set).expect("rules");
            fuzz_request(format!("{host}\n{path}").as_bytes(), &rules);
        }
    }
}
