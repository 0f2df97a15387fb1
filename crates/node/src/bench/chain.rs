//! `ringmail bench chain`: the paper's Figure 4 (section VII.B) and page loads (VII.A), through the gateway with real TLS
//! and HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::Serialize;

use super::counts::Counts;
pub use super::plan::{Kind, Plan};
use super::watch::Watch;
use super::{Figure, Machine, baseline, domain, http};
use crate::assemble::DomainFile;
use crate::layout::Layout;
use crate::supervise::LineSink;
use crate::testbed::{Settings, Testbed};
use crate::topology::Netns;

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
    /// The same by reason; `on_links` are the frames that were sent and not received.
    pub lost_by_reason: BTreeMap<String, u64>,
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

/// Measures all chains of the plan, one after the other; kinds alternate within a number of functions, so that what is
/// compared is measured side by side. `stage` hears what is being done.
///
/// # Errors
/// When a chain does not work, a link carries what it must not, or counters disagree.
pub async fn run(plan: &Plan, stage: &dyn Fn(String)) -> Result<Report> {
    let mut rows = Vec::new();
    if plan.baseline {
        stage("without a chain".to_owned());
        rows.push(baseline(plan).await.context("without a chain")?);
    }
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
    let testbed =
        Testbed::start(settings(plan, domain::of(kind, functions, plan.mtu)?, layout)).await?;
    let measured = measure(plan, &testbed, layout).await;
    testbed.stop().await?;
    let Measured { throughput_mbps, page_load_ms, lost_by_reason } = measured?;
    let packets_lost_inside = lost_by_reason.values().sum();
    let inner_mtu = domain::inner_mtu(kind, functions, plan.mtu)?;
    Ok(Row {
        functions,
        kind,
        layout,
        inner_mtu,
        throughput_mbps,
        page_load_ms,
        packets_lost_inside,
        lost_by_reason,
    })
}

/// The same client and server; the proxy of the same gateway connects over a cable.
async fn baseline(plan: &Plan) -> Result<Row> {
    let settings = settings(plan, domain::of(Kind::Forward, 1, plan.mtu)?, Layout::Processes);
    let program = settings.program.clone();
    let testbed =
        Testbed::start_as(settings, |file, authority| baseline::plan(file, authority, &program))
            .await?;
    let work = async {
        let client = testbed.client(domain::CLIENT)?;
        let netns = testbed.namespace(domain::CLIENT)?;
        let pages = http::pages(client.clone(), Arc::clone(&netns), plan.runs).await?;
        Ok::<_, anyhow::Error>((
            pages,
            http::downloads(client, netns, plan.runs, plan.download).await?,
        ))
    };
    let measured = work.await;
    testbed.stop().await?;
    let (pages, rates) = measured?;
    Ok(Row {
        functions: 0,
        kind: Kind::Baseline,
        layout: Layout::Processes,
        inner_mtu: baseline::MTU_BYTES,
        throughput_mbps: Figure::of(rates).context("no run")?,
        page_load_ms: Figure::of(pages).context("no run")?,
        packets_lost_inside: 0,
        lost_by_reason: BTreeMap::new(),
    })
}

fn settings(plan: &Plan, file: DomainFile, layout: Layout) -> Settings {
    Settings {
        file,
        layout,
        program: plan.program.clone(),
        place: plan.place.clone(),
        privilege: plan.privilege,
        sink: LineSink::default(),
    }
}

/// What is measured of one chain.
struct Measured {
    throughput_mbps: Figure,
    page_load_ms: Figure,
    lost_by_reason: BTreeMap<String, u64>,
}

async fn measure(plan: &Plan, testbed: &Testbed, layout: Layout) -> Result<Measured> {
    let client = testbed.client(domain::CLIENT)?;
    let netns = testbed.namespace(domain::CLIENT)?;
    let mtu = usize::from(plan.mtu);

    let before = Counts::at_rest(testbed).await?;
    let watch = Watch::start(testbed.domain(), links(testbed)?, true)?;
    let pages = http::pages(client.clone(), Arc::clone(&netns), plan.runs).await;
    let after = Counts::at_rest(testbed).await?;
    let seen = watch.end()?;
    seen.check(mtu)?;
    if layout == Layout::Processes {
        after.since(&before).agree(&seen)?;
    }

    let watch = Watch::start(testbed.domain(), links(testbed)?, false)?;
    let rates = http::downloads(client, netns, plan.runs, plan.download).await;
    watch.end()?.check(mtu)?;
    let lost_by_reason = Counts::at_rest(testbed).await?.since(&before).lost();
    Ok(Measured {
        throughput_mbps: Figure::of(rates?).context("no run")?,
        page_load_ms: Figure::of(pages?).context("no run")?,
        lost_by_reason,
    })
}

/// Every element's link, by its namespace.
fn links(testbed: &Testbed) -> Result<Vec<(String, Arc<Netns>)>> {
    let elements = testbed.elements().into_iter();
    elements.map(|name| Ok((name.clone(), testbed.namespace(&name)?))).collect()
}

fn ratios(rows: &[Row]) -> Vec<Ratio> {
    let forward = rows.iter().filter(|row| row.kind == Kind::Forward);
    forward
        .filter_map(|base| {
            let same = |row: &&Row| {
                row.kind == Kind::Intrusive
                    && (row.functions, row.layout) == (base.functions, base.layout)
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
