//! A listener of kind `tls`: redis-cli, psql, ssh and rsync, unmodified, through a whole chain to the real servers of
//! those. ssh, which knows no TLS, goes through `openssl s_client`.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use ringmail_model::SplitMix64;

use crate::live::world::{Papers, World, eventually, live};

const LISTENER: &str = "192.0.2.1:8443";

/// A program that serves until it is dropped.
pub(crate) struct Served(Child);

impl Served {
    /// Starts a program in a namespace and waits until it listens.
    pub(crate) fn start(
        world: &World,
        service: &str,
        address: &str,
        command: &mut Command,
    ) -> Served {
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

/// The two ends of a WebSocket, in Python.
const WEBSOCKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/live/websocket.py");

/// The service `www` as a server of WebSockets.
pub(crate) fn websockets(world: &World) -> Served {
    let mut serve = Command::new("python3");
    serve.args([WEBSOCKET, "serve", "10.79.0.10", "80"]);
    Served::start(world, "www", "10.79.0.10:80", &mut serve)
}

#[test]
fn a_websocket_passes_through_a_chain() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let _served = websockets(&world);
        let papers = Papers::of(world.authority(), "client");
        let mut ask = Command::new("python3");
        ask.args([WEBSOCKET, "ask", "192.0.2.1", "443", &world.name]);
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
    let mut random = SplitMix64(0);
    (0..bytes / 8).flat_map(|_| random.draw().to_le_bytes()).collect()
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
        rsync(&world, &shell, 20);
        assert_eq!(world.counter("gateway", "passed"), 2);
    });
}

/// Sends so many MiB by rsync over ssh.
fn rsync(world: &World, shell: &Shell, mib: usize) {
    let (from, to) = (shell.path("from"), shell.path("to"));
    let (mut file, piece) = (std::fs::File::create(&from).expect("a file"), noise(4 << 20));
    (0..mib / 4).try_for_each(|_| file.write_all(&piece)).expect("it is written");
    let mut rsync = Command::new("rsync");
    rsync.args(["--whole-file", "-e"]).arg(format!("ssh -F {}", shell.config.display()));
    rsync.arg(&from).arg(format!("chain:{}", to.display()));
    let said = world.run("client", &mut rsync);
    assert!(said.status.success(), "{}", text(&said));
    let same = Command::new("cmp").arg(&from).arg(&to).output().expect("cmp is installed");
    assert!(same.status.success(), "{}", text(&same));
    assert!(world.counter("gateway", "bytes_from_clients") > (mib as u64) << 20);
}

#[test]
#[ignore = "a minute of nothing else: cargo nextest run -p ringmail --run-ignored only gibibyte"]
fn rsync_of_a_gibibyte_passes_through_a_chain() {
    live(|privilege| {
        let world = World::new(privilege, "passing.yaml");
        let papers = Papers::of(world.authority(), "client");
        let shell = Shell::start(&world, &papers);
        let begun = std::time::Instant::now();
        rsync(&world, &shell, 1024);
        eprintln!("1 GiB in {:.1} s", begun.elapsed().as_secs_f64());
    });
}

/// PostgreSQL with a database of its own. It gives up root, so it runs as Debian's user for it.
fn postgres(world: &World) -> Served {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let programs = versions.map(|version| version.expect("an entry").path().join("bin")).max();
    let programs = programs.expect("a version");
    let data = world.folder().join("postgres");
    std::fs::create_dir(&data).expect("a folder");
    let own = Command::new("chown").arg("postgres").arg(&data).status();
    assert!(own.expect("chown is installed").success());
    let run = |program: &str| {
        let mut run = Command::new("setpriv");
        run.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        run.arg(programs.join(program)).arg("-D").arg(&data).current_dir("/");
        run
    };
    let mut initdb = run("initdb");
    let made = initdb.args(["--no-sync", "--auth=trust", "--username=postgres"]).output();
    let made = made.expect("setpriv is installed");
    assert!(made.status.success(), "{}", text(&made));
    let allowed = data.join("pg_hba.conf");
    std::fs::write(allowed, "host all all 10.78.0.0/24 trust\n").expect("a file");
    let mut server = run("postgres");
    server.args(["-c", "listen_addresses=10.79.0.13", "-c", "unix_socket_directories="]);
    server.args(["-c", "fsync=off"]);
    Served::start(world, "db", "10.79.0.13:5432", &mut server)
}

#[test]
fn postgresql_passes_through_a_chain_that_reads_it() {
    live(|privilege| {
        if !is_real_root() {
            eprintln!("SKIPPED: PostgreSQL needs a user besides root");
            return;
        }
        let world = World::new(privilege, "passing.yaml");
        let _postgres = postgres(&world);
        let papers = Papers::of(world.authority(), "client");
        // It asks for TLS in the clear first, and the gateway answers.
        let to = format!(
            "host=db.{} hostaddr=192.0.2.1 port=8443 user=postgres dbname=postgres connect_timeout=20 \
             sslmode=verify-full sslrootcert={} sslcert={} sslkey={}",
            world.domain,
            papers.root.display(),
            papers.cert.display(),
            papers.key.display()
        );
        let psql = |query: &str| {
            let mut psql = Command::new("psql");
            psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
            psql.args(["-v", "ON_ERROR_STOP=1", "--command", query]);
            psql.args(["--dbname", &to]);
            world.run("client", &mut psql)
        };
        let made = psql(
            "CREATE TABLE goods AS SELECT n, repeat(n::text, 20) AS t FROM generate_series(1, 20000) n",
        );
        assert!(made.status.success(), "{}", text(&made));
        assert_eq!(
            text(&psql("SELECT count(*), sum(length(t)) FROM goods")).trim(),
            "20000|1777880"
        );
        let all = psql("SELECT * FROM goods ORDER BY n");
        assert!(all.stdout.len() > 1_700_000, "{} bytes", all.stdout.len());
        assert!(text(&all).ends_with(&format!("20000|{}\n", "20000".repeat(20))));
        // The inspection on the way sees the query, and ends the connection.
        let forbidden = psql("INSERT INTO goods VALUES (0, 'contraband')");
        assert!(!forbidden.status.success(), "{}", text(&forbidden));
        assert_eq!(text(&psql("SELECT count(*) FROM goods")).trim(), "20000");
    });
}

fn is_real_root() -> bool {
    // In a user namespace other users than the mapped one are nobody.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("4294967295")
}
