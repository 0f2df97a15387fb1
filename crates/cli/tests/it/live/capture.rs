//! Every frame on the links between elements: captured on the bridge by dumpcap, which comes
//! with tshark, and read by tshark.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::live::world::{World, eventually};

/// Ends a capture; in a frame of an EtherType for experiments (IEEE 802), which tshark shows as data.
const MARK: &[u8] = b"the capture ends here";

/// Sends the mark on the interface of the first argument.
const SEND_MARK: &str = "import socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((sys.argv[1], 0))
link.send(b'\\x02' * 12 + b'\\x88\\xb5' + b'the capture ends here'.ljust(46))";

/// A capture that runs.
pub(crate) struct Capture<'a> {
    world: &'a World,
    namespace: &'a str,
    interface: &'a str,
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

impl<'a> Capture<'a> {
    /// All frames between elements, each once. From now on the kernel cuts super-packets before they go on a link, so
    /// that what is captured is what a wire would carry.
    pub(crate) fn fabric(world: &'a World) -> Capture<'a> {
        for element in world.elements() {
            let mut link = Command::new("ip");
            link.args(["link", "set", "link0", "gso_max_segs", "1"]);
            let set = world.run(&element, &mut link);
            assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        }
        Capture::start(world, "fabric", "br0")
    }

    /// All frames of an interface.
    pub(crate) fn start(world: &'a World, namespace: &'a str, interface: &'a str) -> Capture<'a> {
        let file = world.folder().join(format!("{namespace}-{interface}.pcap"));
        let mut dumpcap = Command::new("dumpcap");
        dumpcap.args(["-q", "-P", "-B", "64", "-i", interface, "-w"]).arg(&file);
        dumpcap.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = world.inside(namespace, || dumpcap.spawn()).expect("tshark is installed");
        let mut said = BufReader::new(process.stderr.take().expect("it is piped"));
        let mut line = String::new();
        // It says so once it sees frames.
        while !line.starts_with("File: ") {
            line.clear();
            assert!(said.read_line(&mut line).expect("dumpcap talks") > 0, "dumpcap ended");
        }
        Capture { world, namespace, interface, file, process, said }
    }

    /// Ends it, once everything up to now has been written. Nothing may have been lost.
    pub(crate) fn stop(mut self) -> Captured {
        let mut python = Command::new("python3");
        python.args(["-c", SEND_MARK, self.interface]);
        let sent = self.world.run(self.namespace, &mut python);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        eventually("the capture gets as far as its end", || {
            let bytes = std::fs::read(&self.file).expect("the capture is there");
            bytes.windows(MARK.len()).any(|part| part == MARK).then_some(())
        });
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::INT).expect("dumpcap runs");
        let mut text = String::new();
        self.said.read_to_string(&mut text).expect("dumpcap talks");
        assert!(self.process.wait().expect("dumpcap ends").success(), "{text}");
        let (_, counts) = text.rsplit_once("': ").expect(&text);
        let counts = counts.split_once(' ').and_then(|(counts, _)| counts.split_once('/'));
        let (frames, dropped) = counts.expect(&text);
        assert_eq!(dropped, "0", "{text}");
        let frames = frames.parse().expect(&text);
        Captured { file: self.file, frames }
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

    /// What tshark says with these arguments, a line each. The mark at the end is not shown by a filter on IP.
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
