//! Listeners of the gateway that come, change, move and go while connections last, and limits that change.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::live::load::{Load, Wanted};
use crate::live::programs::{Answer, Curl, Nginx};
use crate::live::reload::{reload, said, with};
use crate::live::world::{World, eventually, live};

const WWW: &str = "10.79.0.10:80";

/// The listener of the file.
const WEB: &str = "    - name: web\n      address: 192.0.2.1:443\n";

/// Another one in front of it, at an address that the machine does not have yet.
fn second(name: &str) -> String {
    format!(
        "    - name: second\n      address: 192.0.2.2:8443\n      certificates:\n        - server_names: [{name}]\n"
    )
}

const TO_SECOND: [&str; 2] = ["--connect-to", "::192.0.2.2:8443"];

/// A download that lasts, as long as nobody reads.
struct Slow(Child, ChildStdout, Vec<u8>);

impl Slow {
    fn begin(curl: &Curl<'_>, args: &[&str]) -> Slow {
        let args = [&["--limit-rate", "12M"], args].concat();
        let mut download = curl.spawn("/slow", &args);
        let mut stdout = download.stdout.take().expect("a pipe");
        let mut first = vec![0];
        stdout.read_exact(&mut first).expect("the download has begun");
        Slow(download, stdout, first)
    }

    fn ends_whole(self, body: &[u8]) {
        let Slow(download, mut stdout, mut got) = self;
        stdout.read_to_end(&mut got).expect("its bytes");
        let answer = Answer::of(&download.wait_with_output().expect("it ends"));
        assert_eq!((answer.exit, &*answer.verdict), (0, "2 200"), "{}", answer.said);
        assert!(got == body, "{} bytes, and not the right ones", got.len());
    }
}

fn body(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 251 * 7 + at % 251) as u8).collect()
}

#[test]
fn listeners_come_move_and_go_and_nobody_is_lost() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        let (page, slow) = (Arc::new(body(20_000)), body(40_000_000));
        nginx.put("/page", &page);
        nginx.put("/slow", &slow);
        let curl = Curl::new(&world, "client1");
        let host = world.name.clone();
        let file = Wanted { host, path: "/page", body: Arc::clone(&page), slow: false };
        let load = Load::start(&world, "client2", 24, &[file]);
        let tally = Arc::clone(&load.tally);
        let answers = || tally.answers.load(Ordering::Relaxed);
        eventually("all are open", || (tally.open.load(Ordering::Relaxed) >= 20).then_some(()));

        assert_eq!(curl.get("/page", &TO_SECOND).verdict, "0 000", "nobody listens there yet");
        let second = second(&world.name);
        let two = with(&world.text, (WEB, &format!("{second}{WEB}")));
        reload(&world, &two);
        let got = curl.get("/page", &TO_SECOND);
        assert!(got.verdict == "2 200" && got.body == *page, "{}", got.said);

        // Limits change under the load, and so does who may speak for others.
        let download = Slow::begin(&curl, &TO_SECOND);
        let balanced = "      address: 192.0.2.1:443\n      proxy_protocol_from: [192.0.2.99/32]\n";
        let limited = with(&two, ("      address: 192.0.2.1:443\n", balanced));
        let inner = "  inner: [10.78.0.0/24]\n";
        let limits = format!("{inner}  limits: {{idle_timeout_ms: 50000}}\n");
        let limited = with(&limited, (inner, &limits));
        let (before, counted) = (answers(), world.counter("gateway", "connections"));
        reload(&world, &limited);
        eventually("all of them go on", || (answers() > before + 48).then_some(()));
        assert!(world.counter("gateway", "connections") >= counted, "it counts on");
        let got = curl.get("/page", &TO_SECOND);
        assert_eq!(got.verdict, "2 200", "{}", got.said);

        // One goes: who is there ends what began.
        reload(&world, &with(&limited, (&second, "")));
        eventually("nobody listens any more", || {
            (curl.get("/page", &TO_SECOND).verdict == "0 000").then_some(())
        });
        download.ends_whole(&slow);
        let tally = load.stop();
        let lost = tally.lost.lock().expect("nobody panicked");
        assert!(lost.is_empty(), "{} lost: {:#?}", lost.len(), &lost[..lost.len().min(5)]);
        assert_eq!(tally.wrong.load(Ordering::Relaxed), 0);

        // The other one moves.
        let download = Slow::begin(&curl, &[]);
        reload(&world, &with(&world.text, ("192.0.2.1:443", "192.0.2.1:444")));
        let moved = curl.get("/page", &["--connect-to", "::192.0.2.1:444"]);
        assert!(moved.verdict == "2 200" && moved.body == *page, "{}", moved.said);
        eventually("nobody listens any more", || {
            (curl.get("/page", &[]).verdict == "0 000").then_some(())
        });
        download.ends_whole(&slow);
        assert_eq!(world.restarts("gateway"), 0);
    });
}

#[test]
fn another_limit_holds_for_who_comes_and_an_address_that_is_taken_changes_nothing() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        let slow = body(30_000_000);
        nginx.put("/slow", &slow);
        nginx.put("/page", b"a page");
        let curl = Curl::new(&world, "client1");
        let before = Slow::begin(&curl, &[]);
        let inner = "  inner: [10.78.0.0/24]\n";
        let limits = format!("{inner}  limits: {{connections_a_client: 1}}\n");
        let limited = with(&world.text, (inner, &limits));
        reload(&world, &limited);
        let first = Slow::begin(&curl, &[]);
        assert_eq!(curl.get("/page", &[]).verdict, "0 000", "one is the most now");
        assert!(world.counter("gateway", "refused_per_client") > 0);

        // The port of another program: nothing of the file is taken, and what listens goes on.
        let _taken = world.inside("gateway", || TcpListener::bind("192.0.2.1:444"));
        let _taken = _taken.expect("a free port");
        let refused = with(&world.text, ("192.0.2.1:443", "192.0.2.1:444"));
        let output = world.reload(&refused, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let text = said(&output);
        assert!(
            text.contains("element gateway refuses") && text.contains("192.0.2.1:444"),
            "{text}"
        );
        before.ends_whole(&slow);
        first.ends_whole(&slow);
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
        reload(&world, &world.text);
        assert_eq!(curl.get("/page", &[]).verdict, "2 200");
    });
}
