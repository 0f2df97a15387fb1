//! Open vSwitch's userspace datapath in the place of the bridge between elements: it forwards by labels or by Network Service
//! Headers, and nothing else.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::live::world::{World, eventually};

/// Where Debian's package has it.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A switch of its own, with its own database and sockets.
pub(crate) struct Switch<'a> {
    world: &'a World,
    dir: PathBuf,
    /// The switch, then its database: the order in which they end.
    processes: Vec<Child>,
}

impl<'a> Switch<'a> {
    /// A switch without bridges.
    pub(crate) fn start(world: &'a World) -> Switch<'a> {
        let dir = world.folder().join("ovs");
        std::fs::create_dir(&dir).expect("a new folder");
        let mut switch = Switch { world, dir, processes: Vec::new() };
        let (database, socket) = (switch.file("conf.db"), switch.file("db.sock"));
        let remote = switch.database();
        switch.call("ovsdb-tool", &["create", &database, SCHEMA]);
        let listen = format!("--remote=p{remote}");
        switch.spawn("ovsdb-server", &[&database, &listen]);
        eventually("the database listens", || std::fs::metadata(&socket).ok());
        switch.configure(&["--no-wait", "init"]);
        // Without the kernel's datapath, and without a look at its routes.
        switch.spawn("ovs-vswitchd", &[&remote, "--disable-system", "--disable-system-route"]);
        switch
    }

    /// A bridge over these ports, which leave the one that the machine's kernel has. What the flows say is forwarded so,
    /// whatever its addresses; key agreement and ARP go as in any switch; all else is dropped.
    pub(crate) fn bridge<'b>(
        &self,
        name: &str,
        ports: impl IntoIterator<Item = &'b str>,
        flows: &[String],
    ) {
        let bridge = ["--", "set", "bridge", name, "datapath_type=netdev", "fail_mode=secure"];
        self.configure(&[&["add-br", name], &bridge[..]].concat());
        for port in ports {
            let mut ip = Command::new("ip");
            let off = self.world.run("fabric", ip.args(["link", "set", port, "nomaster"]));
            assert!(off.status.success(), "{}", String::from_utf8_lossy(&off.stderr));
            self.configure(&["add-port", name, port]);
        }
        let others = ["arp", "tcp,tp_dst=6637", "tcp,tp_src=6637"];
        let others = others.map(|kind| format!("priority=10,{kind},actions=NORMAL"));
        let dropped = ["priority=0,actions=drop".to_owned()];
        for flow in dropped.iter().chain(&others).chain(flows) {
            self.flows(name, "add-flow", &[flow]);
        }
    }

    /// Packets that the flow of this match has passed at a bridge.
    pub(crate) fn packets(&self, bridge: &str, flow: &str) -> u64 {
        let all = self.flows(bridge, "dump-flows", &[]);
        let line = all.lines().find(|line| line.contains(flow));
        let line = line.unwrap_or_else(|| panic!("no flow `{flow}`: {all}"));
        let count = line.split_once("n_packets=").and_then(|(_, rest)| rest.split_once(','));
        count.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    }

    fn flows(&self, bridge: &str, verb: &str, more: &[&str]) -> String {
        let management = format!("unix:{}", self.file(&format!("{bridge}.mgmt")));
        self.call("ovs-ofctl", &[&["-O", "OpenFlow13", verb, &management], more].concat())
    }

    fn configure(&self, args: &[&str]) {
        let database = format!("--db={}", self.database());
        self.call("ovs-vsctl", &[&[database.as_str(), "--timeout=20"], args].concat());
    }

    fn database(&self) -> String {
        format!("unix:{}", self.file("db.sock"))
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        for folder in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(folder, &self.dir);
        }
        command
    }

    fn call(&self, program: &str, args: &[&str]) -> String {
        let output = self.world.run("fabric", &mut self.command(program, args));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn spawn(&mut self, program: &str, args: &[&str]) {
        let log = std::fs::File::create(self.dir.join(format!("{program}.log"))).expect("a file");
        let mut command = self.command(program, args);
        command.arg(format!("--unixctl={}", self.file(&format!("{program}.ctl"))));
        command.stdout(Stdio::null()).stderr(log);
        let child = self.world.inside("fabric", || command.spawn());
        self.processes.insert(0, child.expect("openvswitch-switch is installed"));
    }
}

impl Drop for Switch<'_> {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.join("ovs-vswitchd.log"));
            eprintln!("what the switch said:\n{}", log.unwrap_or_default());
        }
    }
}
