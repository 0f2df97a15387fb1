//! The foreign programs at both ends of a chain: nginx as the service, curl and aria2 as clients.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::live::world::{Papers, World, eventually};

/// An unmodified nginx in a service's namespace, with a directory of its own.
pub(crate) struct Nginx {
    dir: PathBuf,
    process: Child,
}

impl Nginx {
    /// Serves the files of its directory, takes uploads by PUT below /up/, and ends answers below /trailed/ with a
    /// trailer, which it announces: HTTP/1.1 has no other way to pass one on.
    pub(crate) fn start(world: &World, service: &str, address: &str) -> Nginx {
        let address: SocketAddr = address.parse().expect("an address");
        let dir = world.folder().join(format!("nginx-{service}"));
        for folder in ["html/up", "html/trailed"] {
            std::fs::create_dir_all(dir.join(folder)).expect("a folder");
        }
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path temp_{kind};\n"))
            .concat();
        let config = format!(
            "user root root; daemon off; master_process off; pid nginx.pid; error_log error.log warn;\n\
             worker_rlimit_nofile 16384; events {{ worker_connections 8192; }}\n\
             http {{ access_log access.log; sendfile on; {temp}\
             server {{ listen {address}; root html; client_max_body_size 0;\n\
             location /up/ {{ dav_methods PUT; }}\n\
             location /trailed/ {{ add_header trailer checked-by; add_trailer checked-by nginx; }} }} }}\n"
        );
        std::fs::write(dir.join("nginx.conf"), config).expect("a file");
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(&dir).args(["-e", "error.log", "-c", "nginx.conf"]);
        nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = world.inside(service, || nginx.spawn()).expect("nginx is installed");
        let nginx = Nginx { dir, process };
        eventually("nginx listens", || {
            world.inside(service, || TcpStream::connect(address).ok().map(drop))
        });
        nginx
    }

    /// Makes a file that is served under this path.
    pub(crate) fn put(&self, path: &str, content: &[u8]) {
        std::fs::write(self.file(path), content).expect("a file");
    }

    /// Where the file of a path lies.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.dir.join("html").join(path.trim_start_matches('/'))
    }

    /// Bytes of a request body that are on nginx's disk while the request goes on.
    pub(crate) fn taken_in(&self) -> u64 {
        fn below(dir: &Path) -> u64 {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .filter_map(|entry| {
                    let found = entry.metadata().ok()?;
                    Some(if found.is_dir() { below(&entry.path()) } else { found.len() })
                })
                .sum()
        }
        below(&self.dir.join("temp_client_body"))
    }

    /// The access log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("access.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // One that ended by itself is reaped all the same.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Answer {
    /// curl's exit code.
    pub(crate) exit: i32,
    /// HTTP's version and status, such as `2 200`; `0 000` where there was no answer.
    pub(crate) verdict: String,
    pub(crate) body: Vec<u8>,
    /// Status line, header and trailer fields.
    pub(crate) head: String,
    pub(crate) said: String,
}

/// curl as a client of the domain, from the namespace of its name.
pub(crate) struct Curl<'a> {
    world: &'a World,
    namespace: String,
    papers: Option<Papers>,
    host: String,
}

impl<'a> Curl<'a> {
    /// With a new certificate of the domain's authority.
    pub(crate) fn new(world: &'a World, client: &str) -> Curl<'a> {
        Curl::with(world, client, Some(Papers::of(world.authority(), client)))
    }

    /// From this namespace, with a certificate of the caller's choice.
    pub(crate) fn with(world: &'a World, namespace: &str, papers: Option<Papers>) -> Curl<'a> {
        Curl { world, namespace: namespace.to_owned(), papers, host: world.name.clone() }
    }

    /// Asks another host, at the same address.
    pub(crate) fn host(self, host: String) -> Curl<'a> {
        Curl { host, ..self }
    }

    /// Asks for a path. `args` stand behind curl's own.
    pub(crate) fn get(&self, path: &str, args: &[&str]) -> Answer {
        let mut command = self.command(path, args);
        Answer::of(&self.world.run(&self.namespace, &mut command))
    }

    /// Starts curl with its standard input open.
    pub(crate) fn spawn(&self, path: &str, args: &[&str]) -> Child {
        let mut command = self.command(path, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.world.inside(&self.namespace, || command.spawn()).expect("curl is installed")
    }

    fn command(&self, path: &str, args: &[&str]) -> Command {
        let (host, port) = (&self.host, self.world.address.port());
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--noproxy", "*"]);
        curl.args(["--dump-header", "/dev/stderr"]);
        curl.args(["--write-out", "%{stderr}\nverdict %{http_version} %{http_code}\n"]);
        curl.args(["--resolve", &format!("{host}:{port}:{}", self.world.resolved())]);
        curl.arg("--cacert").arg(self.world.authority().dir().join("root.pem"));
        if let Some(Papers { cert, key, .. }) = &self.papers {
            curl.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        curl.args(args).arg(format!("https://{host}:{port}{path}"));
        curl
    }
}

impl Answer {
    pub(crate) fn of(output: &Output) -> Answer {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let (head, rest) = said.rsplit_once("\nverdict ").unwrap_or((&said, "0 000"));
        Answer {
            exit: output.status.code().expect("curl ends by itself"),
            verdict: rest.lines().next().unwrap_or_default().to_owned(),
            body: output.stdout.clone(),
            head: head.to_lowercase(),
            said,
        }
    }
}

/// Downloads a path with wget, into `to`.
pub(crate) fn wget(world: &World, client: &str, path: &str, to: &Path) -> Output {
    let Papers { root, cert, key } = Papers::of(world.authority(), client);
    let mut wget = with_hosts(world, "wget");
    wget.args([
        "--no-config",
        "--no-proxy",
        "--no-hsts",
        "--tries=1",
        "--timeout=30",
        "--server-response",
    ]);
    wget.arg(format!("--ca-certificate={}", root.display()));
    wget.arg(format!("--certificate={}", cert.display()));
    wget.arg(format!("--private-key={}", key.display()));
    wget.arg(format!("--output-document={}", to.display()));
    wget.arg(format!("https://{}:{}{path}", world.name, world.address.port()));
    world.run(client, &mut wget)
}

/// A program that asks the system for addresses: it gets a hosts file of its own.
fn with_hosts(world: &World, program: &str) -> Command {
    let hosts = world.folder().join("hosts");
    std::fs::write(&hosts, format!("{} {}\n", world.address.ip(), world.name)).expect("a file");
    let mut command = Command::new("unshare");
    const START: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    command.args(["--mount", "sh", "-c", START]).arg(&hosts).arg(program);
    command
}

/// Downloads a path with aria2 over so many connections, into `to`.
pub(crate) fn aria2(
    world: &World,
    client: &str,
    path: &str,
    connections: u32,
    to: &Path,
) -> Output {
    let Papers { root, cert, key } = Papers::of(world.authority(), client);
    let mut aria2 = with_hosts(world, "aria2c");
    aria2
        .args(["--no-conf", "--no-netrc", "--check-certificate=true", "--summary-interval=0"])
        .args(["--min-split-size=1M", "--file-allocation=none", "--async-dns=false"])
        .arg(format!("--split={connections}"))
        .arg(format!("--max-connection-per-server={connections}"))
        .arg(format!("--ca-certificate={}", root.display()))
        .arg(format!("--certificate={}", cert.display()))
        .arg(format!("--private-key={}", key.display()))
        .arg(format!("--dir={}", to.display()))
        .arg("--out=file")
        .arg(format!("https://{}:{}{path}", world.name, world.address.port()));
    world.run(client, &mut aria2)
}
