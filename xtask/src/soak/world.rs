//! The running domain of a soak: `ringmail up` as a child, asked and changed by the program's own verbs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::domain;
use super::ledger::{self, Counts, Ledger};
use super::memory::{self, Memory};

/// How long the domain may take to come up, to be whole again, and to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often something is looked at that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The environment variable that asks elements for faults on their links.
const FAULTS: &str = "RINGMAIL_DANGER_FAULTS";

/// The program, and where its files are.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    program: PathBuf,
    dir: PathBuf,
}

/// A domain that is up. Dropping it ends it.
pub(crate) struct World {
    pub(crate) tools: Tools,
    up: Child,
}

/// An element as `ringmail status` shows it.
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) pid: u64,
    pub(crate) ready: bool,
    pub(crate) counts: Option<Counts>,
}

impl Tools {
    /// `ringmail` with these arguments.
    fn ringmail(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.dir).stdin(Stdio::null());
        command.env("RINGMAIL_RUNTIME_DIR", self.dir.join("run")).env_remove("RINGMAIL_LOG");
        command
    }

    /// A program in a namespace of the domain.
    pub(crate) fn inside(&self, namespace: &str, args: &[&str]) -> Command {
        let head = ["exec", "--domain", domain::NAME, namespace, "--"];
        self.ringmail(&[&head, args].concat())
    }

    /// Root certificate, certificate and key of a client.
    pub(crate) fn papers(&self, client: &str) -> [String; 3] {
        let file = |path: &str| self.dir.join("ca").join(path).to_string_lossy().into_owned();
        let own = |name: &str| file(&format!("client/{client}/{name}"));
        [file("root.pem"), own("cert.pem"), own("key.pem")]
    }

    fn done(&self, args: &[&str]) -> Result<Vec<u8>> {
        let output = self.ringmail(args).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ringmail {}: {}", args.join(" "), said.trim());
        Ok(output.stdout)
    }
}

impl World {
    /// Brings the domain up, its files and log in `dir`, with these faults on every link.
    pub(crate) fn up(program: &Path, dir: &Path, faults: &str) -> Result<World> {
        let tools = Tools { program: program.to_owned(), dir: dir.to_owned() };
        fs::write(dir.join("domain.yaml"), domain::file(0))?;
        fs::write(dir.join("upload"), vec![b'u'; 1_500_000])?;
        tools.done(&["ca", "init", "--dir", "ca", "--domain", domain::NAME])?;
        for client in ["client1", "client2"] {
            tools.done(&["ca", "client", client, "--dir", "ca"])?;
            ensure!(Path::new(&tools.papers(client)[1]).exists(), "no certificate of {client}");
        }
        let log = fs::File::create(dir.join("up.log"))?;
        let mut up = tools.ringmail(&["up", "domain.yaml", "--ca", "ca"]);
        up.env(FAULTS, faults).stdout(Stdio::null()).stderr(log);
        let up = up.spawn().context("`ringmail up` cannot be started")?;
        let mut world = World { tools, up };
        world.whole()?;
        Ok(world)
    }

    /// Waits until every element serves.
    pub(crate) fn whole(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.up.try_wait()? {
                bail!("`ringmail up` ended with {status}; see its log");
            }
            let elements = self.elements().unwrap_or_default();
            let chain = |element: &&Element| element.counts.is_some();
            if elements.iter().filter(chain).count() >= 5 && elements.iter().all(|e| e.ready) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the domain is not whole after {PATIENCE:?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Every element of the domain, the built-in site included.
    pub(crate) fn elements(&self) -> Result<Vec<Element>> {
        let args = ["status", "--domain", domain::NAME, "--output", "json"];
        let status: Value = serde_json::from_slice(&self.tools.done(&args)?)?;
        let elements = status["elements"].as_array().context("no elements")?.iter();
        let element = |said: &Value| {
            let counts = said["status"]["counters"].as_array().is_some_and(|all| !all.is_empty());
            let state = said["state"].as_str()?;
            let unready = said["status"]["not_ready"].as_array().is_some_and(|all| !all.is_empty());
            Some(Element {
                name: said["name"].as_str()?.to_owned(),
                pid: said["pid"].as_u64()?,
                ready: state == "ready" && !unready,
                counts: counts.then(|| Counts::of(&said["status"])),
            })
        };
        Ok(elements.filter_map(element).collect())
    }

    /// Takes what elements and their kernels count, and returns the elements.
    pub(crate) fn look(&self, ledger: &mut Ledger) -> Result<Vec<Element>> {
        let elements = self.elements()?;
        ledger.begin_look();
        for Element { name, pid, counts, .. } in &elements {
            // One that has just ended keeps what it said last.
            let Some(counts) = counts else { continue };
            ledger.note(name, *pid, counts.clone());
            let proc = Path::new("/proc").join(pid.to_string());
            let namespace = fs::read_link(proc.join("ns/net")).ok();
            let number = namespace.as_deref().and_then(Path::to_str).and_then(inode);
            let snmp = fs::read_to_string(proc.join("net/snmp")).ok();
            let dropped = snmp.as_deref().and_then(ledger::kernel_drops);
            if let (Some(number), Some(dropped)) = (number, dropped) {
                ledger.note_kernel(number, dropped);
            }
        }
        Ok(elements)
    }

    /// Notes the resident memory of every process.
    pub(crate) fn weigh(&self, at_s: u64, elements: &[Element], memory: &mut Memory) {
        let mut note = |process: &str, pid: u64| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if let Some(kib) = memory::rss_kib(&status) {
                memory.note(process, at_s, kib);
            }
        };
        note("ringmail up", self.up.id().into());
        elements.iter().for_each(|element| note(&element.name, element.pid));
    }

    /// Brings the domain to a variant of its file.
    pub(crate) fn reload(&self, variant: u64) -> Result<()> {
        fs::write(self.tools.dir.join("reload.yaml"), domain::file(variant))?;
        self.tools.done(&["reload", "reload.yaml", "--domain", domain::NAME]).map(drop)
    }

    /// Ends an element by SIGKILL: a child of the `ringmail up` that was started here, and nobody else.
    pub(crate) fn kill(&self, element: &str) -> Result<()> {
        let elements = self.elements()?;
        let found = elements.iter().find(|known| known.name == element);
        let pid = found.with_context(|| format!("no element {element}"))?.pid;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let parent: Option<u32> = parent.and_then(|pid| pid.trim().parse().ok());
        ensure!(parent == Some(self.up.id()), "process {pid} is no child of this soak's domain");
        let killed = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
        ensure!(killed.success(), "process {pid} cannot be killed");
        // The next look finds another process, or none.
        let until = Instant::now() + PATIENCE;
        while self.elements()?.iter().any(|known| known.pid == pid) {
            ensure!(Instant::now() < until, "element {element} does not end");
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Takes the domain down, which leaves nothing.
    pub(crate) fn down(mut self) -> Result<()> {
        self.tools.done(&["down", "--domain", domain::NAME])?;
        let status = self.up.wait()?;
        ensure!(status.success(), "`ringmail up` ended with {status}");
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if matches!(self.up.try_wait(), Ok(None)) {
            drop(self.tools.done(&["down", "--domain", domain::NAME]));
            drop(self.up.kill());
            drop(self.up.wait());
        }
    }
}

/// The number in `net:[4026532008]`.
fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_a_number() {
        assert_eq!(inode("net:[4026532008]"), Some(4_026_532_008));
        assert_eq!(inode("mnt:[1]"), None);
    }
}
