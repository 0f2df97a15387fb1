//! A domain brought up, asked, entered and taken down by the program itself: as root of the machine where the tests
//! are, and in a user namespace in any case.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::run::{code, json, stderr, stdout};

const CAMPUS: &str = include_str!("../../../../examples/campus.yaml");

/// A domain of a name that nobody else has, with a directory of its own.
struct House {
    dir: PathBuf,
    domain: String,
    /// The program under test, or that of another build.
    program: PathBuf,
    /// What a user without rights is made of: nothing, where the tests run without rights.
    prefix: &'static [&'static str],
}

/// Without every capability but the one that it takes to map root, root is as good as anybody.
const RIGHTLESS: &[&str] = &["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"];

impl House {
    fn new(rightless: bool) -> House {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let domain = format!("t{}-{count}.example", std::process::id());
        let dir = std::env::temp_dir().join(format!("ringmail-cli-{domain}"));
        fs::create_dir(&dir).unwrap();
        let text = CAMPUS.replace("domain: campus.example", &format!("domain: {domain}"));
        assert_ne!(text, CAMPUS);
        fs::write(dir.join("domain.yaml"), text).unwrap();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_ringmail"));
        House { dir, domain, program, prefix: if rightless && is_root() { RIGHTLESS } else { &[] } }
    }

    fn command(&self, args: &[&str]) -> Command {
        let program = self.program.to_str().unwrap();
        let words = [self.prefix, &[program], args].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(&self.dir)
            .env("RINGMAIL_RUNTIME_DIR", self.dir.join("run"))
            .env_remove("RINGMAIL_LOG");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Starts `up`, and returns once it says that the domain is up.
    fn up(&self, args: &[&str]) -> Up {
        let mut up = self.command(&[&["up", "domain.yaml"], args].concat());
        let mut up = up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
        // Two more lines follow, which have room in the pipe; its reader is kept until they were written.
        let said: Vec<String> = lines.by_ref().take(3).map(Result::unwrap).collect();
        if said.first() != Some(&format!("{} is up", self.domain)) {
            panic!("{said:?}: {}", stderr(&up.wait_with_output().unwrap()));
        }
        Up(Some(up))
    }

    fn traces(&self) -> Vec<String> {
        let prefix = format!("ringmail-{}-", self.domain);
        let named = Path::new("/run/netns").read_dir().into_iter().flatten();
        let named = named.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounted = mounts.lines().filter(|line| line.contains(&prefix)).map(str::to_owned);
        let files = self.dir.join("run").exists().then(|| "the runtime directory".to_owned());
        named.filter(|name| name.starts_with(&prefix)).chain(mounted).chain(files).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A running `up`. A test that fails does not leave it running.
struct Up(Option<Child>);

impl Up {
    fn signal(&self, signal: &str) {
        let pid = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn end(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(mut up) = self.0.take() {
            drop(Command::new("kill").args(["-TERM", &up.id().to_string()]).status());
            drop(up.wait());
        }
    }
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t0\t")
}

/// What a user does with a domain, from its start to its end.
fn a_day(rightless: bool, layout: &str) {
    let house = House::new(rightless);
    let up = house.up(&["--layout", layout]);

    let status = house.run(&["status", "--output", "json"]);
    assert_eq!(code(&status), 0, "{}", stderr(&status));
    let status = json(&status);
    assert_eq!(status["schema"], "ringmail.status/1");
    assert_eq!(status["domain"], house.domain);
    assert_eq!(status["layout"], layout);
    assert_eq!(status["rootless"], rightless || !is_root());
    let elements = status["elements"].as_array().unwrap();
    for (name, role) in
        [("gateway", "gateway"), ("sf1", "hop"), ("sf2", "hop"), ("egress", "egress")]
    {
        let element = elements.iter().find(|element| element["name"] == name).unwrap();
        assert_eq!(
            (&element["state"], &element["status"]["role"]),
            (&"ready".into(), &role.into())
        );
        assert!(!element["status"]["paths"].as_array().unwrap().is_empty(), "{name}");
    }
    let text = house.run(&["status", "--domain", &house.domain, "--all"]);
    assert!(stdout(&text).contains("path inspected (forward)"), "{}", stdout(&text));

    let page = fetch(&house);
    assert_eq!(stdout(&page), "200", "{}", stderr(&page));
    let inside = house.run(&["exec", "client2", "--", "sh", "-c", "ls /sys/class/net; exit 7"]);
    assert_eq!(code(&inside), 7);
    assert!(stdout(&inside).contains("outer0"), "{}", stdout(&inside));
    let nowhere = house.run(&["exec", "moon", "--", "true"]);
    assert_eq!(code(&nowhere), 1);
    assert!(stderr(&nowhere).contains("hint: it has outside, client1,"), "{}", stderr(&nowhere));
    let missing = house.run(&["exec", "client1", "--", "/no/such/program"]);
    assert_eq!(code(&missing), 1);
    assert!(stderr(&missing).starts_with("error: /no/such/program cannot be started"));

    let keys = house.run(&["keys", "export", "--danger-export-keys"]);
    assert_eq!(code(&keys), 0, "{}", stderr(&keys));
    let line = stdout(&keys).lines().find(|line| !line.starts_with('#')).unwrap().to_owned();
    assert!(line.starts_with("\"IPv4\",\"10.77.0."), "{line}");

    let again = house.run(&["up", "domain.yaml"]);
    assert_eq!(code(&again), 1);
    let told = stderr(&again);
    assert!(told.contains(&format!("is up already, as process {}", status["pid"])), "{told}");
    assert!(
        told.contains(&format!("hint: stop it with `ringmail down --domain {}`", house.domain))
    );

    let down = house.run(&["down"]);
    assert_eq!((code(&down), stdout(&down)), (0, format!("{} is down\n", house.domain)));
    assert_eq!(code(&up.end()), 0);
    assert_eq!(house.traces(), [""; 0]);
    let gone = house.run(&["status"]);
    assert_eq!(stderr(&gone), "error: no domain is up\nhint: start one with `ringmail up FILE`\n");
}

fn fetch(house: &House) -> Output {
    let issued = house.run(&["ca", "client", "client2"]);
    assert_eq!(code(&issued), 0, "{}", stderr(&issued));
    let dir = "ringmail-ca/client/client2";
    let fetch = format!(
        "curl --silent --show-error --max-time 20 --cacert ringmail-ca/root.pem \
         --cert {dir}/cert.pem --key {dir}/key.pem --resolve www.campus.example:443:192.0.2.1 \
         --output page --write-out '%{{http_code}}' https://www.campus.example/"
    );
    house.run(&["exec", "client2", "--", "sh", "-c", &fetch])
}

#[test]
fn a_day_as_root_or_as_who_we_are() {
    a_day(false, "processes");
}

#[test]
fn a_day_without_rights() {
    a_day(true, "processes");
}

#[test]
fn a_day_in_one_process() {
    a_day(true, "single");
}

#[test]
fn a_signal_ends_a_domain_in_order() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let house = House::new(false);
        let up = house.up(&[]);
        assert_ne!(house.traces(), [""; 0]);
        up.signal(signal);
        let ended = up.end();
        assert_eq!(code(&ended), 0, "{signal}: {}", stderr(&ended));
        assert_eq!(house.traces(), [""; 0], "{signal}");
    }
}

#[test]
fn what_a_killed_domain_leaves_goes_with_the_next_start() {
    let house = House::new(false);
    let up = house.up(&[]);
    let pids: Vec<u64> = json(&house.run(&["status", "--output", "json"]))["elements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|element| element["pid"].as_u64().unwrap())
        .collect();
    assert_eq!(pids.len(), 5);
    up.signal("-KILL");
    up.end();
    assert_ne!(house.traces(), [""; 0]);
    let gone = house.run(&["status"]);
    assert_eq!(code(&gone), 1);

    let up = house.up(&[]);
    for pid in pids {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "process {pid} is left");
    }
    up.signal("-INT");
    let ended = up.end();
    let told = stderr(&ended);
    assert_eq!(told.contains("an earlier run ended without cleaning up"), is_root(), "{told}");
    assert_eq!(house.traces(), [""; 0]);
}

#[test]
fn an_element_that_dies_is_started_again() {
    let house = House::new(false);
    let up = house.up(&[]);
    let sf1 = || {
        let status = json(&house.run(&["status", "--output", "json"]));
        let elements = status["elements"].as_array().unwrap();
        elements.iter().find(|element| element["name"] == "sf1").unwrap().clone()
    };
    let first = sf1();
    assert_eq!(first["restarts"], 0);
    let killed = Command::new("kill").args(["-ABRT", &first["pid"].to_string()]).status().unwrap();
    assert!(killed.success());
    let until = Instant::now() + Duration::from_secs(30);
    let again = loop {
        let now = sf1();
        if now["restarts"] == 1 && now["state"] == "ready" {
            break now;
        }
        assert!(Instant::now() < until, "{now}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_ne!(again["pid"], first["pid"]);
    assert_eq!(code(&house.run(&["down"])), 0);
    let told = stderr(&up.end());
    assert!(told.contains("signal 6 (SIGABRT)") && told.contains("started again"), "{told}");
    assert_eq!(house.traces(), [""; 0]);
}

#[test]
fn a_domain_file_that_is_wrong_starts_nothing() {
    let house = House::new(false);
    fs::write(house.dir.join("domain.yaml"), "domain: x\nsurprise: 1\n").unwrap();
    let failed = house.run(&["up", "domain.yaml"]);
    assert_eq!((code(&failed), stdout(&failed)), (1, String::new()));
    assert!(stderr(&failed).contains("unchanged: nothing was started\n"), "{}", stderr(&failed));
    assert!(!house.dir.join("ringmail-ca").exists());
    assert_eq!(house.traces(), [""; 0]);
}

#[test]
fn keys_are_not_exported_by_mistake() {
    let house = House::new(false);
    let refused = house.run(&["keys", "export"]);
    assert_eq!((code(&refused), stdout(&refused)), (2, String::new()));
    insta::assert_snapshot!(stderr(&refused));
}

/// A domain that one build brought up is asked and ended by another. RINGMAIL_OTHER names the folder of the other's
/// program.
#[test]
#[ignore = "needs another build: cargo xtask mixed"]
fn a_domain_of_another_build() {
    let other = std::env::var_os("RINGMAIL_OTHER").expect("RINGMAIL_OTHER: cargo xtask mixed");
    let other = PathBuf::from(other).join("ringmail");
    let this = PathBuf::from(env!("CARGO_BIN_EXE_ringmail"));
    for (brings_up, asks) in [(&other, &this), (&this, &other)] {
        let mut house = House::new(false);
        let file = house.dir.join("domain.yaml");
        let text = fs::read_to_string(&file).unwrap();
        let known = text.replace("profile: mpls-nsh\n", "profile: mpls\n");
        assert_ne!(text, known, "a profile that the other build does not know");
        fs::write(file, known).unwrap();
        house.program.clone_from(brings_up);
        let up = house.up(&[]);
        house.program.clone_from(asks);
        let status = house.run(&["status", "--output", "json"]);
        assert_eq!(code(&status), 0, "{}", stderr(&status));
        let elements = json(&status)["elements"].as_array().unwrap().clone();
        assert_eq!(elements.len(), 5);
        assert!(elements.iter().all(|element| element["state"] == "ready"), "{elements:?}");
        let reload = house.run(&["reload", "domain.yaml"]);
        assert_eq!(code(&reload), 0, "{}", stderr(&reload));
        let down = house.run(&["down"]);
        assert_eq!(code(&down), 0, "{}", stderr(&down));
        assert!(up.end().status.success());
    }
}
