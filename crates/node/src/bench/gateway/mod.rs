//! `ringmail bench gateway`: the gateway's proxy beside haproxy, a processor second for a processor second.
//!
//! ```text
//!                     ┌ ringmail, without a chain :443 ┐
//!  client ── outside ─┤      (one at a time)           ├── www, the built-in site
//!    CPU 1            └ haproxy :8443            CPU 0 ┘    CPU 1
//! ```
//!
//! Both stand in the same namespace, end the same mutual TLS with the same certificates and revocation list, and reach
//! the same service over the same cable. Runs alternate. What is compared is work a second of processor time that the
//! server's process took, kernel included: the client may be slow without harm.

mod haproxy;
mod load;
mod processor;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ringmail_model::domain::{LinkDriver, LinkKind, Profile};
use rustls::ClientConfig;
use rustls::client::Resumption;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use self::haproxy::Haproxy;
use self::load::Load;
use super::domain::Links;
use super::plan::Kind;
use super::{Figure, Machine, baseline, domain};
use crate::assemble::DomainFile;
use crate::client::Client;
use crate::layout::Layout;
use crate::runtime::Place;
use crate::supervise::LineSink;
use crate::testbed::{self, Settings, Testbed};
use crate::topology::{Netns, Privilege};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Runs of every figure.
    pub runs: usize,
    /// How long each run of a figure takes.
    pub each: Duration,
    /// The executable of ringmail.
    pub program: PathBuf,
    /// That of haproxy.
    pub haproxy: PathBuf,
    /// Where runtime directories lie.
    pub place: Place,
    /// With which right.
    pub privilege: Privilege,
}

/// What a bench of gateways gave.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// ringmail, then haproxy.
    pub rows: Vec<Row>,
    /// ringmail's medians to haproxy's.
    pub ratios: Ratios,
    /// What haproxy says of its version.
    pub haproxy_version: String,
    /// What it ran on.
    pub machine: Machine,
}

/// One server.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Row {
    /// Which.
    pub server: Server,
    /// Bytes of response bodies a second of the server's processor time: downloads over HTTP/1.1.
    pub bytes_per_cpu_second: Figure,
    /// Requests for a small file a second of the server's processor time: HTTP/1.1, connections kept.
    pub requests_per_cpu_second: Figure,
    /// Mutual TLS 1.3 handshakes a second of the server's processor time, without resumption.
    pub handshakes_per_cpu_second: Figure,
}

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// This program's gateway, without a chain behind it.
    Ringmail,
    /// Debian's.
    Haproxy,
}

/// ringmail's medians divided by haproxy's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Ratios {
    /// Bytes a processor second.
    pub bytes: f64,
    /// Requests a processor second.
    pub requests: f64,
    /// Handshakes a processor second.
    pub handshakes: f64,
}

impl Server {
    /// As in the output.
    pub fn name(self) -> &'static str {
        match self {
            Server::Ringmail => "ringmail",
            Server::Haproxy => "haproxy",
        }
    }
}

/// The port that haproxy has beside ringmail's 443.
const HAPROXY_PORT: u16 = 8443;

/// How long a load may take beyond its time.
const GIVES_UP: Duration = Duration::from_secs(20);

/// The processor of the server, and that of everything else.
const SERVER_CPU: usize = 0;
const OTHER_CPU: usize = 1;

/// Measures both. `stage` hears what is being done.
///
/// # Errors
/// When one of the servers does not work, or there are fewer than two processors.
pub async fn run(plan: &Plan, stage: &dyn Fn(String)) -> Result<Report> {
    let haproxy_version = haproxy::version(&plan.haproxy)?;
    let links = Links {
        kind: LinkKind::Udp,
        driver: LinkDriver::Packet,
        mtu: baseline::MTU_BYTES,
        profile: Profile::Mpls,
    };
    let settings = Settings {
        file: domain::of(Kind::Forward, 1, links)?,
        layout: Layout::Processes,
        program: plan.program.clone(),
        place: plan.place.clone(),
        privilege: plan.privilege,
        sink: LineSink::new(|element, line| tracing::debug!(element, line)),
    };
    let made = |file: &DomainFile, authority| baseline::plan(file, authority, &plan.program);
    stage("bringing up".to_owned());
    let testbed = Testbed::start_as(settings, made).await?;
    let measured = measure(plan, &testbed, stage).await;
    testbed.stop().await?;
    let [ringmail, haproxy] = measured?;
    let ratio = |figure: fn(&Row) -> &Figure| figure(&ringmail).median / figure(&haproxy).median;
    let ratios = Ratios {
        bytes: ratio(|row| &row.bytes_per_cpu_second),
        requests: ratio(|row| &row.requests_per_cpu_second),
        handshakes: ratio(|row| &row.handshakes_per_cpu_second),
    };
    Ok(Report { rows: vec![ringmail, haproxy], ratios, haproxy_version, machine: Machine::this() })
}

/// A server, its process and what was measured of it, by figure.
struct Measured {
    server: Server,
    pid: u32,
    client: Client,
    runs: [Vec<f64>; 3],
}

async fn measure(plan: &Plan, testbed: &Testbed, stage: &dyn Fn(String)) -> Result<[Row; 2]> {
    let mut client = testbed.client(domain::CLIENT)?;
    // ringmail resumes no sessions (a ticket would outlive a revocation): nobody does here.
    let mut tls = ClientConfig::clone(&client.tls);
    tls.resumption = Resumption::disabled();
    client.tls = Arc::new(tls);
    let at_haproxy = client.address.ip();
    let haproxy = Haproxy::start(&plan.haproxy, testbed, (at_haproxy, HAPROXY_PORT).into())?;
    let mut ringmail = None;
    for (name, pid, _) in testbed.handle().elements() {
        let pid = pid.context("an element is no process")?;
        let cpu = if name == domain::GATEWAY { SERVER_CPU } else { OTHER_CPU };
        processor::pin(pid, cpu)?;
        if name == domain::GATEWAY {
            ringmail = Some(pid);
        }
    }
    processor::pin(haproxy.pid(), SERVER_CPU)?;
    processor::pin(std::process::id(), OTHER_CPU)?;
    let other = Client { address: (at_haproxy, HAPROXY_PORT).into(), ..client.clone() };
    let of = |server, pid, client| Measured { server, pid, client, runs: Default::default() };
    let pid = ringmail.context("the gateway is not there")?;
    let mut servers =
        [of(Server::Ringmail, pid, client), of(Server::Haproxy, haproxy.pid(), other)];
    let netns = testbed.namespace(domain::CLIENT)?;
    for server in &servers {
        for load in Load::ALL {
            once(server, load, Duration::from_millis(300), &netns).await?;
        }
    }
    for run in 1..=plan.runs {
        for server in &mut servers {
            for (index, load) in Load::ALL.into_iter().enumerate() {
                stage(format!(
                    "{} {}, run {run} of {}",
                    server.server.name(),
                    load.name(),
                    plan.runs
                ));
                let figure = once(server, load, plan.each, &netns).await?;
                server.runs[index].push(figure);
            }
        }
    }
    let rows = servers.map(|server| {
        let [bytes, requests, handshakes] = server.runs.map(Figure::of);
        let (Some(bytes), Some(requests), Some(handshakes)) = (bytes, requests, handshakes) else {
            return None;
        };
        Some(Row {
            server: server.server,
            bytes_per_cpu_second: bytes,
            requests_per_cpu_second: requests,
            handshakes_per_cpu_second: handshakes,
        })
    });
    let [Some(ringmail), Some(haproxy)] = rows else { anyhow::bail!("there were no runs") };
    Ok([ringmail, haproxy])
}

/// What a server did for a second of its processor time.
async fn once(server: &Measured, load: Load, each: Duration, netns: &Arc<Netns>) -> Result<f64> {
    let before = processor::seconds(server.pid)?;
    let client = server.client.clone();
    let bounded = move || async move {
        let done = timeout(each + GIVES_UP, load.run(client, each)).await;
        done.context("clients wait for something that does not come")?
    };
    let done = testbed::within(Arc::clone(netns), bounded).await;
    let done = done.with_context(|| format!("{} {}", server.server.name(), load.name()))?;
    let took_s = processor::seconds(server.pid)? - before;
    anyhow::ensure!(took_s > 0.0, "{} took no processor time", server.server.name());
    Ok(done as f64 / took_s)
}
