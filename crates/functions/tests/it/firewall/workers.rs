//! The firewalls of an element's workers: whichever of them gets a packet, they decide as one.

use std::sync::Barrier;
use std::thread;

use ringmail_dataplane::{Action, Function};
use ringmail_functions::{Firewall, FirewallRules, FirewallSettings};
use ringmail_model::domain::FirewallAction;

use super::Side::{Client, Service};
use super::{Gate, Side, error_about, rule, tcp};
use crate::harness::{FIN, SYN};

const WEB: (u16, u16) = (40_000, 80);

fn gates(settings: &FirewallSettings, workers: usize) -> Vec<Gate> {
    let firewalls = Firewall::for_workers(settings, workers, [1, 2, 3, 4]).expect("good settings");
    firewalls.into_iter().map(Gate::of).collect()
}

fn web(connections: usize) -> FirewallSettings {
    let rules = vec![rule("web", 6, Some(80), FirewallAction::Allow)];
    FirewallSettings { connections, ..FirewallSettings::new(rules) }
}

/// A counter of all workers together, as `ringmail status` shows it.
fn sum(gates: &[Gate], name: &str) -> u64 {
    gates.iter().map(|gate| gate.counter(name)).sum()
}

#[test]
fn a_connection_may_come_to_another_worker_with_every_packet() {
    let mut gates = gates(&web(64), 3);
    let packets = [
        (Client, tcp(Client, WEB, SYN, (99, None), b"")),
        (Service, tcp(Service, WEB, SYN, (499, Some(100)), b"")),
        (Client, tcp(Client, WEB, 0, (100, Some(500)), b"GET /")),
        (Service, tcp(Service, WEB, 0, (500, Some(105)), b"page")),
        (Service, error_about(Service, &tcp(Client, WEB, 0, (100, Some(500)), b"GET /"))),
        (Client, tcp(Client, WEB, FIN, (105, Some(504)), b"")),
        (Service, tcp(Service, WEB, FIN, (504, Some(106)), b"")),
    ];
    let count = packets.len() as u64;
    for (turn, (from, packet)) in packets.iter().enumerate() {
        assert!(gates[turn % 3].passes(*from, packet), "packet {turn}");
    }
    assert_eq!(sum(&gates, "rule_connections{rule=\"web\"}"), 1);
    assert_eq!(sum(&gates, "rule_packets{rule=\"web\"}"), count);
    assert_eq!(sum(&gates, "connections"), 1, "one table, counted once");
    // It is over for all of them, and ages for all.
    assert!(gates[2].passes(Client, &tcp(Client, WEB, SYN, (9000, None), b"")));
    gates.iter_mut().for_each(|gate| gate.wait(300));
    assert_eq!(sum(&gates, "connections"), 0);
    assert_eq!(sum(&gates, "connections_expired"), 1);
    let late = tcp(Service, WEB, SYN, (499, Some(9001)), b"");
    assert_eq!(gates[1].judge(Service, &late), Action::Refuse);
}

#[test]
fn the_limit_of_connections_is_that_of_all_workers_together() {
    let mut gates = gates(&web(2), 2);
    let syn = |port| tcp(Client, (port, 80), SYN, (99, None), b"");
    assert!(gates[0].passes(Client, &syn(1)) && gates[1].passes(Client, &syn(2)));
    assert_eq!(gates[0].judge(Client, &syn(3)), Action::NoRoom);
    assert!(gates[0].passes(Service, &tcp(Service, (2, 80), SYN, (499, Some(100)), b"")));
}

#[test]
fn a_large_table_is_nearly_full_before_it_refuses() {
    const CONNECTIONS: usize = 32_768;
    let mut gates = gates(&web(CONNECTIONS), 4);
    let syn = |port| tcp(Client, (port, 80), SYN, (99, None), b"");
    let admitted = (1..=u16::MAX).take_while(|port| gates[0].passes(Client, &syn(*port))).count();
    assert!(admitted <= CONNECTIONS && admitted > CONNECTIONS * 9 / 10, "{admitted}");
}

#[test]
fn workers_change_their_rules_one_after_the_other() {
    let mut gates = gates(&web(64), 2);
    assert!(gates[0].passes(Client, &tcp(Client, WEB, SYN, (99, None), b"")));
    let rules = vec![
        rule("ssh", 6, Some(22), FirewallAction::Allow),
        rule("web", 6, Some(80), FirewallAction::Drop),
    ];
    let take = |gates: &mut [Gate], worker: usize| {
        let settings = FirewallSettings::new(rules.clone());
        let rules = FirewallRules::new(&settings).expect("good settings");
        assert!(gates[worker].firewall.retune(Box::new(rules)));
    };
    take(&mut gates, 0);
    // One has the old rules, one the new: what stands goes on at both, and counts under its rule.
    assert!(gates[1].passes(Service, &tcp(Service, WEB, SYN, (499, Some(100)), b"")));
    assert!(gates[0].passes(Client, &tcp(Client, WEB, 0, (100, Some(500)), b"")));
    assert!(gates[1].passes(Client, &tcp(Client, WEB, 0, (100, Some(500)), b"GET /")));
    assert_eq!(gates[0].counter("rule_packets{rule=\"ssh\"}"), 0);
    take(&mut gates, 1);
    assert!(gates[1].passes(Service, &tcp(Service, WEB, 0, (500, Some(105)), b"page")));
    assert_eq!(sum(&gates, "rule_packets{rule=\"web\"}"), 5);
    assert_eq!(sum(&gates, "rule_connections{rule=\"web\"}"), 1);
    let another = tcp(Client, (40_001, 80), SYN, (9, None), b"");
    for gate in &mut gates {
        assert_eq!(gate.judge(Client, &another), Action::Drop { rule: 1 });
    }
}

#[test]
fn rejections_are_answered_as_often_as_by_one_worker() {
    let rules = vec![rule("no", 6, None, FirewallAction::Reject)];
    let mut gates = gates(&FirewallSettings::new(rules), 4);
    let syn = tcp(Client, WEB, SYN, (99, None), b"");
    let mut answered = 0;
    for _ in 0..1000 {
        let judged = gates.iter_mut().map(|gate| gate.judge(Client, &syn));
        answered += judged.filter(|action| *action == Action::Reject { rule: 0 }).count();
    }
    assert_eq!(answered, 1000);
}

/// All at once, on threads: each worker sees the forward packets of some connections and the answers of others'.
#[test]
fn workers_at_work_at_once_lose_no_connection() {
    const WORKERS: usize = 4;
    const CONNECTIONS: u16 = 2000;
    let gates = gates(&web(16_384), WORKERS);
    let barrier = Barrier::new(WORKERS);
    let steps: [(Side, u8, (u32, Option<u32>)); 4] = [
        (Client, SYN, (99, None)),
        (Service, SYN, (499, Some(100))),
        (Client, 0, (100, Some(500))),
        (Service, 0, (500, Some(100))),
    ];
    let work = |worker: usize, mut gate: Gate| {
        for (turn, (from, flags, numbers)) in steps.into_iter().enumerate() {
            for port in (1..=CONNECTIONS).filter(|p| (usize::from(*p) + turn) % WORKERS == worker) {
                let packet = tcp(from, (port, 80), flags, numbers, b"");
                assert_eq!(gate.judge(from, &packet), Action::Pass, "{port}, turn {turn}");
            }
            // An answer comes after what it answers.
            barrier.wait();
        }
        gate
    };
    let gates: Vec<Gate> = thread::scope(|scope| {
        let spawn = |(worker, gate)| scope.spawn(move || work(worker, gate));
        let threads: Vec<_> = gates.into_iter().enumerate().map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("it ends well")).collect()
    });
    assert_eq!(sum(&gates, "connections"), u64::from(CONNECTIONS));
    assert_eq!(sum(&gates, "rule_packets{rule=\"web\"}"), 4 * u64::from(CONNECTIONS));
}
