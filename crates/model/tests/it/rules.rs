//! Rules as the gateway asks them.

use ringmail_model::check;
use ringmail_model::domain::ApplicationProtocol;
use ringmail_model::pathset::PathSet;
use ringmail_model::rules::url::PathDenied;
use ringmail_model::rules::{
    CertificateFacts, Condition, ConnectionFacts, Decision, Denied, RequestFacts, RuleSet,
};

use crate::examples::{ISSUE, campus};
use crate::golden;

const CLIENT1: &str = "spiffe://campus.example/client/client1";
const CLIENT2: &str = "spiffe://campus.example/client/client2";

/// The campus with these rules instead of its own.
pub(crate) fn rules(text: &str) -> RuleSet {
    let campus = golden::read(&golden::repository_path("examples/campus.yaml"));
    let (before, _) = campus.split_once("\nrules:\n").expect("rules");
    let text = format!("{before}\nrules:\n{text}");
    let loaded = check::load(&text, "test").unwrap_or_else(|d| panic!("{d}"));
    let set = PathSet::compile(&loaded.domain, ISSUE).expect("a path set");
    RuleSet::compile(&loaded.domain, &set).expect("a rule set")
}

pub(crate) fn get(client: &'static str) -> RequestFacts<'static> {
    RequestFacts {
        protocol: ApplicationProtocol::Http,
        client,
        certificate: CertificateFacts::default(),
        now_unix_s: 0,
        sni: Some("www.campus.example"),
        source: "192.0.2.11".parse().expect("an address"),
        host: "www.campus.example",
        method: "GET",
        path: "/",
        headers: &[],
        body_prefix: None,
    }
}

pub(crate) fn allowed<'a>(rules: &'a RuleSet, facts: &RequestFacts<'_>) -> Option<&'a str> {
    match rules.evaluate(facts) {
        Decision::Allow { rule, .. } => Some(rule),
        _ => None,
    }
}

#[test]
fn each_client_of_the_campus_has_its_path() {
    let domain = campus();
    let set = PathSet::compile(&domain, ISSUE).expect("a path set");
    let rules = RuleSet::compile(&domain, &set).expect("a rule set");
    for (client, name) in [(CLIENT1, "plain"), (CLIENT2, "inspected")] {
        let Decision::Allow { path, service, .. } = rules.evaluate(&get(client)) else {
            panic!("{client} is denied")
        };
        assert_eq!((set.path(path).expect("the path").name.as_str(), service), (name, "www"));
    }
    let stranger = rules.evaluate(&get("spiffe://campus.example/client/client3"));
    assert_eq!(stranger, Decision::Deny { reason: Denied::NoRule });
    assert_eq!(rules.identify(["dns:x.example", CLIENT2]), Some(CLIENT2));
    assert_eq!(rules.identify(["dns:x.example"]), None);
}

/// Host names and mailboxes' hosts have no case; SPIFFE ids have.
#[test]
fn identities_are_compared_as_their_kind_asks() {
    let mut domain = campus();
    domain.clients[0].identity = "email:Staff@Campus.example".parse().expect("an identity");
    domain.clients[1].identity = "dns:client2.campus.example".parse().expect("an identity");
    let mut third = domain.clients[0].clone();
    third.name = "client3".parse().expect("a name");
    third.identity = "spiffe://campus.example/Staff".parse().expect("an identity");
    domain.clients.push(third);
    let set = PathSet::compile(&domain, ISSUE).expect("a path set");
    let rules = RuleSet::compile(&domain, &set).expect("a rule set");
    for known in [
        "email:staff@campus.example",
        "email:STAFF@campus.example",
        "dns:Client2.Campus.Example",
        "spiffe://campus.example/Staff",
    ] {
        assert_eq!(rules.identify([known]), Some(known));
    }
    assert_eq!(rules.identify(["spiffe://campus.example/staff"]), None);
    let email = domain.clients[0].identity.to_string();
    assert_eq!(email, "email:staff@campus.example", "kept in lower case");
}

/// A rule written for requests opens nothing to a connection that passes unread.
#[test]
fn connections_pass_only_by_rules_that_name_their_protocol() {
    let rules = rules(
        "  - {name: pages, when: {paths: [/a/**]}, path: plain}
  - {name: shell, when: {clients: [client1], protocols: [ssh, server-first]}, path: inspected}
  - {name: rest, path: plain}\n",
    );
    let facts = |protocol, client, server_name| ConnectionFacts {
        client,
        certificate: CertificateFacts::default(),
        now_unix_s: 0,
        protocol,
        server_name,
        source: "192.0.2.11".parse().expect("an address"),
    };
    let (www, deny) = ("www.campus.example", Decision::Deny { reason: Denied::NoRule });
    for protocol in ApplicationProtocol::ALL {
        let decision = rules.evaluate_connection(&facts(protocol, CLIENT1, www));
        let allowed =
            matches!(protocol, ApplicationProtocol::Ssh | ApplicationProtocol::ServerFirst);
        assert_eq!(
            matches!(decision, Decision::Allow { rule: "shell", .. }),
            allowed,
            "{protocol}"
        );
        assert_eq!(decision == deny, !allowed, "{protocol}");
    }
    assert_eq!(rules.evaluate_connection(&facts(ApplicationProtocol::Ssh, CLIENT2, www)), deny);
    let other = facts(ApplicationProtocol::Ssh, CLIENT1, "other.example");
    assert_eq!(rules.evaluate_connection(&other), deny, "the service has another name");
    let why = rules.explain_connection(&facts(ApplicationProtocol::Tls, CLIENT1, www));
    let why: Vec<_> = why.rules.iter().map(|rule| rule.failed).collect();
    assert_eq!(why, [Some(Condition::Protocol); 3]);
}

#[test]
fn connect_and_websockets_need_what_a_rule_says() {
    let rules = rules(
        "  - {name: sockets, when: {clients: [client1], protocols: [websocket]}, path: inspected}
  - {name: tunnel, when: {clients: [client2], methods: [CONNECT]}, path: inspected}
  - {name: rest, when: {protocols: [http]}, path: plain}\n",
    );
    let websocket = RequestFacts { protocol: ApplicationProtocol::Websocket, ..get(CLIENT1) };
    assert_eq!(allowed(&rules, &websocket), Some("sockets"));
    assert_eq!(allowed(&rules, &get(CLIENT1)), Some("rest"));
    assert_eq!(allowed(&rules, &RequestFacts { client: CLIENT2, ..websocket }), None);
    let connect = RequestFacts { method: "CONNECT", ..get(CLIENT1) };
    assert_eq!(allowed(&rules, &connect), None, "no rule names CONNECT for this client");
    assert_eq!(allowed(&rules, &RequestFacts { client: CLIENT2, ..connect }), Some("tunnel"));
}

#[test]
fn no_rule_means_no_access() {
    let rules = rules("  []\n");
    assert_eq!(rules.evaluate(&get(CLIENT1)), Decision::Deny { reason: Denied::NoRule });
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = rules(
        "  - {name: admin, when: {clients: [client2], paths: [/admin/**]}, path: inspected}
  - {name: rest, path: plain}\n",
    );
    let admin = RequestFacts { path: "/admin/x", ..get(CLIENT2) };
    assert_eq!(allowed(&rules, &admin), Some("admin"));
    assert_eq!(allowed(&rules, &get(CLIENT2)), Some("rest"));
    assert_eq!(allowed(&rules, &RequestFacts { client: CLIENT1, ..admin }), Some("rest"));
}

#[test]
fn every_condition_must_hold() {
    let rules = rules(
        "  - name: all
    when:
      clients: [client1]
      server_names: [www.campus.example]
      sources: [192.0.2.0/28]
      hosts: ['*.campus.example']
      methods: [GET, HEAD]
      paths: [/public/**]
      headers: [{name: X-Role, exact: staff}, {name: x-debug, present: false}]
    path: plain\n",
    );
    let headers: &[(&str, &[u8])] = &[("x-role", b"staff")];
    let headers = [headers[0]];
    let good = RequestFacts { path: "/public/a", headers: &headers, ..get(CLIENT1) };
    assert_eq!(allowed(&rules, &good), Some("all"));
    let two_roles = [("X-Role", b"staff".as_slice()), ("x-role", b"guest")];
    let debug = [("x-role", b"staff".as_slice()), ("X-Debug", b"")];
    let outside = "192.0.2.16".parse().expect("an address");
    for (facts, condition) in [
        (RequestFacts { client: CLIENT2, ..good }, Condition::Client),
        (RequestFacts { sni: None, ..good }, Condition::ServerName),
        (RequestFacts { sni: Some("x.example"), ..good }, Condition::ServerName),
        (RequestFacts { source: outside, ..good }, Condition::Source),
        (RequestFacts { host: "files.campus.example", ..good }, Condition::ServiceHost),
        (RequestFacts { method: "get", ..good }, Condition::Method),
        (RequestFacts { path: "/public/../secret", ..good }, Condition::Path),
        (RequestFacts { headers: &[], ..good }, Condition::Header("x-role")),
        (RequestFacts { headers: &two_roles, ..good }, Condition::Header("x-role")),
        (RequestFacts { headers: &debug, ..good }, Condition::Header("x-debug")),
    ] {
        let explained = rules.explain(&facts);
        assert_eq!(explained.decision, Decision::Deny { reason: Denied::NoRule }, "{facts:?}");
        assert_eq!(explained.rules[0].failed, Some(condition), "{facts:?}");
    }
    let mapped = "::ffff:192.0.2.11".parse().expect("an address");
    assert_eq!(allowed(&rules, &RequestFacts { source: mapped, ..good }), Some("all"));
    let loud =
        RequestFacts { host: "WWW.Campus.Example.:443", sni: Some("WWW.campus.EXAMPLE"), ..good };
    assert_eq!(allowed(&rules, &loud), Some("all"));
}

#[test]
fn hostile_paths_do_not_slip_past() {
    let rules = rules(
        "  - {name: public, when: {paths: [/public/**]}, path: plain}
  - {name: secret, when: {clients: [client2]}, path: inspected}\n",
    );
    let ask = |path| rules.evaluate(&RequestFacts { path, ..get(CLIENT1) });
    assert!(matches!(ask("/public/%61?x=/../.."), Decision::Allow { .. }));
    for path in ["/public/../secret", "/public/%2e%2e/secret", "/PUBLIC/a", "/publicity", "/secret"]
    {
        assert_eq!(ask(path), Decision::Deny { reason: Denied::NoRule }, "{path}");
    }
    for (path, why) in [
        ("/public/..%2fsecret", PathDenied::EncodedSlash),
        ("/public/..%5csecret", PathDenied::EncodedSlash),
        ("/public/%252e%252e/secret", PathDenied::DoubleEncoding),
        ("/public/..;/secret", PathDenied::DotParameter),
        ("//public/a", PathDenied::DoubleSlash),
        ("/public/a%00.html", PathDenied::EncodedControl),
        ("/public/../../secret", PathDenied::AboveRoot),
    ] {
        assert_eq!(ask(path), Decision::Deny { reason: Denied::Path(why) }, "{path}");
    }
    for host in ["", "www.campus.example@evil.example", "www.campus.example/x", "0x7f.1"] {
        let decision = rules.evaluate(&RequestFacts { host, path: "/public/a", ..get(CLIENT1) });
        assert_eq!(decision, Decision::Deny { reason: Denied::Host }, "{host}");
    }
}

#[test]
fn the_body_is_asked_for_only_where_it_decides() {
    let rules = rules(
        "  - {name: json, when: {methods: [POST], body_prefix: {bytes: 16, starts_with: ['{'], contains: [<xml]}}, path: plain}
  - {name: wide, when: {methods: [POST], clients: [client2], body_prefix: {bytes: 64, contains: [x]}}, path: plain}
  - {name: rest, when: {methods: [GET]}, path: plain}\n",
    );
    assert_eq!(rules.body_prefix_bytes(), 64);
    assert_eq!(allowed(&rules, &get(CLIENT1)), Some("rest"), "a GET needs no body");
    let post = RequestFacts { method: "POST", ..get(CLIENT1) };
    assert_eq!(rules.evaluate(&post), Decision::NeedBodyPrefix { bytes: 64 });
    let with = |client, body| RequestFacts { client, body_prefix: Some(body), ..post };
    assert_eq!(allowed(&rules, &with(CLIENT1, b"{\"a\": 1}")), Some("json"));
    assert_eq!(allowed(&rules, &with(CLIENT1, b"<?<xml")), Some("json"));
    assert_eq!(allowed(&rules, &with(CLIENT1, b"")), None);
    // Behind the 16 bytes that the rule looks at.
    let late = b"0123456789abcdef<xml";
    assert_eq!(allowed(&rules, &with(CLIENT1, late)), None);
    assert_eq!(allowed(&rules, &with(CLIENT2, late)), Some("wide"));
}

#[test]
fn a_host_of_another_service_matches_no_rule() {
    let rules = rules("  - {name: everyone, path: plain}\n");
    let other = RequestFacts { host: "intranet.campus.example", ..get(CLIENT1) };
    assert_eq!(rules.evaluate(&other), Decision::Deny { reason: Denied::NoRule });
}
