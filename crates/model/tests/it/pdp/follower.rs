//! The element's transitions, F1 to F13 of `docs/pdp.md`.

use std::time::Duration;

use ringmail_model::PathVersion;
use ringmail_model::limits::{
    PDP_LOOK_PASSAGES, PDP_LOOK_WITHIN, PDP_LOOKS, PDP_SEEN_JUDGED, PDP_SEEN_PASSAGES,
};
use ringmail_model::pathset::Issue;
use ringmail_model::pdp::look::{Judged, Look, Proved, Seen};
use ringmail_model::pdp::{
    CloseReason, Documents, Follower, FollowerEvent, Held, Message, Nack, Offer, PROTOCOL, Usage,
};

use super::{Clock, NOW_UNIX_S, body, config, decoded, documents, documents_of, held, passage};
use crate::examples::{ISSUE, campus};

/// An element and the clock that it is shown.
struct World {
    clock: Clock,
    follower: Follower,
}

impl World {
    fn new(held: Held) -> World {
        let clock = Clock::new();
        let follower = Follower::new(clock.0, config("sf1"), held);
        World { clock, follower }
    }

    /// One that control has answered; what was said until then is taken away.
    fn following(held: Held) -> World {
        let mut world = World::new(held);
        world.follower.handle_timeout(world.clock.0);
        world.follower.connected(world.clock.0);
        world.hear(&welcome());
        world.said();
        world.events();
        world
    }

    fn hear(&mut self, message: &Message) {
        self.follower.handle_message(self.clock.0, NOW_UNIX_S, &body(message));
    }

    fn offer(&mut self, version: u64) {
        self.hear(&offer(documents(&campus(), version), version));
    }

    fn said(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.follower.poll_transmit()).map(|bytes| decoded(&bytes)).collect()
    }

    fn events(&mut self) -> Vec<FollowerEvent> {
        std::iter::from_fn(|| self.follower.poll_event()).collect()
    }

    /// Offers a version and builds it.
    fn stage(&mut self, version: u64) {
        self.offer(version);
        assert!(matches!(self.events()[..], [FollowerEvent::Stage { .. }]));
        self.follower.staged(self.clock.0, PathVersion(version));
        assert_eq!(self.said(), [Message::Ack { version: PathVersion(version) }]);
    }

    fn activate(&mut self, version: u64) {
        let version = PathVersion(version);
        self.hear(&Message::Activate { version });
        assert_eq!(self.events(), [FollowerEvent::Activate(version)]);
        self.follower.activated(self.clock.0, version);
        assert_eq!(self.said(), [Message::Activated { version }]);
    }

    fn pass(&mut self, time: Duration) {
        let now = self.clock.turn(time);
        self.follower.handle_timeout(now);
    }

    fn refused(&mut self, reason: Nack) {
        let said = self.said();
        let [Message::Nack { reason: found, .. }] = said[..] else { panic!("{said:?}") };
        assert_eq!(found, reason);
        let events = self.events();
        let [FollowerEvent::Refused { reason: found, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(*found, reason);
    }
}

fn welcome() -> Message {
    Message::Welcome {
        protocol: PROTOCOL,
        life: [2; 16],
        now_unix_ms: 5,
        committed: PathVersion(3),
    }
}

fn offer(documents: Documents, version: u64) -> Message {
    let documents = Box::new(documents);
    Message::Offer { version: PathVersion(version), offer: Offer::Proposed, documents }
}

#[test]
fn f1_it_dials_at_once_and_waits_longer_with_each_failure() {
    let mut world = World::new(Held::default());
    world.pass(Duration::ZERO);
    assert_eq!(world.events(), [FollowerEvent::Dial]);
    let mut waits = Vec::new();
    for _ in 0..12 {
        world.follower.disconnected(world.clock.0);
        let at = world.follower.poll_timeout().expect("a dial");
        let wait = at.duration_since(world.clock.0);
        world.pass(wait - Duration::from_nanos(1));
        assert_eq!(world.events(), []);
        world.pass(Duration::from_nanos(1));
        assert_eq!(world.events(), [FollowerEvent::Dial]);
        waits.push(wait);
    }
    assert!(waits[0] <= Duration::from_millis(250), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(15)), "{waits:?}");
    assert!(waits[11] >= Duration::from_millis(7_500), "{waits:?}");
}

#[test]
fn f2_connected_it_says_hello_and_hangs_up_without_an_answer() {
    let mut world = World::new(held(3, 4, &documents(&campus(), 4)));
    world.pass(Duration::ZERO);
    world.follower.connected(world.clock.0);
    let said = world.said();
    let [Message::Hello { protocol: PROTOCOL, active, highest, .. }] = said[..] else {
        panic!("{said:?}")
    };
    assert_eq!((active, highest), (PathVersion(3), PathVersion(4)));
    world.events();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.events(), [FollowerEvent::HangUp(CloseReason::Silent)]);
}

#[test]
fn f3_what_is_no_answer_to_hello_ends_the_session() {
    for message in [Message::Heartbeat, Message::Activate { version: PathVersion(1) }] {
        let mut world = World::new(Held::default());
        world.follower.connected(world.clock.0);
        world.said();
        world.hear(&message);
        assert_eq!(world.said(), [Message::Close { reason: CloseReason::Violation }]);
        assert_eq!(world.events(), [FollowerEvent::HangUp(CloseReason::Violation)]);
    }
    let mut world = World::new(Held::default());
    world.follower.connected(world.clock.0);
    world.hear(&Message::Welcome {
        protocol: PROTOCOL + 1,
        life: [2; 16],
        now_unix_ms: 0,
        committed: PathVersion(0),
    });
    assert_eq!(world.events(), [FollowerEvent::HangUp(CloseReason::Protocol)]);
}

#[test]
fn f3_what_is_no_message_ends_the_session() {
    let mut world = World::following(Held::default());
    world.follower.handle_message(world.clock.0, NOW_UNIX_S, &[99]);
    assert_eq!(world.events(), [FollowerEvent::HangUp(CloseReason::Violation)]);
    // What only elements say is none either.
    let mut world = World::following(Held::default());
    world.hear(&Message::Ack { version: PathVersion(1) });
    assert_eq!(world.events(), [FollowerEvent::HangUp(CloseReason::Violation)]);
}

#[test]
fn f4_a_good_offer_is_seen_and_to_be_built() {
    let mut world = World::following(Held::default());
    world.offer(5);
    let expected = documents(&campus(), 5);
    let events = world.events();
    let [FollowerEvent::Stage { documents, set, offer: Offer::Proposed }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&**documents, set.version), (&expected, PathVersion(5)));
    assert_eq!(world.follower.held(), held(0, 5, &expected));
    assert_eq!(world.said(), []);
}

#[test]
fn f4_an_offer_that_is_not_good_is_refused_and_leaves_nothing() {
    let campus = campus();
    let seen = documents(&campus, 5);
    let before = held(3, 5, &seen);
    let tampered = |change: fn(&mut Documents)| {
        let mut documents = documents(&campus, 6);
        change(&mut documents);
        documents
    };
    let issue = Issue { version: PathVersion(6), ..ISSUE };
    let mut foreign = campus.clone();
    foreign.domain = "other.example".parse().expect("a domain");
    let late = Issue { not_before_unix_s: NOW_UNIX_S + 1, ..issue };
    let over = Issue { not_after_unix_s: NOW_UNIX_S, ..issue };
    let mut without = campus.clone();
    without.functions.retain(|function| &*function.name != "sf1");
    without.paths.iter_mut().for_each(|path| path.hops.retain(|hop| &**hop != "sf1"));
    without.return_paths.iter_mut().for_each(|path| path.hops.retain(|hop| &**hop != "sf1"));
    let cases = [
        (tampered(|d| d.paths.signature[0] ^= 1), 6, Nack::Signature),
        (tampered(|d| d.paths.bytes[20] ^= 1), 6, Nack::Signature),
        (tampered(|d| d.domain_file.push('!')), 6, Nack::Signature),
        (documents(&campus, 6), 7, Nack::Malformed),
        (documents_of(&foreign, issue, "file"), 6, Nack::Domain),
        (documents(&campus, 4), 4, Nack::Older),
        (documents_of(&campus, Issue { version: PathVersion(5), ..ISSUE }, "x"), 5, Nack::Conflict),
        (documents_of(&campus, late, "file"), 6, Nack::NotYet),
        (documents_of(&campus, over, "file"), 6, Nack::Expired),
        (documents_of(&without, issue, "file"), 6, Nack::NotThere),
    ];
    for (documents, version, reason) in cases {
        let mut world = World::following(before);
        world.hear(&offer(documents, version));
        world.refused(reason);
        assert_eq!(world.follower.held(), before, "{reason:?}");
    }
}

#[test]
fn f4_a_profile_that_the_element_does_not_list_is_refused() {
    let mut world = World::new(Held::default());
    let config = ringmail_model::pdp::FollowerConfig { profiles: Vec::new(), ..config("sf1") };
    world.follower = Follower::new(world.clock.0, config, Held::default());
    world.follower.connected(world.clock.0);
    world.hear(&welcome());
    world.said();
    world.events();
    world.offer(1);
    world.refused(Nack::Profile);
}

#[test]
fn f5_a_repeated_offer_is_answered_by_what_came_of_the_first() {
    let mut world = World::following(Held::default());
    world.offer(5);
    world.events();
    world.offer(5);
    assert_eq!((world.events(), world.said()), (vec![], vec![]), "it is still being built");
    world.follower.staged(world.clock.0, PathVersion(5));
    world.said();
    world.offer(5);
    assert_eq!(world.said(), [Message::Ack { version: PathVersion(5) }]);
    world.activate(5);
    world.offer(5);
    assert_eq!(world.said(), [Message::Activated { version: PathVersion(5) }]);
    assert_eq!(world.events(), []);
}

#[test]
fn f6_what_cannot_be_built_is_refused_and_may_come_again() {
    let mut world = World::following(Held::default());
    world.offer(5);
    world.events();
    world.follower.not_staged(
        world.clock.0,
        PathVersion(5),
        Nack::Unbuildable,
        "no TUN".to_owned(),
    );
    world.refused(Nack::Unbuildable);
    world.stage(5);
}

#[test]
fn f6_who_is_away_is_passed_on_while_the_version_is_staged() {
    let mut world = World::following(Held::default());
    let (version, elements) = (PathVersion(5), vec!["sf2".to_owned()]);
    let absent = Message::Absent { version, elements: elements.clone() };
    world.hear(&absent);
    assert_eq!(world.events(), [], "no such version");
    world.offer(5);
    world.events();
    world.hear(&absent);
    assert_eq!(world.events(), [FollowerEvent::Absent { version, elements }]);
}

#[test]
fn control_of_the_release_before_hears_no_reason_that_it_does_not_know() {
    for (protocol, expected, detail) in [
        (1, Nack::Unbuildable, "a neighbour has not agreed on keys for it: with sf2"),
        (PROTOCOL, Nack::NoKeys, "with sf2"),
    ] {
        let mut world = World::new(Held::default());
        world.follower.connected(world.clock.0);
        let (life, committed) = ([2; 16], PathVersion(3));
        world.hear(&Message::Welcome { protocol, life, now_unix_ms: 5, committed });
        world.offer(5);
        world.said();
        let (version, with) = (PathVersion(5), "with sf2".to_owned());
        world.follower.not_staged(world.clock.0, version, Nack::NoKeys, with);
        let (reason, detail) = (expected, detail.to_owned());
        assert_eq!(world.said(), [Message::Nack { version, reason, detail }]);
    }
}

#[test]
fn f7_only_what_is_staged_is_activated() {
    let mut world = World::following(Held::default());
    world.hear(&Message::Activate { version: PathVersion(5) });
    let nack = |version| Message::Nack {
        version: PathVersion(version),
        reason: Nack::NotStaged,
        detail: Nack::NotStaged.to_string(),
    };
    assert_eq!((world.events(), world.said()), (vec![], vec![nack(5)]));
    world.offer(5);
    world.events();
    world.hear(&Message::Activate { version: PathVersion(5) });
    assert_eq!((world.events(), world.said()), (vec![], vec![nack(5)]));
    world.follower.staged(world.clock.0, PathVersion(5));
    world.said();
    world.activate(5);
    assert_eq!(world.follower.held().active, PathVersion(5));
    world.hear(&Message::Activate { version: PathVersion(5) });
    assert_eq!(world.said(), [Message::Activated { version: PathVersion(5) }]);
}

#[test]
fn f8_what_cannot_be_activated_leaves_what_ran() {
    let mut world = World::following(Held::default());
    world.stage(4);
    world.activate(4);
    world.stage(5);
    world.hear(&Message::Activate { version: PathVersion(5) });
    world.events();
    world.follower.not_activated(world.clock.0, PathVersion(5), "why".to_owned());
    let said = world.said();
    let [Message::Nack { reason: Nack::NotActivated, .. }] = &said[..] else { panic!("{said:?}") };
    assert_eq!(world.follower.held().active, PathVersion(4));
}

#[test]
fn f8_a_version_that_is_offered_meanwhile_does_not_stop_a_change() {
    let mut world = World::following(Held::default());
    world.stage(5);
    world.hear(&Message::Activate { version: PathVersion(5) });
    world.events();
    world.offer(6);
    world.events();
    world.said();
    world.follower.activated(world.clock.0, PathVersion(5));
    assert_eq!(world.said(), [Message::Activated { version: PathVersion(5) }]);
    assert_eq!(world.follower.held().active, PathVersion(5));
    world.follower.staged(world.clock.0, PathVersion(6));
    assert_eq!(world.said(), [Message::Ack { version: PathVersion(6) }]);
}

#[test]
fn f9_what_is_abandoned_or_overtaken_is_forgotten() {
    let mut world = World::following(Held::default());
    world.stage(5);
    world.hear(&Message::Abandon { version: PathVersion(4) });
    assert_eq!(world.events(), []);
    world.hear(&Message::Abandon { version: PathVersion(5) });
    assert_eq!(world.events(), [FollowerEvent::Abandon(PathVersion(5))]);
    world.hear(&Message::Abandon { version: PathVersion(5) });
    assert_eq!(world.events(), []);

    world.stage(6);
    world.offer(7);
    let events = world.events();
    let [FollowerEvent::Abandon(PathVersion(6)), FollowerEvent::Stage { .. }] = events[..] else {
        panic!("{events:?}")
    };
    // The build of the one before may still end: it counts no more.
    world.follower.staged(world.clock.0, PathVersion(6));
    assert_eq!(world.said(), []);
}

#[test]
fn f10_a_lost_session_leaves_what_is_staged_until_its_time_is_over() {
    let mut world = World::following(Held::default());
    world.stage(5);
    world.follower.disconnected(world.clock.0);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.events(), [FollowerEvent::Dial]);
    world.follower.connected(world.clock.0);
    world.hear(&welcome());
    world.said();
    world.events();
    world.offer(5);
    assert_eq!(world.said(), [Message::Ack { version: PathVersion(5) }]);
    world.follower.disconnected(world.clock.0);
    world.pass(Duration::from_secs(600));
    assert!(world.events().contains(&FollowerEvent::Abandon(PathVersion(5))));
}

#[test]
fn f11_silence_ends_a_session_and_heartbeats_keep_it() {
    let mut world = World::following(Held::default());
    for _ in 0..6 {
        world.pass(Duration::from_secs(10));
        assert_eq!(world.said(), [Message::Heartbeat]);
        world.hear(&Message::Heartbeat);
    }
    assert_eq!(world.events(), []);
    world.pass(Duration::from_secs(34));
    assert_eq!(world.events(), []);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.events(), [FollowerEvent::HangUp(CloseReason::Silent)]);
}

#[test]
fn f12_what_was_asked_for_comes_only_while_control_can_be_asked() {
    let mut world = World::new(Held::default());
    let digest = ringmail_model::PathDigest([9; 32]);
    let now = world.clock.0;
    assert!(!world.follower.request_lease(now, digest));
    assert!(!world.follower.request_certificate(now, 1, Usage::Element, vec![1]));
    let mut world = World::following(Held::default());
    let now = world.clock.0;
    assert!(world.follower.request_lease(now, digest));
    assert!(world.follower.request_certificate(now, 1, Usage::Element, vec![1]));
    assert_eq!(
        world.said(),
        [
            Message::LeaseRequest { digest },
            Message::CertificateRequest { number: 1, usage: Usage::Element, request: vec![1] }
        ]
    );
    world.hear(&Message::Lease { signed: vec![3] });
    world.hear(&Message::Refused { number: 1, detail: "no".to_owned() });
    let events = world.events();
    let [FollowerEvent::Lease(lease), FollowerEvent::Certificate { chain, detail, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((&lease[..], chain.len(), detail.as_str()), (&[3][..], 0, "no"));
}

/// Asks, and what became of it: events or what was said.
fn asked(world: &mut World, number: u32) -> Vec<FollowerEvent> {
    world.hear(&Message::Look { number, look: Look::Stop });
    world.events()
}

#[test]
fn f13_a_question_about_packets_is_answered_once_and_in_its_session() {
    let mut world = World::following(Held::default());
    let look = FollowerEvent::Look { number: 7, look: Look::Stop };
    assert_eq!(asked(&mut world, 7), [look]);
    let now = world.clock.0;
    world.follower.seen(now, 8, Seen::Done);
    assert_eq!(world.said(), [], "nobody asked that");
    world.follower.seen(now, 7, Seen::Done);
    assert_eq!(world.said(), [Message::Seen { number: 7, seen: Seen::Done }]);
    world.follower.seen(now, 7, Seen::Done);
    assert_eq!(world.said(), [], "it was answered");
    // What was asked in a session that is over is not answered in the next.
    asked(&mut world, 9);
    world.follower.disconnected(now);
    world.follower.connected(now);
    world.hear(&welcome());
    world.said();
    world.follower.seen(now, 9, Seen::Done);
    assert_eq!(world.said(), []);
}

#[test]
fn f13_no_more_questions_are_open_than_may_be() {
    let mut world = World::following(Held::default());
    for number in 0..PDP_LOOKS as u32 {
        assert_eq!(asked(&mut world, number).len(), 1);
    }
    assert_eq!(asked(&mut world, 100), []);
    let said = world.said();
    let [Message::Seen { number: 100, seen: Seen::Refused(_) }] = &said[..] else {
        panic!("{said:?}")
    };
    // Nobody waits for the answers any more: there is room again.
    world.clock.turn(PDP_LOOK_WITHIN);
    assert_eq!(asked(&mut world, 101).len(), 1);
}

#[test]
fn f13_a_long_answer_goes_in_parts_and_a_longer_one_is_cut() {
    let mut world = World::following(Held::default());
    asked(&mut world, 7);
    let (passage, more) = (passage(), 10);
    let passages = vec![passage; PDP_LOOK_PASSAGES + more];
    let seen = Seen::Passages { passages, overwritten: 1, more: false };
    world.follower.seen(world.clock.0, 7, seen);
    let parts: Vec<(usize, u64, bool)> = world
        .said()
        .into_iter()
        .map(|said| match said {
            Message::Seen { number: 7, seen: Seen::Passages { passages, overwritten, more } } => {
                (passages.len(), overwritten, more)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let sum: usize = parts.iter().map(|(passages, ..)| passages).sum();
    assert_eq!(sum, PDP_LOOK_PASSAGES);
    let (last, rest) = parts.split_last().expect("parts");
    assert!(rest.iter().all(|part| *part == (PDP_SEEN_PASSAGES, 1 + more as u64, true)));
    assert!(!last.2, "{last:?}");
}

#[test]
fn f13_a_session_of_a_release_before_has_no_such_question() {
    // Questions about packets came with 3, that about proofs with 4.
    let proofs = Look::Proofs { path: String::new(), last: 1 };
    for (protocol, look) in [(2, Look::Stop), (3, proofs)] {
        let mut world = World::new(Held::default());
        world.follower.connected(world.clock.0);
        let (life, committed) = ([2; 16], PathVersion(3));
        world.hear(&Message::Welcome { protocol, life, now_unix_ms: 5, committed });
        world.events();
        world.hear(&Message::Look { number: 7, look });
        assert_eq!(world.events(), [FollowerEvent::HangUp(CloseReason::Violation)], "{protocol}");
    }
}

#[test]
fn f13_proofs_go_a_path_a_message_and_the_last_of_each() {
    let mut world = World::following(Held::default());
    world.hear(&Message::Look { number: 7, look: Look::Proofs { path: String::new(), last: 900 } });
    let judged = |sequence| Judged { sequence, ..Judged::default() };
    let last = (0..PDP_SEEN_JUDGED as u64 + 10).map(judged).collect();
    let path = |name: &str, last| Proved { path: name.to_owned(), counts: vec![], last };
    let paths = vec![path("a", last), path("b", vec![])];
    world.follower.seen(world.clock.0, 7, Seen::Proofs { paths, more: false });
    let parts: Vec<_> = world
        .said()
        .into_iter()
        .map(|said| match said {
            Message::Seen { number: 7, seen: Seen::Proofs { mut paths, more } } => {
                let path = paths.pop().expect("a path");
                assert!(paths.is_empty());
                (path.path, path.last.len(), path.last.first().map(|first| first.sequence), more)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let first = ("a".to_owned(), PDP_SEEN_JUDGED, Some(10), true);
    assert_eq!(parts, [first, ("b".to_owned(), 0, None, false)]);
}
