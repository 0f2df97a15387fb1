//! Leases: elements go on as long as their parent lets them, and no longer.

use std::time::{Duration, Instant};

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Setting, World, eventually, live};

const WWW: &str = "10.79.0.10:80";
const LEASE: Duration = Duration::from_secs(3);

fn dropped(world: &World, element: &str) -> u64 {
    world.drops(element, "lease_expired")
}

#[test]
fn traffic_goes_on_across_renewals_stops_with_the_last_lease_and_comes_back_with_the_next() {
    live(|privilege| {
        let limits = format!("limits: {{lease_s: {}}}\n\nlinks:\n", LEASE.as_secs());
        let setting = Setting::new(privilege, "campus.yaml").with("links:\n", &limits);
        let world = setting.up();
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client2");
        let until = Instant::now() + LEASE * 5 / 2;
        while Instant::now() < until {
            let got = curl.get("/page", &[]);
            assert_eq!(got.verdict, "2 200", "{}", got.said);
        }
        for element in world.elements() {
            assert_eq!(dropped(&world, &element), 0, "{element}");
        }
        world.answer_elements(false);
        let abandoned = Instant::now();
        eventually("the lease runs out", || {
            (curl.get("/page", &["--max-time", "1"]).verdict != "2 200").then_some(())
        });
        assert!(abandoned.elapsed() < 2 * LEASE, "{:?} after the last one", abandoned.elapsed());
        // Requests still come in, and nothing is sealed for them.
        let sealed = world.counter("gateway", "sealed_packets");
        let before = dropped(&world, "gateway");
        let unkeyed = world.drops("gateway", "no_association");
        assert_eq!(curl.get("/page", &["--max-time", "1"]).verdict, "0 000");
        assert_eq!(world.counter("gateway", "sealed_packets"), sealed);
        assert!(dropped(&world, "gateway") > before);
        assert_eq!(
            world.drops("gateway", "no_association"),
            unkeyed,
            "a lease ended, and it says so"
        );
        let paths = world.status("gateway").paths;
        assert!(paths.iter().any(|path| path.state == "no keys"), "{paths:?}");
        // Whoever answers again brings the chain back.
        world.answer_elements(true);
        eventually("the chain comes back", || {
            (curl.get("/page", &["--max-time", "1"]).verdict == "2 200").then_some(())
        });
    });
}
