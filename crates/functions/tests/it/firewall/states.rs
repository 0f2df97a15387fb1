//! Connections of each protocol from their beginning to their end, and what does not belong to any.

use ringmail_dataplane::{Action, Function};
use ringmail_functions::{FirewallRule, FirewallRules, FirewallSettings};
use ringmail_model::domain::{FirewallAction, Opener};

use super::Side::{Client, Service};
use super::{Gate, error_about, icmp, rule, tcp, udp};
use crate::harness::{FIN, RST, SYN};

const WEB: (u16, u16) = (40_000, 80);

fn web() -> Gate {
    Gate::new(vec![rule("web", 6, Some(80), FirewallAction::Allow)])
}

/// A web connection behind its handshake.
fn open() -> Gate {
    let mut gate = web();
    assert!(gate.passes(Client, &tcp(Client, WEB, SYN, (99, None), b"")));
    assert!(gate.passes(Service, &tcp(Service, WEB, SYN, (499, Some(100)), b"")));
    assert!(gate.passes(Client, &tcp(Client, WEB, 0, (100, Some(500)), b"")));
    gate
}

#[test]
fn a_connection_that_a_rule_allows_passes_both_ways_and_is_counted() {
    let mut gate = open();
    assert!(gate.passes(Client, &tcp(Client, WEB, 0, (100, Some(500)), b"GET /")));
    assert!(gate.passes(Service, &tcp(Service, WEB, 0, (500, Some(105)), b"page")));
    assert_eq!(gate.counter("rule_connections{rule=\"web\"}"), 1);
    assert_eq!(gate.counter("rule_packets{rule=\"web\"}"), 5);
    assert_eq!(gate.counter("rule_bytes{rule=\"web\"}"), 5 * 40 + 9);
    assert_eq!(gate.counter("connections"), 1);
}

#[test]
fn what_no_rule_allows_gets_the_default() {
    for (default, expected) in [
        (FirewallAction::Drop, Action::Drop { rule: 1 }),
        (FirewallAction::Reject, Action::Reject { rule: 1 }),
        (FirewallAction::Allow, Action::Pass),
    ] {
        let web = rule("web", 6, Some(80), FirewallAction::Allow);
        let mut gate =
            Gate::with(&FirewallSettings { default, ..FirewallSettings::new(vec![web]) });
        let other = tcp(Client, (40_000, 22), SYN, (99, None), b"");
        assert_eq!(gate.judge(Client, &other), expected);
        assert_eq!(gate.counter("rule_packets{rule=\"default\"}"), 1);
        assert_eq!(gate.firewall.rule_name(1), Some("default"));
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let mut gate = Gate::new(vec![
        rule("no-web", 6, Some(80), FirewallAction::Reject),
        rule("all", 6, None, FirewallAction::Allow),
    ]);
    assert_eq!(
        gate.judge(Client, &tcp(Client, WEB, SYN, (99, None), b"")),
        Action::Reject { rule: 0 }
    );
    assert!(gate.passes(Client, &tcp(Client, (1, 81), SYN, (99, None), b"")));
}

#[test]
fn only_the_side_that_may_opens() {
    let mut gate = web();
    let mut backwards = tcp(Client, WEB, SYN, (99, None), b"");
    assert_eq!(gate.judge(Service, &backwards), Action::Drop { rule: 1 });
    assert!(gate.passes(Client, &backwards));
    // Its packets come from there ever after, and answers from the other side.
    backwards = tcp(Client, WEB, 0, (100, Some(500)), b"");
    assert_eq!(gate.judge(Service, &backwards), Action::Refuse);
    let answer = tcp(Service, WEB, SYN, (499, Some(100)), b"");
    assert_eq!(gate.judge(Client, &answer), Action::Refuse);
    assert!(gate.passes(Service, &answer));
    assert_eq!(gate.counter("refused_wrong_side"), 2);
}

#[test]
fn segments_of_no_connection_are_refused() {
    let mut gate = web();
    for (from, flags) in [(Client, 0), (Client, FIN), (Client, RST), (Service, SYN), (Service, 0)] {
        let segment = tcp(from, WEB, flags, (100, Some(500)), b"x");
        assert_eq!(gate.judge(from, &segment), Action::Refuse, "{from:?} {flags}");
    }
    assert_eq!(gate.judge(Client, &tcp(Client, WEB, SYN | FIN, (1, None), b"")), Action::Refuse);
    assert_eq!(gate.judge(Client, &tcp(Client, WEB, 0, (1, None), b"")), Action::Refuse);
    assert_eq!(gate.counter("refused_no_connection"), 7);
    assert_eq!(gate.counter("connections"), 0);
}

#[test]
fn a_handshake_that_does_not_fit_is_refused() {
    let mut gate = web();
    assert!(gate.passes(Client, &tcp(Client, WEB, SYN, (99, None), b"")));
    for (from, flags, numbers) in [
        (Service, SYN, (499, Some(101))),
        (Service, SYN, (499, None)),
        (Service, 0, (499, Some(100))),
        (Client, 0, (100, Some(500))),
        (Client, SYN, (99, Some(500))),
    ] {
        let segment = tcp(from, WEB, flags, numbers, b"x");
        assert_eq!(gate.judge(from, &segment), Action::Refuse, "{from:?} {flags} {numbers:?}");
    }
    assert_eq!(gate.counter("refused_handshake"), 5);
    // A challenge of a server that holds an old connection, the reset that it leads to, and another try.
    assert!(gate.passes(Service, &tcp(Service, WEB, 0, (7, Some(8)), b"")));
    assert!(gate.passes(Client, &tcp(Client, WEB, RST, (8, None), b"")));
    assert!(gate.passes(Client, &tcp(Client, WEB, SYN, (199, None), b"")));
    assert!(gate.passes(Service, &tcp(Service, WEB, SYN, (499, Some(200)), b"")));
}

#[test]
fn a_refused_port_resets_the_attempt() {
    let mut gate = web();
    assert!(gate.passes(Client, &tcp(Client, WEB, SYN, (99, None), b"")));
    assert_eq!(gate.judge(Service, &tcp(Service, WEB, RST, (0, Some(7)), b"")), Action::Refuse);
    assert!(gate.passes(Service, &tcp(Service, WEB, RST, (0, Some(100)), b"")));
    assert_eq!(gate.counter("refused_reset_outside"), 1);
    // The ports are free again at once.
    assert!(gate.passes(Client, &tcp(Client, WEB, SYN, (4_000_000_000, None), b"")));
    assert_eq!(gate.counter("rule_connections{rule=\"web\"}"), 2);
}

#[test]
fn a_reset_from_nowhere_does_not_end_a_connection() {
    let mut gate = open();
    // The client is ready for 256 bytes from 500 on.
    for seq in [499, 757, 500 + (1 << 30)] {
        let reset = tcp(Service, WEB, RST, (seq, None), b"");
        assert_eq!(gate.judge(Service, &reset), Action::Refuse, "{seq}");
    }
    assert!(gate.passes(Client, &tcp(Client, WEB, 0, (100, Some(500)), b"still here")));
    assert!(gate.passes(Service, &tcp(Service, WEB, RST, (500, None), b"")));
    gate.wait(31);
    let late = tcp(Client, WEB, 0, (110, Some(500)), b"late");
    assert_eq!(gate.judge(Client, &late), Action::Refuse);
}

#[test]
fn after_both_fins_the_rest_passes_and_the_ports_are_free() {
    let mut gate = open();
    assert!(gate.passes(Client, &tcp(Client, WEB, FIN, (100, Some(500)), b"")));
    gate.wait(3600);
    assert!(gate.passes(Service, &tcp(Service, WEB, 0, (500, Some(101)), b"half closed")));
    assert!(gate.passes(Service, &tcp(Service, WEB, FIN, (511, Some(101)), b"")));
    assert!(gate.passes(Client, &tcp(Client, WEB, 0, (101, Some(512)), b"")));
    gate.wait(29);
    assert!(gate.passes(Service, &tcp(Service, WEB, FIN, (511, Some(101)), b"")));
    gate.wait(31);
    assert_eq!(gate.counter("connections"), 0);
    let answer = tcp(Client, WEB, 0, (101, Some(512)), b"");
    assert_eq!(gate.judge(Client, &answer), Action::Refuse);
}

#[test]
fn an_idle_connection_lives_for_two_hours_and_an_attempt_for_four_minutes() {
    let mut gate = open();
    gate.wait(7440);
    assert!(gate.passes(Client, &tcp(Client, WEB, 0, (100, Some(500)), b"x")));
    gate.wait(7441);
    let late = tcp(Client, WEB, 0, (101, Some(500)), b"x");
    assert_eq!(gate.judge(Client, &late), Action::Refuse);
    let mut gate = web();
    assert!(gate.passes(Client, &tcp(Client, WEB, SYN, (99, None), b"")));
    gate.wait(241);
    assert_eq!(gate.counter("connections"), 0);
    assert_eq!(gate.counter("connections_expired"), 1);
}

#[test]
fn a_running_connection_is_picked_up_where_the_rules_allow_it() {
    let settings = FirewallSettings {
        pick_up: true,
        ..FirewallSettings::new(vec![rule("web", 6, Some(80), FirewallAction::Allow)])
    };
    for first in [Client, Service] {
        let mut gate = Gate::with(&settings);
        assert!(gate.passes(first, &tcp(first, WEB, 0, (700, Some(900)), b"x")), "{first:?}");
        for from in [Client, Service] {
            assert!(gate.passes(from, &tcp(from, WEB, 0, (700, Some(900)), b"x")), "{from:?}");
        }
        assert_eq!(gate.counter("connections"), 1);
        let other = tcp(first, (40_000, 22), 0, (700, Some(900)), b"x");
        assert_eq!(gate.judge(first, &other), Action::Refuse);
        let reset = tcp(first, (40_001, 80), RST, (700, Some(900)), b"");
        assert_eq!(gate.judge(first, &reset), Action::Refuse);
    }
}

#[test]
fn datagrams_pass_both_ways_until_they_are_too_old() {
    let mut gate = Gate::new(vec![rule("dns", 17, Some(53), FirewallAction::Allow)]);
    let dns = (5000, 53);
    assert_eq!(gate.judge(Service, &udp(Service, dns)), Action::Drop { rule: 1 });
    assert!(gate.passes(Client, &udp(Client, dns)));
    gate.wait(121);
    assert_eq!(gate.judge(Service, &udp(Service, dns)), Action::Drop { rule: 1 }, "too late");
    assert!(gate.passes(Client, &udp(Client, dns)));
    gate.wait(119);
    assert!(gate.passes(Service, &udp(Service, dns)));
    gate.wait(299);
    assert!(gate.passes(Service, &udp(Service, dns)));
}

#[test]
fn a_ping_is_answered_once_it_was_asked() {
    let ping = FirewallRule {
        icmp_types: Some(vec![(1, 8)]),
        ..rule("ping", 1, None, FirewallAction::Allow)
    };
    let mut gate = Gate::new(vec![ping]);
    assert_eq!(gate.judge(Service, &icmp(Service, 0, 9)), Action::Refuse);
    assert!(gate.passes(Client, &icmp(Client, 8, 9)));
    assert!(gate.passes(Service, &icmp(Service, 0, 9)));
    assert_eq!(gate.judge(Client, &icmp(Client, 0, 9)), Action::Refuse, "who asks does not answer");
    assert_eq!(gate.judge(Service, &icmp(Service, 0, 10)), Action::Refuse);
    assert_eq!(gate.judge(Client, &icmp(Client, 13, 11)), Action::Drop { rule: 1 });
    assert_eq!(gate.judge(Client, &icmp(Client, 10, 0)), Action::Drop { rule: 1 });
}

#[test]
fn an_error_passes_with_the_connection_that_it_is_about() {
    let mut gate = open();
    let sent = tcp(Client, WEB, 0, (100, Some(500)), b"x");
    assert!(gate.passes(Service, &error_about(Service, &sent)));
    assert_eq!(gate.counter("rule_packets{rule=\"web\"}"), 4);
    // From the side that sent it, about another connection, or to somebody else.
    assert_eq!(gate.judge(Client, &error_about(Service, &sent)), Action::Refuse);
    let other = tcp(Client, (40_001, 80), 0, (100, Some(500)), b"x");
    assert_eq!(gate.judge(Service, &error_about(Service, &other)), Action::Refuse);
    assert_eq!(gate.judge(Service, &error_about(Client, &sent)), Action::Refuse);
    assert_eq!(gate.counter("refused_unrelated"), 2);
    assert_eq!(gate.counter("refused_wrong_side"), 1);
}

#[test]
fn a_full_table_refuses_new_connections_and_keeps_the_old() {
    let allow = rule("web", 6, Some(80), FirewallAction::Allow);
    let mut gate =
        Gate::with(&FirewallSettings { connections: 2, ..FirewallSettings::new(vec![allow]) });
    let syn = |port| tcp(Client, (port, 80), SYN, (99, None), b"");
    assert!(gate.passes(Client, &syn(1)) && gate.passes(Client, &syn(2)));
    assert_eq!(gate.judge(Client, &syn(3)), Action::NoRoom);
    assert_eq!(gate.counter("refused_no_room"), 1);
    assert_eq!(gate.counter("rule_connections{rule=\"web\"}"), 2);
    assert!(gate.passes(Service, &tcp(Service, (1, 80), SYN, (499, Some(100)), b"")));
    gate.wait(241);
    assert!(gate.passes(Client, &syn(3)));
}

#[test]
fn rejections_are_answered_a_thousand_times_a_second() {
    let mut gate = Gate::new(vec![rule("no", 6, None, FirewallAction::Reject)]);
    let syn = tcp(Client, WEB, SYN, (99, None), b"");
    let answered = |gate: &mut Gate| {
        (0..1100).filter(|_| gate.judge(Client, &syn) == Action::Reject { rule: 0 }).count()
    };
    assert_eq!(answered(&mut gate), 1000);
    assert_eq!(gate.counter("rejects_withheld"), 100);
    gate.wait(1);
    assert_eq!(answered(&mut gate), 1000);
}

#[test]
fn connections_are_reported_once_where_the_rule_says_so() {
    let web = FirewallRule { log: true, ..rule("web", 6, Some(80), FirewallAction::Allow) };
    let quiet = rule("quiet", 6, Some(81), FirewallAction::Allow);
    let settings =
        FirewallSettings { log_default: true, ..FirewallSettings::new(vec![web, quiet]) };
    let mut gate = Gate::with(&settings);
    for port in [80, 81, 82] {
        for _ in 0..2 {
            gate.judge(Client, &tcp(Client, (1, port), SYN, (99, None), b""));
        }
    }
    let seen: Vec<_> = gate.alerts().iter().map(|a| (a.rule, a.flow.dst_port, a.path.0)).collect();
    // A connection that was let in is reported once, one that was not each time that it tries.
    assert_eq!(seen, [(0, 80, 7), (2, 82, 7), (2, 82, 7)]);
}

#[test]
fn what_is_no_packet_is_refused() {
    let mut gate = web();
    let mut fragment = tcp(Client, WEB, SYN, (99, None), b"");
    fragment[6] = 0x20;
    assert_eq!(gate.judge(Client, &fragment), Action::Refuse);
    assert_eq!(gate.judge(Client, &tcp(Client, WEB, SYN, (99, None), b"")[..30]), Action::Refuse);
    assert_eq!(gate.judge(Client, b""), Action::Refuse);
    assert_eq!(gate.counter("refused_fragment"), 1);
    assert_eq!(gate.counter("refused_malformed"), 2);
}

#[test]
fn without_plaintext_elements_are_told_apart() {
    let from_gateway = FirewallRule {
        from: Opener::Client,
        sources: Some(vec!["10.77.0.1/32".parse().expect("a prefix")]),
        ..FirewallRule::any("gateway", FirewallAction::Allow)
    };
    let settings =
        FirewallSettings { intrusive: false, ..FirewallSettings::new(vec![from_gateway]) };
    let mut gate = Gate::with(&settings);
    // 1400 bytes, of which the header and eight of ESP are seen.
    let outer = |src: u8, dst: u8| {
        let mut packet = vec![0x45, 0, 5, 0x78, 0, 0, 0, 0, 64, 50, 0, 0];
        packet.extend([10, 77, 0, src, 10, 77, 0, dst, 0, 0, 1, 0, 0, 0, 0, 1]);
        packet
    };
    assert_eq!(gate.judge(Service, &outer(4, 1)), Action::Drop { rule: 1 });
    assert!(gate.passes(Client, &outer(1, 4)));
    assert!(gate.passes(Service, &outer(4, 1)));
    assert_eq!(gate.judge(Client, &outer(2, 4)), Action::Drop { rule: 1 });
    assert_eq!(gate.counter("rule_bytes{rule=\"gateway\"}"), 2800);
}

/// Other rules for a firewall that runs.
fn retune(gate: &mut Gate, rules: Vec<FirewallRule>) {
    let rules = FirewallRules::new(&FirewallSettings::new(rules)).expect("good settings");
    assert!(gate.firewall.retune(Box::new(rules)));
}

#[test]
fn connections_outlive_their_rule_and_what_begins_is_asked_of_the_new_ones() {
    let mut gate = open();
    let ssh = rule("ssh", 6, Some(22), FirewallAction::Allow);
    retune(&mut gate, vec![ssh, rule("web", 6, Some(80), FirewallAction::Drop)]);
    // It goes on, both ways, and counts where it counted.
    assert!(gate.passes(Client, &tcp(Client, WEB, 0, (100, Some(500)), b"GET /")));
    assert!(gate.passes(Service, &tcp(Service, WEB, 0, (500, Some(105)), b"page")));
    assert_eq!(gate.counter("rule_packets{rule=\"web\"}"), 5);
    assert_eq!(gate.counter("rule_connections{rule=\"web\"}"), 1);
    assert_eq!(gate.counter("rule_packets{rule=\"ssh\"}"), 0);
    let another = tcp(Client, (40_001, 80), SYN, (9, None), b"");
    assert_eq!(gate.judge(Client, &another), Action::Drop { rule: 1 });
    assert!(gate.passes(Client, &tcp(Client, (40_002, 22), SYN, (9, None), b"")));
    // Without a rule of its name it counts as what no rule speaks of.
    retune(&mut gate, vec![rule("ssh", 6, Some(22), FirewallAction::Allow)]);
    assert!(gate.passes(Client, &tcp(Client, WEB, 0, (105, Some(504)), b"more")));
    assert_eq!(gate.counter("rule_packets{rule=\"default\"}"), 1);
    assert_eq!(gate.counter("connections"), 2);
    assert_eq!(gate.firewall.rule_name(1), Some("default"));
}

#[test]
fn what_is_no_firewalls_is_not_taken() {
    let mut gate = open();
    assert!(!gate.firewall.retune(Box::new(7)));
    assert!(gate.passes(Client, &tcp(Client, WEB, 0, (100, Some(500)), b"GET /")));
}
