//! A firewall in a chain: allowed, rejected, dropped and unspoken-of services, what clients get and what is counted.

use std::io::Read;

use crate::live::programs::{Answer, Curl, Nginx};
use crate::live::reload::{reload, with};
use crate::live::world::{Setting, World, eventually, live};

/// A counter of a rule of the firewall.
fn rule(world: &World, what: &str, rule: &str) -> u64 {
    world.counter("fw", &format!("function_rule_{what}{{rule={rule:?}}}"))
}

#[test]
fn a_firewall_lets_connections_through_by_its_rules() {
    live(|privilege| {
        let world = World::new(privilege, "firewall.yaml");
        let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
        nginx.put("/page", &[b'x'; 48_000]);
        let curl = Curl::new(&world, "client1");
        for (option, verdict) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
            let got = curl.get("/page", &[option]);
            assert_eq!((got.verdict.as_str(), got.body.len()), (verdict, 48_000), "{}", got.said);
        }
        let connections = rule(&world, "connections", "web");
        assert!(connections >= 1);
        // Both directions belong to the connection: more bytes came back than the answers have.
        assert!(rule(&world, "bytes", "web") > 2 * 48_000);
        assert!(rule(&world, "packets", "web") > connections * 40);
        assert_eq!(world.counter("fw", "function_refused_no_connection"), 0);
        assert!(world.counter("outer", "function_rule_bytes{rule=\"elements\"}") > 2 * 48_000);

        // A rejected connection is refused at once, a dropped one after the gateway's patience; both are the chain's
        // fault to the client.
        for (host, counted, reason) in [
            ("admin", "admin", "function_reject"),
            ("other", "default", "function_reject"),
            ("silent", "silent", "function_drop"),
        ] {
            let before = (rule(&world, "packets", counted), world.drops("fw", reason));
            let host = format!("Host: {host}.{}", world.domain);
            let got = curl.get("/page", &["--header", &host]);
            assert!(got.verdict.ends_with(" 502") || got.verdict.ends_with(" 504"), "{}", got.said);
            assert!(rule(&world, "packets", counted) > before.0, "{counted}");
            assert!(world.drops("fw", reason) > before.1, "{reason}");
        }
        assert_eq!(rule(&world, "connections", "admin"), 0);
        eventually("the rule that is to be reported is", || {
            world.log().text().lines().any(|line| line.contains("rule=\"admin\"")).then_some(())
        });
        // What passed before still does.
        let got = curl.get("/page", &[]);
        assert_eq!(got.verdict, "2 200", "{}", got.said);
        let shown = world.ringmail(&["status"]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("function_rule_packets{rule=\"web\"}"), "{shown}");
    });
}

#[test]
fn a_connection_outlives_a_change_of_the_rules_that_let_it_in() {
    live(|privilege| {
        let setting = Setting::new(privilege, "firewall.yaml");
        // What was taken out would be cut soon.
        let world = setting.with("links:\n", "limits: {drain_ms: 500}\n\nlinks:\n").up();
        let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
        // More than sockets hold on the way.
        let body: Vec<u8> = (0..30_000_000_u32).map(|at| (at / 7 % 251) as u8).collect();
        nginx.put("/slow", &body);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client1");
        let mut slow = curl.spawn("/slow", &["--limit-rate", "8M"]);
        let mut stdout = slow.stdout.take().expect("a pipe");
        let mut got = vec![0];
        stdout.read_exact(&mut got).expect("the download has begun");
        let keys = world.keys().len();
        let connections = rule(&world, "connections", "web");
        let text = with(
            &world.text,
            (
                "        - name: web\n",
                "        - name: none\n          protocols: [tcp]\n          action: drop\n        - name: web\n",
            ),
        );
        reload(&world, &text);
        assert_eq!(world.keys().len(), keys, "no path is another");
        assert_eq!(world.counter("fw", "function_connections"), 1, "it is still known");
        let refused = curl.get("/page", &["--max-time", "3"]);
        assert_ne!(refused.verdict, "2 200", "nobody else gets in");
        assert!(rule(&world, "packets", "none") > 0);
        stdout.read_to_end(&mut got).expect("its bytes");
        let answer = Answer::of(&slow.wait_with_output().expect("it ends"));
        assert_eq!((answer.exit, &*answer.verdict), (0, "2 200"), "{}", answer.said);
        assert!(got == body, "{} bytes, and not the right ones", got.len());
        assert_eq!(rule(&world, "connections", "web"), connections);
        // And back: the same file lets them in again.
        reload(&world, &world.text);
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
    });
}

#[test]
fn workers_and_replicas_of_a_firewall_see_both_directions_of_a_connection() {
    const CLIENTS: usize = 12;
    live(|privilege| {
        // Which worker gets a packet depends on who sent it, and four senders' workers hardly all agree.
        let setting = Setting::new(privilege, "firewall.yaml")
            .with("keying: sap\n", "keying: sap\nworkers: 4\n")
            .with("  - name: fw\n", "  - name: fw\n    replicas: 2\n");
        let world = setting.up();
        ["fw-1", "fw-2"].iter().for_each(|replica| world.await_replica(replica, "up"));
        let nginx = Nginx::start(&world, "www", "10.79.0.10:80");
        let body: Vec<u8> = (0..1_000_000_u32).map(|at| (at / 5 % 253) as u8).collect();
        nginx.put("/page", &body);
        let curl = Curl::new(&world, "client1");
        for option in ["--http1.1", "--http2"] {
            let downloads: Vec<_> = (0..CLIENTS).map(|_| curl.spawn("/page", &[option])).collect();
            for download in downloads {
                let answer = Answer::of(&download.wait_with_output().expect("it ends"));
                assert!(answer.verdict.ends_with(" 200") && answer.body == body, "{}", answer.said);
            }
        }
        let replicas = ["fw-1", "fw-2"];
        let sum = |what: &str| -> Vec<u64> {
            let counted = |of: &&str| world.counter(of, &format!("function_rule_{what}"));
            replicas.iter().map(counted).collect()
        };
        // Each connection keeps to a replica, and each replica gets its share.
        let connections = sum("connections{rule=\"web\"}");
        assert!(connections.iter().all(|count| *count > 0), "{connections:?}");
        let bytes: u64 = sum("bytes{rule=\"web\"}").iter().sum();
        assert!(bytes > (2 * CLIENTS * body.len()) as u64, "{bytes}");
        for element in replicas.iter().chain(&["outer"]) {
            assert_eq!(world.counter(element, "function_refused_no_connection"), 0, "{element}");
            assert_eq!(world.drops(element, "function_drop"), 0, "{element}");
        }
        assert!(world.counter("fw-1", "function_connections") > 0, "one table, counted once");
        assert!(world.counter("fw-1", "function_connections") <= connections[0]);
        // Rules that change reach every worker, and nothing that stands is lost.
        let text = with(&world.text, ("default: reject\n", "default: drop\n"));
        reload(&world, &text);
        let got = curl.get("/page", &[]);
        assert!(got.verdict == "2 200" && got.body == body, "{}", got.said);
    });
}
