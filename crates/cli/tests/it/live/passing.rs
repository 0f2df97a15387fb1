//! A listener of kind `tls`: redis-cli, ssh and rsync, unmodified, through a whole chain to the real servers of those.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::live::world::{Papers, World, eventually, live};

const LISTENER: &str = "192.0.2.1:8443";

/// A program that serves until it is dropped.
struct Served(Child);

impl Served {
    fn start(world: &World, service: &str, address: &str, command: &mut Command) -> Served {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = world.inside(service, || command.spawn());
        let served = Served(process.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        eventually(&format!("{command:?} listens"), || {
            world.inside(service, || TcpStream::connect(address).ok().map(drop))
        });
        served
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that ended by itself is reaped all the same.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn redis(world: &World) -> Served {
    let mut redis = Command::new("redis-server");
    redis.args(["--bind", "10.79.0.12", "--port", "6379", "--protected-mode", "no"]);
    redis.args(["--save", "", "--appendonly", "no", "--dir"]).arg(world.folder());
    Served::start(world, "redis", "10.79.0.12:6379", &mut redis)
}

fn redis_cli(world: &World, papers: &Papers, sni: &str, args: &[&str]) -> Output {
    let mut cli = Command::new("redis-cli");
    cli.args(["-h", "192.0.2.1", "-p", "8443", "--tls", "--sni", sni]);
    cli.arg("--cacert").arg(&papers.root);
    cli.arg("--cert").arg(&papers.cert).arg("--key").arg(&papers.key).args(args);
    world.run("client", &mut cli)
}

fn text(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    format!("{out}{}", String::from_utf8_lossy(&output.stderr))
}

#[test]
fn redis_passes_through_a_chain_that_reads_it() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let _redis = redis(&world);
        let papers = Papers::of(world.authority(), "client");
        let sni = format!("redis.{}", world.domain);
        let set = redis_cli(&world, &papers, &sni, &["SET", "color", "green"]);
        assert_eq!(text(&set).trim(), "OK");
        let big = "x".repeat(100_000);
        redis_cli(&world, &papers, &sni, &["SET", "big", &big]);
        assert_eq!(text(&redis_cli(&world, &papers, &sni, &["STRLEN", "big"])).trim(), "100000");
        // The inspection on the way sees plaintext, and ends what holds the forbidden word.
        let forbidden = redis_cli(&world, &papers, &sni, &["SET", "goods", "contraband"]);
        assert!(!text(&forbidden).starts_with("OK"), "{}", text(&forbidden));
        assert_eq!(text(&redis_cli(&world, &papers, &sni, &["GET", "goods"])).trim(), "");
        // No rule leads this protocol to another service.
        let shell = format!("shell.{}", world.domain);
        let other = redis_cli(&world, &papers, &shell, &["PING"]);
        assert!(!text(&other).contains("PONG"), "{}", text(&other));
        assert_eq!(world.counter("gateway", "passed_refused_by_rules"), 1);
        assert_eq!(world.counter("gateway", "passed"), 5);
    });
}

#[test]
fn a_websocket_passes_through_a_chain() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/live/websocket.py");
        let mut serve = Command::new("python3");
        serve.args([script, "serve", "10.79.0.10", "80"]);
        let _served = Served::start(&world, "www", "10.79.0.10:80", &mut serve);
        let papers = Papers::of(world.authority(), "client");
        let mut ask = Command::new("python3");
        ask.args([script, "ask", "192.0.2.1", "443", &world.name]);
        ask.args([&papers.root, &papers.cert, &papers.key]).arg("20");
        let said = world.run("client", &mut ask);
        assert_eq!(text(&said).trim(), "20 messages came back");
        assert_eq!(world.counter("gateway", "tunnels"), 1);
    });
}

/// Whoever is revoked loses what is open, without a restart.
#[test]
fn a_revocation_ends_what_is_open() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let _redis = redis(&world);
        let papers = Papers::of(world.authority(), "client");
        let sni = format!("redis.{}", world.domain);
        let mut monitor = Command::new("redis-cli");
        monitor.args(["-h", "192.0.2.1", "-p", "8443", "--tls", "--sni", &sni]);
        monitor.arg("--cacert").arg(&papers.root).arg("--cert").arg(&papers.cert);
        monitor.arg("--key").arg(&papers.key).args(["SUBSCRIBE", "news"]);
        monitor.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut subscribed = world.inside("client", || monitor.spawn()).expect("redis-cli");
        eventually("it is subscribed", || (world.counter("gateway", "passed") == 1).then_some(()));
        world.authority().revoke("client").expect("revoked");
        eventually("it is cut", || {
            (world.counter("gateway", "connections_revoked") == 1).then_some(())
        });
        let again = redis_cli(&world, &papers, &sni, &["PING"]);
        assert!(!text(&again).contains("PONG"), "{}", text(&again));
        // redis-cli would try again for ever.
        drop(subscribed.kill());
        drop(subscribed.wait());
    });
}

/// sshd with keys of its own, and how ssh reaches it.
struct Shell {
    _sshd: Served,
    config: PathBuf,
    folder: PathBuf,
}

impl Shell {
    fn start(world: &World, papers: &Papers) -> Shell {
        let folder = world.folder().join("ssh");
        std::fs::create_dir(&folder).expect("a folder");
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            assert!(keygen.status().expect("ssh-keygen is installed").success());
        }
        std::fs::copy(folder.join("user.pub"), folder.join("authorized")).expect("a copy");
        let at = folder.display();
        let server = format!(
            "ListenAddress 10.79.0.11:22\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        );
        std::fs::write(folder.join("sshd.conf"), server).expect("a file");
        let name = format!("shell.{}", world.domain);
        let client = format!(
            "Host chain\n  ProxyCommand openssl s_client -quiet -verify_quiet -connect {LISTENER} -servername {name} \
             -CAfile {root} -cert {cert} -key {key}\n  User root\n  IdentityFile {at}/user\n  IdentitiesOnly yes\n  \
             StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n",
            root = papers.root.display(),
            cert = papers.cert.display(),
            key = papers.key.display(),
        );
        let config = folder.join("config");
        std::fs::write(&config, client).expect("a file");
        // Where sshd goes when it gives up its rights; Debian's service makes it.
        std::fs::create_dir_all("/run/sshd").expect("a folder");
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(folder.join("sshd.conf"));
        let sshd = Served::start(world, "shell", "10.79.0.11:22", &mut sshd);
        Shell { _sshd: sshd, config, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// What no compressor makes smaller, the same each time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}

fn write(path: &Path, content: &[u8]) {
    std::fs::File::create(path).and_then(|mut file| file.write_all(content)).expect("a file");
}

#[test]
fn ssh_and_rsync_pass_through_a_chain() {
    live(|privilege| {
        if !is_real_root() {
            // sshd gives up rights that a user namespace does not have.
            eprintln!("SKIPPED: sshd needs root");
            return;
        }
        let world = World::new(privilege, "passing.yaml");
        let papers = Papers::of(world.authority(), "client");
        let shell = Shell::start(&world, &papers);
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&shell.config).args(["chain", "echo it is $SSH_CONNECTION; exit 7"]);
        let said = world.run("client", &mut ssh);
        // From the gateway's inner address, as every service sees it.
        assert!(text(&said).starts_with("it is 10.78.0.1 "), "{}", text(&said));
        assert_eq!(said.status.code(), Some(7));
        let (from, to) = (shell.path("from"), shell.path("to"));
        write(&from, &noise(20 << 20));
        let mut rsync = Command::new("rsync");
        rsync.arg("-e").arg(format!("ssh -F {}", shell.config.display()));
        rsync.arg(&from).arg(format!("chain:{}", to.display()));
        let said = world.run("client", &mut rsync);
        assert!(said.status.success(), "{}", text(&said));
        assert!(std::fs::read(&from).expect("sent") == std::fs::read(&to).expect("received"));
        assert!(world.counter("gateway", "bytes_from_clients") > 20 << 20);
        assert_eq!(world.counter("gateway", "passed"), 2);
    });
}

fn is_real_root() -> bool {
    // In a user namespace other users than the mapped one are nobody.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("4294967295")
}
