//! A domain that changes while it carries traffic: what began goes on as it began, what begins is under the new file.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::live::load::{Load, Wanted};
use crate::live::programs::{Answer, Curl, Nginx};
use crate::live::world::{Setting, World, eventually, live};

const WWW: &str = "10.79.0.10:80";

/// Path `plain` passes the inspection, too.
const INSPECTED: (&str, &str) = ("hops: [sf1]\n", "hops: [sf1, sf2]\n");

pub(crate) fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

pub(crate) fn reload(world: &World, text: &str) {
    let output = world.reload(text, &[]);
    assert!(output.status.success(), "{}", said(&output));
}

pub(crate) fn with(text: &str, (old, new): (&str, &str)) -> String {
    assert!(text.contains(old), "`{old}` is not in the file");
    text.replace(old, new)
}

/// Bytes that differ from place to place, and that the inspection would stop.
fn body(bytes: usize) -> Vec<u8> {
    let mut body: Vec<u8> = (0..bytes).map(|at| (at / 251 * 7 + at % 251) as u8).collect();
    let forbidden = b"contraband";
    let end = body.len() - forbidden.len();
    body[end..].copy_from_slice(forbidden);
    body
}

#[test]
fn what_began_ends_on_its_path_and_what_begins_takes_the_new_one() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        // More than sockets hold on the way.
        let body = body(30_000_000);
        nginx.put("/slow", &body);
        let forbidden = &body[body.len() - 300_000..];
        nginx.put("/forbidden", forbidden);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client1");
        let inspected = world.counter("sf2", "opened_packets");
        let mut slow: Vec<_> =
            (0..4).map(|_| curl.spawn("/slow", &["--limit-rate", "5M"])).collect();
        let mut begun = Vec::new();
        for download in &mut slow {
            let mut first = [0];
            let mut stdout = download.stdout.take().expect("a pipe");
            stdout.read_exact(&mut first).expect("the download has begun");
            assert_eq!(first[0], body[0]);
            begun.push(stdout);
        }
        reload(&world, &with(&world.text, INSPECTED));
        assert_eq!(world.counter("sf2", "opened_packets"), inspected, "they stay on their path");
        // What begins now is inspected: it gets no further than what is forbidden.
        let page = curl.get("/page", &[]);
        assert_eq!(page.verdict, "2 200", "{}", page.said);
        assert!(world.counter("sf2", "opened_packets") > inspected);
        let stopped = curl.get("/forbidden", &[]);
        assert!(stopped.exit != 0 && stopped.body.len() < forbidden.len(), "{}", stopped.said);
        // The others end whole, forbidden bytes included.
        for (download, mut stdout) in slow.into_iter().zip(begun) {
            let mut got = vec![body[0]];
            stdout.read_to_end(&mut got).expect("its bytes");
            let answer = Answer::of(&download.wait_with_output().expect("it ends"));
            assert_eq!((answer.exit, &*answer.verdict), (0, "2 200"), "{}", answer.said);
            assert!(got == body, "{} bytes, and not the right ones", got.len());
        }
        for element in ["gateway", "sf1", "sf2", "egress"] {
            assert_eq!(world.drops(element, "path_removed"), 0, "{element}");
            assert_eq!(world.drops(element, "no_association"), 0, "{element}");
        }
    });
}

#[test]
fn a_version_that_one_element_refuses_changes_nothing() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client3");
        assert_eq!(curl.get("/page", &[]).verdict, "2 403", "no rule for client3");
        // A rule for client3, and a folder that an element cannot make.
        let rule = (
            "\nrules:\n",
            "\nrules:\n  - name: client3\n    when: {clients: [client3]}\n    path: plain\n",
        );
        let wanted = with(&world.text, rule);
        let logger = "    kind: logger\n    logger: {directory: /proc/none}\n";
        let refused = world.reload(&with(&wanted, ("    kind: forward\n", logger)), &[]);
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        let text = said(&refused);
        assert!(text.contains("element sf1 refuses") && text.contains("/proc/none"), "{text}");
        assert!(text.contains("nothing was changed"), "{text}");
        let version = |element| world.status(element).version;
        let before = version("gateway");
        assert_eq!(curl.get("/page", &[]).verdict, "2 403");
        // A dry run says yes and changes nothing either; then it is done.
        let dry = world.reload(&wanted, &["--dry-run"]);
        assert!(dry.status.success(), "{}", said(&dry));
        assert_eq!(curl.get("/page", &[]).verdict, "2 403");
        reload(&world, &wanted);
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        for element in ["gateway", "sf1", "sf2", "egress"] {
            assert!(version(element) > before, "{element}");
            assert!(world.status(element).paths.iter().all(|path| path.state == "ready"));
        }
    });
}

#[test]
fn paths_that_are_over_are_let_go_once_they_drained() {
    live(|privilege| {
        let drain = ("links:\n", "limits: {drain_ms: 500}\n\nlinks:\n");
        let world = Setting::new(privilege, "campus.yaml");
        let world = world.with(drain.0, drain.1).up();
        let keys = world.keys().len();
        reload(&world, &with(&world.text, INSPECTED));
        assert!(world.keys().len() > keys, "old and new side by side");
        assert!(world.status("gateway").paths.iter().any(|path| path.others > 0));
        for element in ["gateway", "sf1", "sf2", "egress"] {
            eventually("the old paths go", || {
                world.status(element).paths.iter().all(|path| path.others == 0).then_some(())
            });
        }
        // The inspected paths were not changed and kept what they had; associations of the others come and go.
        eventually("the old keys go", || (world.keys().len() <= keys + 2).then_some(()));
    });
}

#[test]
fn sizes_and_times_of_the_data_plane_change_in_place() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client2");
        let spis = || world.keys().iter().map(|key| key.sa_spi).collect::<BTreeSet<_>>();
        let limits = |limits: &str| {
            with(&world.text, ("links:\n", &format!("limits: {{{limits}}}\n\nlinks:\n")))
        };
        // Every key has the window that it was made with: there are others now.
        let first = spis();
        reload(&world, &limits("replay_window_packets: 1024"));
        eventually("all keys are new", || spis().is_disjoint(&first).then_some(()));
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        // Keys grow old sooner.
        let second = spis();
        reload(&world, &limits("replay_window_packets: 1024, rekey_after_s: 1"));
        eventually("all keys are new again", || spis().is_disjoint(&second).then_some(()));
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        for element in ["gateway", "sf1", "sf2", "egress"] {
            assert_eq!(world.restarts(element), 0, "{element}");
            assert_eq!(world.drops(element, "no_association"), 0, "{element}");
        }
    });
}

/// A file that nobody else's file is like.
pub(crate) fn pattern(seed: usize, bytes: usize) -> Arc<Vec<u8>> {
    Arc::new((0..bytes).map(|at| (at * (seed + 3) / 5 + at / 509) as u8).collect())
}

/// What the n-th reload changes: hops, the order of rules, and what a function looks for.
pub(crate) fn variant(text: &str, nth: usize) -> String {
    let (a, b) = match nth % 4 {
        0 => ("[a2]", "[b1]"),
        1 => ("[a1, a2]", "[b2]"),
        2 => ("[a2, a1]", "[b2, b1]"),
        _ => ("[a1]", "[b1]"),
    };
    let text = with(text, ("hops: [a1]", &format!("hops: {a}")));
    let text = with(&text, ("hops: [b1]", &format!("hops: {b}")));
    let foreign = "name: b2\n    kind: dpi\n    intrusive: true\n    dpi: {rules: [";
    let another =
        format!("{foreign}{{name: n{nth}, bytes: \"no file holds this {nth}\", action: reset}}, ");
    let text = with(&text, (foreign, &another));
    match text.split_once("rules:\n  - name: to-a") {
        Some((head, tail)) if nth.is_multiple_of(2) => {
            let (to_a, to_b) = tail.split_once("  - name: to-b").expect("both rules");
            format!("{head}rules:\n  - name: to-b{to_b}  - name: to-a{to_a}")
        }
        _ => text,
    }
}

/// Every connection checks each byte that it gets, and each function stops what is not its own. More of it:
/// `RINGMAIL_CONNECTIONS=1000 RINGMAIL_SECONDS=60`.
#[test]
fn reloads_under_load_lose_nothing_and_misroute_nothing() {
    live(|privilege| {
        let wanted = |name: &str, usual: usize| {
            std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
        };
        let connections = wanted("RINGMAIL_CONNECTIONS", 50);
        let seconds = wanted("RINGMAIL_SECONDS", 6);
        let world = World::new(privilege, "change.yaml");
        let mut files = Vec::new();
        let mut servers = Vec::new();
        for (seed, (service, address)) in
            [("a", "10.79.0.10:80"), ("b", "10.79.0.20:80")].into_iter().enumerate()
        {
            let nginx = Nginx::start(&world, service, address);
            let (short, long) = (pattern(seed, 20_000), pattern(seed + 2, 4_000_000));
            nginx.put("/short", &short);
            nginx.put("/long", &long);
            let host = format!("{service}.{}", world.domain);
            let file = |path, body: &Arc<Vec<u8>>, slow| Wanted {
                host: host.clone(),
                path,
                body: Arc::clone(body),
                slow,
            };
            files.extend((0..9).map(|_| file("/short", &short, false)));
            files.push(file("/long", &long, true));
            servers.push(nginx);
        }
        let load = Load::start(&world, "client1", connections, &files);
        let tally = Arc::clone(&load.tally);
        let open = || tally.open.load(Ordering::Relaxed);
        eventually("all connections are open", || {
            (open() as usize >= connections * 9 / 10).then_some(())
        });
        let until = Instant::now() + Duration::from_secs(seconds as u64);
        let mut reloads = 0;
        while Instant::now() < until {
            let next = Instant::now() + Duration::from_secs(2);
            reload(&world, &variant(&world.text, reloads));
            reloads += 1;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let tally = load.stop();
        let lost = tally.lost.lock().expect("nobody panicked");
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (answers, wrong, made) =
            (count(&tally.answers), count(&tally.wrong), count(&tally.made));
        eprintln!(
            "{reloads} reloads in {seconds} s under {connections} connections ({made} made): {answers} answers, {} lost, \
             {wrong} misrouted",
            lost.len()
        );
        assert!(lost.is_empty(), "{} lost: {:#?}", lost.len(), &lost[..lost.len().min(5)]);
        assert_eq!(wrong, 0, "answers of another service");
        assert!(reloads > 2 && answers > connections as u64, "{answers} answers");
        for function in ["a1", "a2", "b1", "b2"] {
            let foreign = world.counter(function, "function_alerts{rule=\"foreign\"}");
            assert_eq!(foreign, 0, "{function} saw what is not its own");
            assert!(world.counter(function, "function_tcp_packets") > 0, "{function} saw nothing");
        }
    });
}
