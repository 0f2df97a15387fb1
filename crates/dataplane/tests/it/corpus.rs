//! Replays what the fuzzers kept, so that everyone's tests see what a nightly compiler found.

use std::fs;
use std::path::Path;

use crate::fuzz_bodies::TARGETS;

#[test]
fn every_committed_input_keeps_every_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, body) in TARGETS {
        let folder = corpus.join(target);
        let inputs = fs::read_dir(&folder).expect("a corpus");
        let mut replayed = 0;
        for input in inputs {
            let path = input.expect("a folder that can be listed").path();
            let bytes = fs::read(&path).expect("a file that can be read");
            std::panic::catch_unwind(|| body(&bytes))
                .unwrap_or_else(|_| panic!("{target} breaks on {}", path.display()));
            replayed += 1;
        }
        assert!(replayed > 0, "{target} has no corpus");
    }
}

/// A body without a target would never be fuzzed, a target without a body never replayed.
#[test]
fn every_body_has_a_target_and_every_target_a_body() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut files: Vec<String> = fs::read_dir(targets)
        .expect("the folder of targets")
        .map(|file| file.expect("a file").path().file_stem().expect("a name").display().to_string())
        .filter(|name| name.starts_with("dataplane_"))
        .collect();
    files.sort();
    assert_eq!(files, TARGETS.map(|(name, _)| name.to_owned()));
}
