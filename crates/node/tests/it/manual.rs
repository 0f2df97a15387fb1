//! The manual: its tables come from the code, and its links lead somewhere.
//!
//! `RINGMAIL_UPDATE=1` writes the tables anew.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use ringmail_dataplane::DropReason;
use ringmail_node::doctor::{Facts, Program, State, judge};
use ringmail_node::see::{catalog, mend};

const BEGIN: &str = "<!-- generated: begin -->\n";
const END: &str = "<!-- generated: end -->\n";

fn repository(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(below)
}

/// Compares what stands between the marks of a chapter with `table`.
fn hold(chapter: &str, table: &str) {
    let path = repository("docs/manual/src").join(chapter);
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the mark where the table begins");
    let (kept, tail) = rest.split_once(END).expect("the mark where the table ends");
    if std::env::var_os("RINGMAIL_UPDATE").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
    } else {
        assert_eq!(kept, table, "{} is stale: run with RINGMAIL_UPDATE=1", path.display());
    }
}

#[test]
fn every_reason_to_drop_is_in_the_manual() {
    let mut table = "| reason | what it means | what to do |\n|---|---|---|\n".to_owned();
    for reason in DropReason::ALL {
        let means = reason.description().trim();
        writeln!(table, "| `{reason}` | {means} | {} |", mend(*reason)).unwrap();
    }
    hold("drops.md", &table);
}

#[test]
fn every_metric_is_in_the_manual() {
    let mut table =
        "| metric | kind | unit | labels | what it says |\n|---|---|---|---|---|\n".to_owned();
    for family in catalog::families().unwrap().values() {
        let kind = match (family.histogram, family.gauge) {
            (true, _) => "histogram",
            (false, true) => "gauge",
            (false, false) => "counter",
        };
        let (name, labels) = (&family.name, family.labels.join(", "));
        writeln!(table, "| `{name}` | {kind} | {} | {labels} | {} |", family.unit, family.help)
            .unwrap();
    }
    hold("metrics.md", &table);
}

#[test]
fn every_finding_of_doctor_is_in_the_manual() {
    let no = || Err(String::new());
    let program = Program { name: "PROGRAM", package: "PACKAGE…", path: None };
    let bare = Facts {
        kernel: String::new(),
        root: false,
        namespace: no(),
        tun: no(),
        tun_uso: false,
        udp_gso: no(),
        udp_gro: no(),
        packet_socket: no(),
        xdp: no(),
        nft: no(),
        rules: no(),
        any_address: vec![String::new()],
        passes_on: vec![String::new()],
        interfaces: vec![(String::new(), 576)],
        clock: Err(String::new()),
        entropy: no(),
        processors: 1,
        features: Vec::new(),
        architecture: "x86_64",
        open_files: (0, 0),
        socket_buffers: Some((0, 0)),
        programs: vec![program],
    };
    let mut table = "| finding | state | what it means | mend |\n|---|---|---|---|\n".to_owned();
    let findings = judge(&bare);
    for finding in findings.iter().filter(|finding| finding.state != State::Ok) {
        let state = if finding.state == State::Missing { "missing" } else { "degraded" };
        let (check, means, mend) = (finding.check, finding.means, &finding.mend);
        writeln!(table, "| `{check}` | {state} | {means} | {mend} |").unwrap();
    }
    // The kernel's version decides nothing; all else is there to be missed.
    assert_eq!(table.lines().count() - 2, findings.len() - 1, "{table}");
    hold("troubleshooting.md", &table);
}

#[test]
fn every_chapter_is_listed_and_every_relative_link_leads_to_a_file() {
    let folder = repository("docs/manual/src");
    let listed: BTreeSet<String> = links(&folder.join("SUMMARY.md")).into_iter().collect();
    let chapters = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    for chapter in chapters.map(|name| name.into_string().unwrap()) {
        let is_page = chapter.ends_with(".md") && chapter != "SUMMARY.md";
        assert!(!is_page || listed.contains(&chapter), "SUMMARY.md does not list {chapter}");
        if chapter.ends_with(".md") {
            for link in links(&folder.join(&chapter)) {
                let file = link.split('#').next().unwrap_or_default();
                let leads = file.is_empty() || folder.join(file).exists();
                assert!(leads, "{chapter}: `{link}` leads nowhere");
            }
        }
    }
}

/// Where the links of a Markdown file lead, those into the web left out.
fn links(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// Names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !part(c));
    words.filter(|word| word.starts_with("ringmail_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_examples_use_exists() {
    let families = catalog::families().unwrap();
    for (file, at_least) in
        [("examples/prometheus/alerts.yml", 10), ("examples/grafana/ringmail.json", 15)]
    {
        let text = fs::read_to_string(repository(file)).unwrap();
        let names = named(&text);
        assert!(names.len() >= at_least, "{file}: {names:?}");
        for name in names {
            let series = ["_bucket", "_sum", "_count"].map(|part| name.strip_suffix(part));
            let of_histogram = series
                .into_iter()
                .flatten()
                .any(|stem| families.get(stem).is_some_and(|family| family.histogram));
            let known = of_histogram || families.contains_key(&name);
            assert!(known, "{file}: there is no metric {name}");
        }
        // Reasons are spelled as they are, too.
        let known = |word: &str| DropReason::ALL.iter().any(|reason| reason.name() == word);
        for operator in ["reason=\"", "reason=~\"", "reason!~\""] {
            let words = text.split(operator).skip(1).filter_map(|rest| rest.split('"').next());
            for word in words.flat_map(|words| words.split('|')) {
                assert!(known(word), "{file}: there is no reason {word}");
            }
        }
    }
    serde_json::from_str::<serde_json::Value>(
        &fs::read_to_string(repository("examples/grafana/ringmail.json")).unwrap(),
    )
    .unwrap();
}
