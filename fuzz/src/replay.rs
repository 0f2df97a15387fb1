//! Replays what the fuzzers kept, so that everyone's tests see what a nightly compiler found. Each crate's tests include
//! this file and call both functions with the crate's bodies.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fuzz_bodies::Body;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let listed =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Every committed input keeps every promise.
pub fn every_input(targets: &[(&str, Body)]) {
    for (target, body) in targets {
        let inputs = files(&folder("corpus").join(target));
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for path in inputs {
            let bytes = fs::read(&path).expect("a file that can be read");
            std::panic::catch_unwind(|| body(&bytes))
                .unwrap_or_else(|_| panic!("{target} breaks on {}", path.display()));
        }
    }
}

/// A body without a target would never be fuzzed, a target without a body never replayed. The targets of a crate are
/// those whose names begin with `prefix`.
pub fn targets_are_the_bodies(prefix: &str, targets: &[(&str, Body)]) {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut found: Vec<String> = files(&folder("fuzz_targets")).iter().filter_map(stem).collect();
    found.retain(|name| name.starts_with(prefix));
    let bodies: Vec<&str> = targets.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, bodies);
}
