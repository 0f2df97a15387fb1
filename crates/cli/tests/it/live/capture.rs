//! Every frame on the links between elements: captured by tcpdump on the bridge, read by tshark.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::live::world::World;

/// A capture that runs.
pub(crate) struct Capture {
    file: PathBuf,
    process: Child,
    said: BufReader<std::process::ChildStderr>,
}

/// A capture that ended.
pub(crate) struct Captured {
    file: PathBuf,
    /// Frames that were seen.
    pub(crate) frames: u64,
}

impl Capture {
    /// All frames between elements, each once. From now on the kernel cuts super-packets before they go on a link, so
    /// that what is captured is what a wire would carry.
    pub(crate) fn fabric(world: &World) -> Capture {
        for element in world.elements() {
            let mut link = Command::new("ip");
            link.args(["link", "set", "link0", "gso_max_segs", "1"]);
            let set = world.run(&element, &mut link);
            assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        }
        Capture::start(world, "fabric", "br0")
    }

    /// All frames of an interface.
    pub(crate) fn start(world: &World, namespace: &str, interface: &str) -> Capture {
        let file = world.folder().join(format!("{namespace}-{interface}.pcap"));
        let mut tcpdump = Command::new("tcpdump");
        tcpdump.args(["-i", interface, "-s", "0", "-B", "65536", "--packet-buffered"]);
        tcpdump.args(["-Z", "root", "-w"]).arg(&file);
        tcpdump.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process =
            world.inside(namespace, || tcpdump.spawn()).expect("tcpdump is installed");
        let mut said = BufReader::new(process.stderr.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).expect("tcpdump talks") > 0, "tcpdump ended");
        }
        Capture { file, process, said }
    }

    /// Ends it. Nothing may have been lost.
    pub(crate) fn stop(mut self) -> Captured {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::INT).expect("tcpdump runs");
        let mut text = String::new();
        self.said.read_to_string(&mut text).expect("tcpdump talks");
        assert!(self.process.wait().expect("tcpdump ends").success(), "{text}");
        let number = |what: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_suffix(what));
            line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
        };
        assert_eq!(number("packets dropped by kernel"), 0, "{text}");
        Captured { file: self.file, frames: number("packets captured") }
    }
}

impl Captured {
    /// Gives tshark this file of keys (esp_sa) from now on.
    pub(crate) fn give_keys(&self, keys: &[u8]) {
        let settings = self.file.with_extension("settings");
        std::fs::create_dir_all(&settings).expect("a folder");
        std::fs::write(settings.join("esp_sa"), keys).expect("a file");
    }

    /// The file as it is.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.file).expect("the capture is there")
    }

    /// What tshark says with these arguments, a line each.
    pub(crate) fn tshark(&self, args: &[&str]) -> Vec<String> {
        let mut tshark = Command::new("tshark");
        tshark.env("WIRESHARK_CONFIG_DIR", self.file.with_extension("settings"));
        tshark.args(["-n", "-r"]).arg(&self.file).args(args);
        let output = tshark.output().expect("tshark is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }
}
