//! A second domain, a small one: each element is a program on a machine of its own, which nobody starts again when it is
//! gone, with a control that the elements reach over their links.
//!
//! ```text
//!            ┌ gateway ┐             ┌ sf-1 ┐
//!  alice ─ TLS         ├── fabric ───┤      ├── egress ── www
//!            └ standby ┘      │      └ sf-2 ┘
//!                          control
//! ```
//!
//! The two gateways share an address, which keepalived gives to one that `ringmail health` speaks well of, set up as
//! docs/manual/src/two-gateways.md says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ringmail_model::PathVersion;
use ringmail_model::domain::Profile;
use ringmail_model::pathset::{Issue, PathSet};
use ringmail_node::admin::{Client as Admin, DomainStatus, SOCKET_FILE};
use ringmail_node::control::ElementStatus;
use ringmail_node::layout::{self, FABRIC, LINK};
use ringmail_node::runtime::{Claim, Place};
use ringmail_node::see;
use ringmail_node::topology::{Cable, Cidr, End, Fabric, Namespace, Netns, Privilege};
use ringmail_trust::EmbeddedCa;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use crate::client::{Client, Connection, papers};
use crate::domain;
use crate::lab::{LOOK_EVERY, Log, PATIENCE, eventually, lock, run_in};
use crate::origin::Origin;

/// The server name of the service.
pub(crate) const WWW: &str = "www.machines.example";

/// The two that share an address.
pub(crate) const GATEWAYS: [&str; 2] = ["gateway", "standby"];

/// The function that stands there twice.
pub(crate) const REPLICAS: [&str; 2] = ["sf-1", "sf-2"];

/// Where control listens on the links.
pub(crate) const CONTROL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 250), 6638);

/// How long leases last.
pub(crate) const LEASE: Duration = Duration::from_secs(8);

/// What keepalived says once a machine waits.
const BACKUP: &str = "Entering BACKUP STATE";

const TEXT: &str = "\
domain: machines.example
profile: mpls

limits: {lease_s: 8, drain_ms: 1000}

links:
  network: 10.77.0.0/24
  mtu: 1550
  jumbo: true

gateway:
  outside: [192.0.2.0/24]
  inner: [10.78.0.0/24]
  standby: {inner: [10.81.0.0/24], workers: 1}
  workers: 1
  limits: {pool_idle_timeout_ms: 500}
  listeners:
    - name: web
      address: 192.0.2.1:443
      certificates:
        - server_names: [www.machines.example]

egress:
  networks: [10.79.0.0/24]
  workers: 1

clients:
  - name: alice
    address: 192.0.2.11

services:
  - name: www
    addresses: [10.79.0.10:80]
    server_names: [www.machines.example]

functions:
  - name: sf
    kind: dpi
    intrusive: true
    replicas: 2
    workers: 1
    dpi:
      rules:
        - {name: forbidden, bytes: contraband, action: reset}

paths:
  - name: inspected
    hops: [sf]
    service: www

rules:
  - name: alice
    when: {clients: [alice], hosts: [www.machines.example]}
    path: inspected
";

/// The domain file in this profile.
fn file(profile: Profile) -> String {
    TEXT.replacen("profile: mpls\n", &format!("profile: {}\n", name(profile)), 1)
}

fn name(profile: Profile) -> &'static str {
    match profile {
        Profile::Mpls => "mpls",
        Profile::MplsNsh => "mpls-nsh",
        Profile::Nsh => "nsh",
    }
}

/// The running domain. Dropping it ends it.
pub(crate) struct Machines {
    pub(crate) www: Origin,
    pub(crate) authority: EmbeddedCa,
    pub(crate) set: PathSet,
    programs: BTreeMap<String, Child>,
    fabric: Fabric,
    _claim: Claim,
    runtime: Runtime,
    folder: PathBuf,
    program: PathBuf,
    log: Log,
}

impl Machines {
    /// Brings it up, in a folder that it makes.
    pub(crate) fn up(profile: Profile, program: &Path, folder: &Path) -> Result<Machines> {
        fs::create_dir(folder).with_context(|| folder.display().to_string())?;
        let text = file(profile);
        fs::write(folder.join("domain.yaml"), &text)?;
        let domain = ringmail_model::check::load(&text, "the second domain's file")?.domain;
        let authority = EmbeddedCa::init(&folder.join("ca"), &domain.domain)?;
        let issue =
            Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
        let set = PathSet::compile(&domain, issue)?;
        let topology = topology(layout::network(&domain, &set)?)?;
        let place = Place::at(folder.join("run"));
        let (mut claim, _) = Claim::take(&place, &topology.domain, Privilege::Root)?;
        let fabric = Fabric::build(&topology, Privilege::Root, &mut claim)?;
        let www = fabric.namespace("www").context("no namespace www")?;
        let www = Origin::start(www, domain::WWW_ADDRESS)?;
        let mut machines = Machines {
            www,
            authority,
            set,
            programs: BTreeMap::new(),
            fabric,
            _claim: claim,
            runtime: Runtime::new()?,
            folder: folder.to_owned(),
            program: program.to_owned(),
            log: Log::default(),
        };
        machines.whole()?;
        Ok(machines)
    }

    /// Starts whatever does not run, puts cables back in, and waits until everybody is of use and one gateway has the
    /// address.
    pub(crate) fn whole(&mut self) -> Result<()> {
        self.cable("control", "up")?;
        if !self.runs("control") {
            self.start("control")?;
            let control = self.netns("control")?;
            let listens = || TcpStream::connect(CONTROL).ok();
            eventually("control listens", &self.log, || control.run(listens).ok()?)?;
        }
        let elements: Vec<String> =
            self.set.elements.iter().map(|element| element.name.clone()).collect();
        for element in &elements {
            if !self.runs(element) {
                self.start(element)?;
            }
        }
        eventually("every element serves", &self.log, || {
            let ready = |name: &String| {
                self.whole_status(name).is_ok_and(|status| see::readiness(&status).ready)
            };
            (elements.iter().all(ready) && ready(&"control".to_owned())).then_some(())
        })?;
        for gateway in GATEWAYS {
            let keeper = keeper(gateway);
            if !self.runs(&keeper) {
                self.start(&keeper)?;
                // The first one has the address before the other asks for it.
                self.eventually("keepalived waits", |lab| lab.said(&keeper, BACKUP) > 0)?;
            }
        }
        // Two that are fine: one has the address, the other waits for it.
        self.eventually("one gateway has the address, and the other waits", |lab| {
            lab.active().is_ok() && GATEWAYS.iter().all(|gateway| lab.is_minded(gateway))
        })?;
        for gateway in GATEWAYS {
            self.eventually("replicas answer", |lab| {
                let status = lab.status(gateway);
                status.is_ok_and(|status| {
                    status.replicas.len() == REPLICAS.len()
                        && status.replicas.iter().all(|replica| replica.state == "up")
                })
            })?;
        }
        Ok(())
    }

    /// The numbers of the processes that are elements, of those that run.
    pub(crate) fn elements(&self) -> Vec<u32> {
        let is_element = |name: &str| self.set.elements.iter().any(|element| element.name == name);
        let all = self.programs.iter().filter(|(name, _)| is_element(name));
        all.map(|(_, child)| child.id()).collect()
    }

    /// Ends a program by SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) -> Result<()> {
        let mut child = self.programs.remove(name).with_context(|| format!("no {name} runs"))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Plugs the cable of an element or of control in or out.
    pub(crate) fn cable(&self, name: &str, state: &str) -> Result<()> {
        run_in(self.netns(name)?, "ip", &["link", "set", LINK, state]).map(drop)
    }

    /// The gateway that has the address.
    pub(crate) fn active(&self) -> Result<&'static str> {
        let address = domain::LISTENER.split(':').next().unwrap_or_default();
        let mut with = Vec::new();
        for gateway in GATEWAYS {
            if run_in(self.netns(gateway)?, "ip", &["-o", "address"])?.contains(address) {
                with.push(gateway);
            }
        }
        match with[..] {
            [one] => Ok(one),
            _ => bail!("the address is at {with:?}"),
        }
    }

    /// Alice, with a new certificate.
    pub(crate) fn alice(&self) -> Result<Client> {
        let papers = papers(&self.authority, "alice", Duration::from_secs(86_400))?;
        Client::of(&self.authority, "alice", WWW, Some(papers))
    }

    /// A connection of a client, on which nothing takes longer than this.
    pub(crate) fn connect(&self, client: &Client, patience: Duration) -> Result<Connection> {
        Connection::open(self.netns(&client.at)?, client, patience)
    }

    /// A new connection and a request on it; how long that took, or why it was not answered with 200 within this time.
    pub(crate) fn get(&self, client: &Client, path: &str, within: Duration) -> Result<Duration> {
        let begun = Instant::now();
        let status = self.connect(client, within)?.get(WWW, path)?;
        ensure!(status == 200, "an honest request gets {status}");
        let took = begun.elapsed();
        ensure!(took <= within, "an honest request takes {took:.1?}");
        Ok(took)
    }

    /// Waits for something.
    pub(crate) fn eventually(&self, what: &str, so: impl Fn(&Machines) -> bool) -> Result<()> {
        eventually(what, &self.log, || so(self).then_some(()))
    }

    /// What an element says of itself.
    pub(crate) fn status(&self, element: &str) -> Result<ElementStatus> {
        let all = self.whole_status(element)?.elements;
        let found = all.into_iter().find(|report| report.name == element);
        found.and_then(|report| report.status).with_context(|| format!("no status of {element}"))
    }

    /// A counter of an element.
    pub(crate) fn counter(&self, element: &str, name: &str) -> Result<u64> {
        let status = self.status(element)?;
        let found = status.counters.iter().find(|counter| counter.name == name);
        Ok(found.with_context(|| format!("{element} counts no {name}"))?.value)
    }

    pub(crate) fn netns(&self, name: &str) -> Result<&Netns> {
        let found = self.fabric.namespace(name);
        Ok(found.with_context(|| format!("no namespace {name}"))?)
    }

    fn whole_status(&self, name: &str) -> Result<DomainStatus> {
        let socket = self.folder.join(name).join(SOCKET_FILE);
        let asked = async { Admin::connect(&socket).await?.status().await };
        Ok(self.runtime.block_on(asked)?)
    }

    /// Whether a program runs; one that ended is forgotten.
    fn runs(&mut self, name: &str) -> bool {
        let ended = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_some());
        if self.programs.get_mut(name).is_some_and(ended) {
            self.programs.remove(name);
        }
        self.programs.contains_key(name)
    }

    /// How often a program said this.
    fn said(&self, name: &str, words: &str) -> usize {
        let begins = format!("[{name}] ");
        let log = lock(&self.log);
        log.iter().filter(|line| line.starts_with(&begins) && line.contains(words)).count()
    }

    /// Whether keepalived has noticed that this gateway is of use: it waits, or has the address.
    fn is_minded(&self, gateway: &str) -> bool {
        let begins = format!("[{}] ", keeper(gateway));
        let log = lock(&self.log);
        let entering = |line: &&String| line.starts_with(&begins) && line.contains("Entering ");
        log.iter().rfind(entering).is_some_and(|line| !line.contains("FAULT"))
    }

    /// Starts control, an element, or the keepalived beside a gateway.
    fn start(&mut self, name: &str) -> Result<()> {
        let at = name.strip_prefix(KEEPER).unwrap_or(name);
        let state = self.folder.join(name);
        let mut command = match name {
            _ if at != name => self.keepalived(at)?,
            "control" => {
                let mut control = Command::new(&self.program);
                control.args(["-v", "control"]).arg(self.folder.join("domain.yaml"));
                control.arg("--ca").arg(self.folder.join("ca"));
                control.args(["--listen", &CONTROL.to_string()]).arg("--state").arg(&state);
                control
            }
            element => self.element(element, &state)?,
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("RINGMAIL_LOG");
        let spawned = self.netns(at)?.run(|| command.spawn())?;
        let mut child = spawned.with_context(|| format!("{name} cannot be started"))?;
        if let Some(lines) = child.stdout.take() {
            keep(name, lines, &self.log);
        }
        if let Some(lines) = child.stderr.take() {
            keep(name, lines, &self.log);
        }
        self.programs.insert(name.to_owned(), child);
        Ok(())
    }

    fn element(&self, name: &str, state: &Path) -> Result<Command> {
        let verb = match name {
            "gateway" | "standby" => "gateway",
            "egress" => "egress",
            _ => "hop",
        };
        let mut command = Command::new(&self.program);
        command.args(["-v", verb, "--control", &CONTROL.to_string(), "--state"]).arg(state);
        if name != "egress" {
            command.args(["--name", name]);
        }
        if !state.exists() {
            let token = self.authority.token(&name.parse()?, Duration::from_secs(600))?;
            let file = self.folder.join(format!("{name}.token"));
            fs::write(&file, token.danger_text())?;
            command.arg("--token").arg(file);
        }
        Ok(command)
    }

    /// keepalived beside a gateway, with the settings of the manual.
    fn keepalived(&self, gateway: &str) -> Result<Command> {
        let link = |name: &str| -> Result<Ipv4Addr> {
            let found = self.set.elements.iter().find(|element| element.name == name);
            Ok(*found.with_context(|| format!("no element {name}"))?.link.ip())
        };
        let other = GATEWAYS.into_iter().find(|other| *other != gateway).unwrap_or_default();
        let priority = if gateway == GATEWAYS[0] { 100 } else { 90 };
        let (address, _) = domain::LISTENER.split_once(':').context("no address")?;
        let text = format!(
            "global_defs {{\n script_user root\n vrrp_version 3\n}}\n\
             vrrp_script gateway {{\n script \"{program} health --state {state}\"\n interval 1\n timeout 1\n fall 1\n \
             rise 2\n}}\n\
             vrrp_instance outside {{\n state BACKUP\n nopreempt\n interface {LINK}\n unicast_src_ip {own}\n \
             unicast_peer {{ {peer} }}\n virtual_router_id 51\n priority {priority}\n advert_int 0.5\n \
             track_script {{ gateway }}\n track_interface {{ {OUTER} }}\n \
             virtual_ipaddress {{ {address}/24 dev {OUTER} }}\n}}\n",
            program = self.program.display(),
            state = self.folder.join(gateway).display(),
            own = link(gateway)?,
            peer = link(other)?,
        );
        let at = |what: &str| self.folder.join(format!("{}.{what}", keeper(gateway)));
        fs::write(at("conf"), text)?;
        let mut command = Command::new("keepalived");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command.args(["--dont-fork", "--log-console", "--use-file"]).arg(at("conf"));
        command.arg("--pid").arg(at("pid")).arg("--vrrp_pid").arg(at("vrrp"));
        Ok(command)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for (name, child) in &mut self.programs {
            // keepalived has a child of its own, which it takes along.
            if name.starts_with(KEEPER) {
                let _ended = kill_process(Pid::from_child(child), Signal::TERM);
                let until = Instant::now() + PATIENCE / 10;
                while Instant::now() < until && child.try_wait().is_ok_and(|end| end.is_none()) {
                    std::thread::sleep(LOOK_EVERY);
                }
            }
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// What keepalived's name as a program begins with.
const KEEPER: &str = "keepalived-";

/// The interface of a gateway that clients reach.
const OUTER: &str = "outer0";

fn keeper(gateway: &str) -> String {
    format!("{KEEPER}{gateway}")
}

/// What `ringmail up` would make, but for two things: the listener's address is keepalived's, and control has a machine.
fn topology(
    mut topology: ringmail_node::topology::Topology,
) -> Result<ringmail_node::topology::Topology> {
    let ends = topology.cables.iter_mut().flat_map(|cable| &mut cable.ends);
    for end in ends.filter(|end| end.interface == OUTER && GATEWAYS.contains(&&*end.namespace)) {
        end.addresses.clear();
    }
    let fabric = topology.namespaces.iter().find(|space| space.name == FABRIC);
    let bridge = fabric.and_then(|space| space.bridges.first()).context("no bridge")?.clone();
    let name = "control".to_owned();
    topology.namespaces.push(Namespace { name: name.clone(), ..Namespace::default() });
    let port = End {
        namespace: FABRIC.to_owned(),
        interface: "control".to_owned(),
        bridge: Some(bridge.name),
        ..End::default()
    };
    let own = End {
        namespace: name,
        interface: LINK.to_owned(),
        addresses: vec![Cidr::new((*CONTROL.ip()).into(), 24)?],
        ..End::default()
    };
    topology.cables.push(Cable { mtu: bridge.mtu, ends: [port, own] });
    Ok(topology)
}

/// Keeps what a program says.
fn keep(name: &str, lines: impl Read + Send + 'static, log: &Log) {
    let (name, log) = (name.to_owned(), Arc::clone(log));
    std::thread::spawn(move || {
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            lock(&log).push(format!("[{name}] {line}"));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_sound() {
        for profile in [Profile::Mpls, Profile::MplsNsh, Profile::Nsh] {
            let loaded = ringmail_model::check::load(&file(profile), "machines.yaml");
            let domain = loaded.unwrap_or_else(|wrong| panic!("{wrong}")).domain;
            assert_eq!(domain.profile, profile);
            assert_eq!(u64::from(domain.limits.lease_s), LEASE.as_secs());
        }
    }
}
