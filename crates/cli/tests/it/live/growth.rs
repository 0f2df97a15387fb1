//! Functions and services that come and go while the domain carries traffic, with their namespaces and elements.

use std::io::Read;

use ringmail_node::layout::Layout;

use crate::live::programs::{Answer, Curl, Nginx};
use crate::live::reload::{reload, said, with};
use crate::live::world::{Setting, World, eventually, live};

const WWW: &str = "10.79.0.10:80";

/// Another function, which no path passes as yet.
const SF3: (&str, &str) =
    ("functions:\n", "functions:\n  - name: sf3\n    kind: forward\n    intrusive: true\n");

/// What drains does so soon.
fn soon(privilege: ringmail_node::topology::Privilege) -> World {
    let setting = Setting::new(privilege, "campus.yaml");
    setting.with("links:\n", "limits: {drain_ms: 6000}\n\nlinks:\n").up()
}

fn runs(world: &World, element: &str) -> bool {
    world.elements().iter().any(|name| name == element)
}

/// What `ringmail status` says of the namespaces.
fn has_namespace(world: &World, name: &str) -> bool {
    let status = world.ringmail(&["status", "--output", "json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let namespaces = status["namespaces"].as_array().expect("namespaces");
    namespaces.iter().any(|known| known == name)
}

#[test]
fn a_function_comes_onto_a_path_that_carries_traffic_and_another_goes() {
    live(|privilege| {
        let world = soon(privilege);
        let nginx = Nginx::start(&world, "www", WWW);
        // More than sockets hold on the way.
        let body: Vec<u8> = (0..20_000_000_u32).map(|at| (at / 7 % 251) as u8).collect();
        nginx.put("/slow", &body);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client1");
        let mut slow = curl.spawn("/slow", &["--limit-rate", "10M"]);
        let mut stdout = slow.stdout.take().expect("a pipe");
        let mut got = vec![0];
        stdout.read_exact(&mut got).expect("the download has begun");

        // sf3 takes the place of sf1, which goes with its last path.
        let text = with(&world.text, SF3);
        let text = with(&text, ("hops: [sf1]\n", "hops: [sf3]\n"));
        let text = with(&text, ("hops: [sf1, sf2]", "hops: [sf3, sf2]"));
        let gone = "  - name: sf1\n    kind: forward\n    intrusive: false\n";
        reload(&world, &with(&text, (gone, "")));
        assert!(runs(&world, "sf1"), "the download is still on its way through it");
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        assert!(world.counter("sf3", "opened_packets") > 0);
        stdout.read_to_end(&mut got).expect("its bytes");
        let answer = Answer::of(&slow.wait_with_output().expect("it ends"));
        assert_eq!((answer.exit, &*answer.verdict), (0, "2 200"), "{}", answer.said);
        assert!(got == body, "{} bytes, and not the right ones", got.len());
        eventually("sf1 goes", || (!runs(&world, "sf1")).then_some(()));
        eventually("its namespace goes", || (!has_namespace(&world, "sf1")).then_some(()));
        assert!(has_namespace(&world, "sf3"));

        // And back: sf1 comes again, under the name and at the address that it had.
        reload(&world, &world.text);
        let before = world.counter("sf1", "link_in_packets");
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        assert!(world.counter("sf1", "link_in_packets") > before);
        eventually("sf3 goes", || (!runs(&world, "sf3")).then_some(()));
        for element in ["gateway", "sf1", "sf2", "egress"] {
            assert_eq!(world.restarts(element), 0, "{element}");
            assert_eq!(world.drops(element, "no_association"), 0, "{element}");
        }
        // It is started again like any other.
        world.kill("sf1");
        eventually("sf1 is started again", || (world.restarts("sf1") == 1).then_some(()));
        eventually("it serves again", || (curl.get("/page", &[]).verdict == "2 200").then_some(()));
    });
}

#[test]
fn what_came_for_a_version_that_is_not_taken_goes_at_once() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let text = with(&world.text, SF3);
        let text = with(&text, ("hops: [sf1]\n", "hops: [sf1, sf3]\n"));
        let dry = world.reload(&text, &["--dry-run"]);
        assert!(dry.status.success(), "{}", said(&dry));
        assert!(said(&dry).contains("sf3  ready for it"), "{}", said(&dry));
        eventually("sf3 goes", || (!has_namespace(&world, "sf3")).then_some(()));
        assert!(!runs(&world, "sf3"));
        // What cannot be does not come at all, and a no of one element takes it away again.
        let logger = "    kind: logger\n    logger: {directory: /proc/none}\n";
        let refused = world.reload(
            &with(
                &text,
                (
                    "    kind: forward\n    intrusive: false\n",
                    &format!("{logger}    intrusive: false\n"),
                ),
            ),
            &[],
        );
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        eventually("sf3 goes again", || (!has_namespace(&world, "sf3")).then_some(()));
        reload(&world, &text);
        assert!(runs(&world, "sf3"));
    });
}

#[test]
fn a_service_comes_and_goes_with_the_site_in_its_namespace() {
    live(|privilege| {
        let world = soon(privilege);
        let spare = format!("spare.{}", world.domain);
        let curl = Curl::new(&world, "client1").host(spare.clone());
        assert_eq!(curl.get("/", &[]).verdict, "2 403", "no service has that name yet");
        let service = format!(
            "services:\n  - name: another\n    addresses: [10.79.0.20:80]\n    server_names: [{spare}]\n    site: {{files: 1, total_bytes: 1000, download_bytes: 100000}}\n"
        );
        let text = with(&world.text, ("services:\n", &service));
        let path = "paths:\n  - name: spare\n    hops: [sf2]\n    service: another\n";
        let text = with(&text, ("paths:\n", path));
        let rule = format!(
            "rules:\n  - name: spare\n    when: {{clients: [client1], hosts: [{spare}]}}\n    path: spare\n"
        );
        reload(&world, &with(&text, ("\nrules:\n", &format!("\n{rule}"))));
        let answer = curl.get("/download/100000", &[]);
        assert_eq!(
            (answer.verdict.as_str(), answer.body.len()),
            ("2 200", 100_000),
            "{}",
            answer.said
        );
        reload(&world, &world.text);
        assert_eq!(curl.get("/", &[]).verdict, "2 403");
        eventually("its place goes", || (!has_namespace(&world, "another")).then_some(()));
        assert!(!runs(&world, "site-another"));
    });
}

#[test]
fn what_cannot_change_is_refused_with_its_line_and_what_to_do() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let limits = with(&world.text, ("links:\n", "limits: {flows: 1000}\n\nlinks:\n"));
        let line = limits.lines().position(|line| line.starts_with("limits")).expect("it") + 1;
        let refused = world.reload(&limits, &[]);
        assert_eq!(refused.status.code(), Some(1));
        let text = said(&refused);
        assert!(text.contains(&format!(":{line}:")) && text.contains("limits.flows"), "{text}");
        assert!(text.contains("hint: `ringmail down`"), "{text}");
        assert!(text.contains("nothing was changed"), "{text}");
        let version = world.status("gateway").version;
        let inner = with(&world.text, ("10.78.0.0/24", "10.78.1.0/24"));
        let text = said(&world.reload(&inner, &[]));
        assert!(text.contains("gateway.inner"), "{text}");
        assert_eq!(world.status("gateway").version, version);
    });
}

#[test]
fn in_layout_single_nothing_comes_or_goes() {
    live(|privilege| {
        let world = Setting::new(privilege, "campus.yaml").layout(Layout::Single).up();
        let refused = world.reload(&with(&world.text, SF3), &[]);
        let text = said(&refused);
        assert_eq!(refused.status.code(), Some(1), "{text}");
        assert!(text.contains("layout `single`") && text.contains("hint"), "{text}");
    });
}
