//! The fuzzers' bodies over what this crate has anyway: bad files, examples, and what proptest makes of them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use ringmail_model::domain;
use ringmail_model::ids::PathVersion;
use ringmail_model::pathset::{Issue, PathSet};
use ringmail_model::pdp::Message;
use ringmail_model::summary::SummaryFile;

use crate::fuzz_bodies::{fuzz_domain, fuzz_pathset, fuzz_pdp, fuzz_request, fuzz_summary};

const CAMPUS: &str = include_str!("../../../../examples/campus.yaml");

fn campus_set() -> PathSet {
    let domain = domain::parse(CAMPUS, "campus.yaml").expect("the campus");
    let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: 1 };
    PathSet::compile(&domain, issue).expect("a path set")
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

/// Otherwise nothing of them is fuzzed but the reader.
#[test]
fn every_summary_of_the_corpus_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/model_summary");
    for entry in fs::read_dir(folder).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let read = SummaryFile::from_bytes(&fs::read(&path).expect("a file"));
        assert!(read.is_ok(), "{}: {read:?}", path.display());
    }
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
        fuzz_pdp(&data);
    }

    /// Steps with messages in them that one of the ends says.
    #[test]
    fn a_hostile_peer_is_no_trouble(
        steps in proptest::collection::vec((any::<u8>(), 0usize..8, any::<u8>()), 0..60)
    ) {
        let version = |of: u8| PathVersion(of.into());
        let mut data = Vec::new();
        for (step, which, of) in steps {
            let (life, now_unix_ms, protocol) = ([of; 16], 1, 1);
            let message = match which {
                0 => Message::Hello { protocol, life, active: version(of), highest: version(9) },
                1 => Message::Welcome { protocol, life, now_unix_ms, committed: version(of) },
                2 => Message::Activate { version: version(of) },
                3 => Message::Abandon { version: version(of) },
                4 => Message::Ack { version: version(of) },
                5 => Message::Activated { version: version(of) },
                6 => Message::Heartbeat,
                _ => Message::Lease { signed: vec![of; 9] },
            };
            let bytes = message.encode().split_off(4);
            data.extend([step, bytes.len() as u8]);
            data.extend(bytes);
        }
        fuzz_pdp(&data);
    }

    #[test]
    fn arbitrary_yaml_is_no_trouble(text in "[-a-z0-9:#&*!|>'\"%@{}\\[\\], \n~<.?]{0,200}") {
        fuzz_domain(text.as_bytes());
    }

    #[test]
    fn path_sets_with_some_bytes_changed_are_no_trouble(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let mut bytes = campus_set().encode();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_pathset(&bytes);
    }

    /// Numbers and roots of statements, each another one that reads as well.
    #[test]
    fn summaries_with_some_values_changed_are_no_trouble(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/model_summary");
        let mut files: Vec<_> =
            fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        let mut bytes = fs::read(which.get(&files)).expect("a file");
        for (at, byte) in changes {
            let digits: Vec<usize> =
                (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
            bytes[*at.get(&digits)] = b'0' + byte % 10;
        }
        fuzz_summary(&bytes);
    }

    #[test]
    fn hosts_and_paths_have_one_form(
        host in "[-a-zA-Z0-9.:@\\[\\]%_x ]{0,30}",
        path in "(/|[-a-z.;%2ef5cC03BA0?#*~ä]){0,30}",
    ) {
        fuzz_request(&[host.as_bytes(), b"\xff", path.as_bytes()].concat());
    }
}
