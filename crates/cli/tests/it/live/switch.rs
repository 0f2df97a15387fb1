//! Open vSwitch's userspace datapath in the place of the bridge between elements: it forwards by label, and nothing else.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::live::world::{World, eventually};

/// Where Debian's package has it.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// The switch's name.
const NAME: &str = "sw";

/// A switch of its own, with its own database and sockets.
pub(crate) struct Switch<'a> {
    world: &'a World,
    dir: PathBuf,
    /// The switch, then its database: the order in which they end.
    processes: Vec<Child>,
}

impl<'a> Switch<'a> {
    /// Takes these ports off the bridge. Frames of a label leave by its port, whatever their addresses; key agreement and
    /// ARP go as in any switch; all else is dropped.
    pub(crate) fn start(world: &'a World, ports: &[(&str, u32)]) -> Switch<'a> {
        let dir = world.folder().join("ovs");
        std::fs::create_dir(&dir).expect("a new folder");
        let mut switch = Switch { world, dir, processes: Vec::new() };
        let (database, socket) = (switch.file("conf.db"), switch.file("db.sock"));
        let remote = format!("unix:{socket}");
        switch.call("ovsdb-tool", &["create", &database, SCHEMA]);
        let listen = format!("--remote=p{remote}");
        switch.spawn("ovsdb-server", &[&database, &listen]);
        eventually("the database listens", || std::fs::metadata(&socket).ok());
        let database = format!("--db={remote}");
        switch.call("ovs-vsctl", &[&database, "--no-wait", "init"]);
        // Without the kernel's datapath, and without a look at its routes.
        switch.spawn("ovs-vswitchd", &[&remote, "--disable-system", "--disable-system-route"]);
        let bridge = ["--", "set", "bridge", NAME, "datapath_type=netdev", "fail_mode=secure"];
        let add = [&[&database, "--timeout=20", "add-br", NAME], &bridge[..]].concat();
        switch.call("ovs-vsctl", &add);
        let mut flows = vec!["priority=0,actions=drop".to_owned()];
        for kind in ["arp", "tcp,tp_dst=6637", "tcp,tp_src=6637"] {
            flows.push(format!("priority=10,{kind},actions=NORMAL"));
        }
        for (port, label) in ports {
            let mut ip = Command::new("ip");
            let off = world.run("fabric", ip.args(["link", "set", port, "nomaster"]));
            assert!(off.status.success(), "{}", String::from_utf8_lossy(&off.stderr));
            switch.call("ovs-vsctl", &[&database, "--timeout=20", "add-port", NAME, port]);
            flows.push(format!("priority=100,mpls,mpls_label={label},actions=output:{port}"));
        }
        for flow in &flows {
            switch.flows("add-flow", &[flow]);
        }
        switch
    }

    /// Packets that the flow of this match has passed.
    pub(crate) fn packets(&self, flow: &str) -> u64 {
        let all = self.flows("dump-flows", &[]);
        let line = all.lines().find(|line| line.contains(flow));
        let line = line.unwrap_or_else(|| panic!("no flow `{flow}`: {all}"));
        let count = line.split_once("n_packets=").and_then(|(_, rest)| rest.split_once(','));
        count.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    }

    fn flows(&self, verb: &str, more: &[&str]) -> String {
        let management = format!("unix:{}", self.file(&format!("{NAME}.mgmt")));
        self.call("ovs-ofctl", &[&["-O", "OpenFlow13", verb, &management], more].concat())
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
