//! Transitions of the sender, S1 to S12 of `docs/sap.md`.

use std::time::Duration;

use ringmail_dataplane::sap::message::{OfferId, Refusal};
use ringmail_dataplane::sap::{Message, Violation};
use ringmail_model::SaSpi;

use super::support::{Pair, Seen, place, segment};

const SPI: SaSpi = SaSpi(0x10_2001);
const NEXT_SPI: SaSpi = SaSpi(0x10_2002);

fn offers(messages: &[Message]) -> Vec<u32> {
    let offer = |message: &Message| match message {
        Message::Offer(offer) => Some(offer.offer.0),
        _ => None,
    };
    messages.iter().filter_map(offer).collect()
}

/// Connected and past HELLO, element 1's OFFER in its outgoing queue.
fn offered() -> Pair {
    let mut pair = Pair::new(&[segment(1, 0, 1, 2, 1)]);
    pair.acks = false;
    pair.connect(0);
    while !pair.ends[0].outgoing.iter().any(|(_, m)| matches!(m, Message::Offer(_))) {
        assert!(pair.deliver(0).is_some() | pair.deliver(1).is_some());
    }
    while pair.deliver(1).is_some() {}
    pair.clear();
    pair
}

#[test]
fn s1_an_offer_is_made_when_there_are_a_session_and_a_lease() {
    let mut pair = Pair::without_leases(&[segment(1, 0, 1, 2, 2)]);
    pair.renew_leases(1);
    pair.connect(0);
    pair.settle();
    assert_eq!(pair.seen(0), [Seen::Established(1)], "without a lease there is nothing to say");
    pair.renew_leases(0);
    assert_eq!(offers(&pair.sent(0)), [0, 1], "one a worker");
}

#[test]
fn s1_nothing_is_offered_before_hello() {
    let mut pair = Pair::new(&[segment(1, 0, 1, 2, 1)]);
    pair.connect(0);
    let sent = pair.sent(0);
    assert!(matches!(sent[..], [Message::Hello(_)]), "{sent:?}");
}

#[test]
fn s2_a_lost_offer_is_repeated_with_the_same_number() {
    let mut pair = offered();
    assert_eq!(offers(&pair.sent(0)), [0]);
    pair.pass_unmoved(Duration::from_millis(499));
    assert!(offers(&pair.sent(0)).is_empty());
    pair.pass_unmoved(Duration::from_millis(1));
    assert_eq!(offers(&pair.sent(0)), [0]);
    pair.pass_unmoved(Duration::from_secs(1));
    assert_eq!(offers(&pair.sent(0)), [0]);
}

#[test]
fn s3_sending_begins_with_installed_and_not_before() {
    let mut pair = offered();
    pair.settle();
    assert_eq!(pair.seen(0), [], "the receiver's data plane has not said that it has the key");
    assert_eq!(pair.seen(1), [Seen::InstallInbound(place(0), SPI)]);
    pair.ack_install(1, SPI);
    pair.settle();
    assert_eq!(pair.seen(0), [Seen::InstallOutbound(place(0), SPI)]);
    assert_eq!(pair.ends[0].keys_out[&SPI], pair.ends[1].keys_in[&SPI]);
}

#[test]
fn s3_a_repeated_installed_changes_nothing() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.give(0, 0, Message::Installed(pair.installed(0, SPI.0))).unwrap();
    assert_eq!((pair.seen(0), pair.sent(0)), (vec![], vec![]));
}

#[test]
fn s3_every_worker_has_a_key_of_its_own() {
    let mut pair = Pair::new(&[segment(1, 0, 1, 2, 3), segment(2, 0, 2, 1, 2)]);
    pair.connect(1);
    pair.settle();
    assert_eq!((pair.ends[0].keys_out.len(), pair.ends[1].keys_out.len()), (3, 2));
    assert_eq!(pair.ends[0].keys_out, pair.ends[1].keys_in);
    assert_eq!(pair.ends[1].keys_out, pair.ends[0].keys_in);
    let all = pair.ends.iter().flat_map(|end| end.keys_out.values());
    assert_eq!(all.collect::<std::collections::BTreeSet<_>>().len(), 5);
}

#[test]
fn s4_a_refused_offer_is_made_again_after_a_growing_wait() {
    let mut pair = offered();
    pair.lose();
    for (number, wait_ms) in [(0, 250), (1, 500), (2, 1000)] {
        let refused = Message::Refused { offer: OfferId(number), reason: Refusal::UnknownPath };
        pair.give(0, 0, refused).unwrap();
        pair.pass_unmoved(Duration::from_millis(wait_ms - 1));
        assert!(offers(&pair.sent(0)).is_empty());
        pair.pass_unmoved(Duration::from_millis(1));
        assert_eq!(offers(&pair.sent(0)), [number + 1]);
    }
}

#[test]
fn s4_a_late_refusal_changes_nothing() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.give(0, 0, Message::Refused { offer: OfferId(0), reason: Refusal::NoRoom }).unwrap();
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.seen(0), []);
}

#[test]
fn s5_a_lost_session_makes_the_offer_anew_in_the_next() {
    let mut pair = offered();
    pair.cut(0);
    pair.acks = true;
    pair.connect(1);
    pair.settle();
    assert_eq!(pair.ends[0].keys_out, pair.ends[1].keys_in);
    assert_eq!(pair.ends[0].keys_out.len(), 1);
}

#[test]
fn s6_a_new_epoch_replaces_make_before_break() {
    let mut pair = Pair::sending();
    let first = pair.ends[0].keys_out[&SPI].clone();
    pair.clear();
    let now = pair.now().instant;
    pair.ends[0].sap.begin_epoch(now);
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.seen(0), [Seen::Dial]);
    pair.connect(0);
    pair.settle();
    assert_eq!(
        pair.seen(0),
        [
            Seen::Ended("a newer session took its place".into()),
            Seen::Established(2),
            Seen::InstallOutbound(place(0), NEXT_SPI),
            Seen::StopSending(SPI, "replaced".into()),
        ],
    );
    assert_ne!(pair.ends[0].keys_out[&NEXT_SPI], first);
    pair.pass(Duration::from_secs(2));
    let removed = Seen::RemoveInbound(SPI, "finished by the sender".into(), Some(42));
    assert!(pair.seen(1).contains(&removed));
}

#[test]
fn s7_an_ended_lease_stops_the_sender() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.pass(Duration::from_millis(59_999));
    assert!(!pair.seen(0).iter().any(|seen| matches!(seen, Seen::StopSending(..))));
    pair.pass(Duration::from_millis(1));
    assert!(pair.seen(0).contains(&Seen::StopSending(SPI, "lease expired".into())));
    assert!(pair.ends[0].keys_out.is_empty() && pair.ends[1].keys_in.is_empty());
    pair.renew_leases(1);
    pair.renew_leases(0);
    pair.pass(Duration::from_secs(10));
    assert_eq!(pair.ends[0].keys_out.len(), 1, "a new lease begins anew");
}

#[test]
fn s8_a_withdrawn_path_stops_the_sender() {
    let mut pair = Pair::sending();
    pair.clear();
    let now = pair.now().instant;
    pair.ends[0].sap.set_segments(now, &[]);
    pair.pass(Duration::from_secs(3));
    assert_eq!(pair.seen(0)[0], Seen::StopSending(SPI, "path withdrawn".into()));
    assert!(pair.seen(1).contains(&Seen::RemoveInbound(
        SPI,
        "finished by the sender".into(),
        Some(42)
    )));
}

#[test]
fn s9_what_the_receiver_deleted_is_made_anew() {
    let mut pair = Pair::sending();
    pair.clear();
    pair.give(0, 0, Message::Deleted { spi: SPI }).unwrap();
    assert_eq!(pair.seen(0), [Seen::StopSending(SPI, "deleted by the receiver".into())]);
    pair.pass(Duration::from_secs(1));
    assert_eq!(pair.seen(0), [Seen::InstallOutbound(place(0), NEXT_SPI)]);
}

#[test]
fn s10_last_waits_for_the_data_plane_and_is_repeated_until_deleted() {
    let mut pair = Pair::sending();
    pair.acks = false;
    let now = pair.now().instant;
    pair.ends[0].sap.set_segments(now, &[segment(2, 0, 1, 2, 1)]);
    pair.pass_unmoved(Duration::from_secs(1));
    pair.lose();
    let now = pair.now().instant;
    pair.ends[0].sap.stopped(now, SPI, 7);
    let last = Message::Last { spi: SPI, sequence: 7 };
    let lasts = |sent: Vec<Message>| sent.into_iter().filter(|m| *m == last).count();
    pair.pass_unmoved(Duration::ZERO);
    assert_eq!(lasts(pair.sent(0)), 1);
    pair.pass_unmoved(Duration::from_millis(1500));
    assert_eq!(lasts(pair.sent(0)), 2, "after 0.5 s and 1 s more");
    pair.give(0, 0, Message::Deleted { spi: SPI }).unwrap();
    pair.give(0, 0, Message::Deleted { spi: SPI }).unwrap();
    pair.pass_unmoved(Duration::from_secs(10));
    assert_eq!(lasts(pair.sent(0)), 0);
}

#[test]
fn s10_last_crosses_to_the_next_session() {
    let mut pair = Pair::sending();
    pair.acks = false;
    let now = pair.now().instant;
    pair.ends[0].sap.set_segments(now, &[segment(2, 0, 1, 2, 1)]);
    pair.cut(0);
    pair.ends[0].sap.stopped(now, SPI, 7);
    pair.connect(0);
    pair.clear();
    pair.pass(Duration::from_secs(3));
    assert!(pair.seen(1).contains(&Seen::RemoveInbound(
        SPI,
        "finished by the sender".into(),
        Some(7)
    )));
}

#[test]
fn s11_an_installed_that_came_too_late_is_given_back() {
    let mut pair = offered();
    pair.lose();
    let refused = Message::Refused { offer: OfferId(0), reason: Refusal::NoRoom };
    pair.give(0, 0, refused).unwrap();
    pair.give(0, 0, Message::Installed(pair.installed(0, 0x7777))).unwrap();
    assert_eq!(pair.seen(0), []);
    assert_eq!(pair.sent(0), [Message::Last { spi: SaSpi(0x7777), sequence: 0 }]);
}

#[test]
fn s11_an_installed_without_a_good_lease_is_given_back() {
    let mut pair = offered();
    pair.lose();
    let mut forged = pair.installed(0, 0x7777);
    forged.lease.signature[5] ^= 1;
    forged.lease.lease.serial += 1;
    pair.give(0, 0, Message::Installed(forged)).unwrap();
    assert_eq!(pair.seen(0), []);
    assert_eq!(pair.sent(0), [Message::Last { spi: SaSpi(0x7777), sequence: 0 }]);
}

#[test]
fn s12_a_restarted_receiver_is_sent_nothing_more_under_old_keys() {
    let segments = [segment(1, 0, 1, 2, 1)];
    let mut pair = Pair::sending();
    let first = pair.ends[0].keys_out[&SPI].clone();
    pair.clear();
    pair.restart(1, &segments);
    pair.connect(1);
    pair.settle();
    assert_eq!(
        pair.seen(0),
        [
            Seen::Ended("a newer session took its place".into()),
            Seen::StopSending(SPI, "neighbour restarted".into()),
            Seen::Established(2),
            Seen::InstallOutbound(place(0), SaSpi(0x20_2001)),
        ],
    );
    assert_ne!(pair.ends[0].keys_out[&SaSpi(0x20_2001)], first);
    assert_eq!(pair.sent(0), [], "no LAST for what nobody remembers");
}

#[test]
fn an_answer_to_what_was_never_offered_ends_the_session() {
    for message in [
        Message::Installed(Pair::sending().installed(1, 0x7777)),
        Message::Refused { offer: OfferId(1), reason: Refusal::NoRoom },
    ] {
        let mut pair = Pair::sending();
        assert_eq!(pair.give(0, 0, message), Err(Violation::NeverOffered(OfferId(1))));
        assert!(pair.seen(0).contains(&Seen::Ended("the neighbour broke the protocol".into())));
        assert_eq!(pair.ends[0].keys_out.len(), 1, "keys that were agreed on stay");
    }
}

#[test]
fn a_reserved_spi_ends_the_session() {
    let mut pair = offered();
    let reserved = Message::Installed(pair.installed(0, 255));
    assert_eq!(pair.give(0, 0, reserved), Err(Violation::ReservedSpi(SaSpi(255))));
}

/// The same SPI would give the same key, and its counter would begin at 1 again.
#[test]
fn an_spi_chosen_twice_ends_the_session() {
    let mut pair = Pair::sending();
    pair.give(0, 0, Message::Deleted { spi: SPI }).unwrap();
    pair.pass_unmoved(Duration::from_millis(300));
    assert_eq!(offers(&pair.sent(0)), [1]);
    pair.clear();
    let reused = Message::Installed(pair.installed(1, SPI.0));
    assert_eq!(pair.give(0, 0, reused), Err(Violation::SpiReused(SPI)));
    assert!(!pair.seen(0).iter().any(|seen| matches!(seen, Seen::InstallOutbound(..))));
}
