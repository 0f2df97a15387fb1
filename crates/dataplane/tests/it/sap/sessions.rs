//! Transitions of sessions, H1 to H9 of `docs/sap.md`: HELLO, epochs, simultaneous opens, silence and dials.

use std::time::Duration;

use ringmail_dataplane::sap::message::{DecodeError, Goodbye, Hello};
use ringmail_dataplane::sap::{Message, Violation};
use ringmail_model::{ElementId, Epoch};

use super::support::{Pair, Seen, segment};

fn established(seen: &[Seen]) -> Vec<u32> {
    let epoch = |seen: &Seen| match seen {
        Seen::Established(epoch) => Some(*epoch),
        _ => None,
    };
    seen.iter().filter_map(epoch).collect()
}

fn ended(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::Ended(_))).count()
}

fn fresh() -> Pair {
    Pair::new(&[segment(1, 0, 1, 2, 1)])
}

fn dials(pair: &mut Pair, who: usize) -> usize {
    pair.seen(who).iter().filter(|seen| matches!(seen, Seen::Dial)).count()
}

#[test]
fn h1_both_say_hello_first_and_the_higher_epoch_counts() {
    let mut pair = fresh();
    for _ in 0..3 {
        // Three epochs of which element 2 has not heard.
        let link = pair.connect(0);
        pair.cut(link);
    }
    pair.restart(1, &[segment(1, 0, 1, 2, 1)]);
    pair.clear();
    pair.connect(0);
    pair.settle();
    assert_eq!(established(&pair.seen(0)), [4]);
    assert_eq!(established(&pair.seen(1)), [4]);
}

#[test]
fn h1_a_lost_hello_is_repeated() {
    let mut pair = fresh();
    pair.connect(0);
    pair.lose();
    pair.clear();
    pair.pass(Duration::from_millis(500));
    assert_eq!(established(&pair.seen(0)), [1]);
    assert_eq!(established(&pair.seen(1)), [1]);
}

/// Element 1 has heard element 2, which has not heard element 1 and says so.
#[test]
fn h2_who_was_not_heard_says_hello_again() {
    let mut pair = fresh();
    pair.connect(0);
    let hello = pair.sent(1)[0];
    pair.lose();
    pair.give(0, 0, hello).unwrap();
    let mut sent = pair.sent(0);
    assert!(matches!(sent[0], Message::Hello(Hello { heard: true, .. })), "{sent:?}");
    pair.give(0, 0, hello).unwrap();
    sent = pair.sent(0);
    assert!(matches!(sent[..], [Message::Hello(Hello { heard: true, .. })]), "{sent:?}");
    let heard = Message::Hello(pair.hello(2, 1, 1));
    pair.give(0, 0, heard).unwrap();
    assert_eq!(pair.sent(0), [], "no echo without end");
}

#[test]
fn h3_what_comes_before_hello_is_left_unread() {
    let mut pair = fresh();
    pair.connect(0);
    pair.lose();
    let lease = pair.lease(2, 1, 60, 7);
    for message in [
        Message::Installed(pair.installed(0, 300)),
        Message::Lease(lease),
        Message::Last { spi: ringmail_model::SaSpi(300), sequence: 1 },
        Message::Deleted { spi: ringmail_model::SaSpi(300) },
    ] {
        pair.give(0, 0, message).unwrap();
    }
    assert_eq!(pair.sent(0), []);
    assert_eq!(pair.ends[0].sap.counters().messages_ignored, 4);
}

#[test]
fn h4_without_a_hello_the_session_ends() {
    let mut pair = fresh();
    pair.connect(0);
    pair.clear();
    pair.pass_unmoved(Duration::from_millis(4999));
    assert_eq!(ended(&pair.seen(0)), 0);
    pair.pass_unmoved(Duration::from_millis(1));
    let silent = Seen::Ended("the neighbour was not heard for too long".into());
    assert!(pair.seen(0).contains(&silent));
}

#[test]
fn h5_a_hello_of_somebody_else_ends_the_session() {
    let mut pair = fresh();
    pair.connect(0);
    let hello = Message::Hello(pair.hello(3, 1, 1));
    let expected = Violation::WrongElement { expected: ElementId(2), found: ElementId(3) };
    assert_eq!(pair.give(0, 0, hello), Err(expected));
    assert_eq!(pair.sent(0).last(), Some(&Message::Close(Goodbye::Violation)));
}

#[test]
fn h5_an_epoch_of_zero_or_far_ahead_ends_the_session() {
    for epoch in [0, 2 + (1 << 24), u32::MAX] {
        let mut pair = fresh();
        pair.connect(0);
        let hello = Message::Hello(pair.hello(2, 1, epoch));
        assert_eq!(pair.give(0, 0, hello), Err(Violation::EpochOutOfRange(Epoch(epoch))));
    }
}

#[test]
fn h5_a_hello_that_changed_ends_the_session() {
    let mut pair = Pair::sending();
    for hello in [pair.hello(2, 2, 1), pair.hello(2, 1, 2)] {
        let link = pair.connect(0);
        pair.settle();
        assert_eq!(pair.give(0, link, Message::Hello(hello)), Err(Violation::HelloChanged));
    }
}

#[test]
fn h5_what_is_no_message_ends_the_session() {
    let mut pair = Pair::sending();
    pair.clear();
    let given = pair.give_bytes(0, 0, &[0, 1, 99]);
    assert_eq!(given, Err(Violation::Malformed(DecodeError::UnknownType(99))));
    assert_eq!(ended(&pair.seen(0)), 1);
    let lease = Message::Lease(pair.lease(2, 1, 60, 9));
    pair.give(0, 0, lease).unwrap();
    assert_eq!(pair.ends[0].sap.counters().leases_refused, 0, "the session is not read any more");
}

#[test]
fn h6_a_newer_session_takes_the_place_of_the_older() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.connect(1);
    pair.settle();
    for who in [0, 1] {
        let seen = pair.seen(who);
        assert_eq!((established(&seen), ended(&seen)), (vec![2], 1));
    }
    pair.pass(Duration::from_secs(3));
    assert_eq!(pair.ends[0].keys_out, pair.ends[1].keys_in);
}

/// Both dial at once, and each hears of the other's connection at a moment of its own: in every order both ends keep the
/// same session, and what was agreed on in the other is replaced.
#[test]
fn h6_simultaneous_opens_leave_one_session_at_both_ends() {
    for order in 0..256_u32 {
        let mut pair = fresh();
        pair.connect_crosswise();
        for step in 0..8 {
            pair.deliver((order >> step & 1) as usize);
        }
        pair.settle();
        assert_eq!(pair.ends[0].sap.epoch(), Some(Epoch(2)), "order {order:#b}");
        assert_eq!(pair.ends[1].sap.epoch(), Some(Epoch(2)), "order {order:#b}");
        for who in [0, 1] {
            assert_eq!(ended(&pair.seen(who)), 1, "order {order:#b}");
        }
        pair.pass(Duration::from_secs(35));
        assert_eq!(pair.ends[0].keys_out.len(), 1);
        assert_eq!(pair.ends[0].keys_out, pair.ends[1].keys_in, "order {order:#b}");
    }
}

#[test]
fn h6_of_equal_epochs_the_one_dialed_by_the_lower_id_stays() {
    for hello_first in [0, 1] {
        let mut pair = fresh();
        let [by_lower, by_higher] = pair.connect_crosswise();
        pair.lose();
        for who in [0, 1] {
            let mut links = [by_lower, by_higher];
            links.rotate_left(hello_first);
            for link in links {
                // Proposals were 1 and 2 at one end, 2 and 1 at the other.
                let epoch = if (link == by_lower) == (who == 1) { 1 } else { 2 };
                let hello = Message::Hello(pair.hello(2 - who as u16, 1, epoch));
                pair.give(who, link, hello).unwrap();
            }
            let lease = Message::Lease(pair.lease(9, 9, 60, 9));
            pair.give(who, by_higher, lease).unwrap();
            assert_eq!(pair.ends[who].sap.counters().leases_refused, 0, "not read any more");
            pair.give(who, by_lower, lease).unwrap();
            assert_eq!(pair.ends[who].sap.counters().leases_refused, 1, "it is in use");
            assert_eq!(ended(&pair.seen(who)), 1);
        }
    }
}

#[test]
fn h7_a_session_of_an_earlier_life_is_not_believed() {
    let mut pair = Pair::sending();
    let old = pair.connect(1);
    pair.lose();
    let new = pair.connect(1);
    pair.lose();
    pair.give(0, new, Message::Hello(pair.hello(2, 2, 5))).unwrap();
    pair.clear();
    pair.give(0, old, Message::Hello(pair.hello(2, 1, 9))).unwrap();
    let seen = pair.seen(0);
    assert_eq!((established(&seen), ended(&seen)), (vec![], 1));
    assert_eq!(pair.ends[0].sap.epoch(), Some(Epoch(5)));
}

#[test]
fn h8_a_silent_session_ends_and_a_talking_one_does_not() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.pass(Duration::from_secs(55));
    assert_eq!(ended(&pair.seen(0)), 0, "keepalives cross");
    pair.pass_unmoved(Duration::from_secs(36));
    let silent = Seen::Ended("the neighbour was not heard for too long".into());
    assert!(pair.seen(0).contains(&silent));
}

#[test]
fn h8_close_ends_the_session_without_an_answer() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.give(0, 0, Message::Close(Goodbye::Failure)).unwrap();
    let said = Seen::Ended("the neighbour closed it: something failed at the other end".into());
    assert_eq!((pair.seen(0), pair.sent(0)), (vec![said], vec![]));
}

#[test]
fn h8_without_a_shared_path_there_is_no_session() {
    let mut pair = Pair::sending();
    pair.clear();
    let now = pair.now().instant;
    pair.ends[0].sap.set_segments(now, &[]);
    pair.ends[1].sap.set_segments(now, &[]);
    pair.pass(Duration::from_secs(5));
    let gone = Seen::Ended("the elements share no path any more".into());
    assert!(pair.seen(0).contains(&gone) || pair.seen(1).contains(&gone));
    pair.pass(Duration::from_secs(100));
    assert_eq!(dials(&mut pair, 0) + dials(&mut pair, 1), 0);
}

#[test]
fn h8_a_fifth_session_pushes_out_the_oldest_that_is_not_in_use() {
    let mut pair = Pair::sending();
    pair.clear();
    for _ in 0..3 {
        pair.connect(1);
    }
    assert_eq!(ended(&pair.seen(0)), 0);
    pair.connect(1);
    assert_eq!(ended(&pair.seen(0)), 1);
    assert_eq!(pair.ends[0].sap.epoch(), Some(Epoch(1)), "the one in use stays");
}

#[test]
fn h9_the_lower_id_dials_at_once_and_the_higher_a_second_later() {
    let start = std::time::Instant::now();
    let segments = vec![segment(1, 0, 1, 2, 1)];
    let mut lower = super::support::end(start, 1, 2, 1, segments.clone());
    let mut higher = super::support::end(start, 2, 1, 1, segments);
    let dials = |end: &mut super::support::End, ms: u64| {
        end.sap.handle_timeout(start + Duration::from_millis(ms));
        let events = std::iter::from_fn(|| end.sap.poll_event());
        events.filter(|event| matches!(event, ringmail_dataplane::sap::Event::Dial)).count()
    };
    assert_eq!((dials(&mut lower, 0), dials(&mut higher, 0)), (1, 0));
    assert_eq!((dials(&mut lower, 999), dials(&mut higher, 999)), (0, 0), "one is under way");
    assert_eq!(dials(&mut higher, 1000), 1);
}

#[test]
fn h9_failed_dials_wait_longer_and_longer() {
    let mut pair = fresh();
    let mut waits = Vec::new();
    for _ in 0..9 {
        let now = pair.now().instant;
        pair.ends[0].sap.dial_failed(now);
        let before = pair.passed;
        while dials(&mut pair, 0) == 0 {
            pair.pass_unmoved(Duration::from_millis(1));
        }
        waits.push((pair.passed - before).as_millis());
    }
    for (wait, most) in waits.iter().zip([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]) {
        assert!((most / 2..=most + 1).contains(wait), "{waits:?}");
    }
}

#[test]
fn h9_a_new_epoch_begins_with_age() {
    let mut pair = Pair::sending();
    pair.clear();
    // The higher id waits half a minute longer, in case that the lower one does nothing.
    for (who, at_s) in [(0, 600), (1, 630)] {
        while pair.passed < Duration::from_secs(at_s) - Duration::from_millis(1) {
            let left = Duration::from_secs(at_s) - Duration::from_millis(1) - pair.passed;
            pair.pass(left.min(Duration::from_secs(20)));
            pair.renew_leases(0);
            pair.renew_leases(1);
        }
        assert_eq!(dials(&mut pair, who), 0);
        pair.pass(Duration::from_millis(1));
        assert_eq!(dials(&mut pair, who), 1);
    }
    assert_eq!(pair.ends[0].keys_out.len(), 1, "and nothing stopped meanwhile");
}

#[test]
fn h9_another_lifetime_counts_for_the_epoch_that_runs() {
    let mut pair = Pair::sending();
    pair.clear();
    let now = pair.now().instant;
    pair.ends[0].sap.set_epoch_lifetime(now, Duration::from_secs(15));
    let short = Duration::from_secs(15).checked_sub(pair.passed).expect("it has just begun");
    pair.pass(short - Duration::from_millis(1));
    assert_eq!(dials(&mut pair, 0), 0);
    pair.pass(Duration::from_millis(1));
    assert_eq!(dials(&mut pair, 0), 1);
}

#[test]
fn h9_what_is_due_stays_due_with_another_lifetime() {
    let mut pair = Pair::sending();
    pair.clear();
    let now = pair.now().instant;
    pair.ends[0].sap.begin_epoch(now);
    pair.ends[0].sap.dial_failed(now);
    pair.ends[0].sap.set_epoch_lifetime(now, Duration::from_secs(7200));
    pair.pass(Duration::from_secs(1));
    assert_eq!(dials(&mut pair, 0), 2);
}
