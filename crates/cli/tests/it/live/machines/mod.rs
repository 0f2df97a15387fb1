//! A domain on several machines, which are network namespaces: the three of docs/manual/src/three-machines.md, set up by
//! the commands of that chapter.
//!
//! ```text
//!                  ┌──────── fabric (bridge) ──────┐
//!   client ─ TLS ─ one ─────── two ─────── three ─ service (nginx)
//!                  gateway     sf1         egress
//!                  control
//! ```
//!
//! A fourth machine is there for the chapter with two gateways, on the fabric and outside.

mod alone;
mod change;
mod load;
mod manual;
mod mixed;
mod proofs;
mod rotation;
mod standby;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use ringmail_node::runtime::{Claim, Place};
use ringmail_node::topology::{
    Bridge, Cable, Cidr, End, Fabric, Namespace, Netns, Privilege, Sysctl, Topology,
};

use serde_json::Value;

use crate::live::world::{Folder, eventually};

const MACHINES: [&str; 5] = ["client", "one", "two", "three", "service"];
/// The machine of the chapter with two gateways.
const FOURTH: &str = "four";

/// A block of the chapter: whose it is, how it is run, and what it says.
#[derive(Debug)]
struct Block {
    language: String,
    machine: String,
    option: Option<(String, String)>,
    text: String,
}

fn chapter() -> Vec<Block> {
    chapter_of("three-machines.md")
}

fn chapter_of(file: &str) -> Vec<Block> {
    let chapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/src");
    let chapter = std::fs::read_to_string(chapters.join(file)).expect("the chapter");
    let mut blocks = Vec::new();
    let mut lines = chapter.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let mut words = info.split(',');
        let language = words.next().unwrap_or_default().to_owned();
        // Without a machine it is there to be read.
        let Some(machine) = words.next() else { continue };
        let option = words.next().map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name.to_owned(), value.to_owned())
        });
        let text = text.join("\n") + "\n";
        blocks.push(Block { language, machine: machine.to_owned(), option, text });
    }
    blocks
}

/// A command that goes on, and what it logs.
struct Service {
    process: Child,
    log: Arc<Mutex<String>>,
}

impl Service {
    fn log(&self) -> String {
        self.log.lock().expect("nobody panicked").clone()
    }

    fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

/// A download under way.
struct Download {
    process: Child,
    stream: ChildStdout,
    got: Vec<u8>,
}

/// What is downloaded.
fn noise() -> Vec<u8> {
    (0..12_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

struct Machines {
    services: BTreeMap<String, Service>,
    /// Services that are started from another build, and the folder that it is in.
    elsewhere: BTreeMap<String, PathBuf>,
    nginx: Option<Child>,
    fabric: Fabric,
    _claim: Claim,
    folder: Folder,
}

impl Machines {
    fn new(privilege: Privilege) -> Machines {
        let folder = Folder::new(&format!("three-{}", std::process::id()));
        for machine in MACHINES.iter().chain([&FOURTH]) {
            std::fs::create_dir(folder.0.join(machine)).expect("a new folder");
        }
        let topology = topology(&format!("three{}", std::process::id()));
        let place = Place::at(folder.0.join("run"));
        let (mut claim, _) = Claim::take(&place, &topology.domain, privilege).expect("a claim");
        let fabric = Fabric::build(&topology, privilege, &mut claim).expect("a network");
        Machines {
            services: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            nginx: None,
            fabric,
            _claim: claim,
            folder,
        }
    }

    /// The machines as the chapter has them before its change, and the chapter.
    fn running(privilege: Privilege) -> (Machines, Vec<Block>) {
        let blocks = chapter();
        let mut machines = Machines::new(privilege);
        machines.nginx();
        let change =
            |block: &Block| block.option.as_ref().is_some_and(|(name, _)| name == "change");
        let before = blocks.iter().position(change).expect("the chapter changes the domain");
        blocks[..before].iter().for_each(|block| machines.follow(block));
        machines.fetches();
        (machines, blocks)
    }

    fn folder(&self, machine: &str) -> PathBuf {
        self.folder.0.join(machine)
    }

    fn netns(&self, machine: &str) -> &Arc<Netns> {
        self.fabric.namespace(machine).unwrap_or_else(|| panic!("no machine `{machine}`"))
    }

    /// A shell on a machine, in its folder, that finds the program under test.
    fn shell(&self, machine: &str, text: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_ringmail")).parent().expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", text]).current_dir(self.folder(machine)).stdin(Stdio::null());
        shell.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", program.display()));
        shell.env_remove("RINGMAIL_LOG");
        shell
    }

    fn run(&self, machine: &str, text: &str) -> Output {
        let mut shell = self.shell(machine, text);
        let output = self.netns(machine).run(|| shell.output()).expect("a namespace");
        output.expect("sh is installed")
    }

    fn must(&self, machine: &str, text: &str) -> String {
        let output = self.run(machine, text);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{machine}# {text}\n{said}{}", self.logs());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn start(&mut self, machine: &str, name: &str, text: &str) {
        // `exec`: the process is the program's, and not the shell's.
        let mut shell = self.shell(machine, &format!("exec {text}"));
        if let Some(folder) = self.elsewhere.get(name) {
            let path = std::env::var("PATH").unwrap_or_default();
            shell.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", folder.display()));
        }
        shell.stdout(Stdio::null()).stderr(Stdio::piped());
        let spawned = self.netns(machine).run(|| shell.spawn()).expect("a namespace");
        let mut process = spawned.expect("sh is installed");
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, to) = (process.stderr.take().expect("it is piped"), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let mut log = to.lock().expect("nobody panicked");
                log.push_str(&line);
                log.push('\n');
            }
        });
        self.services.insert(name.to_owned(), Service { process, log });
    }

    /// Runs a block of the chapter as its words say.
    fn follow(&mut self, block: &Block) {
        let Block { language, machine, option, text } = block;
        let option = option.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
        match (language.as_str(), option) {
            ("yaml" | "conf", Some(("file", name))) => {
                std::fs::write(self.folder(machine).join(name), text).expect("a file");
            }
            ("nft", None) => {
                std::fs::write(self.folder(machine).join("rules.nft"), text).expect("a file");
                self.must(machine, "nft -f rules.nft");
            }
            ("sh", None) if machine == "carry" => text.lines().for_each(|line| self.carry(line)),
            ("sh", None) => drop(self.must(machine, text)),
            ("sh", Some(("runs", name))) => {
                self.start(machine, name, text);
                if name == "control" {
                    self.await_log(name, "an element", || true);
                }
            }
            ("sh", Some(("eventually", _))) => {
                // What is sent before may be lost on its way, and leaves a gap in what is proved.
                for name in ["gateway", "hop", "egress"] {
                    if self.services.contains_key(name) {
                        self.await_log(name, "all paths have keys", || false);
                    }
                }
                eventually("the command succeeds", || {
                    self.check_alive();
                    self.run(machine, text).status.success().then_some(())
                });
            }
            ("sh", Some(("change", _))) => drop(self.must(machine, text)),
            other => panic!("what is this block? {other:?}: {text}"),
        }
    }

    /// `scp FILE MACHINE:` from machine one.
    fn carry(&self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        let ["scp", file, to] = words[..] else { panic!("`{line}`") };
        let from = self.folder("one").join(file);
        let to = self.folder(to.trim_end_matches(':')).join(from.file_name().expect("a name"));
        std::fs::copy(&from, to).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    /// What control or a lone element says of itself.
    fn status(&self, machine: &str, state: &str) -> Value {
        let text = format!("ringmail --output json status --state {state}");
        serde_json::from_str(&self.must(machine, &text)).expect("JSON")
    }

    /// What control says of a probe along a path.
    fn trace(&self, path: &str) -> Value {
        let text = format!("ringmail --output json trace {path} --state control");
        serde_json::from_str(&self.must("one", &text)).expect("JSON")
    }

    /// Waits until every element that control knows runs what counts.
    fn settled(&self) {
        eventually("everybody runs what counts", || {
            let status = self.status("one", "control");
            let elements = status["elements"].as_array().expect("elements");
            let all = elements.iter().all(|element| element["version"]["progress"] == "current");
            all.then_some(())
        });
    }

    /// What the metrics socket of control or of an element answers, its status in the last line.
    fn asks(&self, machine: &str, state: &str, what: &str) -> String {
        let curl = "curl --silent --show-error --write-out '\\n%{http_code}'";
        let socket = format!("--unix-socket {state}/metrics.sock");
        self.must(machine, &format!("{curl} {socket} http://localhost/{what}"))
    }

    fn metrics(&self, machine: &str, state: &str) -> String {
        self.asks(machine, state, "metrics")
    }

    fn reload(&self, what: &str) -> Output {
        self.run("one", &format!("ringmail --output json reload --state control {what}"))
    }

    fn log(&self, name: &str) -> String {
        self.services[name].log()
    }

    fn logs(&self) -> String {
        let all =
            self.services.iter().map(|(name, service)| format!("-- {name}\n{}", service.log()));
        all.collect()
    }

    /// Waits for a line in a log, or whatever else is said to be enough.
    fn await_log(&self, name: &str, text: &str, enough: impl Fn() -> bool) {
        let what = format!("`{text}` in the log of {name}");
        eventually(&what, || (self.log(name).contains(text) || enough()).then_some(()));
    }

    /// How often a text stands in a log.
    fn count(&self, name: &str, text: &str) -> usize {
        self.log(name).matches(text).count()
    }

    fn check_alive(&mut self) {
        let mut ended = Vec::new();
        for (name, service) in &mut self.services {
            if let Some(status) = service.process.try_wait().expect("it is ours") {
                ended.push(format!("{name}: {status}"));
            }
        }
        assert!(ended.is_empty(), "{ended:?}\n{}", self.logs());
    }

    fn nginx(&mut self) {
        let dir = self.folder("service");
        std::fs::create_dir(dir.join("html")).expect("a new folder");
        std::fs::write(dir.join("html/index.html"), "a page\n").expect("a file");
        self.nginx_with("server { listen 10.79.0.10:80; root html; }");
    }

    fn nginx_with(&mut self, servers: &str) {
        let dir = self.folder("service");
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path temp_{kind};\n"))
            .concat();
        let config = format!(
            "user root root; daemon off; master_process off; pid nginx.pid; error_log error.log warn;\n\
             events {{ worker_connections 8192; }}\nhttp {{ access_log off; send_timeout 600s; {temp} {servers} }}\n"
        );
        std::fs::write(dir.join("nginx.conf"), config).expect("a file");
        let mut nginx = self.shell("service", "exec nginx -p . -e error.log -c nginx.conf");
        nginx.stdout(Stdio::null()).stderr(Stdio::null());
        let spawned = self.netns("service").run(|| nginx.spawn()).expect("a namespace");
        self.nginx = Some(spawned.expect("nginx is installed"));
    }

    /// The command by which alice fetches a path.
    fn curl(path: &str, more: &str) -> String {
        format!(
            "curl --silent --show-error --fail --cacert root.pem --cert cert.pem --key key.pem \
             --resolve www.campus.example:443:192.0.2.1 {more} https://www.campus.example{path}"
        )
    }

    /// The chain that the listener's certificate and its renewals are kept in.
    fn shown(&self) -> String {
        let kept = self.folder("one").join("gateway/listeners.json");
        let kept: Value =
            serde_json::from_slice(&std::fs::read(kept).expect("it is kept")).expect("JSON");
        kept["web/0"]["chain"].to_string()
    }

    /// Whether a page with this word passes, and one without.
    fn passes(&self, word: &str) -> (bool, bool) {
        let html = self.folder("service").join("html");
        std::fs::write(html.join("word.html"), format!("{word}\n")).expect("a file");
        let fetched = |page| self.run("client", &Machines::curl(page, "--max-time 10"));
        (fetched("/word.html").status.success(), fetched("/").status.success())
    }

    /// A download that has begun. curl writes into a pipe that is not read yet, and there is more of it than buffers hold.
    fn download(&self) -> Download {
        let file = self.folder("service").join("html/file");
        if !file.exists() {
            std::fs::write(file, noise()).expect("a file");
        }
        let mut curl = self.shell("client", &Machines::curl("/file", ""));
        curl.stdout(Stdio::piped());
        let process = self.netns("client").run(|| curl.spawn()).expect("a namespace");
        let mut process = process.expect("curl is installed");
        let mut stream = process.stdout.take().expect("it is piped");
        let mut got = vec![0; 100_000];
        stream.read_exact(&mut got).expect("the download has begun");
        Download { process, stream, got }
    }

    /// The download ends whole.
    fn finish(&self, download: &mut Download) {
        self.finish_all(std::slice::from_mut(download));
    }

    /// All of these end whole. They are read side by side: one that is not read for long is given up by somebody on its way.
    fn finish_all(&self, downloads: &mut [Download]) {
        std::thread::scope(|scope| {
            for Download { process, stream, got } in &mut *downloads {
                let running = process.try_wait().expect("it is ours").is_none();
                assert!(running, "it was to run meanwhile");
                scope.spawn(|| stream.read_to_end(got).expect("the download goes on"));
            }
        });
        for Download { process, got, .. } in downloads {
            assert!(process.wait().expect("it is ours").success(), "{}", self.logs());
            assert!(*got == noise(), "the download is not whole: {} bytes", got.len());
        }
    }

    fn fetches(&self) {
        let got = self.must("client", &Machines::curl("/", "--max-time 10"));
        assert_eq!(got, "a page\n");
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for service in self.services.values_mut() {
            drop(service.process.kill());
            drop(service.process.wait());
        }
        if let Some(nginx) = &mut self.nginx {
            drop(nginx.kill());
            drop(nginx.wait());
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// Kept certificates of listeners, a week before their end.
fn ends_soon(text: &str) -> String {
    let mut kept: Value = serde_json::from_str(text).expect("JSON");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    kept["web/0"]["not_after_unix_s"] = (now + 7 * 86_400).into();
    kept.to_string()
}

/// An element in a status.
fn element<'a>(status: &'a Value, name: &str) -> &'a Value {
    let elements = status["elements"].as_array().expect("elements");
    elements.iter().find(|element| element["name"] == name).expect("it is there")
}

/// An element's answer to a reload.
fn answer(reload: &Output, name: &str) -> Value {
    let report: Value = serde_json::from_slice(&reload.stdout).expect("JSON");
    let elements = report["elements"].as_array().expect("elements");
    elements.iter().find(|answer| answer["element"] == name).expect("it is there").clone()
}

fn topology(name: &str) -> Topology {
    let mut plan = Topology::new(name);
    // Between the machines, and outside.
    let bridges = ["br0", "br1"].map(|name| Bridge { name: name.to_owned(), mtu: 1500 });
    plan.namespaces.push(Namespace {
        name: "fabric".to_owned(),
        bridges: bridges.to_vec(),
        ..Namespace::default()
    });
    for machine in MACHINES.into_iter().chain([FOURTH]) {
        let sysctls = Sysctl::tcp_buffers(6 << 20);
        plan.namespaces.push(Namespace {
            name: machine.to_owned(),
            sysctls,
            ..Namespace::default()
        });
    }
    let address = |text: &str| Cidr::new(text.parse().expect("an address"), 24).expect("a prefix");
    let end = |machine: &str, interface: &str, at: &str| End {
        namespace: machine.to_owned(),
        interface: interface.to_owned(),
        addresses: vec![address(at)],
        ..End::default()
    };
    let port = |bridge: &str, machine: &str| End {
        namespace: "fabric".to_owned(),
        interface: format!("{machine}-{bridge}"),
        bridge: Some(bridge.to_owned()),
        ..End::default()
    };
    for (machine, at) in [
        ("one", "198.18.0.1"),
        ("two", "198.18.0.2"),
        ("three", "198.18.0.3"),
        (FOURTH, "198.18.0.5"),
    ] {
        let ends = [port("br0", machine), end(machine, "eth0", at)];
        plan.cables.push(Cable { mtu: 1500, ends });
    }
    let fourth = End { addresses: Vec::new(), ..end(FOURTH, "eth1", "192.0.2.1") };
    for outside in [end("client", "eth0", "192.0.2.10"), end("one", "eth1", "192.0.2.1"), fourth] {
        let ends = [port("br1", &outside.namespace), outside];
        plan.cables.push(Cable { mtu: 1500, ends });
    }
    let inside = [end("three", "eth1", "10.79.0.1"), end("service", "eth0", "10.79.0.10")];
    plan.cables.push(Cable { mtu: 1500, ends: inside });
    plan
}

/// The command of the chapter that starts a service.
fn command(blocks: &[Block], service: &str) -> (String, String) {
    let runs = Some(("runs".to_owned(), service.to_owned()));
    let block = blocks.iter().find(|block| block.option == runs).expect(service);
    (block.machine.clone(), block.text.clone())
}
