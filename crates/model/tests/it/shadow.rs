//! A rule that is called shadowed never decides, whatever the request; what is not shadowed is not called so.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;
use ringmail_model::check;
use ringmail_model::domain::{
    ApplicationProtocol, CertificateMatch, Domain, HeaderMatch, Hours, Rule, When,
};
use ringmail_model::pathset::PathSet;
use ringmail_model::rules::{CertificateFacts, Decision, RequestFacts, RuleSet};

use crate::examples::{ISSUE, campus};

const CLIENTS: [&str; 2] = ["client1", "client2"];
const METHODS: [&str; 3] = ["GET", "POST", "CONNECT"];
const HOSTS: [&str; 4] =
    ["www.campus.example", "*.campus.example", "files.campus.example", "a.other.example"];
const PATTERNS: [&str; 8] = ["/", "/**", "/a", "/a/*", "/a/**", "/a/b", "/*/b", "/a/*.txt"];
const PATHS: [&str; 7] = ["/", "/a", "/a/", "/a/b", "/a/x.txt", "/a/b/c", "/c/b"];
/// Noon and midnight of the first day of 1970, which was a Thursday.
const TIMES: [u64; 2] = [43_200, 0];
const SOURCES: [&str; 3] = ["192.0.2.0/24", "192.0.2.0/28", "192.0.2.8/29"];

/// Two services, so that hosts of services matter: `www` by `plain`, `files` by `inspected`.
fn two_services(rules: Vec<Rule>) -> Domain {
    let mut domain = campus();
    let mut files = domain.services[0].clone();
    files.name = "files".parse().expect("a name");
    files.addresses = vec!["10.79.0.11:80".parse().expect("an address")];
    domain.services[0].server_names =
        vec![HOSTS[0].parse().expect("a host"), HOSTS[2].parse().expect("a host")];
    files.server_names = vec![HOSTS[1].parse().expect("a host")];
    domain.services.push(files);
    domain.paths[1].service = "files".parse().expect("a name");
    domain.rules = rules;
    domain
}

fn shadowed(domain: &Domain) -> Vec<String> {
    let said = check::check(domain, &Default::default(), "test");
    said.iter().filter(|d| d.code == "shadowed-rule").map(|d| d.at.clone()).collect()
}

fn rule(name: &str, path: &str, when: When) -> Rule {
    let name = name.parse().expect("a name");
    Rule { name, when, path: path.parse().expect("a name"), service: None, rate: None, ask: None }
}

fn parsed<T: std::str::FromStr>(texts: &[&str]) -> Option<Vec<T>> {
    Some(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

#[test]
fn a_wider_rule_shadows_and_a_narrower_does_not() {
    let header = |exact: Option<&str>, prefix: Option<&str>| When {
        headers: Some(vec![HeaderMatch {
            name: "x-role".into(),
            exact: exact.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
            present: true,
        }]),
        ..When::default()
    };
    let paths = |texts: &[&str]| When { paths: parsed(texts), ..When::default() };
    let hosts = |texts: &[&str]| When { hosts: parsed(texts), ..When::default() };
    for (earlier, later, expected) in [
        (When::default(), paths(&["/a"]), true),
        (paths(&["/a"]), When::default(), false),
        (paths(&["/a/**"]), paths(&["/a", "/a/b", "/a/*"]), true),
        (paths(&["/a/**"]), paths(&["/a", "/b"]), false),
        (paths(&["/a/*"]), paths(&["/a/**"]), false),
        (paths(&["/a/*"]), paths(&["/a/b"]), true),
        (paths(&["/a/*.txt"]), paths(&["/a/x.txt"]), true),
        (paths(&["/a/*.txt"]), paths(&["/a/*"]), false),
        (hosts(&["*.campus.example"]), hosts(&["www.campus.example"]), true),
        (hosts(&["www.campus.example"]), hosts(&["files.campus.example"]), false),
        (header(None, None), header(Some("a"), None), true),
        (header(None, Some("a")), header(Some("ab"), None), true),
        (header(Some("a"), None), header(None, Some("a")), false),
    ] {
        let rules = vec![rule("one", "plain", earlier), rule("two", "plain", later)];
        assert_eq!(!shadowed(&two_services(rules.clone())).is_empty(), expected, "{rules:?}");
    }
}

#[test]
fn a_rule_for_other_hosts_does_not_shadow() {
    // `www` answers to two hosts, `files` to all of campus.example: the second rule still gets the others.
    let rules = |first, second| {
        vec![rule("one", first, When::default()), rule("two", second, When::default())]
    };
    assert!(shadowed(&two_services(rules("plain", "inspected"))).is_empty());
    assert_eq!(shadowed(&two_services(rules("inspected", "plain"))), ["rules[1]"]);
}

/// Hours of the morning, of the afternoon.
fn hours() -> impl Strategy<Value = Hours> {
    any::<bool>().prop_map(|morning| {
        let noon = Some("12:00".parse().expect("a time"));
        let (from, to) = if morning { (None, noon) } else { (noon, None) };
        Hours { from, to, ..Hours::default() }
    })
}

fn certificate() -> impl Strategy<Value = CertificateMatch> {
    let ids = subsequence(
        &["spiffe://campus.example/client/client1", "spiffe://campus.example/**"][..],
        1..=2,
    );
    ids.prop_map(|ids| CertificateMatch { spiffe_ids: parsed(&ids), ..CertificateMatch::default() })
}

fn when() -> impl Strategy<Value = When> {
    (
        option::of(subsequence(&CLIENTS[..], 1..=2)),
        option::of(subsequence(&SOURCES[..], 1..=2)),
        option::of(subsequence(&HOSTS[..], 1..=2)),
        option::of(subsequence(&METHODS[..], 1..=2)),
        option::of(subsequence(&PATTERNS[..], 1..=3)),
        option::of(proptest::collection::vec(hours(), 1..=2)),
        option::of(certificate()),
    )
        .prop_map(|(clients, sources, hosts, methods, paths, times, certificate)| When {
            times,
            certificate,
            clients: clients.and_then(|texts| parsed(&texts)),
            sources: sources.and_then(|texts| parsed(&texts)),
            hosts: hosts.and_then(|texts| parsed(&texts)),
            methods: methods.map(|texts| texts.into_iter().map(str::to_owned).collect()),
            paths: paths.and_then(|texts| parsed(&texts)),
            ..When::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_called_shadowed_never_decides(
        whens in proptest::collection::vec((when(), any::<bool>()), 2..5)
    ) {
        let rules = whens.into_iter().enumerate().map(|(n, (when, other))| {
            rule(&format!("r{n}"), if other { "inspected" } else { "plain" }, when)
        });
        let domain = two_services(rules.collect());
        let shadowed = shadowed(&domain);
        let set = PathSet::compile(&domain, ISSUE).expect("a path set");
        let rules = RuleSet::compile(&domain, &set).expect("rules");
        for client in CLIENTS {
            let client = domain.domain.client_id(client);
            let names = [client.clone()];
            for source in ["192.0.2.1", "192.0.2.9", "192.0.2.100"] {
                for host in ["www.campus.example", "files.campus.example", "x.campus.example", "a.other.example"] {
                    for method in METHODS {
                        for path in PATHS {
                            for now_unix_s in TIMES {
                            let certificate =
                                CertificateFacts { names: &names, ..CertificateFacts::default() };
                            let facts = RequestFacts {
                                protocol: ApplicationProtocol::Http,
                                client: &client,
                                certificate,
                                now_unix_s,
                                sni: None,
                                source: source.parse().expect("an address"),
                                host,
                                method,
                                path,
                                headers: &[],
                                body_prefix: None,
                            };
                            if let Decision::Allow { rule, .. } = rules.evaluate(&facts) {
                                let at = format!("rules[{}]", &rule[1..]);
                                prop_assert!(!shadowed.contains(&at), "{rule} decides {facts:?}");
                            }
                            }
                        }
                    }
                }
            }
        }
    }
}
