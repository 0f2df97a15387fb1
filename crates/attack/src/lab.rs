//! The domain under attack, with everything that a case needs of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ringmail_model::defence::Defence;
use ringmail_model::domain::Profile;
use ringmail_model::pathset::{Direction, Element, Issue, Path as ChainPath, SFF_LABEL};
use ringmail_model::{MacAddress, PathSet, PathVersion};
use ringmail_node::assemble::DomainFile;
use ringmail_node::control::{ElementStatus, KeyExport, PinnedFlow};
use ringmail_node::layout::Layout;
use ringmail_node::runtime::Place;
use ringmail_node::supervise::{ElementState, Handle, LineSink};
use ringmail_node::testbed::{Settings, Testbed};
use ringmail_node::topology::{Netns, Privilege};
use ringmail_trust::EmbeddedCa;
use socket2::{Domain, Socket, Type};
use tokio::runtime::Runtime;

use crate::case::Switch;
use crate::domain;
use crate::machines::Machines;
use crate::origin::Origin;
use crate::switches;
use crate::wire::Wire;

/// How long anything may take that a case waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often something is looked at that is waited for.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Longer than anything else that is under way.
pub(crate) const LONG_BYTES: usize = 600;

/// A payload that begins with these words, by whose length the attacker knows its packet.
pub(crate) fn long(words: &[u8]) -> Vec<u8> {
    let mut payload = words.to_vec();
    payload.resize(LONG_BYTES, b'.');
    payload
}

/// The running domain, the attacker on its links, and the services that say what arrived.
pub(crate) struct Lab {
    pub(crate) wire: Wire,
    pub(crate) www: Origin,
    pub(crate) vault: Origin,
    /// The domain file.
    text: String,
    /// The path set, of the numbers that the elements have; not the one that was signed for them.
    pub(crate) set: PathSet,
    testbed: Testbed,
    runtime: Runtime,
    folder: PathBuf,
    program: PathBuf,
    log: Log,
    /// The file of switches, where there are any.
    switches: Option<PathBuf>,
    /// Ports that pinned flows have had.
    ports: u16,
    /// The second domain, once a case has asked for it.
    machines: Option<Machines>,
}

/// The lines that elements wrote.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

impl Lab {
    /// Brings the domain up in this profile, its elements of `program`.
    pub(crate) fn up(profile: &str, program: &Path, weakened: bool) -> Result<Lab> {
        ensure!(Privilege::is_root(), "root is needed: the attacker stands in network namespaces");
        let switches = weakened.then(|| {
            let file = std::env::var_os(switches::VARIABLE).map(PathBuf::from);
            file.with_context(|| format!("{} names no file of switches", switches::VARIABLE))
        });
        let switches = switches.transpose()?;
        if let Some(file) = &switches {
            switches::write(file, "0")?;
        }
        let text = domain::file(profile);
        let loaded = ringmail_model::check::load(&text, "the attacked domain's file")?;
        let issue =
            Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
        let set = PathSet::compile(&loaded.domain, issue)?;
        let folder = crate::folder();
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let (log, runtime) = (Log::default(), Runtime::new()?);
        let settings = Settings {
            file: DomainFile { domain: loaded.domain, text: text.clone(), folder: folder.clone() },
            layout: Layout::Processes,
            program: program.to_owned(),
            place: Place::at(folder.join("run")),
            privilege: Privilege::Root,
            sink: sink(&log),
        };
        let testbed = runtime.block_on(Testbed::start(settings));
        let testbed = testbed.with_context(|| lock(&log).join("\n"))?;
        for element in &set.elements {
            // The kernel cuts super-packets before they go on a link: the attacker sees what a wire would carry.
            let cut = ["link", "set", "link0", "gso_max_segs", "1"];
            run_in(&*testbed.namespace(&element.name)?, "ip", &cut)?;
        }
        let wire = Wire::seize(&*testbed.namespace("fabric")?, &set.elements)?;
        let www = Origin::start(&*testbed.namespace("www")?, domain::WWW_ADDRESS)?;
        let vault = Origin::start(&*testbed.namespace("vault")?, domain::VAULT_ADDRESS)?;
        let mut lab = Lab {
            wire,
            www,
            vault,
            text,
            set,
            testbed,
            runtime,
            folder,
            program: program.to_owned(),
            log,
            switches,
            ports: 9_000,
            machines: None,
        };
        lab.whole()?;
        Ok(lab)
    }

    /// Takes the domain down.
    pub(crate) fn down(self) -> Result<()> {
        let Lab { wire, www, vault, testbed, runtime, folder, machines, .. } = self;
        drop((wire, www, vault, machines));
        let stopped = runtime.block_on(testbed.stop());
        drop(fs::remove_dir_all(&folder));
        stopped
    }

    /// Waits until every element serves all of its paths.
    pub(crate) fn whole(&mut self) -> Result<()> {
        self.eventually("every element serves", || {
            let handle = self.testbed.handle();
            let ready =
                handle.elements().into_iter().all(|(_, _, state)| state == ElementState::Ready);
            let serves =
                |name: &String| self.status(name).is_ok_and(|status| status.not_ready.is_empty());
            (ready && self.testbed.elements().iter().all(serves)).then_some(())
        })?;
        self.machines.as_mut().map_or(Ok(()), Machines::whole)
    }

    /// The second domain, whose elements nobody starts again.
    pub(crate) fn machines(&mut self) -> Result<&mut Machines> {
        let machines = match self.machines.take() {
            Some(machines) => machines,
            None => Machines::up(self.set.profile, &self.program, &self.folder.join("m"))?,
        };
        Ok(self.machines.insert(machines))
    }

    /// The attacker lets everything pass, and services forget what arrived.
    pub(crate) fn calm(&mut self) {
        self.wire.calm();
        self.www.take();
        self.vault.take();
    }

    /// Waits for something.
    pub(crate) fn eventually<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
        eventually(what, &self.log, look)
    }

    /// A namespace of the domain.
    pub(crate) fn netns(&self, name: &str) -> Result<Arc<Netns>> {
        self.testbed.namespace(name)
    }

    /// The domain's authority, which the attacker has not got; what it issues stands for what was stolen.
    pub(crate) fn authority(&self) -> &EmbeddedCa {
        self.testbed.authority()
    }

    /// The domain's runtime directory.
    pub(crate) fn runtime_dir(&self) -> Result<PathBuf> {
        Ok(Place::at(self.folder.join("run")).domain_dir(domain::NAME)?)
    }

    /// A folder for files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program that the elements are.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The domain file.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A way to the elements.
    pub(crate) fn handle(&self) -> Handle {
        self.testbed.handle()
    }

    /// Does what is asynchronous.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn status(&self, element: &str) -> Result<ElementStatus> {
        let status = self.runtime.block_on(self.testbed.handle().status(element));
        status.with_context(|| format!("no status of {element}"))
    }

    /// A counter of an element.
    pub(crate) fn counter(&self, element: &str, name: &str) -> Result<u64> {
        let status = self.status(element)?;
        let found = status.counters.iter().find(|counter| counter.name == name);
        Ok(found.with_context(|| format!("{element} counts no {name}"))?.value)
    }

    /// All packets that elements dropped so far, by element and reason.
    pub(crate) fn drops(&self) -> Result<Drops> {
        let mut all = BTreeMap::new();
        for element in self.testbed.elements() {
            for drop in self.status(&element)?.drops {
                all.insert((element.clone(), drop.reason.clone()), drop.packets);
            }
        }
        Ok(Drops(all))
    }

    /// The keys by which an element receives: what whoever owns it has.
    pub(crate) fn keys_of(&self, element: &str) -> Result<Vec<KeyExport>> {
        let mut keys = self.runtime.block_on(self.testbed.handle().export_keys(element))?;
        // Not those of codes.
        keys.retain(|key| !key.suite.starts_with("hmac"));
        Ok(keys)
    }

    /// The element of this name.
    pub(crate) fn element(&self, name: &str) -> Result<&Element> {
        let found = self.set.elements.iter().find(|element| element.name == name);
        found.with_context(|| format!("no element {name}"))
    }

    /// Whether packets have a Network Service Header.
    pub(crate) fn has_nsh(&self) -> bool {
        self.set.profile != Profile::Mpls
    }

    /// The number of the forward path of this name.
    pub(crate) fn path_number(&self, name: &str) -> Result<u32> {
        let forward =
            |path: &&ChainPath| path.name.as_str() == name && path.direction == Direction::Forward;
        let found = self.set.paths.iter().find(forward);
        Ok(found.with_context(|| format!("no path {name}"))?.id.0)
    }

    /// The stack of labels that a packet has on its way to the first of these elements.
    pub(crate) fn stack(&self, elements: &[&str]) -> Result<Vec<u32>> {
        let labels = elements.iter().map(|name| Ok(self.element(name)?.label.get()));
        Ok(match self.set.profile {
            Profile::Mpls => labels.collect::<Result<_>>()?,
            Profile::MplsNsh => labels.chain([Ok(SFF_LABEL.get())]).collect::<Result<_>>()?,
            Profile::Nsh => vec![SFF_LABEL.get()],
        })
    }

    /// A frame as it looks on the link from one element to another.
    pub(crate) fn between(&self, mut frame: Vec<u8>, from: &str, to: &str) -> Result<Vec<u8>> {
        let (from, to) = (self.element(from)?, self.element(to)?);
        let mac = |element: &Element| {
            element.mac.unwrap_or_else(|| MacAddress::of_link(*element.link.ip())).bytes()
        };
        frame[..6].copy_from_slice(&mac(to));
        frame[6..12].copy_from_slice(&mac(from));
        frame[26..30].copy_from_slice(&from.link.ip().octets());
        frame[30..34].copy_from_slice(&to.link.ip().octets());
        crate::wire::frame::mend(&mut frame);
        Ok(frame)
    }

    /// A new flow of UDP from the gateway's inner side along a path to the service behind it.
    pub(crate) fn flow(&mut self, path: &str) -> Result<Flow> {
        let (service, to) = match path {
            "vault" => ("vault", domain::VAULT_ADDRESS),
            _ => ("www", domain::WWW_ADDRESS),
        };
        self.ports += 1;
        let source = SocketAddr::new("10.78.0.1".parse()?, self.ports);
        self.flow_between(path, source, service, to.parse()?)
    }

    /// The same over IPv6, from this port.
    pub(crate) fn flow6_from(&mut self, path: &str, port: u16) -> Result<Flow> {
        let source = SocketAddr::new("fd00:78::1".parse()?, port);
        self.flow_between(path, source, "www", "[fd00:79::10]:80".parse()?)
    }

    fn flow_between(
        &self,
        path: &str,
        source: SocketAddr,
        service: &str,
        to: SocketAddr,
    ) -> Result<Flow> {
        let pinned = PinnedFlow { path: path.to_owned(), source, destination: to, protocol: 17 };
        self.pin(pinned)?;
        let out = self.netns("gateway")?.run(|| UdpSocket::bind(source))??;
        let into = self.netns(service)?.run(|| shared_udp(to))??;
        into.connect(source)?;
        into.set_read_timeout(Some(PATIENCE))?;
        Ok(Flow { source, destination: to, out, into, probes: Cell::new(0) })
    }

    /// A socket of UDP at a service, for whatever comes from nobody's flow.
    pub(crate) fn sink(&self, service: &str, address: &str) -> Result<UdpSocket> {
        let address = address.parse()?;
        let socket = self.netns(service)?.run(|| shared_udp(address))??;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Gives a flow its path at the gateway.
    pub(crate) fn pin(&self, flow: PinnedFlow) -> Result<()> {
        Ok(self.runtime.block_on(self.testbed.handle().pin("gateway", flow))?)
    }

    /// Does this with a defence switched off, and with those that the attacker has overcome already.
    pub(crate) fn without<T>(
        &mut self,
        switch: Switch,
        given: &[Defence],
        work: impl FnOnce(&mut Lab) -> Result<T>,
    ) -> Result<T> {
        match switch {
            Switch::Off(defences) => self.take_away(given, defences)?,
            Switch::AtStart(defences, elements) => {
                self.take_away(given, defences)?;
                elements.iter().try_for_each(|element| self.restart(element))?;
            }
            Switch::Kernel(namespace, settings) => {
                self.take_away(given, &[])?;
                settings.iter().try_for_each(|(key, [_, off])| self.tune(namespace, key, off))?;
            }
        }
        self.whole()?;
        work(self)
    }

    /// Switches everything on again.
    pub(crate) fn restore(&mut self, switch: Switch) -> Result<()> {
        self.take_away(&[], &[])?;
        match switch {
            Switch::Off(_) => {}
            Switch::AtStart(_, elements) => {
                elements.iter().try_for_each(|element| self.restart(element))?;
            }
            Switch::Kernel(namespace, settings) => {
                settings.iter().try_for_each(|(key, [on, _])| self.tune(namespace, key, on))?;
            }
        }
        self.whole()
    }

    pub(crate) fn tune(&self, namespace: &str, key: &str, value: &str) -> Result<()> {
        let file = format!("/proc/sys/{}", key.replace('.', "/"));
        Ok(self.netns(namespace)?.run(|| fs::write(file, value))??)
    }

    /// Tells every process that these defences are off and no others, and waits until each has heard it. Does nothing where
    /// there are no switches.
    pub(crate) fn take_away(&self, some: &[Defence], others: &[Defence]) -> Result<()> {
        let Some(file) = &self.switches else { return Ok(()) };
        // What NSH adds lies over the defences of every profile: it would repel most attacks before they do.
        let over: &[Defence] = match self.has_nsh() && !others.is_empty() {
            true => &[Defence::NshPlace, Defence::LinkCode, Defence::TransitProof],
            false => &[],
        };
        let all = some.iter().chain(others).chain(over);
        let bits = all.fold(0_u64, |bits, defence| bits | 1 << (*defence as u8));
        #[cfg(feature = "weaken")]
        ringmail_model::defence::set(bits);
        switches::write(file, &bits.to_string())?;
        self.eventually("every process has heard of the switches", || {
            let heard = |pid| fs::read_to_string(switches::answer(file, pid)).ok();
            let processes = self.testbed.handle().elements();
            let pids = processes.into_iter().filter_map(|(_, pid, _)| pid);
            let mut pids = pids.chain(self.machines.iter().flat_map(Machines::elements));
            pids.all(|pid| heard(pid) == Some(bits.to_string())).then_some(())
        })
    }

    /// Ends an element by SIGKILL and waits until it serves again.
    pub(crate) fn restart(&mut self, element: &str) -> Result<()> {
        let handle = self.testbed.handle();
        let before = handle.restarts(element);
        handle.kill(element);
        self.eventually("the element is started again", || {
            (handle.restarts(element) > before).then_some(())
        })?;
        self.whole()
    }
}

/// Waits for something; where it never comes, the last lines of the log are told.
pub(crate) fn eventually<T>(
    what: &str,
    log: &Log,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > until {
            let log = lock(log);
            let last = log.len().saturating_sub(20);
            bail!("it never was so: {what}; elements said last:\n{}", log[last..].join("\n"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A flow of UDP through the chain.
pub(crate) struct Flow {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    out: UdpSocket,
    into: UdpSocket,
    probes: Cell<u32>,
}

impl Flow {
    /// Where it comes from.
    pub(crate) fn source_v4(&self) -> Result<SocketAddrV4> {
        v4(self.source)
    }

    /// Where it goes.
    pub(crate) fn destination_v4(&self) -> Result<SocketAddrV4> {
        v4(self.destination)
    }

    /// Sends a datagram into the chain.
    pub(crate) fn send(&self, payload: &[u8]) -> Result<()> {
        self.out.send_to(payload, self.destination).context("a datagram cannot be sent")?;
        Ok(())
    }

    /// Sends an answer from the service's side.
    pub(crate) fn answer(&self, payload: &[u8]) -> Result<()> {
        self.into.send(payload).context("an answer cannot be sent")?;
        Ok(())
    }

    /// Everything that arrived at the service up to now and to an honest datagram that is sent behind it: packets of a flow
    /// do not overtake each other. Fails where the honest one does not arrive, which is the positive control, too.
    pub(crate) fn arrived(&self) -> Result<Vec<Vec<u8>>> {
        let number = self.probes.get() + 1;
        self.probes.set(number);
        let probe = format!("honest {number}");
        let (mut all, mut buffer) = (Vec::new(), [0; 2048]);
        // An honest one may be lost to what a case has just done, such as a restart.
        for _ in 0..PROBES {
            self.send(probe.as_bytes())?;
            self.into.set_read_timeout(Some(PATIENCE / PROBES))?;
            while let Ok(len) = self.into.recv(&mut buffer) {
                match &buffer[..len] {
                    found if found == probe.as_bytes() => return Ok(all),
                    found if found.starts_with(b"honest ") => {}
                    found => all.push(found.to_vec()),
                }
            }
        }
        bail!("an honest datagram of the same flow does not arrive")
    }

    /// What came back at the gateway's side.
    pub(crate) fn answered(&self, within: Duration) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0; 2048];
        self.out.set_read_timeout(Some(within))?;
        Ok(self.out.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec()))
    }
}

fn v4(address: SocketAddr) -> Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => bail!("it is of IPv6"),
    }
}

/// How often an honest datagram is sent until it counts as lost.
const PROBES: u32 = 8;

/// What is said where nothing was dropped.
const NONE: &str = "no element counts a drop";

/// Packets that elements dropped.
pub(crate) struct Drops(BTreeMap<(String, String), u64>);

impl Drops {
    /// Whether anything was dropped since.
    pub(crate) fn rose(&self, lab: &Lab) -> Result<bool> {
        Ok(self.since(lab)? != NONE)
    }

    /// What was dropped since, in words.
    pub(crate) fn since(&self, lab: &Lab) -> Result<String> {
        let mut words = Vec::new();
        for ((element, reason), packets) in lab.drops()?.0 {
            let more = packets
                - self.0.get(&(element.clone(), reason.clone())).unwrap_or(&0).min(&packets);
            // The kernel's own reports of groups are nobody's attack.
            if more > 0 && reason != "multicast" {
                words.push(format!("{element} counts {more} {reason}"));
            }
        }
        Ok(if words.is_empty() { NONE.to_owned() } else { words.join(", ") })
    }
}

fn sink(log: &Log) -> LineSink {
    let log = Arc::clone(log);
    LineSink::new(move |element, line| lock(&log).push(format!("[{element}] {line}")))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket of UDP on an address that others have, too; each is connected to another flow.
fn shared_udp(address: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Runs a program in a namespace to its end, and returns what it said.
pub(crate) fn run_in(netns: &Netns, program: &str, args: &[&str]) -> Result<String> {
    let output = netns.run(|| Command::new(program).args(args).stdin(Stdio::null()).output())?;
    let output = output.with_context(|| format!("{program} cannot be started"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", args.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
