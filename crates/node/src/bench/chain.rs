//! `ringmail bench chain`: the paper's Figure 4 (section VII.B) and page loads (VII.A), through the gateway with real TLS
//! and HTTP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
use serde::Serialize;

use super::watch::{Seen, Watch};
use super::{Figure, Machine, domain};
use crate::client::Client;
use crate::demo;
use crate::layout::Layout;
use crate::runtime::Place;
use crate::supervise::LineSink;
use crate::testbed::{self, Settings, Testbed};
use crate::topology::{Netns, Privilege};

/// The kind of the functions of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Forwarding functions that are not intrusive: the baseline.
    Forward,
    /// Inspections: every hop opens, searches and seals every packet.
    Intrusive,
}

impl Kind {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Forward => "forward",
            Kind::Intrusive => "intrusive",
        }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers of functions.
    pub functions: Vec<usize>,
    /// Kinds of functions.
    pub kinds: Vec<Kind>,
    /// Layouts.
    pub layouts: Vec<Layout>,
    /// Runs of every figure.
    pub runs: usize,
    /// Bytes of the link MTU.
    pub mtu: u16,
    /// How long one download should take.
    pub download: Duration,
    /// The executable of ringmail.
    pub program: PathBuf,
    /// Where runtime directories lie.
    pub place: Place,
    /// With which right.
    pub privilege: Privilege,
}

/// What a bench of chains gave.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// One a number of functions, kind and layout.
    pub rows: Vec<Row>,
    /// Intrusive to forward, by number of functions and layout, where both were measured.
    pub ratios: Vec<Ratio>,
    /// Bytes of the link MTU.
    pub mtu: u16,
    /// What it ran on.
    pub machine: Machine,
}

/// One chain.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Row {
    /// Functions in the chain.
    pub functions: usize,
    /// Their kind.
    pub kind: Kind,
    /// How the elements share processes.
    pub layout: Layout,
    /// Bytes of the largest inner packet.
    pub inner_mtu: u16,
    /// Megabits a second of a download over HTTPS.
    pub throughput_mbps: Figure,
    /// Milliseconds until the page of 9 files and 1.2 MB was there.
    pub page_load_ms: Figure,
    /// Frames that were sent and not received, and packets that elements dropped.
    pub packets_lost_inside: u64,
}

/// The price of opening every packet at every hop.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ratio {
    /// Functions in the chain.
    pub functions: usize,
    /// The layout.
    pub layout: Layout,
    /// Throughput, intrusive / forward: medians.
    pub throughput: f64,
    /// Page load, intrusive / forward: medians.
    pub page_load: f64,
}

/// The first download, by which the length of the others is chosen.
const PROBE_BYTES: u64 = 32 << 20;

/// How long nothing may move until a chain counts as at rest: more than Linux delays an acknowledgement.
const SETTLE_EVERY: Duration = Duration::from_millis(250);

/// How often a chain is looked at before it is given up.
const SETTLE_LOOKS: usize = 20;

/// Page loads of a row besides the counted ones, for caches and connections.
const WARM_UPS: usize = 2;

/// Measures all chains of the plan, one after the other; kinds alternate within a number of functions, so that what is
/// compared is measured side by side. `stage` hears what is being done.
///
/// # Errors
/// When a chain does not work, a link carries what it must not, or counters disagree.
pub async fn run(plan: &Plan, stage: &dyn Fn(String)) -> Result<Report> {
    let mut rows = Vec::new();
    for layout in &plan.layouts {
        for functions in &plan.functions {
            for kind in &plan.kinds {
                let what = format!("{functions} {} in layout {}", kind.name(), layout.name());
                stage(what.clone());
                rows.push(row(plan, *functions, *kind, *layout).await.context(what)?);
            }
        }
    }
    let ratios = ratios(&rows);
    Ok(Report { rows, ratios, mtu: plan.mtu, machine: Machine::this() })
}

async fn row(plan: &Plan, functions: usize, kind: Kind, layout: Layout) -> Result<Row> {
    let settings = Settings {
        file: domain::of(kind, functions, plan.mtu)?,
        layout,
        program: plan.program.clone(),
        place: plan.place.clone(),
        privilege: plan.privilege,
        sink: LineSink::default(),
    };
    let testbed = Testbed::start(settings).await?;
    let measured = measure(plan, &testbed, layout).await;
    testbed.stop().await?;
    let (throughput_mbps, page_load_ms, packets_lost_inside) = measured?;
    let inner_mtu = domain::inner_mtu(kind, functions, plan.mtu)?;
    Ok(Row { functions, kind, layout, inner_mtu, throughput_mbps, page_load_ms, packets_lost_inside })
}

async fn measure(plan: &Plan, testbed: &Testbed, layout: Layout) -> Result<(Figure, Figure, u64)> {
    let client = testbed.client(domain::CLIENT)?;
    let netns = testbed.namespace(domain::CLIENT)?;
    let mtu = usize::from(plan.mtu);

    let before = frames(testbed).await?;
    let watch = Watch::start(testbed.domain(), links(testbed)?, true)?;
    let pages = pages(client.clone(), Arc::clone(&netns), plan.runs).await;
    let after = settled(testbed).await?;
    let seen = watch.end()?;
    seen.check(mtu)?;
    if layout == Layout::Processes {
        agree(&seen, &before, &after)?;
    }

    let watch = Watch::start(testbed.domain(), links(testbed)?, false)?;
    let rates = downloads(client, netns, plan.runs, plan.download).await;
    watch.end()?.check(mtu)?;
    let lost = demo::lost_inside(testbed).await?;
    let figure = |runs| Figure::of(runs).context("no run");
    Ok((figure(rates?)?, figure(pages?)?, lost))
}

async fn pages(client: Client, netns: Arc<Netns>, runs: usize) -> Result<Vec<f64>> {
    testbed::within(netns, move || async move {
        let mut times = Vec::new();
        for _ in 0..runs + WARM_UPS {
            times.push(client.load_page().await?.elapsed.as_secs_f64() * 1e3);
        }
        Ok(times.split_off(WARM_UPS))
    })
    .await
}

async fn downloads(client: Client, netns: Arc<Netns>, runs: usize, each: Duration) -> Result<Vec<f64>> {
    testbed::within(netns, move || async move {
        let probe = client.download(PROBE_BYTES).await?;
        let bytes = probe.bytes as f64 * each.as_secs_f64() / probe.elapsed.as_secs_f64();
        let mut rates = Vec::new();
        for _ in 0..runs {
            rates.push(client.download(bytes as u64).await?.mbps());
        }
        Ok(rates)
    })
    .await
}

/// Every element's link, by its namespace.
fn links(testbed: &Testbed) -> Result<Vec<(String, Arc<Netns>)>> {
    let elements = testbed.elements().into_iter();
    elements.map(|name| Ok((name.clone(), testbed.namespace(&name)?))).collect()
}

/// Frames that each element says it handed to its link and took from it.
async fn frames(testbed: &Testbed) -> Result<Vec<(String, u64, u64)>> {
    let handle = testbed.handle();
    let mut all = Vec::new();
    for name in testbed.elements() {
        let status = handle.status(&name).await?;
        let count = |name: &str| {
            status.counters.iter().find(|counter| counter.name == name).map_or(0, |c| c.value)
        };
        all.push((name, count("link_out_packets"), count("link_in_packets")));
    }
    Ok(all)
}

/// The same once nothing moves any more: delayed acknowledgements are the last to come.
async fn settled(testbed: &Testbed) -> Result<Vec<(String, u64, u64)>> {
    let mut last = frames(testbed).await?;
    for _ in 0..SETTLE_LOOKS {
        tokio::time::sleep(SETTLE_EVERY).await;
        let now = frames(testbed).await?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    bail!("the chain does not come to rest after the page loads")
}

/// Whether what was seen on each link is what its element counted.
fn agree(seen: &Seen, before: &[(String, u64, u64)], after: &[(String, u64, u64)]) -> Result<()> {
    for ((name, sent_before, received_before), (_, sent, received)) in before.iter().zip(after) {
        let both = seen.protected.get(name).copied().unwrap_or_default();
        let counted = (sent - sent_before, received - received_before);
        ensure!(
            counted == (both.sent, both.received),
            "`{name}` counted {counted:?} frames sent and received, its link carried {both:?}"
        );
    }
    Ok(())
}

fn ratios(rows: &[Row]) -> Vec<Ratio> {
    let forward = rows.iter().filter(|row| row.kind == Kind::Forward);
    forward
        .filter_map(|base| {
            let same = |row: &&Row| {
                row.kind == Kind::Intrusive && (row.functions, row.layout) == (base.functions, base.layout)
            };
            let intrusive = rows.iter().find(same)?;
            Some(Ratio {
                functions: base.functions,
                layout: base.layout,
                throughput: intrusive.throughput_mbps.median / base.throughput_mbps.median,
                page_load: intrusive.page_load_ms.median / base.page_load_ms.median,
            })
        })
        .collect()
}
