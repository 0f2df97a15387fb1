//! Functions that know nothing of chains: Linux as a router, a firewall, a translator and a bridge, and a proxy.

mod flows;
mod ids;
mod tap;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use ringmail_node::layout::Layout;
use ringmail_node::topology::Privilege;

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Folder, Setting, World, eventually, live};

const FUNCTION: &str = "fw.function";
const WWW: &str = "10.79.0.10:80";
/// Bytes of the page; some two hundred packets.
const PAGE_BYTES: usize = 300_000;

fn attached(privilege: Privilege, settings: &str) -> Setting {
    Setting::new(privilege, "attached.yaml").with("      shape: router", settings)
}

/// What went into the function and what became of it.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    sent_in: u64,
    same: u64,
    rewritten: u64,
    originated: u64,
    not_returned: u64,
    dropped: u64,
}

impl Account {
    /// Once nothing moves any more: two looks that agree, with as many packets on the cables as were given to them.
    fn settled(world: &World) -> Account {
        let look = || {
            let status = world.status("fw");
            let counter = |name: &str| {
                let name = format!("function_{name}_packets");
                let found = status.counters.iter().find(|counter| counter.name == name);
                found.unwrap_or_else(|| panic!("no counter `{name}`: {status:#?}")).value
            };
            Account {
                sent_in: counter("sent_in"),
                same: counter("returned_same"),
                rewritten: counter("returned_rewritten"),
                originated: counter("originated"),
                not_returned: counter("not_returned"),
                dropped: counter("dropped"),
            }
        };
        let mut before = look();
        let account = eventually("the traffic settles", || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let now = look();
            let settled = now == before;
            before = now;
            settled.then(look)
        });
        assert_eq!(
            account.sent_in,
            account.same + account.rewritten + account.dropped + account.not_returned,
            "{account:?}"
        );
        account
    }
}

/// Packets that a counter of nft saw, where it names one.
fn nft_counter(world: &World, name: &str) -> u64 {
    let output = world.run(FUNCTION, Command::new("nft").args(["list", "counters"]));
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, rest) = text.split_once(&format!("counter {name} {{")).unwrap_or_else(|| {
        panic!("no counter `{name}`: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    let words: Vec<&str> = rest.split_whitespace().collect();
    words[1].parse().expect("a number")
}

fn serves(world: &World) {
    let nginx = Nginx::start(world, "www", WWW);
    let content: Vec<u8> = (0..PAGE_BYTES).map(|n| (n * 31 / 7) as u8).collect();
    nginx.put("/page", &content);
    for option in ["--http1.1", "--http2"] {
        let got = Curl::new(world, "client1").get("/page", &[option]);
        assert!(got.verdict.ends_with("200"), "{}", got.said);
        assert!(got.body == content, "the page is another");
    }
}

fn nothing_unmatched(world: &World) {
    for reason in ["unmatched_flow", "unmatched_error", "ambiguous_path", "no_path_back", "too_big"]
    {
        assert_eq!(world.drops("fw", reason), 0, "{reason}");
    }
}

/// Every packet on its own, so that nft counts what the hop counts.
#[test]
fn a_router_with_rules_drops_and_every_packet_is_accounted() {
    live(|privilege| {
        let rules = "table inet f { counter seen { } ; counter dropped { } ; \
             chain pass { type filter hook forward priority 0; \
             ip protocol tcp counter name seen; \
             tcp sport 80 ip length > 1000 numgen inc mod 40 == 7 counter name dropped drop; } ; }";
        let settings = format!("      checksums: full\n      setup: [[nft, '{rules}']]");
        let world = attached(privilege, &settings).up();
        serves(&world);
        let account = Account::settled(&world);
        let (seen, dropped) = (nft_counter(&world, "seen"), nft_counter(&world, "dropped"));
        assert!(dropped > 3, "{dropped} dropped");
        assert_eq!((account.sent_in, account.not_returned), (seen, dropped), "{account:?}");
        assert_eq!((account.rewritten, account.originated), (0, 0), "{account:?}");
        nothing_unmatched(&world);
    });
}

#[test]
fn a_router_passes_super_packets_whole() {
    live(|privilege| {
        let world = attached(privilege, "      shape: router").up();
        serves(&world);
        let account = Account::settled(&world);
        assert_eq!(account.sent_in, account.same, "{account:?}");
        assert!(world.counter("fw", "inner_sent_in_supers") > 100);
        assert!(world.counter("fw", "inner_received_in_supers") > 100);
        nothing_unmatched(&world);
    });
}

#[test]
fn all_elements_in_one_process() {
    live(|privilege| {
        let world = attached(privilege, "      shape: router").layout(Layout::Single).up();
        serves(&world);
        nothing_unmatched(&world);
    });
}

#[test]
fn a_bridge_and_a_router_with_one_interface() {
    live(|privilege| {
        for shape in ["bridge", "one-armed"] {
            let world = attached(privilege, &format!("      shape: {shape}")).up();
            serves(&world);
            let account = Account::settled(&world);
            assert_eq!(account.sent_in, account.same, "{shape}: {account:?}");
            nothing_unmatched(&world);
        }
    });
}

#[test]
fn translation_is_transparent_to_many_flows_at_once() {
    live(|privilege| translated(privilege, 200));
}

#[test]
#[ignore = "takes half a minute and 10,000 file descriptors in each of two processes"]
fn translation_is_transparent_to_ten_thousand_flows_at_once() {
    live(|privilege| translated(privilege, 10_000));
}

fn translated(privilege: Privilege, flows: usize) {
    let rules = "table ip n { chain post { type nat hook postrouting priority 100; \
         oifname out0 masquerade; } ; }";
    let settings = format!(
        "      rewrites: true\n      out_addresses: [10.90.0.1]\n      \
         setup: [[nft, '{rules}']]"
    );
    let world = attached(privilege, &settings).up();
    let seen = flows::cross(&world, "all", flows, 4);
    assert!(seen.iter().all(|flow| flow.from.ip() == IpAddr::from([10, 90, 0, 1])));
    let numbers: BTreeSet<u32> = seen.iter().map(|flow| flow.number).collect();
    assert_eq!(numbers.len(), flows, "every flow arrived once");
    let account = Account::settled(&world);
    assert!(account.rewritten as usize > flows * 8, "{account:?}");
    assert_eq!(account.originated, 0, "{account:?}");
    nothing_unmatched(&world);
    eprintln!("{flows} flows: {account:?}");
}

/// A function that rewrites and is not said to: nothing of it gets through.
#[test]
fn translation_that_nobody_asked_for_is_refused_and_counted() {
    live(|privilege| {
        let rules = "table ip n { chain post { type nat hook postrouting priority 100; \
             oifname out0 masquerade; } ; }";
        let settings = format!("      setup: [[nft, '{rules}']]");
        let world = attached(privilege, &settings).up();
        let _nginx = Nginx::start(&world, "www", WWW);
        let got = Curl::new(&world, "client1").get("/", &["--max-time", "2"]);
        assert!(!got.verdict.ends_with("200"), "{}", got.said);
        assert!(world.drops("fw", "unmatched_flow") > 0);
    });
}

/// The firewall says no: its reset and its ICMP error find their way to who asked.
#[test]
fn what_a_firewall_answers_itself_reaches_the_client() {
    live(|privilege| {
        for (reject, errors) in [("reject with tcp reset", 0), ("reject", 1)] {
            let rules = format!(
                "table inet f {{ chain pass {{ type filter hook forward priority 0; \
                 tcp dport 80 {reject}; }} ; }}"
            );
            let settings = format!("      setup: [[nft, '{rules}']]");
            let world = attached(privilege, &settings).up();
            let _nginx = Nginx::start(&world, "www", WWW);
            let started = std::time::Instant::now();
            let got = Curl::new(&world, "client1").get("/", &[]);
            assert!(got.verdict.contains("50"), "{reject}: {}", got.said);
            // At once, and not when somebody's patience ended.
            assert!(started.elapsed().as_secs() < 20, "{reject}");
            let account = Account::settled(&world);
            assert!(account.originated > 0, "{reject}: {account:?}");
            assert_eq!(world.counter("fw", "function_error_packets").min(1), errors, "{reject}");
            nothing_unmatched(&world);
        }
    });
}

#[test]
fn a_set_up_that_fails_stops_the_start_and_says_what() {
    live(|privilege| {
        let setting = attached(privilege, "      setup: [[sh, -c, 'echo cannot >&2; exit 3']]");
        let error = setting.fails();
        assert!(error.contains("sh -c echo cannot >&2; exit 3"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
    });
}

#[test]
fn a_program_runs_in_the_function_s_namespace_and_ends_with_the_domain() {
    live(|privilege| {
        let setting = attached(privilege, "      run: [sleep, '1000077']");
        let world = setting.up();
        let running = || {
            let output = Command::new("pgrep").args(["-f", "^sleep 1000077"]).output();
            let output = output.expect("pgrep is installed");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let pid =
            eventually("the program starts", || Some(running()).filter(|pid| !pid.is_empty()));
        assert!(!pid.contains('\n'), "one of it: {pid}");
        drop(world);
        assert_eq!(running(), "", "it ended with the domain");
    });
}

/// Each connection passes one of two translators, and its answers the same one.
#[test]
fn replicas_share_connections_and_each_connection_stays_with_its_own() {
    live(|privilege| {
        let rules = "table ip n { chain post { type nat hook postrouting priority 100; \
             oifname out0 masquerade; } ; }";
        let settings = format!(
            "      rewrites: true\n      out_addresses: [10.90.0.1, 10.90.0.2]\n      \
             setup: [[nft, '{rules}']]"
        );
        let setting = attached(privilege, &settings);
        let world =
            setting.with("    intrusive: true", "    intrusive: true\n    replicas: 2").up();
        let nginx = Nginx::start(&world, "www", WWW);
        let content: Vec<u8> = (0..PAGE_BYTES).map(|n| (n * 31 / 7) as u8).collect();
        nginx.put("/page", &content);
        let curl = Curl::new(&world, "client1");
        let addresses = ["10.90.0.1 ", "10.90.0.2 "];
        ["fw-1", "fw-2"].iter().for_each(|replica| world.await_replica(replica, "up"));
        // One whose keys are not agreed upon yet gets no connections, and those that stand are used again.
        let mut at_once = 0;
        eventually("connections pass both", || {
            at_once += 6;
            // Slow enough that each needs a connection of its own.
            let get = |_| curl.spawn("/page", &["--limit-rate", "400K"]);
            let all: Vec<_> = (0..at_once).map(get).collect();
            for child in all {
                let output = child.wait_with_output().expect("curl ends");
                assert!(output.stdout == content, "{}", String::from_utf8_lossy(&output.stderr));
            }
            let log = nginx.log();
            let came = |address| log.lines().any(|line| line.starts_with(address));
            addresses.into_iter().all(came).then_some(())
        });
        for hop in ["fw-1", "fw-2"] {
            assert!(world.counter(hop, "function_sent_in_packets") > 100, "{hop}");
            for reason in ["unmatched_flow", "ambiguous_path", "no_path_back"] {
                assert_eq!(world.drops(hop, reason), 0, "{hop}: {reason}");
            }
        }
        for end in ["gateway", "egress"] {
            assert_eq!(world.drops(end, "unknown_flow"), 0, "{end}");
        }
    });
}

/// haproxy, which nobody told of chains, takes every connection and makes one of its own.
#[test]
fn a_transparent_proxy_ends_connections_and_begins_its_own() {
    live(|privilege| {
        let name = format!("proxy{}", std::process::id());
        let folder = Folder::new(&name);
        let config = folder.0.join("haproxy.cfg");
        let text = "global\n  maxconn 2000\ndefaults\n  mode tcp\n  timeout connect 10s\n  \
             timeout client 60s\n  timeout server 60s\nfrontend all\n  \
             bind 0.0.0.0:3128 transparent\n  default_backend there\nbackend there\n  \
             server original 0.0.0.0:0\n";
        std::fs::write(&config, text).expect("a file");
        let rules = "table ip m { chain pre { type filter hook prerouting priority mangle; \
             iifname in0 ip protocol tcp tproxy to :3128 meta mark set 1 accept; } ; }";
        let settings = format!(
            "      rewrites: true\n      out_addresses: [10.90.0.1]\n      setup:\n        \
             - [ip, rule, add, fwmark, '1', lookup, '100']\n        \
             - [ip, route, add, local, 0.0.0.0/0, dev, lo, table, '100']\n        \
             - [nft, '{rules}']\n      run: [haproxy, -db, -f, {}]",
            config.display()
        );
        let world = attached(privilege, &settings).up();
        eventually("haproxy listens", || {
            let output = world.run(FUNCTION, Command::new("ss").args(["-ltn"]));
            String::from_utf8_lossy(&output.stdout).contains(":3128").then_some(())
        });
        serves(&world);
        let seen = flows::cross(&world, "all", 50, 4);
        assert!(seen.iter().all(|flow| flow.from.ip() == IpAddr::from([10, 90, 0, 1])));
        // Nothing that went in came out: there are two connections for each.
        let account = Account::settled(&world);
        assert!(account.rewritten > 0, "{account:?}");
        nothing_unmatched(&world);
    });
}

/// The example in Python is told paths and labels, and says what it drops.
#[test]
fn an_sfc_aware_function_is_told_paths_and_labels_and_answers_in_kind() {
    live(|privilege| {
        let folder = Folder::new(&format!("aware{}", std::process::id()));
        let socket = folder.0.join("function.sock");
        let example = Path::new(env!("CARGO_MANIFEST_DIR"));
        let example = example.join("../../examples/sfc-aware/filter.py");
        let settings = format!(
            "      socket: {socket}\n      run: [python3, {}, {socket}, contraband]",
            example.display(),
            socket = socket.display()
        );
        let world = attached(privilege, &settings).up();
        // What comes before the function has connected is refused; TCP sends it again.
        let nginx = Nginx::start(&world, "www", WWW);
        let content: Vec<u8> = (0..PAGE_BYTES).map(|n| (n * 31 / 7) as u8).collect();
        nginx.put("/page", &content);
        let curl = Curl::new(&world, "client1");
        let got = curl.get("/page", &[]);
        assert!(got.body == content, "{}", got.said);
        assert_eq!(Account::settled(&world).dropped, 0);
        let got = curl.get("/contraband", &["--max-time", "2"]);
        assert!(!got.verdict.ends_with("200") && !got.verdict.ends_with("404"), "{}", got.said);
        let account = Account::settled(&world);
        assert!(account.dropped > 0 && account.same > 200, "{account:?}");
        assert_eq!((account.rewritten, account.originated), (0, 0), "{account:?}");
        assert!(world.log().text().contains("[function-fw] path 1, forward: dropped"));
        assert!(nginx.log().lines().all(|line| !line.contains("contraband")));
        drop(world);
        assert!(!socket.exists(), "the socket goes with its hop");
    });
}
