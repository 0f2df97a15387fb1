//! Looking into a chain that carries traffic: traces, taps, rates.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{Setting, World, eventually, live};
use crate::run::{code, json, stderr, stdout};

const WWW: &str = "10.79.0.10:80";

/// The hops of one way of a trace: element, packets, packets that passed.
fn hops(trace: &Value, way: usize) -> Vec<(String, u64, u64)> {
    let hops = trace["ways"][way]["hops"].as_array().expect("hops");
    let number = |hop: &Value, key: &str| hop[key].as_u64().expect("a number");
    let name = |hop: &Value| hop["element"].as_str().expect("a name").to_owned();
    hops.iter().map(|hop| (name(hop), number(hop, "packets"), number(hop, "passed"))).collect()
}

fn traced(world: &World, args: &[&str]) -> (Output, Value) {
    let output = world.ringmail(&[&["trace", "--output", "json"], args].concat());
    assert!(code(&output) != 1, "{}", stderr(&output));
    let trace = json(&output);
    assert_eq!(trace["schema"], "ringmail.trace/1");
    (output, trace)
}

#[test]
fn a_probe_shows_every_hop_there_and_back() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        let (output, trace) = traced(&world, &["inspected"]);
        assert_eq!(code(&output), 0, "{trace:#}");
        assert_eq!(trace["probe"]["error"], Value::Null);
        // SYN, ACK and FIN at least; what left one element came to the next, through sf2's new seal, too.
        let forward = hops(&trace, 0);
        let packets = forward[0].1;
        assert!(packets >= 3, "{trace:#}");
        let all = |names: [&str; 4], packets: u64| {
            names.map(|name| (name.to_owned(), packets, packets)).to_vec()
        };
        assert_eq!(forward, all(["gateway", "sf1", "sf2", "egress"], packets), "{trace:#}");
        let back = hops(&trace, 1);
        assert!(back[0].1 >= 2, "{trace:#}");
        assert_eq!(back, all(["egress", "sf2", "sf1", "gateway"], back[0].1), "{trace:#}");
        for hop in trace["ways"][0]["hops"].as_array().expect("hops").iter().skip(1) {
            assert!(hop["inside_us"]["median"].as_f64().expect("a time") > 0.0, "{trace:#}");
            assert!(hop["on_link_us"]["median"].is_number(), "{trace:#}");
        }
        let text = world.ringmail(&["trace", "plain"]);
        assert!(stdout(&text).contains("connected in "), "{}", stdout(&text));
        drop(nginx);

        // Nobody listens: the reset comes back all the way, and the verdict is no.
        let (output, trace) = traced(&world, &["plain"]);
        assert_eq!(code(&output), 3, "{trace:#}");
        assert!(trace["probe"]["error"].as_str().expect("why").contains("refused"), "{trace:#}");
        assert_eq!(hops(&trace, 0).last(), Some(&("egress".to_owned(), 1, 1)), "{trace:#}");
        assert_eq!(hops(&trace, 1).last(), Some(&("gateway".to_owned(), 1, 1)), "{trace:#}");
    });
}

#[test]
fn a_trace_shows_where_packets_end_and_why() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let mut down = Command::new("ip");
        down.args(["link", "set", "rm-inner", "down"]);
        assert!(world.run("egress", &mut down).status.success());
        let (output, trace) = traced(&world, &["inspected"]);
        assert_eq!(code(&output), 3, "{trace:#}");
        let last = &trace["ways"][0]["hops"][3];
        assert_eq!((&last["element"], &last["passed"]), (&"egress".into(), &0.into()), "{trace:#}");
        assert_eq!(last["dropped"]["link_refused"], last["packets"], "{trace:#}");
        assert!(hops(&trace, 1).iter().all(|(_, packets, _)| *packets == 0), "{trace:#}");
        let unknown = world.ringmail(&["trace", "nowhere"]);
        assert_eq!(code(&unknown), 1);
        assert!(stderr(&unknown).contains("no forward path is named `nowhere`"));
    });
}

/// A tap that writes to a file. Killed if a test fails.
struct Tap(Child);

impl Tap {
    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).expect("it runs");
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Blocks of a pcapng file: type and body.
fn blocks(bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let (mut at, mut blocks) = (0, Vec::new());
    while at + 8 <= bytes.len() && at + number(at + 4) as usize <= bytes.len() {
        let len = number(at + 4) as usize;
        blocks.push((number(at), &bytes[at + 8..at + len - 4]));
        at += len;
    }
    blocks
}

/// What is said beside packets of a file, once each.
fn comments(file: &Path, filter: &str) -> BTreeSet<String> {
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-Y", filter, "-T", "fields", "-e", "frame.comment"]);
    let seen = tshark.arg("-r").arg(file).output().expect("tshark is installed");
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    seen.lines().map(str::to_owned).collect()
}

/// All packets of the filter, of which there are some, are said to be so; ` .* ` stands for who began each.
fn says(file: &Path, filter: &str, expected: &str) {
    let said = comments(file, filter);
    let (before, behind) = expected.split_once(" .* ").unwrap_or((expected, ""));
    let as_expected = |said: &String| {
        let rest = said.strip_prefix(before);
        rest.is_some_and(|rest| match behind {
            "" => !rest.contains("sequence="),
            _ => {
                let origin = rest.starts_with(" origin=") && rest.contains("/0 sequence=");
                origin && rest.split_once(behind).is_some_and(|(_, more)| !more.contains("proof"))
            }
        })
    };
    assert!(!said.is_empty() && said.iter().all(as_expected), "{expected}: {said:?}");
}

#[test]
fn a_tap_shows_plain_packets_live_and_is_audited() {
    live(|privilege| {
        let setting = Setting::new(privilege, "campus.yaml");
        let world = setting.with("keying: sap", "keying: sap\nlimits: {taps: 1}").up();
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"seen by the tap");
        for hop in ["sf2", "gateway", "egress"] {
            let file = world.folder().join(format!("{hop}.pcapng"));
            let mut ringmail = world.command(&["tap", "inspected", hop, "--danger-decrypted"]);
            ringmail.stdout(File::create(&file).expect("a file")).stderr(Stdio::null());
            let tap = Tap(ringmail.spawn().expect("the program starts"));
            // Live: the packets are in the stream while it still runs.
            eventually("the tap shows the page", || {
                let got = Curl::new(&world, "client2").get("/page", &[]);
                assert_eq!(got.verdict, "2 200", "{}", got.said);
                let bytes = fs::read(&file).expect("the file is there");
                let shown = bytes.windows(15).any(|part| part == b"seen by the tap");
                shown.then_some(())
            });
            let told = eventually("the tap says what it has", || {
                let bytes = fs::read(&file).expect("the file is there");
                let statistics = blocks(&bytes).into_iter().rfind(|(kind, _)| *kind == 5);
                statistics.map(|(_, body)| body.to_vec())
            });
            // Options 4 (received) and 5 (dropped) behind interface and time.
            let value = |at: usize| u64::from_ne_bytes(told[at..at + 8].try_into().expect("8"));
            assert!(value(16) > 0, "{told:?}");
            assert_eq!(value(28), 0, "{told:?}");
            if hop == "sf2" {
                let same = world.ringmail(&["tap", "inspected", hop, "--danger-decrypted"]);
                assert_eq!(code(&same), 1);
                assert!(stderr(&same).contains("as many taps as"), "{}", stderr(&same));
            }
            tap.end();
            let mut tshark = Command::new("tshark");
            tshark.args(["-n", "-Y", "http.request", "-T", "fields", "-e", "http.request.uri"]);
            let seen = tshark.arg("-r").arg(&file).output().expect("tshark is installed");
            let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
            assert!(seen.lines().any(|line| line == "/page"), "{hop}: {seen}");
            // Each packet says what is known of it where it was seen.
            let (asked, answered) = match hop {
                "gateway" => ("position=0/3 proof=begins_here", "position=3/3 .* proof=proved"),
                "egress" => ("position=3/3 .* proof=proved", "position=0/3 proof=begins_here"),
                _ => ("position=2/3 .* proof=not_the_end", "position=1/3 .* proof=not_the_end"),
            };
            says(&file, "http.request", &format!("path=inspected element={hop} {asked}"));
            let back = format!("path=inspected.return element={hop} {answered}");
            says(&file, "http.response", &back);
            let said = comments(&file, "http");
            let known = said.iter().all(|said| said.ends_with("/client/client2\""));
            assert_eq!(known, hop == "gateway", "known at the gateway alone: {said:?}");
        }
        // Once its reader is gone, a tap ends, and another may come.
        eventually("every tap ends", || {
            let ended = world.log().text().matches("the tap ended").count();
            (ended >= 3).then_some(())
        });
        assert!(world.log().text().contains("decrypted traffic is tapped"));
    });
}

#[test]
fn a_tap_is_refused_where_it_is_not_allowed() {
    live(|privilege| {
        let tap = |world: &World, hop: &str, flag: &[&str]| {
            let mut tap = world.command(&[&["tap", "inspected", hop], flag].concat());
            tap.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut tap = tap.spawn().expect("the program starts");
            eventually("a tap that is refused ends", || tap.try_wait().expect("it is ours"));
            let output = tap.wait_with_output().expect("it has ended");
            (code(&output), stderr(&output))
        };
        let danger = ["--danger-decrypted"];
        let world = World::new(privilege, "campus.yaml");
        let (code, said) = tap(&world, "sf2", &danger);
        assert_eq!(code, 1);
        assert!(said.contains("the domain file allows no taps"), "{said}");
        let (code, said) = tap(&world, "sf2", &[]);
        assert_eq!(code, 2);
        assert!(said.contains("hint: say --danger-decrypted"), "{said}");
        drop(world);
        let setting = Setting::new(privilege, "campus.yaml");
        let world = setting.with("keying: sap", "keying: sap\nlimits: {taps: 1}").up();
        let (code, said) = tap(&world, "sf1", &danger);
        assert_eq!(code, 1);
        assert!(said.contains("sf1 is not intrusive"), "{said}");
    });
}

#[test]
fn top_says_how_fast_a_path_is() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", &[b'x'; 200_000]);
        let top = eventually("traffic is seen", || {
            let mut top = world.command(&["top", "--once", "--output", "json"]);
            let top = top.stdout(Stdio::piped()).spawn().expect("the program starts");
            for _ in 0..5 {
                Curl::new(&world, "client2").get("/page", &[]);
            }
            let top = json(&top.wait_with_output().expect("it ends"));
            let paths = top["paths"].as_array().expect("paths");
            let path = paths.iter().find(|path| path["name"] == "inspected.return").expect("it");
            (path["mbits_per_s"].as_f64() > Some(0.5)).then(|| top.clone())
        });
        assert_eq!(top["schema"], "ringmail.top/1");
        let path = top["paths"].as_array().expect("paths").iter();
        let path = path.into_iter().find(|path| path["name"] == "inspected").expect("a path");
        assert_eq!(path["hops"], serde_json::json!(["gateway", "sf1", "sf2", "egress"]));
        assert_eq!(path["state"], "ready");
        let text = world.ringmail(&["top", "--once", "--interval-ms", "100"]);
        assert!(stdout(&text).contains("gateway → sf1 → sf2 → egress"), "{}", stdout(&text));
    });
}
