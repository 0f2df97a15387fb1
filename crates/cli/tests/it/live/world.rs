//! A running domain with an authority of its own, and programs started inside its namespaces.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ringmail_node::assemble::{self, DomainFile};
use ringmail_node::control::{ElementStatus, KeyExport, PinnedFlow};
use ringmail_node::layout::Layout;
use ringmail_node::runtime::Place;
use ringmail_node::supervise::{ElementState, Handle, LineSink};
use ringmail_node::topology::{Netns, Privilege};
use ringmail_node::up::Up;
use ringmail_trust::{EmbeddedCa, Kind, Request};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::live::load::client_tls;

/// How long anything may take that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Set in a process that a test started inside a user namespace.
const INSIDE: &str = "RINGMAIL_TEST_INSIDE";

/// Runs a test with the right to make networks: as it is under root, or else by starting it again in a user namespace.
/// `body` is a closure in the test's own function; its type names the test.
pub(crate) fn live<F: FnOnce(Privilege)>(body: F) {
    if std::env::var_os(INSIDE).is_some() {
        return body(Privilege::Rootless { uid: 0 });
    }
    if Privilege::is_root() {
        return body(Privilege::Root);
    }
    let name = std::any::type_name::<F>();
    let test = name.trim_end_matches("::{{closure}}").split_once("::").expect("a path").1;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--net"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "inside a user namespace:\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A domain that is to run: one of the files in `domains/`, changed where a test needs it.
pub(crate) struct Setting {
    privilege: Privilege,
    text: String,
    layout: Layout,
    folder: Folder,
    authority: Arc<EmbeddedCa>,
}

impl Setting {
    /// The domain of this file under a name that no other has.
    pub(crate) fn new(privilege: Privilege, file: &str) -> Setting {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("live{}-{count}.example", std::process::id());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/live/domains").join(file);
        let text = std::fs::read_to_string(&path).expect(file).replace("live.example", &name);
        let folder = Folder::new(&name);
        let authority = EmbeddedCa::init(&folder.0.join("ca"), &name.parse().expect("a domain"));
        let authority = Arc::new(authority.expect("an authority"));
        Setting { privilege, text, layout: Layout::Processes, folder, authority }
    }

    /// Replaces a text that stands in the file.
    pub(crate) fn with(mut self, old: &str, new: &str) -> Setting {
        assert!(self.text.contains(old), "`{old}` is not in the file");
        self.text = self.text.replace(old, new);
        self
    }

    /// Puts a file beside the domain's.
    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.0.join(name), text).expect("a file");
    }

    pub(crate) fn layout(self, layout: Layout) -> Setting {
        Setting { layout, ..self }
    }

    pub(crate) fn authority(&self) -> &EmbeddedCa {
        &self.authority
    }

    /// Tries to bring it up and says why that fails.
    pub(crate) fn fails(self) -> String {
        let Setting { privilege, text, layout, folder, authority } = self;
        let domain = ringmail_model::check::load(&text, "the test's domain file");
        let domain = domain.unwrap_or_else(|wrong| panic!("{wrong}")).domain;
        let file = DomainFile { domain, text, folder: folder.0.clone() };
        let program = Path::new(env!("CARGO_BIN_EXE_ringmail"));
        let plan = assemble::plan(&file, authority, layout, program).expect("a plan");
        let place = Place::at(folder.0.join("run"));
        let runtime = Runtime::new().expect("a runtime");
        let up = runtime.block_on(Up::start(plan, &place, privilege, LineSink::default()));
        match up {
            Ok(up) => {
                drop(runtime.block_on(up.stop()));
                panic!("it comes up");
            }
            Err(error) => format!("{:#}", anyhow::Error::from(error)),
        }
    }

    /// Brings it up and keeps it going, leases included.
    pub(crate) fn up(self) -> World {
        let Setting { privilege, text, layout, folder, authority } = self;
        let domain = ringmail_model::check::load(&text, "the test's domain file");
        let domain = domain.unwrap_or_else(|wrong| panic!("{wrong}")).domain;
        let file =
            DomainFile { domain: domain.clone(), text: text.clone(), folder: folder.0.clone() };
        let program = Path::new(env!("CARGO_BIN_EXE_ringmail"));
        let plan = assemble::plan(&file, Arc::clone(&authority), layout, program).expect("a plan");
        let place = Place::at(folder.0.join("run"));
        let log = Arc::new(Log::default());
        let sink = LineSink::new({
            let log = Arc::clone(&log);
            move |element, line| log.add(format!("[{element}] {line}"))
        });
        let runtime = Runtime::new().expect("a runtime");
        let up = runtime.block_on(Up::start(plan, &place, privilege, sink));
        let mut up = up.unwrap_or_else(|error| {
            panic!("the domain does not come up: {:?}\n{}", anyhow::Error::from(error), log.text())
        });
        let namespaces = up.fabric().namespaces();
        let namespaces = namespaces.map(|n| (n.name().to_owned(), Arc::clone(n))).collect();
        let handle = up.handle();
        let (stop, mut stopped) = oneshot::channel();
        let (answer, mut answering) = watch::channel(true);
        let running = runtime.spawn(async move {
            loop {
                let answers = *answering.borrow();
                tokio::select! {
                    // Its elements end with it, which no test is to miss.
                    end = up.run(), if answers => panic!("the domain ended by itself: {end:?}"),
                    Ok(()) = answering.changed() => {}
                    _ = &mut stopped => return up,
                }
            }
        });
        let listener = domain.gateway.listeners.first().expect("a listener");
        let name = listener.certificates[0].server_names[0].to_string();
        let (address, domain) = (listener.address, domain.domain.to_string());
        World {
            name,
            address,
            domain,
            text,
            namespaces,
            handle,
            log,
            answer,
            running: Some((stop, running)),
            runtime,
            authority,
            place,
            folder,
        }
    }
}

/// A running domain. Everything goes when it is dropped.
pub(crate) struct World {
    /// The server name of the listener's certificate.
    pub(crate) name: String,
    /// Where the listener is.
    pub(crate) address: SocketAddr,
    pub(crate) domain: String,
    /// The domain file that it came up with.
    pub(crate) text: String,
    namespaces: BTreeMap<String, Arc<Netns>>,
    handle: Handle,
    log: Arc<Log>,
    answer: watch::Sender<bool>,
    running: Option<(oneshot::Sender<()>, JoinHandle<Up>)>,
    runtime: Runtime,
    authority: Arc<EmbeddedCa>,
    place: Place,
    folder: Folder,
}

impl World {
    /// The domain of this file as it is.
    pub(crate) fn new(privilege: Privilege, file: &str) -> World {
        Setting::new(privilege, file).up()
    }

    /// The listener's address as curl wants it.
    pub(crate) fn resolved(&self) -> String {
        match self.address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        }
    }

    /// A folder for a test's files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    pub(crate) fn authority(&self) -> &EmbeddedCa {
        &self.authority
    }

    /// The lines that elements wrote to their standard error.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Runs a program inside a namespace to its end.
    pub(crate) fn run(&self, namespace: &str, command: &mut Command) -> std::process::Output {
        let run = || command.stdin(Stdio::null()).output();
        self.inside(namespace, run).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Does work inside a namespace; a program that it starts stays there.
    pub(crate) fn inside<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        let netns = self.namespaces.get(namespace);
        let netns = netns.unwrap_or_else(|| panic!("no namespace `{namespace}`"));
        netns.run(work).expect("the namespace can be entered")
    }

    /// A namespace, for a thread that lives in it.
    pub(crate) fn namespace(&self, name: &str) -> Arc<Netns> {
        Arc::clone(self.namespaces.get(name).unwrap_or_else(|| panic!("no namespace `{name}`")))
    }

    /// The TLS of a client with a new certificate.
    pub(crate) fn client_tls(&self, client: &str) -> Arc<rustls::ClientConfig> {
        client_tls(&self.authority, client)
    }

    /// Ends an element by SIGKILL.
    pub(crate) fn kill(&self, element: &str) {
        self.handle.kill(element);
    }

    /// Tells an element's process to end by SIGTERM.
    pub(crate) fn terminate(&self, element: &str) {
        let found = self.handle.elements().into_iter().find(|(name, ..)| name == element);
        let pid = found.and_then(|(_, pid, _)| pid).expect("it is a process");
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    /// An element's process.
    pub(crate) fn pid(&self, element: &str) -> u32 {
        let found = self.handle.elements().into_iter().find(|(name, ..)| name == element);
        found.and_then(|(_, pid, _)| pid).expect("it is a process")
    }

    /// Stops an element's process (SIGSTOP) until what this returns is dropped.
    pub(crate) fn hold(&self, element: &str) -> Held {
        let pid = i32::try_from(self.pid(element)).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it runs");
        Held(pid)
    }

    /// How often an element was started again.
    pub(crate) fn restarts(&self, element: &str) -> u64 {
        self.handle.restarts(element)
    }

    /// Waits until an element serves.
    pub(crate) fn await_ready(&self, element: &str) {
        eventually("the element is ready", || {
            let all = self.handle.elements();
            let state = all.into_iter().find(|(name, ..)| name == element).map(|(.., state)| state);
            (state == Some(ElementState::Ready)).then_some(())
        });
    }

    /// The names of all namespaces that are elements'.
    pub(crate) fn elements(&self) -> Vec<String> {
        self.handle.elements().into_iter().map(|(name, ..)| name).collect()
    }

    pub(crate) fn status(&self, element: &str) -> ElementStatus {
        let status = self.runtime.block_on(self.handle.status(element));
        status.unwrap_or_else(|error| panic!("{element}: {error}"))
    }

    /// A counter of an element.
    pub(crate) fn counter(&self, element: &str, name: &str) -> u64 {
        let status = self.status(element);
        let found = status.counters.iter().find(|counter| counter.name == name);
        found.unwrap_or_else(|| panic!("{element} has no counter `{name}`: {status:#?}")).value
    }

    /// Waits until the gateway knows a replica to be `up`, `down` or `unknown`.
    pub(crate) fn await_replica(&self, replica: &str, wanted: &str) {
        let all = || self.status("gateway").replicas;
        let state = || all().into_iter().find(|of| of.element == replica).map(|of| of.state);
        eventually("the gateway learns of it", || {
            let state = state().unwrap_or_else(|| panic!("the gateway does not ask {replica}"));
            (state == wanted).then_some(())
        });
    }

    /// Packets that an element dropped for a reason.
    pub(crate) fn drops(&self, element: &str, reason: &str) -> u64 {
        let drops = self.status(element).drops;
        drops.iter().find(|drop| drop.reason == reason).map_or(0, |drop| drop.packets)
    }

    /// The keys of all associations.
    pub(crate) fn keys(&self) -> Vec<KeyExport> {
        let export = |name: String| self.runtime.block_on(self.handle.export_keys(&name));
        let keys = self.elements().into_iter().map(export);
        keys.flat_map(|keys| keys.expect("keys are exported")).collect()
    }

    /// Gives a flow from the gateway's inner side its path.
    pub(crate) fn pin(&self, flow: PinnedFlow) {
        let pinned = self.runtime.block_on(self.handle.pin("gateway", flow));
        pinned.unwrap_or_else(|error| panic!("the flow gets no path: {error}"));
    }

    /// Whether elements are answered: no certificates and no leases otherwise.
    pub(crate) fn answer_elements(&self, answer: bool) {
        self.answer.send(answer).expect("it runs");
    }

    /// The domain's runtime directory.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.place.domain_dir(&self.domain).expect("a domain's name")
    }

    /// The largest inner packet of every path.
    pub(crate) fn inner_mtu(&self) -> u16 {
        self.paths().inner_mtu().expect("a path")
    }

    /// The paths that it came up with.
    pub(crate) fn paths(&self) -> ringmail_model::PathSet {
        let loaded = ringmail_model::check::load(&self.text, "the test's domain file");
        let issue = ringmail_model::pathset::Issue {
            version: ringmail_model::PathVersion(1),
            not_before_unix_s: 0,
            not_after_unix_s: u64::MAX,
        };
        let domain = loaded.expect("it is up").domain;
        ringmail_model::PathSet::compile(&domain, issue).expect("it is up")
    }

    /// Brings the domain to this file with `ringmail reload`; `args` stand behind it.
    pub(crate) fn reload(&self, text: &str, args: &[&str]) -> std::process::Output {
        let file = self.folder.0.join("reload.yaml");
        std::fs::write(&file, text).expect("a file");
        let file = file.to_str().expect("a path in UTF-8");
        self.ringmail(&[&["reload", file], args].concat())
    }

    /// Runs this program on the domain, to its end.
    pub(crate) fn ringmail(&self, args: &[&str]) -> std::process::Output {
        self.command(args).output().expect("the program starts")
    }

    /// This program on the domain, to be started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut ringmail = Command::new(env!("CARGO_BIN_EXE_ringmail"));
        ringmail.args(args).args(["--domain", &self.domain]).env_remove("RINGMAIL_LOG");
        ringmail.env("RINGMAIL_RUNTIME_DIR", self.place.base());
        ringmail.stdin(Stdio::null());
        ringmail
    }
}

/// A process that stands still.
pub(crate) struct Held(rustix::process::Pid);

impl Drop for Held {
    fn drop(&mut self) {
        // It may have been ended.
        let _ended = rustix::process::kill_process(self.0, rustix::process::Signal::CONT);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((stop, running)) = self.running.take() {
            // Where the domain ended by itself nobody listens.
            let _ended = stop.send(());
            let up = self.runtime.block_on(running);
            let stopped = up.map(|up| self.runtime.block_on(up.stop()));
            if !std::thread::panicking() {
                stopped.expect("it does not panic").expect("everything is taken down");
            }
        }
        if std::thread::panicking() {
            eprintln!("what elements said:\n{}", self.log.text());
        }
    }
}

/// What elements wrote.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>, Condvar);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().expect("nobody panicked").push(line);
        self.1.notify_all();
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().expect("nobody panicked").join("\n")
    }
}

/// A certificate with its key, as files.
#[derive(Clone)]
pub(crate) struct Papers {
    pub(crate) root: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Papers {
    /// A client's, from this authority.
    pub(crate) fn of(authority: &EmbeddedCa, client: &str) -> Papers {
        let request = Request {
            kind: Kind::Client,
            name: client.parse().expect("a name"),
            names: Vec::new(),
            lasts: Duration::from_secs(86_400),
            replace: true,
        };
        let dir = authority.issue(&request).expect("a certificate").dir;
        let root = authority.dir().join("root.pem");
        Papers { root, cert: dir.join("cert.pem"), key: dir.join("key.pem") }
    }
}

/// A folder that goes with its owner.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        // Short: the admin socket's path has at most 107 bytes.
        let path = std::env::temp_dir().join(format!("ringmail-{name}"));
        std::fs::create_dir(&path).expect("a new folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Looks again and again until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
