//! Replicas of a function that die: the gateway leaves them, and nobody at another replica notices.

use std::io::Read;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::live::load::{Load, Wanted};
use crate::live::programs::{Answer, Curl, Nginx};
use crate::live::reload::pattern;
use crate::live::world::{Held, Setting, World, eventually, live};

const WWW: &str = "10.79.0.10:80";
const REPLICAS: [&str; 2] = ["sf2-1", "sf2-2"];

/// Path `inspected` over two inspections side by side.
fn campus(setting: Setting, connections: &str) -> World {
    let availability = format!("\navailability: {{connections: {connections}}}\nlinks:\n");
    let setting = setting.with("\nlinks:\n", &availability);
    let world = setting.with("  - name: sf2\n", "  - name: sf2\n    replicas: 2\n").up();
    REPLICAS.into_iter().for_each(|replica| world.await_replica(replica, "up"));
    world
}

fn state(world: &World, replica: &str) -> String {
    let all = world.status("gateway").replicas;
    let found = all.into_iter().find(|of| of.element == replica);
    found.unwrap_or_else(|| panic!("the gateway does not ask {replica}")).state
}

/// Connections from outside at both replicas, of which one dies.
fn one_of_two(die: impl FnOnce(&World) -> Option<Held>) {
    live(|privilege| {
        let world = campus(Setting::new(privilege, "campus.yaml"), "close");
        let nginx = Nginx::start(&world, "www", WWW);
        let (short, long) = (pattern(0, 20_000), pattern(1, 2_000_000));
        nginx.put("/short", &short);
        nginx.put("/long", &long);
        let host = format!("www.{}", world.domain);
        let file = |path, body, slow| Wanted { host: host.clone(), path, body, slow };
        let files = [file("/short", short, false), file("/long", long, true)];
        let load = Load::start(&world, "client2", 20, &files);
        let answers = || load.tally.answers.load(Ordering::Relaxed);
        eventually("answers come by both", || {
            let both =
                REPLICAS.iter().all(|replica| world.counter(replica, "opened_packets") > 100);
            (both && answers() > 40).then_some(())
        });
        let curl = Curl::new(&world, "client2");

        let dead_since = Instant::now();
        let _held = die(&world);
        // Whoever comes new is served, each on a connection of his own.
        let mut slowest = Duration::ZERO;
        for _ in 0..6 {
            let began = Instant::now();
            let answer = curl.get("/short", &["--max-time", "20"]);
            assert_eq!(answer.verdict, "2 200", "{}", answer.said);
            slowest = slowest.max(began.elapsed());
        }
        world.await_replica("sf2-1", "down");
        let known = dead_since.elapsed();
        let (before, opened) = (answers(), world.counter("sf2-2", "opened_packets"));
        eventually("the others go on", || (answers() > before + 40).then_some(()));
        assert!(world.counter("sf2-2", "opened_packets") > opened);
        let tally = load.stop();
        let lost = tally.lost.lock().expect("nobody panicked");
        let closed = world.counter("gateway", "replica_connections_closed");
        eprintln!(
            "down within {known:?}; slowest new connection {slowest:?}; {closed} connections at the dead one, {} of their \
             requests lost",
            lost.len()
        );
        assert_eq!(tally.wrong.load(Ordering::Relaxed), 0);
        assert!(lost.len() as u64 <= closed, "others were disturbed: {closed} closed, {lost:#?}");
        assert_eq!(state(&world, "sf2-2"), "up");
        assert_eq!(world.counter("gateway", "replica_connections_moved"), 0);
    });
}

#[test]
fn a_replica_that_stands_still_is_left_and_nobody_else_disturbed() {
    one_of_two(|world| Some(world.hold("sf2-1")));
}

#[test]
fn a_replica_behind_a_cut_link_is_left_and_nobody_else_disturbed() {
    one_of_two(|world| {
        link(world, "down");
        None
    });
}

#[test]
fn a_killed_replica_is_left_at_once_and_taken_back() {
    live(|privilege| {
        let world = campus(Setting::new(privilege, "campus.yaml"), "close");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client2");
        world.kill("sf2-1");
        for _ in 0..6 {
            let answer = curl.get("/page", &["--max-time", "20"]);
            assert_eq!(answer.verdict, "2 200", "{}", answer.said);
        }
        world.await_replica("sf2-1", "up");
        assert_eq!(world.restarts("sf2-1"), 1);
        // It serves again: of connections that begin at once every second one, where the gateway has none to spare.
        let page = pattern(0, 20_000);
        nginx.put("/short", &page);
        let host = format!("www.{}", world.domain);
        let wanted = Wanted { host, path: "/short", body: page, slow: true };
        let load = Load::start(&world, "client2", 8, &[wanted]);
        eventually("it is passed again", || {
            (world.counter("sf2-1", "opened_packets") > 0).then_some(())
        });
        let tally = load.stop();
        let lost = tally.lost.lock().expect("nobody panicked");
        assert!(lost.is_empty(), "{lost:#?}");
    });
}

fn link(world: &World, state: &str) {
    let set = ["link", "set", "dev", ringmail_node::layout::LINK, state];
    let output = world.run("sf2-1", Command::new("ip").args(set));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_connection_goes_on_through_the_other_replica_where_that_is_the_rule() {
    live(|privilege| {
        let world = campus(Setting::new(privilege, "campus.yaml"), "move");
        let nginx = Nginx::start(&world, "www", WWW);
        let body = pattern(1, 40_000_000);
        nginx.put("/slow", &body);
        let curl = Curl::new(&world, "client2");
        let opened = || REPLICAS.map(|replica| world.counter(replica, "opened_packets"));
        let before = opened();
        let mut slow = curl.spawn("/slow", &["--limit-rate", "20M"]);
        let mut stdout = slow.stdout.take().expect("a pipe");
        let mut got = vec![0; 100_000];
        stdout.read_exact(&mut got).expect("the download has begun");
        let now = opened();
        let by = if now[0] > before[0] + 10 { 0 } else { 1 };
        assert!(
            now[by] > before[by] + 10 && now[1 - by] < before[1 - by] + 10,
            "{before:?} {now:?}"
        );
        let held = world.hold(REPLICAS[by]);
        stdout.read_to_end(&mut got).expect("its bytes");
        let answer = Answer::of(&slow.wait_with_output().expect("it ends"));
        assert_eq!((answer.exit, &*answer.verdict), (0, "2 200"), "{}", answer.said);
        assert!(got == *body, "{} bytes, and not the right ones", got.len());
        assert!(world.counter("gateway", "replica_connections_moved") >= 1);
        assert!(world.counter(REPLICAS[1 - by], "opened_packets") > 1000);
        drop(held);
        world.await_replica(REPLICAS[by], "up");
    });
}
