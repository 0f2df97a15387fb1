//! Elements that end by themselves, by force or in order: they are started again, agree on new keys, and traffic goes on.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Instant;

use ringmail_node::control::PinnedFlow;

use crate::live::load::{Numbered, Numbers};
use crate::live::programs::{Answer, Curl, Nginx};
use crate::live::world::{Setting, World, eventually, live};

const WWW: &str = "10.79.0.10:80";

/// IP protocol number.
const UDP: u8 = 17;

fn inner(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 78, 0, 1], port))
}

/// Sends numbers over path `inspected`, kills an element, and waits until they come again.
fn killed(world: &World, element: &str, port: u16) -> Numbers {
    let (source, destination) = (inner(port), WWW.parse().expect("an address"));
    let path = "inspected".to_owned();
    world.pin(PinnedFlow { path, source, destination, protocol: UDP });
    let numbers = Numbered::start(world, ("gateway", source), ("www", destination));
    let opened = || world.counter("gateway", "sealed_packets");
    eventually("numbers travel", || (opened() > 100).then_some(()));
    let before = world.restarts(element);
    world.kill(element);
    eventually("it is started again", || (world.restarts(element) > before).then_some(()));
    world.await_ready(element);
    // Its own count begins anew: what it counts has passed since.
    let passed = || {
        let paths = world.status(element).paths;
        paths.iter().find(|path| path.name == "inspected").map_or(0, |path| path.packets)
    };
    eventually("numbers travel again", || (passed() > 200).then_some(()));
    numbers.stop()
}

#[test]
fn numbers_go_on_after_a_hop_or_the_egress_was_killed() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        for (port, element) in (7000..).zip(["sf1", "sf2", "egress"]) {
            let numbers = killed(&world, element, port);
            let Numbers { sent, came, gap, .. } = &numbers;
            eprintln!("kill -9 {element}: {sent} sent, {came} came, none for {gap:?}");
            assert_eq!(numbers.repeated, 0, "{element}: {numbers:?}");
            assert!(numbers.came > 200, "{element}: {numbers:?}");
            assert_eq!(world.restarts(element), 1);
        }
    });
}

/// The client has nothing to say, and the egress does not know whose the service's packets are.
#[test]
fn a_download_goes_on_after_the_egress_was_killed() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        // More than sockets hold on the way.
        let body: Vec<u8> = (0..40_000_000_u32).map(|at| (at / 7 % 251) as u8).collect();
        nginx.put("/slow", &body);
        let curl = Curl::new(&world, "client2");
        let mut slow = curl.spawn("/slow", &["--limit-rate", "20M"]);
        let mut stdout = slow.stdout.take().expect("a pipe");
        let mut got = vec![0];
        stdout.read_exact(&mut got).expect("the download has begun");
        world.kill("egress");
        stdout.read_to_end(&mut got).expect("its bytes");
        let answer = Answer::of(&slow.wait_with_output().expect("it ends"));
        assert_eq!((answer.exit, &*answer.verdict), (0, "2 200"), "{}", answer.said);
        assert!(got == body, "{} bytes, and not the right ones", got.len());
        assert_eq!(world.restarts("egress"), 1);
    });
}

/// There is nobody to agree with: all ends of its segments change keys with the life of who was killed.
#[test]
fn under_psk_whoever_was_killed_is_taken_back() {
    live(|privilege| {
        let world = Setting::new(privilege, "campus.yaml")
            .with("keying: sap", "profile: mpls\nkeying: psk")
            .up();
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client2");
        let answers = || curl.get("/page", &["--max-time", "1"]).verdict == "2 200";
        assert!(answers());
        for element in ["sf2", "egress", "gateway", "sf2"] {
            let before = world.restarts(element);
            world.kill(element);
            eventually("it is started again", || (world.restarts(element) > before).then_some(()));
            world.await_ready(element);
            eventually("requests go on", || answers().then_some(()));
        }
        for element in ["gateway", "sf1", "sf2", "egress"] {
            assert_eq!(world.drops(element, "replayed"), 0, "{element}");
        }
    });
}

#[test]
fn requests_go_on_after_the_gateway_was_killed() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client2");
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        let killed = Instant::now();
        world.kill("gateway");
        eventually("the gateway answers again", || {
            (curl.get("/page", &["--max-time", "1"]).verdict == "2 200").then_some(())
        });
        eprintln!("kill -9 gateway: answered after {:?}", killed.elapsed());
        assert_eq!(world.restarts("gateway"), 1);
    });
}

#[test]
fn a_gateway_that_is_told_to_end_finishes_what_is_under_way() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        // More than sockets hold on the way.
        let body: Vec<u8> = (0..40_000_000_u32).map(|at| (at / 7 % 251) as u8).collect();
        nginx.put("/slow", &body);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client2");
        let mut slow = curl.spawn("/slow", &["--limit-rate", "8M"]);
        let mut stdout = slow.stdout.take().expect("a pipe");
        let mut got = vec![0];
        stdout.read_exact(&mut got).expect("the download has begun");
        world.terminate("gateway");
        // Nobody gets in any more, and what is under way goes on.
        eventually("the gateway takes no connection", || {
            let refused = curl.get("/page", &["--connect-timeout", "1"]);
            (refused.exit == 7).then_some(())
        });
        assert_eq!(world.restarts("gateway"), 0, "it still drains");
        stdout.read_to_end(&mut got).expect("its bytes");
        let answer = Answer::of(&slow.wait_with_output().expect("it ends"));
        assert_eq!((answer.exit, &*answer.verdict), (0, "2 200"), "{}", answer.said);
        assert!(got == body, "{} bytes, and not the right ones", got.len());
        // Then it ends, and is started again like any other.
        eventually("the gateway answers again", || {
            (curl.get("/page", &["--max-time", "1"]).verdict == "2 200").then_some(())
        });
        assert_eq!(world.restarts("gateway"), 1);
    });
}
