//! Rules as they are asked about flows of packets.

use ringmail_model::check;
use ringmail_model::domain::ApplicationProtocol;
use ringmail_model::pathset::PathSet;
use ringmail_model::rules::{
    CertificateFacts, ConnectionFacts, Decision, PacketFacts, RequestFacts, RuleSet,
};

use crate::examples::ISSUE;
use crate::golden;

const CLIENT1: &str = "spiffe://campus.example/client/client1";
const CLIENT2: &str = "spiffe://campus.example/client/client2";

/// The campus with a listener for packets, a network behind its service, and these rules.
fn rules(text: &str) -> RuleSet {
    let campus = golden::read(&golden::repository_path("examples/campus.yaml"));
    let (before, _) = campus.split_once("\nrules:\n").expect("rules");
    let listener = "listeners:\n    - name: wg\n      kind: wireguard\n      \
                    address: 192.0.2.1:51820\n      key_file: wg.key\n";
    let before = before.replacen("listeners:\n", listener, 1);
    let service = "addresses: [10.79.0.10:80]\n    networks: [10.79.0.64/26]\n";
    assert!(before.contains("addresses: [10.79.0.10:80]\n"));
    let before = before.replacen("addresses: [10.79.0.10:80]\n", service, 1);
    let text = format!("{before}\nrules:\n{text}");
    let loaded = check::load(&text, "test").unwrap_or_else(|d| panic!("{d}"));
    let set = PathSet::compile(&loaded.domain, ISSUE).expect("a path set");
    RuleSet::compile(&loaded.domain, &set).expect("a rule set")
}

fn packet(to: &str, protocol: u8, ports: Option<(u16, u16)>) -> PacketFacts<'static> {
    PacketFacts {
        client: CLIENT1,
        source: "192.0.2.11".parse().expect("an address"),
        destination: to.parse().expect("an address"),
        protocol,
        ports,
        dscp: 0,
        now_unix_s: 1_800_000_000,
    }
}

fn allowed<'a>(rules: &'a RuleSet, facts: &PacketFacts<'_>) -> Option<&'a str> {
    match rules.evaluate_packet(facts) {
        Decision::Allow { rule, .. } => Some(rule),
        _ => None,
    }
}

const ALL: &str = "  - name: all\n    when: {packets: {}}\n    path: plain\n";

#[test]
fn a_rule_reaches_what_its_service_is_and_nothing_else() {
    let rules = rules(ALL);
    for (to, protocol, ports, expected) in [
        ("10.79.0.10", 6, Some((40_000, 80)), Some("all")),
        // The address is the service's at this port alone.
        ("10.79.0.10", 6, Some((40_000, 81)), None),
        ("10.79.0.10", 1, None, None),
        // The network is, by anything.
        ("10.79.0.65", 1, None, Some("all")),
        ("10.79.0.127", 17, Some((1, 2)), Some("all")),
        ("10.79.0.128", 17, Some((1, 2)), None),
        ("fd00::1", 17, Some((1, 2)), None),
        // The gateway's and the links' own addresses are nobody's service.
        ("10.78.0.1", 6, Some((40_000, 80)), None),
        ("10.77.0.1", 17, Some((40_000, 6635)), None),
    ] {
        assert_eq!(allowed(&rules, &packet(to, protocol, ports)), expected, "{to} {protocol}");
    }
}

#[test]
fn each_condition_is_looked_at_and_the_first_rule_decides() {
    let rules = rules(
        "  - name: urgent\n    when: {packets: {protocols: [udp], dscp: [46, 48]}}\n    path: plain\n\
         \x20 - name: dns\n    when: {clients: [client1], packets: {protocols: [udp], ports: [53, 5000-5999]}}\n    path: inspected\n\
         \x20 - name: from\n    when: {sources: [198.51.100.0/24], packets: {source_ports: [123]}}\n    path: plain\n\
         \x20 - name: there\n    when: {packets: {destinations: [10.79.0.70], protocols: [sctp, 99]}}\n    path: plain\n",
    );
    let to = "10.79.0.70";
    let dns = packet(to, 17, Some((40_000, 53)));
    assert_eq!(allowed(&rules, &dns), Some("dns"));
    assert_eq!(allowed(&rules, &PacketFacts { dscp: 46, ..dns }), Some("urgent"));
    assert_eq!(allowed(&rules, &PacketFacts { dscp: 47, ..dns }), Some("dns"));
    assert_eq!(allowed(&rules, &PacketFacts { client: CLIENT2, ..dns }), None);
    assert_eq!(allowed(&rules, &PacketFacts { protocol: 6, ..dns }), None);
    for (port, expected) in [(5000, Some("dns")), (5999, Some("dns")), (4999, None), (6000, None)] {
        assert_eq!(allowed(&rules, &packet(to, 17, Some((1, port)))), expected, "{port}");
    }
    let elsewhere = "198.51.100.7".parse().expect("an address");
    let from = packet(to, 6, Some((123, 9)));
    assert_eq!(allowed(&rules, &PacketFacts { source: elsewhere, ..from }), Some("from"));
    assert_eq!(allowed(&rules, &from), None);
    // What has no ports meets no condition on them.
    assert_eq!(allowed(&rules, &PacketFacts { source: elsewhere, ports: None, ..from }), None);
    assert_eq!(allowed(&rules, &packet(to, 132, Some((1, 2)))), Some("there"));
    assert_eq!(allowed(&rules, &packet(to, 99, None)), Some("there"));
    assert_eq!(allowed(&rules, &packet("10.79.0.71", 99, None)), None);
    assert!(rules.looks_at_dscp());
    let explained = rules.explain_packet(&packet(to, 17, Some((1, 54))));
    let said: Vec<String> =
        explained.rules.iter().filter_map(|rule| Some(rule.failed?.to_string())).collect();
    assert_eq!(
        said,
        [
            "the DSCP is not listed",
            "the port is not listed",
            "the client's address is in no listed network",
            "the protocol is not listed",
        ]
    );
}

#[test]
fn hours_and_rates_hold_for_packets_as_for_requests() {
    let rules = rules(
        "  - name: work\n    when: {times: [{days: [mon, tue, wed, thu, fri], from: \"08:00\", to: \"18:00\"}], packets: {}}\n    \
         path: plain\n    rate: {most: 3}\n",
    );
    let ping = packet("10.79.0.65", 1, None);
    // 2026-11-20 is a Friday.
    let friday = 1_795_132_800;
    let at = |hour: u64| PacketFacts { now_unix_s: friday + hour * 3600, ..ping };
    assert_eq!(allowed(&rules, &at(12)), Some("work"));
    assert_eq!(allowed(&rules, &at(19)), None);
    assert_eq!(allowed(&rules, &at(36)), None, "on Saturday");
    assert!(rules.looks_at_time());
    let Decision::Allow { demands, .. } = rules.evaluate_packet(&at(12)) else { panic!("no rule") };
    assert_eq!(demands.rate.map(|rate| rate.most), Some(3));
}

#[test]
fn rules_for_packets_and_rules_for_requests_never_hold_for_each_other() {
    let packets = rules(ALL);
    let get = RequestFacts {
        protocol: ApplicationProtocol::Http,
        client: CLIENT1,
        certificate: CertificateFacts::default(),
        now_unix_s: 0,
        sni: Some("www.campus.example"),
        source: "192.0.2.11".parse().expect("an address"),
        host: "www.campus.example",
        method: "GET",
        path: "/",
        headers: &[],
        body_prefix: None,
    };
    assert!(matches!(packets.evaluate(&get), Decision::Deny { .. }));
    let ssh = ConnectionFacts {
        client: CLIENT1,
        certificate: CertificateFacts::default(),
        now_unix_s: 0,
        protocol: ApplicationProtocol::Ssh,
        server_name: "www.campus.example",
        source: get.source,
    };
    assert!(matches!(packets.evaluate_connection(&ssh), Decision::Deny { .. }));
    let requests = rules("  - name: all\n    path: plain\n");
    assert!(matches!(requests.evaluate(&get), Decision::Allow { .. }));
    assert_eq!(allowed(&requests, &packet("10.79.0.10", 6, Some((40_000, 80)))), None);
    assert!(!requests.looks_at_dscp());
}
