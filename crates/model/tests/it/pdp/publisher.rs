//! Control's transitions, C1 to C12 of `docs/pdp.md`.

use std::time::Duration;

use ringmail_model::PathVersion;
use ringmail_model::limits::{PDP_LOOK_PASSAGES, PDP_LOOK_WITHIN, PDP_LOOKS, PDP_SEEN_PASSAGES};
use ringmail_model::pdp::look::{Look, Proved, Seen, Unseen};
use ringmail_model::pdp::{
    Absent, CloseReason, Message, Nack, Offer, PROTOCOL, Progress, Proposing, Published, Publisher,
    PublisherConfig, PublisherEvent, Refusal, SessionId, Standing,
};

use super::{Clock, body, decoded, documents, members, passage, published};
use crate::examples::campus;

struct World {
    clock: Clock,
    publisher: Publisher,
}

const GATEWAY: SessionId = SessionId(1);
const SF1: SessionId = SessionId(2);

impl World {
    /// Control whose version 1 counts; nobody is there yet.
    fn new(absent: Absent) -> World {
        let config = PublisherConfig { life: [2; 16], absent };
        let publisher = Publisher::new(config, Some(published(&campus(), 1)));
        World { clock: Clock::new(), publisher }
    }

    /// The same, with gateway and sf1 up to date.
    fn with_two(absent: Absent) -> World {
        let mut world = World::new(absent);
        world.join(GATEWAY, "gateway", 1, 1);
        world.join(SF1, "sf1", 1, 1);
        world.said();
        world.events();
        world
    }

    fn join(&mut self, session: SessionId, element: &str, active: u64, highest: u64) {
        self.join_with(PROTOCOL, session, element, active, highest);
    }

    /// An element whose build speaks this version of the protocol.
    fn join_with(
        &mut self,
        protocol: u8,
        session: SessionId,
        element: &str,
        active: u64,
        highest: u64,
    ) {
        self.publisher.connected(self.clock.0, session, element);
        let (active, highest) = (PathVersion(active), PathVersion(highest));
        self.hear(session, &Message::Hello { protocol, life: [3; 16], active, highest });
    }

    fn hear(&mut self, session: SessionId, message: &Message) {
        self.publisher.handle_message(self.clock.0, 77, session, &body(message));
    }

    fn ack(&mut self, session: SessionId, version: u64) {
        self.hear(session, &Message::Ack { version: PathVersion(version) });
    }

    fn nack(&mut self, session: SessionId, version: u64) {
        let version = PathVersion(version);
        let (reason, detail) = (Nack::Unbuildable, "no".to_owned());
        self.hear(session, &Message::Nack { version, reason, detail });
    }

    /// What was said, but for who is away; offers by their version only.
    fn said(&mut self) -> Vec<(SessionId, String)> {
        let mut said = self.all_said();
        said.retain(|(_, what)| !what.starts_with("without"));
        said
    }

    fn all_said(&mut self) -> Vec<(SessionId, String)> {
        let transmits = std::iter::from_fn(|| self.publisher.poll_transmit());
        let short = |message: Message| match message {
            Message::Offer { version, offer: Offer::Proposed, .. } => format!("propose {version}"),
            Message::Offer { version, offer: Offer::Counts, .. } => format!("offer {version}"),
            Message::Offer { version, .. } => format!("restart for {version}"),
            Message::Activate { version } => format!("activate {version}"),
            Message::Abandon { version } => format!("abandon {version}"),
            Message::Welcome { committed, now_unix_ms: 77, .. } => format!("welcome {committed}"),
            Message::Close { reason } => format!("close: {reason:?}"),
            Message::Absent { version, elements } => format!("without {elements:?} for {version}"),
            other => format!("{other:?}"),
        };
        transmits.map(|(session, bytes)| (session, short(decoded(&bytes)))).collect()
    }

    fn events(&mut self) -> Vec<PublisherEvent> {
        std::iter::from_fn(|| self.publisher.poll_event()).collect()
    }

    fn propose(&mut self, version: u64) {
        self.propose_as(version, Proposing::InPlace);
    }

    fn propose_as(&mut self, version: u64, how: Proposing) {
        self.publisher.propose(self.clock.0, published(&campus(), version), how);
    }

    fn pass(&mut self, time: Duration) {
        let now = self.clock.turn(time);
        self.publisher.handle_timeout(now);
    }
}

fn to(session: SessionId, what: &str) -> (SessionId, String) {
    (session, what.to_owned())
}

fn away() -> Vec<String> {
    vec!["egress".to_owned(), "sf2".to_owned()]
}

#[test]
fn c1_who_comes_is_welcomed_and_brought_to_what_counts() {
    let mut world = World::new(Absent::GoOn);
    world.join(SF1, "sf1", 0, 0);
    assert_eq!(world.said(), [to(SF1, "welcome 1"), to(SF1, "offer 1")]);
    world.ack(SF1, 1);
    assert_eq!(world.said(), [to(SF1, "activate 1")]);
    world.hear(SF1, &Message::Activated { version: PathVersion(1) });
    let expected = [
        PublisherEvent::Joined { element: "sf1".to_owned(), active: PathVersion(0) },
        PublisherEvent::Activated {
            version: PathVersion(1),
            away: vec!["egress".to_owned(), "gateway".to_owned(), "sf2".to_owned()],
        },
    ];
    assert_eq!(world.events(), expected);
    let of = |standing: Standing| (standing.element, standing.progress, standing.active);
    let progress: Vec<_> = world.publisher.standings().into_iter().map(of).collect();
    assert!(progress.contains(&("sf1".to_owned(), Progress::Current, PathVersion(1))));
    assert!(progress.contains(&("sf2".to_owned(), Progress::Away, PathVersion(0))));
}

#[test]
fn c1_who_has_it_is_offered_nothing_and_who_is_not_in_it_neither() {
    let mut world = World::new(Absent::GoOn);
    world.join(SF1, "sf1", 1, 1);
    world.join(SessionId(3), "stranger", 0, 0);
    assert_eq!(world.said(), [to(SF1, "welcome 1"), to(SessionId(3), "welcome 1")]);
}

#[test]
fn c2_without_hello_or_against_the_protocol_a_session_ends() {
    let mut world = World::new(Absent::GoOn);
    world.publisher.connected(world.clock.0, SF1, "sf1");
    world.ack(SF1, 1);
    assert_eq!(world.said(), [to(SF1, "close: Violation")]);
    world.publisher.connected(world.clock.0, GATEWAY, "gateway");
    world.pass(Duration::from_secs(5));
    assert_eq!(world.said(), [to(GATEWAY, "close: Silent")]);
    world.join(SF1, "sf1", 1, 1);
    world.hear(SF1, &Message::Activate { version: PathVersion(1) });
    assert_eq!(world.said().last(), Some(&to(SF1, "close: Violation")));
    // What a session says that is over does not count.
    world.ack(SF1, 1);
    assert_eq!(world.said(), []);
}

#[test]
fn c3_a_later_session_of_an_element_takes_the_place_of_the_one_before() {
    let mut world = World::with_two(Absent::GoOn);
    world.join(SessionId(9), "sf1", 1, 1);
    assert_eq!(world.said(), [to(SF1, "close: Superseded"), to(SessionId(9), "welcome 1")]);
    let hung_up = PublisherEvent::HangUp { session: SF1, reason: CloseReason::Superseded };
    assert!(world.events().contains(&hung_up));
    world.publisher.disconnected(world.clock.0, SF1);
    assert_eq!(world.events(), [], "it is not the element's any more");
}

#[test]
fn c4_a_version_counts_once_everybody_has_staged_it() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose(2);
    assert_eq!(world.said(), [to(GATEWAY, "propose 2"), to(SF1, "propose 2")]);
    world.ack(GATEWAY, 2);
    assert_eq!((world.said(), world.events()), (vec![], vec![]));
    world.ack(SF1, 2);
    assert_eq!(world.events(), [PublisherEvent::Commit(PathVersion(2))]);
    assert_eq!(world.said(), [], "nobody activates before it is written down");
    assert_eq!(world.publisher.version(), PathVersion(1));
    world.publisher.committed(world.clock.0, PathVersion(2));
    assert_eq!(world.said(), [to(SF1, "activate 2")], "the gateway is the last");
    assert_eq!(world.publisher.version(), PathVersion(2));
    world.hear(SF1, &Message::Activated { version: PathVersion(2) });
    assert_eq!(world.said(), [to(GATEWAY, "activate 2")]);
    assert_eq!(world.events(), []);
    world.hear(GATEWAY, &Message::Activated { version: PathVersion(2) });
    let version = PathVersion(2);
    assert_eq!(world.events(), [PublisherEvent::Activated { version, away: away() }]);
}

#[test]
fn c5_one_that_refuses_stops_a_version_for_all() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose(2);
    world.said();
    world.ack(GATEWAY, 2);
    world.nack(SF1, 2);
    assert_eq!(world.said(), [to(GATEWAY, "abandon 2")]);
    let rejected = PublisherEvent::Rejected {
        version: PathVersion(2),
        nacks: vec![("sf1".to_owned(), Nack::Unbuildable, "no".to_owned())],
        missing: Vec::new(),
        staged: vec!["gateway".to_owned()],
    };
    assert_eq!(world.events(), [rejected]);
    assert_eq!(world.publisher.version(), PathVersion(1));
}

#[test]
fn c5_the_others_have_a_moment_to_say_what_they_have_against_it() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose(2);
    world.said();
    world.nack(SF1, 2);
    assert_eq!((world.said(), world.events()), (vec![], vec![]));
    world.nack(GATEWAY, 2);
    let events = world.events();
    assert!(
        matches!(&events[..], [PublisherEvent::Rejected { nacks, .. }] if nacks.len() == 2),
        "{events:?}"
    );
    // But no more than a moment.
    world.propose(3);
    world.nack(SF1, 3);
    assert_eq!(world.events(), []);
    world.pass(Duration::from_secs(2));
    let events = world.events();
    assert!(
        matches!(&events[..], [PublisherEvent::Rejected { nacks, .. }] if nacks.len() == 1),
        "{events:?}"
    );
    assert_eq!(world.said().last(), Some(&to(GATEWAY, "abandon 3")));
}

#[test]
fn c6_who_stages_hears_who_is_away_and_does_not_wait_for_it() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose(2);
    let both = r#"without ["egress", "sf2"] for 2"#;
    let expected =
        [to(GATEWAY, "propose 2"), to(SF1, "propose 2"), to(GATEWAY, both), to(SF1, both)];
    assert_eq!(world.all_said(), expected);
    // It changes while they stage.
    world.join(SessionId(3), "egress", 1, 1);
    let one = r#"without ["sf2"] for 2"#;
    let expected = [
        to(SessionId(3), "welcome 1"),
        to(SessionId(3), "propose 2"),
        to(SessionId(3), one),
        to(GATEWAY, one),
        to(SF1, one),
    ];
    assert_eq!(world.all_said(), expected);
    world.ack(GATEWAY, 2);
    world.publisher.disconnected(world.clock.0, SF1);
    let more = r#"without ["sf1", "sf2"] for 2"#;
    assert_eq!(world.all_said(), [to(SessionId(3), more)], "the gateway waits for nobody any more");
    // Where nobody may be away, nobody does without keys.
    let mut world = World::with_two(Absent::Refuse);
    world.propose(2);
    assert_eq!(world.all_said(), [to(GATEWAY, "propose 2"), to(SF1, "propose 2")]);
}

#[test]
fn an_element_of_the_release_before_hears_nothing_that_it_does_not_know() {
    let mut world = World::new(Absent::GoOn);
    world.join_with(1, SF1, "sf1", 1, 1);
    world.join(GATEWAY, "gateway", 1, 1);
    let welcomes: Vec<_> = std::iter::from_fn(|| world.publisher.poll_transmit())
        .map(|(session, bytes)| match decoded(&bytes) {
            Message::Welcome { protocol, .. } => (session, protocol),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(welcomes, [(SF1, 1), (GATEWAY, PROTOCOL)]);
    world.events();
    world.propose_as(2, Proposing::MayRestart);
    let without = to(GATEWAY, r#"without ["egress", "sf2"] for 2"#);
    assert_eq!(world.all_said(), [to(GATEWAY, "restart for 2"), to(SF1, "propose 2"), without]);
    // Where it cannot take that in place, the operator hears what to do.
    world.ack(GATEWAY, 2);
    world.nack(SF1, 2);
    let [PublisherEvent::Rejected { nacks, .. }] = &world.events()[..] else {
        panic!("it is rejected")
    };
    assert_eq!(nacks[0].2, "no (of an older build that does not know --restart, upgrade first)");
}

#[test]
fn c6_one_that_is_silent_is_waited_for_and_then_left_behind() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose(2);
    world.said();
    world.ack(GATEWAY, 2);
    for _ in 0..2 {
        world.pass(Duration::from_secs(14));
        world.hear(SF1, &Message::Heartbeat);
        world.hear(GATEWAY, &Message::Heartbeat);
    }
    assert!(!world.events().contains(&PublisherEvent::Commit(PathVersion(2))));
    world.pass(Duration::from_secs(2));
    let events = world.events();
    assert_eq!(events.first(), Some(&PublisherEvent::Commit(PathVersion(2))));
    let silent = PublisherEvent::HangUp { session: SF1, reason: CloseReason::Silent };
    assert!(events.contains(&silent), "{events:?}");
}

#[test]
fn c6_one_that_is_lost_while_it_stages_is_left_behind_at_once_and_caught_up_later() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose(2);
    world.ack(GATEWAY, 2);
    world.said();
    world.publisher.disconnected(world.clock.0, SF1);
    assert!(world.events().contains(&PublisherEvent::Commit(PathVersion(2))));
    world.publisher.committed(world.clock.0, PathVersion(2));
    world.said();
    world.join(SF1, "sf1", 1, 2);
    assert_eq!(world.said(), [to(SF1, "welcome 2"), to(SF1, "offer 2")]);
    world.ack(SF1, 2);
    assert_eq!(world.said(), [to(SF1, "activate 2")]);
}

#[test]
fn c6_keys_that_are_missing_for_one_that_is_away_hold_nobody_up() {
    let mut world = World::with_two(Absent::GoOn);
    let no_keys = |version| Message::Nack {
        version: PathVersion(version),
        reason: Nack::NoKeys,
        detail: "with sf2".to_owned(),
    };
    world.propose(2);
    world.hear(SF1, &no_keys(2));
    assert_eq!(world.events(), []);
    world.ack(GATEWAY, 2);
    assert_eq!(world.events(), [PublisherEvent::Commit(PathVersion(2))]);
    world.said();
    world.publisher.committed(world.clock.0, PathVersion(2));
    assert_eq!(world.said(), [to(SF1, "offer 2")], "the gateway waits for it");
    world.ack(SF1, 2);
    world.hear(SF1, &Message::Activated { version: PathVersion(2) });
    assert_eq!(world.said(), [to(SF1, "activate 2"), to(GATEWAY, "activate 2")]);
}

#[test]
fn c5_keys_that_are_missing_while_everybody_is_there_stop_a_version() {
    let mut world = World::with_two(Absent::GoOn);
    world.join(SessionId(3), "egress", 1, 1);
    world.join(SessionId(4), "sf2", 1, 1);
    world.propose(2);
    world.events();
    let (version, reason) = (PathVersion(2), Nack::NoKeys);
    world.hear(SF1, &Message::Nack { version, reason, detail: "with sf2".to_owned() });
    [GATEWAY, SessionId(3), SessionId(4)].into_iter().for_each(|session| world.ack(session, 2));
    let nacks = vec![("sf1".to_owned(), reason, "with sf2".to_owned())];
    let missing = Vec::new();
    let staged = ["egress", "gateway", "sf2"].map(str::to_owned).to_vec();
    assert_eq!(world.events(), [PublisherEvent::Rejected { version, nacks, missing, staged }]);
}

#[test]
fn c5_keys_that_are_missing_for_one_of_an_older_build_say_so() {
    let mut world = World::with_two(Absent::GoOn);
    world.join(SessionId(3), "egress", 1, 1);
    world.join_with(1, SessionId(4), "sf2", 1, 1);
    world.propose(2);
    world.events();
    let (version, reason) = (PathVersion(2), Nack::NoKeys);
    world.hear(SF1, &Message::Nack { version, reason, detail: "with sf2".to_owned() });
    [GATEWAY, SessionId(3), SessionId(4)].into_iter().for_each(|session| world.ack(session, 2));
    let [PublisherEvent::Rejected { nacks, .. }] = &world.events()[..] else {
        panic!("it is rejected")
    };
    assert_eq!(nacks[0].2, "with sf2 (of an older build, upgrade first: sf2)");
}

#[test]
fn c7_where_nobody_may_be_missing_a_version_waits_and_fails() {
    let mut world = World::with_two(Absent::Refuse);
    world.propose(2);
    world.ack(GATEWAY, 2);
    world.ack(SF1, 2);
    world.said();
    assert_eq!(world.events(), []);
    world.pass(Duration::from_secs(30));
    let both = vec!["gateway".to_owned(), "sf1".to_owned()];
    let rejected = PublisherEvent::Rejected {
        version: PathVersion(2),
        nacks: Vec::new(),
        missing: away(),
        staged: both,
    };
    assert_eq!(world.events(), [rejected]);
    let mut said = world.said();
    said.retain(|(_, what)| what != "Heartbeat");
    assert_eq!(said, [to(GATEWAY, "abandon 2"), to(SF1, "abandon 2")]);
    // With everybody there it counts.
    world.join(SessionId(3), "egress", 1, 1);
    world.join(SessionId(4), "sf2", 1, 1);
    world.propose(3);
    world.events();
    for session in [GATEWAY, SF1, SessionId(3), SessionId(4)] {
        world.ack(session, 3);
    }
    assert_eq!(world.events(), [PublisherEvent::Commit(PathVersion(3))]);
}

#[test]
fn c4_a_version_that_is_tried_is_abandoned_when_all_have_staged_it() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose_as(2, Proposing::Trial);
    world.said();
    world.ack(GATEWAY, 2);
    assert_eq!(world.events(), []);
    world.ack(SF1, 2);
    let version = PathVersion(2);
    assert_eq!(world.events(), [PublisherEvent::Tried { version, missing: away() }]);
    assert_eq!(world.said(), [to(GATEWAY, "abandon 2"), to(SF1, "abandon 2")]);
    assert_eq!(world.publisher.version(), PathVersion(1));
    world.propose_as(3, Proposing::Trial);
    world.nack(SF1, 3);
    world.pass(Duration::from_secs(2));
    assert!(
        matches!(&world.events()[..], [PublisherEvent::Rejected { nacks, .. }] if nacks.len() == 1)
    );
}

#[test]
fn c4_a_version_for_which_elements_may_start_again_says_so() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose_as(2, Proposing::MayRestart);
    assert_eq!(world.said(), [to(GATEWAY, "restart for 2"), to(SF1, "restart for 2")]);
}

#[test]
fn what_an_element_refused_and_when_it_was_heard_outlives_its_session() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose(2);
    world.nack(SF1, 2);
    let at = world.clock.0;
    world.pass(Duration::from_secs(3));
    world.hear(SF1, &Message::Heartbeat);
    let heard = Some(world.clock.0);
    world.pass(Duration::from_secs(5));
    world.publisher.disconnected(world.clock.0, SF1);
    let standing = |world: &World| {
        let mut all = world.publisher.standings().into_iter();
        all.find(|standing| standing.element == "sf1").expect("it is in the version")
    };
    let (version, reason, detail) = (PathVersion(2), Nack::Unbuildable, "no".to_owned());
    let expected = Standing {
        element: "sf1".to_owned(),
        progress: Progress::Away,
        active: PathVersion(1),
        highest: PathVersion(2),
        heard,
        refused: Some(Refusal { version, reason, detail, at }),
    };
    assert_eq!(standing(&world), expected);
    // A version that it takes settles it.
    world.join(SF1, "sf1", 1, 1);
    world.propose(3);
    world.ack(SF1, 3);
    world.ack(GATEWAY, 3);
    world.publisher.committed(world.clock.0, PathVersion(3));
    world.hear(SF1, &Message::Activated { version: PathVersion(3) });
    assert_eq!(standing(&world).refused, None);
}

#[test]
fn c8_a_later_proposal_takes_the_place_of_the_one_before() {
    let mut world = World::with_two(Absent::GoOn);
    world.propose(2);
    world.ack(GATEWAY, 2);
    world.said();
    world.propose(3);
    let said = world.said();
    assert_eq!(
        said,
        [
            to(GATEWAY, "abandon 2"),
            to(SF1, "abandon 2"),
            to(GATEWAY, "propose 3"),
            to(SF1, "propose 3")
        ]
    );
    // A late answer to the first changes nothing.
    world.ack(SF1, 2);
    world.events();
    world.ack(GATEWAY, 3);
    assert_eq!(world.events(), []);
    world.publisher.committed(world.clock.0, PathVersion(2));
    assert_eq!(world.publisher.version(), PathVersion(1));
}

#[test]
fn c8_who_comes_while_a_version_is_staged_takes_part() {
    let mut world = World::with_two(Absent::Refuse);
    world.propose(2);
    world.said();
    world.join(SessionId(3), "egress", 1, 1);
    assert_eq!(world.said(), [to(SessionId(3), "welcome 1"), to(SessionId(3), "propose 2")]);
}

#[test]
fn c9_an_element_that_has_seen_more_than_counts_gets_it_under_a_higher_version() {
    let mut world = World::new(Absent::GoOn);
    world.join(SF1, "sf1", 0, 5);
    assert_eq!(world.said(), [to(SF1, "welcome 1")], "what it has seen is higher: no offer");
    let reissue = PublisherEvent::Reissue { element: "sf1".to_owned(), seen: PathVersion(5) };
    assert!(world.events().contains(&reissue));
    // One that lies about what it has seen does not make a version with every session.
    world.join(SF1, "sf1", 0, 6);
    assert!(!world.events().iter().any(|event| matches!(event, PublisherEvent::Reissue { .. })));
    // But it is not forgotten either.
    for _ in 0..6 {
        world.pass(Duration::from_secs(10));
        world.hear(SF1, &Message::Heartbeat);
    }
    world.pass(Duration::from_secs(1));
    let reissue = PublisherEvent::Reissue { element: "sf1".to_owned(), seen: PathVersion(6) };
    assert_eq!(world.events(), [reissue]);
    world.said();
    world.publisher.reissue(world.clock.0, published(&campus(), 7));
    assert_eq!(world.said(), [to(SF1, "offer 7")]);
    assert_eq!(world.publisher.version(), PathVersion(7));
    world.publisher.reissue(world.clock.0, published(&campus(), 6));
    assert_eq!(world.publisher.version(), PathVersion(7), "never back");
}

#[test]
fn c10_one_that_does_not_activate_is_told_of() {
    let mut world = World::new(Absent::GoOn);
    world.join(SF1, "sf1", 0, 0);
    world.ack(SF1, 1);
    world.said();
    world.events();
    for _ in 0..3 {
        world.pass(Duration::from_secs(10));
        world.hear(SF1, &Message::Heartbeat);
    }
    let (element, version) = ("sf1".to_owned(), PathVersion(1));
    assert_eq!(world.events(), [PublisherEvent::Behind { element, version, nack: None }]);

    let mut world = World::new(Absent::GoOn);
    world.join(SF1, "sf1", 0, 0);
    world.events();
    world.nack(SF1, 1);
    let (element, version) = ("sf1".to_owned(), PathVersion(1));
    let nack = Some((Nack::Unbuildable, "no".to_owned()));
    assert_eq!(world.events()[0], PublisherEvent::Behind { element, version, nack });
    // It is asked once more, but not again and again.
    world.said();
    for _ in 0..5 {
        world.pass(Duration::from_secs(11));
        world.hear(SF1, &Message::Heartbeat);
        assert!(!world.said().contains(&to(SF1, "offer 1")));
    }
    world.pass(Duration::from_secs(5));
    assert!(world.said().contains(&to(SF1, "offer 1")));
}

#[test]
fn c11_silence_ends_a_session_and_heartbeats_keep_it() {
    let mut world = World::with_two(Absent::GoOn);
    for _ in 0..5 {
        world.pass(Duration::from_secs(10));
        world.hear(SF1, &Message::Heartbeat);
    }
    let left: Vec<_> = world.events();
    assert!(left.contains(&PublisherEvent::Left { element: "gateway".to_owned() }), "{left:?}");
    assert!(!left.contains(&PublisherEvent::Left { element: "sf1".to_owned() }));
    let said = world.said();
    assert!(said.contains(&to(GATEWAY, "close: Silent")));
    assert!(said.contains(&to(SF1, "Heartbeat")));
}

#[test]
fn what_fits_no_message_is_not_published() {
    let campus = campus();
    let mut documents = documents(&campus, 2);
    documents.paths.bytes = vec![0; 5 << 20];
    assert!(Published::new(PathVersion(2), documents, members(&campus), []).is_none());
}

impl World {
    fn look(&mut self, element: &str) -> Result<u32, Unseen> {
        self.publisher.look(self.clock.0, element, Look::Stop)
    }

    fn answer(&mut self, session: SessionId, number: u32, seen: Seen) {
        self.hear(session, &Message::Seen { number, seen });
    }
}

fn seen(number: u32, seen: Result<Seen, Unseen>) -> PublisherEvent {
    PublisherEvent::Seen { number, seen }
}

#[test]
fn c12_only_who_is_there_and_knows_the_question_is_asked_about_packets() {
    let mut world = World::with_two(Absent::GoOn);
    assert_eq!(world.look("egress"), Err(Unseen::Away));
    world.publisher.connected(world.clock.0, SessionId(9), "egress");
    assert_eq!(world.look("egress"), Err(Unseen::Away), "it has not said hello");
    // Questions about packets came with 3, that about proofs with 4.
    world.join_with(2, SessionId(9), "egress", 1, 1);
    world.said();
    assert_eq!(world.look("egress"), Err(Unseen::Older));
    world.join_with(3, SessionId(10), "egress", 1, 1);
    world.said();
    let proofs = Look::Proofs { path: String::new(), last: 1 };
    assert_eq!(world.publisher.look(world.clock.0, "egress", proofs), Err(Unseen::Older));
    assert_eq!(world.said(), []);
    let number = world.look("sf1").expect("it is there");
    assert_eq!(world.said(), [to(SF1, &format!("Look {{ number: {number}, look: Stop }}"))]);
    for _ in 1..PDP_LOOKS {
        world.look("sf1").expect("it is asked");
    }
    assert_eq!(world.look("sf1"), Err(Unseen::Busy));
    world.look("gateway").expect("another one is asked all the same");
}

#[test]
fn c12_an_answer_counts_once_and_of_who_was_asked() {
    let mut world = World::with_two(Absent::GoOn);
    let number = world.look("sf1").expect("it is there");
    world.answer(GATEWAY, number, Seen::Done);
    world.answer(SF1, number + 1, Seen::Done);
    assert_eq!(world.events(), []);
    world.answer(SF1, number, Seen::Done);
    world.answer(SF1, number, Seen::Done);
    assert_eq!(world.events(), [seen(number, Ok(Seen::Done))]);
    let number = world.look("sf1").expect("it is there");
    world.answer(SF1, number, Seen::Refused("no".to_owned()));
    assert_eq!(world.events(), [seen(number, Err(Unseen::Refused("no".to_owned())))]);
}

#[test]
fn c12_proofs_of_paths_are_put_together() {
    let part = |names: &[&str], more| {
        let path = |name: &&str| Proved { path: (*name).to_owned(), ..Proved::default() };
        Seen::Proofs { paths: names.iter().map(path).collect(), more }
    };
    let mut world = World::with_two(Absent::GoOn);
    let look = Look::Proofs { path: String::new(), last: 1 };
    let number = world.publisher.look(world.clock.0, "sf1", look).expect("it is there");
    world.answer(SF1, number, part(&["a"], true));
    assert_eq!(world.events(), []);
    world.answer(SF1, number, part(&["b"], false));
    assert_eq!(world.events(), [seen(number, Ok(part(&["a", "b"], false)))]);
}

#[test]
fn c12_parts_are_put_together_and_too_many_are_no_answer() {
    let part = |passages: usize, more| {
        let passages = vec![passage(); passages];
        Seen::Passages { passages, overwritten: 3, more }
    };
    let mut world = World::with_two(Absent::GoOn);
    let number = world.look("sf1").expect("it is there");
    world.answer(SF1, number, part(2, true));
    assert_eq!(world.events(), []);
    world.answer(SF1, number, part(1, false));
    assert_eq!(world.events(), [seen(number, Ok(part(3, false)))]);
    let number = world.look("sf1").expect("it is there");
    for _ in 0..PDP_LOOK_PASSAGES / PDP_SEEN_PASSAGES {
        world.answer(SF1, number, part(PDP_SEEN_PASSAGES, true));
        assert_eq!(world.events(), []);
    }
    world.answer(SF1, number, part(1, true));
    assert_eq!(world.events(), [seen(number, Err(Unseen::TooLong))]);
}

#[test]
fn c12_nobody_is_waited_for_who_goes_or_is_slow() {
    let mut world = World::with_two(Absent::GoOn);
    let number = world.look("sf1").expect("it is there");
    world.publisher.disconnected(world.clock.0, SF1);
    assert!(world.events().contains(&seen(number, Err(Unseen::Gone))));
    let number = world.look("gateway").expect("it is there");
    assert_eq!(world.publisher.poll_timeout(), Some(world.clock.0 + PDP_LOOK_WITHIN));
    world.pass(PDP_LOOK_WITHIN - Duration::from_millis(1));
    assert_eq!(world.events(), []);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.events(), [seen(number, Err(Unseen::Late))]);
    world.answer(GATEWAY, number, Seen::Done);
    assert_eq!(world.events(), [], "it is too late");
    // Another session of the element owes nothing of the one before.
    let number = world.look("gateway").expect("it is there");
    world.join(SessionId(9), "gateway", 1, 1);
    assert!(world.events().contains(&seen(number, Err(Unseen::Gone))));
}
