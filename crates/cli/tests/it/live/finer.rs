//! A whole chain with a decision point and collectors of flow records: what is refused and why, and what they hear.
//!
//! ```text
//!   client1 ── gateway ── sf1 ── egress ── nginx
//!               │   └ records ┐     └ records ── collector in the namespace of `www`
//!   client2: decision point, collector
//! ```

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::live::programs::{Curl, Nginx};
use crate::live::reload::{reload, with};
use crate::live::world::{Setting, World, live};

const WWW: &str = "10.79.0.10:80";

const RULE: &str = "    when: {clients: [client1]}\n    path: plain\n";
const ASKED: &str = "    when: {clients: [client1]}\n    ask: opa\n    path: plain\n";

const POINT: &str = "
decision_points:
  - name: opa
    url: http://192.0.2.12:8181/v1/data/campus/allow
    danger_plaintext: true
";

/// Serves connections as OPA's data API does, from inside a namespace: yes to everything but `/secret`.
fn decision_point(world: &World, namespace: &str, address: &str) -> Arc<Mutex<Vec<Value>>> {
    let listener = world.inside(namespace, || TcpListener::bind(address)).expect("a socket");
    let asked = Arc::<Mutex<Vec<Value>>>::default();
    let heard = Arc::clone(&asked);
    // Both end with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let heard = Arc::clone(&heard);
            thread::spawn(move || while answer(&stream, &heard).is_some() {});
        }
    });
    asked
}

fn answer(mut stream: &TcpStream, heard: &Mutex<Vec<Value>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let question: Value = serde_json::from_slice(&body).ok()?;
    let allow = question["input"]["request"]["path"] != "/secret";
    heard.lock().expect("nobody panicked").push(question["input"].clone());
    let answer = json!({"result": {"allow": allow, "reason": "it is secret"}}).to_string();
    let length = answer.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}").ok()
}

#[test]
fn a_decision_point_says_no_and_a_reload_ends_that() {
    live(|privilege| {
        let setting = Setting::new(privilege, "campus.yaml").with(RULE, ASKED);
        let world = setting.with("\nrules:\n", &format!("{POINT}\nrules:\n")).up();
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", b"a page");
        nginx.put("/secret", b"a secret");
        let curl = Curl::new(&world, "client1");
        assert_eq!(curl.get("/page", &[]).verdict, "2 503", "nobody decides yet");
        let asked = decision_point(&world, "client2", "192.0.2.12:8181");
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        assert_eq!(curl.get("/secret", &[]).verdict, "2 403");
        assert_eq!(world.counter("gateway", "refused_by_decision"), 1);
        assert_eq!(world.counter("gateway", "refused_undecided"), 1);
        assert_eq!(asked.lock().expect("nobody panicked").len(), 2);
        let input = asked.lock().expect("nobody panicked")[0].clone();
        assert_eq!(input["source"], "192.0.2.11");
        assert_eq!(input["chain"]["rule"], "client1-plain");
        let open = with(&with(&world.text, (ASKED, RULE)), (POINT, ""));
        reload(&world, &open);
        assert_eq!(curl.get("/secret", &[]).verdict, "2 200");
        let slow = RULE.replace("    path", "    rate: {most: 1, per: hour}\n    path");
        reload(&world, &with(&open, (RULE, &slow)));
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        assert_eq!(curl.get("/page", &[]).verdict, "2 429");
        assert_eq!(asked.lock().expect("nobody panicked").len(), 2, "nobody asks any more");
    });
}

/// A collector inside of a namespace.
struct Collector(UdpSocket);

impl Collector {
    fn new(world: &World, namespace: &str, address: &str) -> Collector {
        let socket = world.inside(namespace, || UdpSocket::bind(address)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        Collector(socket)
    }

    /// Waits for a message that holds all of these texts, each behind its length.
    fn hears(&self, texts: &[&str]) {
        let until = Instant::now() + Duration::from_secs(30);
        let mut buffer = [0; 2_000];
        while Instant::now() < until {
            let Ok(len) = self.0.recv(&mut buffer) else { continue };
            let message = &buffer[..len];
            let says = |text: &&str| {
                let value = [&[text.len() as u8], text.as_bytes()].concat();
                message.windows(value.len()).any(|window| window == value)
            };
            if texts.iter().all(says) {
                return;
            }
        }
        panic!("no message holds {texts:?}");
    }
}

#[test]
fn collectors_hear_of_flows_with_client_rule_and_path() {
    live(|privilege| {
        // Connections to services say every second that they live, so that none is idle.
        let exports = "
flow_exports:
  - {from: gateway, collector: \"192.0.2.12:4739\", active_timeout_s: 2, idle_timeout_s: 1}
  - {from: egress, collector: \"10.79.0.10:4739\", active_timeout_s: 2, idle_timeout_s: 1}
";
        let setting = Setting::new(privilege, "campus.yaml");
        let world = setting.with("\nrules:\n", &format!("{exports}\nrules:\n")).up();
        let at_gateway = Collector::new(&world, "client2", "192.0.2.12:4739");
        let at_egress = Collector::new(&world, "www", "10.79.0.10:4739");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", &[7; 100_000]);
        let answer = Curl::new(&world, "client1").get("/page", &[]);
        assert_eq!(answer.verdict, "2 200");
        let client = format!("spiffe://{}/client/client1", world.domain);
        at_gateway.hears(&[&client, "plain", "client1-plain", "www"]);
        at_egress.hears(&["plain"]);
        assert!(world.counter("gateway", "flow_records") >= 1);
        assert_eq!(world.counter("gateway", "flow_records_nameless"), 0);
        assert_eq!(world.counter("gateway", "flow_events_lost"), 0);
    });
}
