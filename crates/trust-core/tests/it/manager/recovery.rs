//! The way back: evidence, and an operator's word where policy wants it.

use ringmail_trust_core::manager::audit::Act;
use ringmail_trust_core::manager::{Effect, Policy, Recovery, Refusal, Standing, Subject, Word};

use super::harness::{World, function, host, policy};

fn trusted(policy: Policy) -> World {
    let mut world = World::new(policy);
    world.enrol("h1");
    world.host_shows("h1", None).unwrap();
    world.function_shows("sf1", "h1", None).unwrap();
    world.issue(&function("sf1")).unwrap();
    world.effects();
    world
}

fn say(world: &mut World, subject: &Subject, word: Word) -> Result<Standing, Refusal> {
    world.manager.handle_word(world.now, "op", subject, word, "because")
}

#[test]
fn a_mended_host_waits_for_an_operators_word() {
    let mut world = trusted(policy());
    world.host_shows("h1", Some("bad")).unwrap();
    let judged = world.host_shows("h1", None).unwrap();
    assert_eq!((judged.standing, judged.takes_part), (Standing::Recovering, false));
    assert!(world.issue(&host("h1")).is_err());
    world.effects();
    assert_eq!(say(&mut world, &host("h1"), Word::Recover), Ok(Standing::Trusted));
    let said =
        |act: &Act| matches!(act, Act::Said { by, word, .. } if by == "op" && word == "recover");
    assert!(world.acts().iter().any(said));
    assert!(world.issue(&host("h1")).is_ok());
    // What was on it shows its own evidence, and only then is let into its paths.
    assert!(world.issue(&function("sf1")).is_err());
    world.function_shows("sf1", "h1", None).unwrap();
    assert!(world.effects().contains(&Effect::Readmit(function("sf1"))));
}

#[test]
fn a_host_that_fails_again_while_it_waits_is_revoked_again() {
    let mut world = trusted(policy());
    world.host_shows("h1", Some("bad")).unwrap();
    world.host_shows("h1", None).unwrap();
    assert_eq!(world.host_shows("h1", Some("bad")).unwrap().standing, Standing::Revoked);
}

#[test]
fn a_word_before_the_evidence_counts_for_the_next_evidence_only() {
    let mut world = trusted(policy());
    world.host_shows("h1", Some("bad")).unwrap();
    assert_eq!(say(&mut world, &host("h1"), Word::Recover), Ok(Standing::Revoked));
    assert_eq!(world.host_shows("h1", None).unwrap().standing, Standing::Trusted);

    world.host_shows("h1", Some("bad")).unwrap();
    say(&mut world, &host("h1"), Word::Recover).unwrap();
    world.host_shows("h1", Some("still bad")).unwrap();
    assert_eq!(world.host_shows("h1", None).unwrap().standing, Standing::Recovering);
}

#[test]
fn a_word_upon_old_evidence_waits_for_new() {
    let mut world = trusted(policy());
    world.host_shows("h1", Some("bad")).unwrap();
    world.host_shows("h1", None).unwrap();
    world.pass(1000);
    assert_eq!(say(&mut world, &host("h1"), Word::Recover), Ok(Standing::Revoked));
    assert_eq!(world.host_shows("h1", None).unwrap().standing, Standing::Trusted);
}

#[test]
fn evidence_alone_is_enough_where_policy_says_so_unless_an_operator_revoked() {
    let rules = Policy { recovery: Recovery::Automatic, ..policy() };
    let mut world = trusted(rules);
    world.host_shows("h1", Some("bad")).unwrap();
    assert_eq!(world.host_shows("h1", None).unwrap().standing, Standing::Trusted);
    assert_eq!(say(&mut world, &host("h1"), Word::Revoke), Ok(Standing::Revoked));
    assert_eq!(world.host_shows("h1", None).unwrap().standing, Standing::Recovering);
    assert_eq!(say(&mut world, &host("h1"), Word::Recover), Ok(Standing::Trusted));
}

#[test]
fn an_operators_quarantine_lasts_until_an_operator_ends_it() {
    let mut world = trusted(policy());
    assert_eq!(say(&mut world, &host("h1"), Word::Quarantine), Ok(Standing::Quarantined));
    assert!(world.effects().contains(&Effect::Withdraw(function("sf1"))));
    assert_eq!(world.host_shows("h1", None).unwrap().standing, Standing::Quarantined);
    assert_eq!(say(&mut world, &host("h1"), Word::Recover), Ok(Standing::Trusted));
    assert!(world.effects().contains(&Effect::Readmit(function("sf1"))));
}

#[test]
fn who_is_well_needs_no_word() {
    let mut world = trusted(policy());
    let error = say(&mut world, &host("h1"), Word::Recover).unwrap_err();
    let standing = Standing::Trusted;
    assert_eq!(error, Refusal::NothingToRecover { subject: host("h1"), standing });
    assert_eq!(
        say(&mut world, &function("sf9"), Word::Revoke),
        Err(Refusal::Unknown(function("sf9")))
    );
}

#[test]
fn a_function_alone_is_revoked_and_recovered() {
    let mut world = trusted(policy());
    assert_eq!(say(&mut world, &function("sf1"), Word::Revoke), Ok(Standing::Revoked));
    let judged = world.function_shows("sf1", "h1", None).unwrap();
    assert_eq!(judged.standing, Standing::Recovering);
    assert_eq!(say(&mut world, &function("sf1"), Word::Recover), Ok(Standing::Trusted));
    assert!(world.issue(&function("sf1")).is_ok());
}
