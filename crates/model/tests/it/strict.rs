//! Conditions on certificates and hours, and what rules demand besides.

use ringmail_model::domain::{ApplicationProtocol, Per, Rate};
use ringmail_model::rules::{
    CertificateFacts, Condition, ConnectionFacts, Decision, Demands, Denied, RequestFacts, RuleSet,
};

use crate::rules::{allowed, get, rules};

const CLIENT1: &str = "spiffe://campus.example/client/client1";
const DAY_S: u64 = 86_400;
/// A Saturday, 00:00 UTC.
const SATURDAY: u64 = 1_795_219_200;

/// A rule for staff and a rule for others.
fn staff(certificate: &str) -> RuleSet {
    rules(&format!(
        "  - name: staff\n    when:\n      certificate: {certificate}\n      paths: [/staff/**]\n    path: inspected\n"
    ))
}

fn facts<'a>(certificate: CertificateFacts<'a>, now_unix_s: u64) -> RequestFacts<'a> {
    RequestFacts { certificate, now_unix_s, path: "/staff/a", ..get(CLIENT1) }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What fails of the only rule.
fn failed(rules: &RuleSet, facts: &RequestFacts<'_>) -> Vec<String> {
    rules.asked(facts).iter().flat_map(|(_, failed)| failed).map(ToString::to_string).collect()
}

#[test]
fn names_of_the_certificate_decide() {
    for (certificate, name, expected) in [
        (
            "{spiffe_ids: ['spiffe://campus.example/staff/*']}",
            "spiffe://campus.example/staff/a",
            true,
        ),
        (
            "{spiffe_ids: ['spiffe://campus.example/staff/*']}",
            "spiffe://campus.example/staff/a/b",
            false,
        ),
        (
            "{spiffe_ids: ['spiffe://campus.example/staff/**']}",
            "spiffe://campus.example/staff/a/b",
            true,
        ),
        (
            "{spiffe_ids: ['spiffe://campus.example/staff/*']}",
            "spiffe://campus.example.evil/staff/a",
            false,
        ),
        (
            "{spiffe_ids: ['spiffe://campus.example/staff/*']}",
            "spiffe://evil.example/staff/a",
            false,
        ),
        ("{spiffe_ids: ['spiffe://campus.example/**']}", "uri:spiffe://campus.example/a", false),
        ("{names: ['dns:*.staff.example']}", "dns:a.staff.example", true),
        ("{names: ['email:*@staff.example']}", "email:a@other.example", false),
    ] {
        let rules = staff(certificate);
        let names = names(&["dns:first.example", name]);
        let certificate = CertificateFacts { names: &names, ..CertificateFacts::default() };
        let facts = facts(certificate, SATURDAY);
        assert_eq!(allowed(&rules, &facts).is_some(), expected, "{certificate:?}");
        if !expected {
            let denied = Decision::Deny { reason: Denied::Certificate };
            assert_eq!(rules.evaluate(&facts), denied);
        }
    }
}

#[test]
fn issuer_and_age_of_the_certificate_decide() {
    let rules = staff("{issuers: ['CN=Staff CA,O=Campus'], max_age_s: 86400}");
    let own = names(&[CLIENT1]);
    let good = CertificateFacts {
        names: &own,
        issuer: Some("CN=Staff CA,O=Campus"),
        not_before_unix_s: Some(SATURDAY),
    };
    assert_eq!(allowed(&rules, &facts(good, SATURDAY + DAY_S)), Some("staff"));
    assert_eq!(allowed(&rules, &facts(good, SATURDAY - 5)), Some("staff"), "a clock a bit behind");
    let old = facts(good, SATURDAY + DAY_S + 1);
    assert_eq!(failed(&rules, &old), [Condition::CertificateAge.to_string()]);
    let other = CertificateFacts { issuer: Some("CN=Staff CA"), ..good };
    assert_eq!(failed(&rules, &facts(other, SATURDAY)), [Condition::Issuer.to_string()]);
    // Whoever knows nothing but the name is told that, not that it does not match.
    let unknown = facts(CertificateFacts::default(), SATURDAY);
    assert!(failed(&rules, &unknown).contains(&Condition::CertificateUnknown.to_string()));
    assert_eq!(allowed(&rules, &unknown), None);
}

#[test]
fn hours_decide_and_a_refusal_says_so_only_where_all_else_holds() {
    let rules = rules(
        "  - name: work\n    when:\n      clients: [client1]\n      times:\n        - {days: [mon, tue, wed, thu, fri], from: \"08:00\", to: \"18:00\"}\n        - {days: [sat], to: \"12:00\"}\n    path: plain\n",
    );
    let at = |now_unix_s, client| RequestFacts { now_unix_s, ..get(client) };
    assert_eq!(allowed(&rules, &at(SATURDAY + 11 * 3_600, CLIENT1)), Some("work"));
    assert_eq!(allowed(&rules, &at(SATURDAY + 2 * DAY_S + 9 * 3_600, CLIENT1)), Some("work"));
    let late = at(SATURDAY + 12 * 3_600, CLIENT1);
    assert_eq!(rules.evaluate(&late), Decision::Deny { reason: Denied::Time });
    assert_eq!(failed(&rules, &late), [Condition::Time.to_string()]);
    let stranger = at(SATURDAY + 12 * 3_600, "spiffe://campus.example/client/client9");
    assert_eq!(rules.evaluate(&stranger), Decision::Deny { reason: Denied::NoRule });
}

/// A connection that passes unread is asked the same.
#[test]
fn connections_are_asked_about_certificate_and_time() {
    let rules = rules(
        "  - name: shell\n    when:\n      protocols: [ssh]\n      certificate: {max_age_s: 60}\n      times: [{from: \"08:00\", to: \"18:00\"}]\n    rate: {most: 1, per: minute}\n    path: plain\n",
    );
    let own = names(&[CLIENT1]);
    let ask = |age, now_unix_s: u64| {
        rules.evaluate_connection(&ConnectionFacts {
            client: CLIENT1,
            certificate: CertificateFacts {
                names: &own,
                issuer: None,
                not_before_unix_s: Some(now_unix_s - age),
            },
            now_unix_s,
            protocol: ApplicationProtocol::Ssh,
            server_name: "www.campus.example",
            source: "192.0.2.11".parse().expect("an address"),
        })
    };
    let nine = SATURDAY + 9 * 3_600;
    assert!(matches!(ask(60, nine), Decision::Allow { rule: "shell", .. }));
    assert_eq!(ask(61, nine), Decision::Deny { reason: Denied::Certificate });
    assert_eq!(ask(60, SATURDAY), Decision::Deny { reason: Denied::Time });
}

#[test]
fn demands_come_with_the_rule_that_decides() {
    let rules = rules(
        "  - name: one\n    when: {clients: [client1]}\n    rate: {most: 5, burst: 9}\n    ask: opa\n    path: plain\n  - name: two\n    path: inspected\ndecision_points:\n  - {name: opa, url: \"http://127.0.0.1:8181/v1/data/campus/allow\"}\n",
    );
    let demands = |client| match rules.evaluate(&get(client)) {
        Decision::Allow { demands, .. } => demands,
        other => panic!("{other:?}"),
    };
    let rate = Some(Rate { most: 5, per: Per::Second, burst: Some(9) });
    assert_eq!(demands(CLIENT1), Demands { rate, ask: Some("opa") });
    assert_eq!(demands("spiffe://campus.example/client/client2"), Demands::default());
}
