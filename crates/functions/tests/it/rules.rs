//! Rules: what they match, what they lead to, and which are refused.

use ringmail_dataplane::Action;
use ringmail_functions::{
    BuildError, Dpi, DpiRule, DpiSettings, OnMatch, Pattern, Settings, build,
};

use crate::harness::{Inspector, bytes, datagram, holds, named, out, regex};

#[test]
fn the_strongest_rule_decides_and_all_are_reported() {
    let mut inspector = Inspector::new(&[
        (bytes("abcd"), OnMatch::Alert),
        (bytes("bc"), OnMatch::Drop),
        (bytes("cd"), OnMatch::Reset),
        (regex("a.c"), OnMatch::Alert),
    ]);
    assert_eq!(inspector.inspect(&out(1, b"xxabcdxx")), Action::Reset { rule: 2 });
    let mut rules: Vec<u32> = inspector.alerts().iter().map(|alert| alert.rule).collect();
    rules.sort_unstable();
    assert_eq!(rules, [0, 1, 2, 3]);
}

#[test]
fn an_alert_names_rule_path_and_flow() {
    use ringmail_dataplane::Function;
    let mut inspector = Inspector::new(&[(bytes("abc"), OnMatch::Alert)]);
    assert!(inspector.passes(&out(1, b"abc abc")));
    let alerts = inspector.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!(
        (alerts[0].path.0, alerts[0].flow.src_port, alerts[0].flow.dst_port),
        (7, 40000, 80)
    );
    assert_eq!(inspector.dpi.rule_name(alerts[0].rule), Some("rule-0"));
    assert_eq!(inspector.counter("alerts{rule=\"rule-0\"}"), 1);
    assert!(inspector.alerts().is_empty());
}

#[test]
fn alerts_that_nobody_drains_are_counted_as_lost() {
    let mut inspector = Inspector::new(&[(bytes("abc"), OnMatch::Alert)]);
    for n in 0..1030u32 {
        assert!(inspector.passes(&out(n * 3, b"abc")));
    }
    assert_eq!((inspector.alerts().len(), inspector.counter("alerts_lost")), (1024, 6));
}

#[test]
fn datagrams_are_searched_one_by_one() {
    let mut inspector =
        Inspector::new(&[(bytes("forbidden"), OnMatch::Reset), (regex("^GET"), OnMatch::Drop)]);
    assert!(inspector.passes(&datagram(b"forb")));
    assert!(inspector.passes(&datagram(b"idden")));
    assert_eq!(inspector.inspect(&datagram(b"..forbidden")), Action::Drop { rule: 0 });
    assert!(inspector.passes(&datagram(b"harmless")), "no connection was stopped");
    assert!(inspector.passes(&datagram(b" GET")));
    assert_eq!(inspector.inspect(&datagram(b"GET")), Action::Drop { rule: 1 });
}

/// One, some and many patterns use different searchers; all must find the same.
#[test]
fn every_searcher_finds_every_pattern_at_every_place() {
    for count in [1usize, 2, 40, 200] {
        let patterns: Vec<Vec<u8>> =
            (0..count).map(|n| format!("<{:03}{}>", n, "x".repeat(n % 37)).into_bytes()).collect();
        let rules: Vec<_> =
            patterns.iter().map(|p| (Pattern::Bytes(p.clone()), OnMatch::Alert)).collect();
        let mut inspector = Inspector::new(&rules);
        for (rule, pattern) in patterns.iter().enumerate() {
            for before in 0..40 {
                let content = [&vec![b'.'; before][..], pattern, b"."].concat();
                assert!(inspector.passes(&datagram(&content)));
                let found: Vec<_> = inspector.alerts().iter().map(|a| a.rule as usize).collect();
                assert_eq!(found, [rule], "{count} patterns, {before} bytes before");
            }
        }
    }
}

/// With and without a literal prefix, a regex is found wherever a segment ends.
#[test]
fn regexes_are_found_over_every_cut() {
    let content = b"....needle-42!....needle-4711!.....";
    for pattern in
        ["needle-[0-9]+!", "(?i)NEEDLE-[0-9]{2,4}!", "[mn]e+dle-\\d+!", "(needle|thread)-[0-9]+!"]
    {
        for cut in 1..content.len() {
            for second in cut..content.len() {
                let mut inspector = Inspector::new(&[(regex(pattern), OnMatch::Alert)]);
                let mut alerts = 0;
                for (from, to) in [(0, cut), (cut, second), (second, content.len())] {
                    let chunk = &content[from..to];
                    assert!(inspector.passes(&out(from as u32, chunk)));
                    let ended =
                        usize::from(from < 14 && to >= 14) + usize::from(from < 30 && to >= 30);
                    let found = inspector.alerts().len();
                    assert_eq!(found, ended.min(1), "{pattern} {from}..{to}");
                    alerts += found;
                }
                assert!(alerts >= 1);
            }
        }
    }
}

#[test]
fn a_line_start_is_known_over_a_cut() {
    let mut inspector = Inspector::new(&[(regex("(?m)^Host: bad"), OnMatch::Drop)]);
    assert!(inspector.passes(&out(0, b"GET / HTTP/1.1\r\nX-Host: bad\r\n")));
    assert_eq!(inspector.inspect(&out(29, b"Host: bad")), Action::Drop { rule: 0 });
}

#[test]
fn case_is_ignored_where_a_rule_says_so() {
    let mut rules = named(&[
        (bytes("Forbidden"), OnMatch::Alert),
        (bytes("/etc/Passwd"), OnMatch::Alert),
        (bytes("x"), OnMatch::Alert),
        (regex("b[ae]d"), OnMatch::Alert),
        (bytes("exact"), OnMatch::Alert),
    ]);
    rules[..4].iter_mut().for_each(|rule| rule.ignore_case = true);
    let mut inspector = Inspector::with(&DpiSettings::new(rules));
    let mut seq = 0;
    for (content, expected) in [
        ("FORBIDDEN", &[0][..]),
        ("..forbiddeN..", &[0]),
        ("/ETC/passwd", &[1]),
        ("X", &[2]),
        ("BAD", &[3]),
        ("Exact", &[2]),
        // Nothing else begins in what precedes the second half.
        ("..........forb", &[]),
        ("IDDEN", &[0]),
    ] {
        assert!(inspector.passes(&out(seq, content.as_bytes())));
        let found: Vec<u32> = inspector.alerts().iter().map(|alert| alert.rule).collect();
        assert_eq!(found, expected, "{content}");
        seq += content.len() as u32;
    }
}

#[test]
fn a_rule_with_ports_matches_there_only() {
    let mut rules = named(&[(bytes("abc"), OnMatch::Drop), (bytes("bcd"), OnMatch::Alert)]);
    rules[0].ports = vec![443, 80];
    rules[1].ports = vec![22];
    let mut inspector = Inspector::with(&DpiSettings::new(rules));
    assert!(inspector.passes(&datagram(b"abcd")), "ports 5000 and 53");
    assert_eq!(inspector.inspect(&out(0, b"abcd")), Action::Drop { rule: 0 });
    assert_eq!(inspector.alerts().len(), 1);
}

#[test]
fn bytes_need_not_be_text() {
    let needle = [0xff, 0x00, 0xfe];
    let mut inspector = Inspector::new(&[
        (Pattern::Bytes(needle.to_vec()), OnMatch::Alert),
        (regex(r"\xff.\xfe"), OnMatch::Alert),
    ]);
    let content = [b"x".as_slice(), &needle].concat();
    assert!(holds(&content, &needle) && inspector.passes(&out(0, &content)));
    assert_eq!(inspector.alerts().len(), 2);
}

fn refused(pattern: Pattern) -> BuildError {
    Dpi::new(&DpiSettings::new(named(&[(pattern, OnMatch::Drop)])), [0; 4]).expect_err("refused")
}

#[test]
fn rules_that_cannot_work_are_refused_by_name() {
    let rule = || "rule-0".to_owned();
    assert_eq!(refused(bytes("")), BuildError::EmptyPattern { rule: rule() });
    assert_eq!(refused(regex("a*")), BuildError::MatchesEmpty { rule: rule() });
    for look_ahead in ["a$", r"a\z", r"\bword\b", r"(?m)a$", r"(?Rm)^a"] {
        assert_eq!(refused(regex(look_ahead)), BuildError::LookAhead { rule: rule() });
    }
    assert!(matches!(refused(regex("(a")), BuildError::BadRegex { .. }));
    assert!(matches!(refused(regex(r"[ab]*a[ab]{40}x")), BuildError::RegexTooLarge { .. }));
    let long = Pattern::Bytes(vec![b'x'; 1025]);
    let error = refused(long);
    assert_eq!(error, BuildError::PatternTooLong { rule: rule(), bytes: 1025, bytes_max: 1024 });
    assert!(!error.hint().is_empty());
    assert_eq!(error.to_string(), "the pattern of rule \"rule-0\" has 1025 bytes, more than 1024");
}

#[test]
fn settings_out_of_range_are_refused() {
    let rules = named(&[(bytes("x"), OnMatch::Drop)]);
    let none = DpiSettings { connections: 0, ..DpiSettings::new(rules.clone()) };
    assert!(matches!(
        build(&Settings::Dpi(none), [0; 4]),
        Err(BuildError::LimitOutOfRange { what: "connections", .. })
    ));
    let twice: Vec<DpiRule> = rules.iter().chain(&rules).cloned().collect();
    assert!(matches!(
        build(&Settings::Dpi(DpiSettings::new(twice)), [0; 4]),
        Err(BuildError::SameName { .. })
    ));
    assert!(matches!(
        build(&Settings::Dpi(DpiSettings::new(Vec::new())), [0; 4]),
        Err(BuildError::NoRules)
    ));
}

#[test]
fn forward_passes_and_counts() {
    use ringmail_dataplane::function::Entry;
    use ringmail_dataplane::{Batch, FunctionBatch};
    let mut forward = build(&Settings::Forward, [0; 4]).expect("nothing can be wrong");
    let mut batch = Batch::default();
    let index = batch.push_copy(0, &[0; 100], 0).expect("it fits") as u8;
    let mut entries = [Entry { index, visible_bytes: 60, ..Entry::PASS }];
    forward
        .handle_batch(std::time::Instant::now(), &mut FunctionBatch::new(&mut batch, &mut entries));
    assert_eq!(entries[0].action, Action::Pass);
    let values: Vec<u64> = forward.counters().iter().map(|counter| counter.value).collect();
    assert_eq!(values, [1, 60]);
}
