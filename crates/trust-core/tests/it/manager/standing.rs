//! Who gets what in which standing, and what takes it away.

use std::time::Duration;

use ringmail_trust_core::manager::audit::Act;
use ringmail_trust_core::manager::{
    Effect, Manager, Policy, Refusal, Serial, Stages, StagesS, Standing, Verdict, Word,
};

use super::harness::{KEY, World, function, host, name, policy};

/// A world with h1 trusted and sf1 on it, both with a certificate, and no effects left to see.
fn trusted(policy: Policy) -> (World, Serial, Serial) {
    let mut world = World::new(policy);
    world.enrol("h1");
    world.host_shows("h1", None).unwrap();
    let of_host = world.issue(&host("h1")).unwrap();
    world.function_shows("sf1", "h1", None).unwrap();
    let of_function = world.issue(&function("sf1")).unwrap();
    world.effects();
    (world, of_host, of_function)
}

fn standing(manager: &Manager, host: &str) -> Standing {
    manager.host(&name(host)).unwrap().record.standing
}

#[test]
fn a_host_gets_an_identity_once_its_evidence_is_good_and_not_before() {
    let mut world = World::new(policy());
    let unknown = Refusal::Unknown(host("h1"));
    assert_eq!(world.host_shows("h1", None), Err(unknown.clone()));
    assert_eq!(world.issue(&host("h1")), Err(unknown));
    world.enrol("h1");
    let refused = world.issue(&host("h1")).unwrap_err();
    assert!(matches!(refused, Refusal::NotTrusted { standing: Standing::Enrolling, .. }));
    assert!(world.manager.may_lease(world.now, &host("h1")).is_err());

    let judged = world.host_shows("h1", None).unwrap();
    assert_eq!((judged.standing, judged.takes_part), (Standing::Trusted, true));
    let serial = world.issue(&host("h1")).unwrap();
    let acts: Vec<_> = world.acts().iter().map(Act::name).collect();
    assert_eq!(acts, ["enrolled", "stands", "issued"]);
    assert!(!world.manager.is_revoked(&serial));
    assert!(world.manager.may_lease(world.now, &host("h1")).is_ok());
}

#[test]
fn a_function_gets_an_identity_only_where_policy_puts_it_and_its_host_is_trusted() {
    let mut world = World::new(policy());
    world.enrol("h1");
    world.enrol("h2");
    let refused = world.function_shows("sf1", "h1", None).unwrap_err();
    assert!(matches!(refused, Refusal::NotTrusted { standing: Standing::Enrolling, .. }));
    world.host_shows("h1", None).unwrap();
    world.host_shows("h2", None).unwrap();
    let not_placed =
        |function, host| Refusal::NotPlaced { function: name(function), host: name(host) };
    assert_eq!(world.function_shows("sf1", "h2", None), Err(not_placed("sf1", "h2")));
    assert_eq!(world.function_shows("sf9", "h1", None), Err(not_placed("sf9", "h1")));
    let judged = world.function_shows("sf1", "h1", None).unwrap();
    assert_eq!(judged.standing, Standing::Trusted);
    world.issue(&function("sf1")).unwrap();

    // Another key than the one that the evidence vouches for.
    let other = world.manager.may_issue(world.now, &function("sf1"), &[8; 32]);
    assert_eq!(other, Err(Refusal::AnotherKey(function("sf1"))));
    // While it is here and well, nobody else can be it.
    world.function_shows("sf2", "h1", None).unwrap();
    let elsewhere = Refusal::Elsewhere { function: name("sf2"), host: name("h1") };
    assert_eq!(world.function_shows("sf2", "h2", None), Err(elsewhere.clone()));
    assert_eq!(world.function_shows("sf2", "h2", Some("bad")), Err(elsewhere));
}

#[test]
fn one_bad_verdict_takes_everything_at_once() {
    let (mut world, of_host, of_function) = trusted(policy());
    let judged = world.host_shows("h1", Some("/usr/bin/evil is not in the policy")).unwrap();
    assert_eq!((judged.standing, judged.takes_part), (Standing::Revoked, false));
    assert!(world.manager.is_revoked(&of_host) && world.manager.is_revoked(&of_function));
    let effects = world.effects();
    for effect in [
        Effect::Revoked { subject: host("h1"), serials: vec![of_host] },
        Effect::Revoked { subject: function("sf1"), serials: vec![of_function] },
        Effect::CloseLeases(host("h1")),
        Effect::CloseLeases(function("sf1")),
        Effect::Withdraw(function("sf1")),
    ] {
        assert!(effects.contains(&effect), "{effect:?} is missing in {effects:#?}");
    }
    // What is logged comes before what follows from it.
    let place = |found: fn(&Effect) -> bool| effects.iter().position(found).unwrap();
    let logged = place(|effect| matches!(effect, Effect::Log(Act::Revoked { .. })));
    assert!(logged < place(|effect| matches!(effect, Effect::Revoked { .. })));
    for who in [host("h1"), function("sf1")] {
        assert!(world.manager.may_lease(world.now, &who).is_err(), "{who}");
        assert!(world.issue(&who).is_err(), "{who}");
    }
    assert!(world.function_shows("sf1", "h1", None).is_err());
    assert_eq!(world.manager.revoked().count(), 2);
    // When they would have run out the list forgets them.
    world.pass(301);
    assert_eq!(world.manager.revoked().count(), 0);
}

#[test]
fn a_function_falls_alone() {
    let (mut world, of_host, of_function) = trusted(policy());
    world.function_shows("sf1", "h1", Some("its code is another")).unwrap();
    assert!(world.manager.is_revoked(&of_function) && !world.manager.is_revoked(&of_host));
    assert_eq!(standing(&world.manager, "h1"), Standing::Trusted);
    assert!(world.manager.may_lease(world.now, &function("sf1")).is_err());
    assert!(world.manager.may_lease(world.now, &host("h1")).is_ok());
}

#[test]
fn stages_come_one_after_the_other() {
    let stages = Stages { warn: Some(1), quarantine: Some(2), revoke: 3 };
    let (mut world, of_host, _) = trusted(Policy { refused: stages, ..policy() });
    let judged = world.host_shows("h1", Some("bad")).unwrap();
    assert_eq!((judged.standing, judged.takes_part), (Standing::Warned, false));
    assert_eq!(world.issue(&host("h1")), Err(Refusal::Stale(host("h1"))), "not upon bad evidence");
    let judged = world.host_shows("h1", Some("bad")).unwrap();
    assert_eq!(judged.standing, Standing::Quarantined);
    assert!(!world.manager.is_revoked(&of_host));
    let effects = world.effects();
    assert!(effects.contains(&Effect::Withdraw(function("sf1"))), "{effects:#?}");
    // Good evidence in between, and it begins anew.
    assert_eq!(world.host_shows("h1", None).unwrap().standing, Standing::Trusted);
    let effects = world.effects();
    assert!(effects.contains(&Effect::Readmit(function("sf1"))), "{effects:#?}");
    for expected in [Standing::Warned, Standing::Quarantined, Standing::Revoked] {
        assert_eq!(world.host_shows("h1", Some("bad")).unwrap().standing, expected);
    }
    assert!(world.manager.is_revoked(&of_host));
}

#[test]
fn silence_warns_quarantines_and_revokes_in_time() {
    let (mut world, of_host, of_function) = trusted(policy());
    let due = world.manager.poll_timeout().unwrap();
    assert_eq!(due - world.now.instant, Duration::from_secs(90));
    for (passes, expected) in [
        (89, Standing::Trusted),
        (1, Standing::Warned),
        (89, Standing::Warned),
        (1, Standing::Quarantined),
        (119, Standing::Quarantined),
    ] {
        world.pass(passes);
        assert_eq!(standing(&world.manager, "h1"), expected);
        assert!(!world.manager.is_revoked(&of_host));
    }
    world.pass(1);
    assert_eq!(standing(&world.manager, "h1"), Standing::Revoked);
    assert!(world.manager.is_revoked(&of_host) && world.manager.is_revoked(&of_function));
}

#[test]
fn one_late_look_at_the_clock_reaches_the_last_stage() {
    let silence = StagesS { warn_s: None, quarantine_s: None, revoke_s: 100 };
    for (silence, passes) in [(policy().silence, 300), (silence, 100)] {
        let (mut world, ..) = trusted(Policy { silence, ..policy() });
        world.pass(passes);
        assert_eq!(standing(&world.manager, "h1"), Standing::Revoked);
    }
}

#[test]
fn nothing_is_issued_upon_old_evidence() {
    let mut rules = policy();
    rules.silence = StagesS { warn_s: None, quarantine_s: None, revoke_s: 1000 };
    let (mut world, ..) = trusted(rules);
    world.pass(119);
    assert!(world.manager.may_lease(world.now, &function("sf1")).is_ok());
    world.pass(1);
    assert_eq!(world.issue(&host("h1")), Err(Refusal::Stale(host("h1"))));
    // The host's new evidence does not renew the function's.
    world.host_shows("h1", None).unwrap();
    assert!(world.issue(&host("h1")).is_ok());
    assert_eq!(world.issue(&function("sf1")), Err(Refusal::Stale(function("sf1"))));
}

#[test]
fn a_nonce_counts_once_and_older_evidence_does_not_overtake_newer() {
    let (mut world, ..) = trusted(policy());
    let h1 = name("h1");
    let first = world.manager.handle_nonce(world.now, &h1, [100; 32]).unwrap();
    let second = world.manager.handle_nonce(world.now, &h1, [101; 32]).unwrap();
    let first = world.manager.handle_evidence(world.now, &h1, &first).unwrap();
    let second_taken = world.manager.handle_evidence(world.now, &h1, &second).unwrap();
    let again = world.manager.handle_evidence(world.now, &h1, &second);
    assert_eq!(again, Err(Refusal::BadNonce));
    let verdict = |refused: Option<&str>| Verdict {
        evidence: [9; 32],
        key: Some(KEY),
        refused: refused.map(str::to_owned),
        policy: 1,
    };
    let now = world.now;
    let judged =
        world.manager.handle_host_verdict(now, &h1, second_taken, &verdict(Some("bad"))).unwrap();
    assert_eq!(judged.standing, Standing::Revoked);
    // Its appraisal took longer, and it was good.
    let late = world.manager.handle_host_verdict(now, &h1, first, &verdict(None));
    assert_eq!(late, Err(Refusal::Overtaken));
    assert_eq!(standing(&world.manager, "h1"), Standing::Revoked);
}

#[test]
fn what_was_appraised_by_earlier_rules_has_to_come_again() {
    let (mut world, ..) = trusted(policy());
    let h1 = name("h1");
    let nonce = world.manager.handle_nonce(world.now, &h1, [100; 32]).unwrap();
    let taken = world.manager.handle_evidence(world.now, &h1, &nonce).unwrap();
    let verdict = Verdict { evidence: [9; 32], key: None, refused: None, policy: 1 };
    world.manager.handle_policy(policy(), [4; 32], "op");
    let judged = world.manager.handle_host_verdict(world.now, &h1, taken, &verdict);
    assert_eq!(judged, Err(Refusal::Overtaken));
}

#[test]
fn a_host_that_enrols_with_another_key_begins_anew() {
    let (mut world, of_host, of_function) = trusted(policy());
    world.manager.handle_enrolment(world.now, &name("h1"), [1; 32]).unwrap();
    assert_eq!(standing(&world.manager, "h1"), Standing::Trusted, "the same key");
    world.manager.handle_enrolment(world.now, &name("h1"), [2; 32]).unwrap();
    assert_eq!(standing(&world.manager, "h1"), Standing::Enrolling);
    assert!(world.manager.is_revoked(&of_host) && world.manager.is_revoked(&of_function));
}

#[test]
fn an_expelled_hosts_agent_loses_its_certificate_too() {
    let (mut world, of_host, _) = trusted(policy());
    let grant = world.manager.may_issue_agent(world.now, &name("h1")).unwrap();
    assert_eq!(grant.spiffe_id, "spiffe://campus.example/agent/h1");
    let agents = Serial([0xaa; 16]);
    world.manager.handle_issued(grant, agents, [3; 32], world.now.unix_s() + 1000);
    world.host_shows("h1", Some("bad")).unwrap();
    assert!(!world.manager.is_revoked(&agents), "it has to show that all is mended");
    world.manager.handle_word(world.now, "op", &host("h1"), Word::Expel, "stolen").unwrap();
    assert!(world.manager.is_revoked(&agents) && world.manager.is_revoked(&of_host));
}

/// After a restart nothing that was issued is lost, and nothing is issued before new evidence.
#[test]
fn a_restart_keeps_standings_and_asks_for_evidence() {
    let (world, of_host, of_function) = trusted(policy());
    let manager = &world.manager;
    let mut restored = World::new(policy());
    restored.manager.restore_host(world.now, manager.host(&name("h1")).unwrap().record);
    restored.manager.restore_function(manager.function(&name("sf1")).unwrap().record);
    let not_after = world.now.unix_s() + 300;
    restored.manager.restore_certificate(&host("h1"), of_host, not_after, None);
    restored.manager.restore_certificate(&function("sf1"), of_function, not_after, None);
    assert_eq!(standing(&restored.manager, "h1"), Standing::Trusted);
    assert_eq!(restored.issue(&host("h1")), Err(Refusal::Stale(host("h1"))));
    let lease = restored.manager.may_lease(restored.now, &function("sf1"));
    assert_eq!(lease, Err(Refusal::Stale(host("h1"))));
    restored.host_shows("h1", Some("bad")).unwrap();
    assert!(restored.manager.is_revoked(&of_host) && restored.manager.is_revoked(&of_function));
}

#[test]
fn a_manager_that_was_restored_counts_silence_from_then_on() {
    let (world, ..) = trusted(policy());
    let mut restored = World::new(policy());
    restored.manager.restore_host(restored.now, world.manager.host(&name("h1")).unwrap().record);
    restored.pass(299);
    assert_eq!(standing(&restored.manager, "h1"), Standing::Quarantined);
    restored.pass(1);
    assert_eq!(standing(&restored.manager, "h1"), Standing::Revoked);
}
