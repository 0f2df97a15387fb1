//! `ringmail bench chain`: the paper's Figure 4 (section VII.B) and page loads (VII.A), through the gateway with real TLS
//! and HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use ringmail_model::domain::{LinkDriver, LinkKind, Profile};
use schemars::JsonSchema;
use serde::Serialize;

use super::measure::{Measured, Measuring};
pub use super::parts::Part;
pub use super::plan::{Kind, Plan, Traffic};
use super::{Figure, Machine, baseline, domain, hop};
use crate::assemble::DomainFile;
use crate::layout::Layout;
use crate::supervise::LineSink;
use crate::testbed::{Settings, Testbed};

/// What a bench of chains gave.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// One a number of functions, kind and layout.
    pub rows: Vec<Row>,
    /// Intrusive and attached to forward, by number of functions and layout, where both were measured.
    pub ratios: Vec<Ratio>,
    /// Where the time goes inside an intrusive hop, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop_parts: Option<hop::Parts>,
    /// How frames travelled between elements.
    pub link: LinkKind,
    /// How elements reached their interfaces with links of Ethernet.
    pub driver: LinkDriver,
    /// What stood in front of ESP.
    pub profile: Profile,
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
    /// What was sent.
    pub traffic: Traffic,
    /// Bytes of the largest inner packet.
    pub inner_mtu: u16,
    /// Megabits a second of a download over HTTPS; of datagrams delivered, where nothing else was sent.
    pub throughput_mbps: Figure,
    /// Milliseconds until the page of 9 files and 1.2 MB was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_load_ms: Option<Figure>,
    /// What became of the datagrams, where any were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<Datagrams>,
    /// Frames that were sent and not received, and packets that elements dropped.
    pub packets_lost_inside: u64,
    /// The same by reason; `on_links` are the frames that were sent and not received.
    pub lost_by_reason: BTreeMap<String, u64>,
    /// Where the time of an inner packet goes, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<Part>>,
}

/// A stream of datagrams. Of the highest rate, if nothing else was sent; otherwise of a fixed one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Datagrams {
    /// Megabits of payload that the gateway's inner side sent a second.
    pub offered_mbps: Figure,
    /// Megabits of payload that the service got a second.
    pub delivered_mbps: Figure,
    /// Datagrams that were sent, in all runs.
    pub sent: u64,
    /// Datagrams among them that the service did not get, wherever they were lost.
    pub lost: u64,
}

/// The price of opening every packet at every hop, and of having a function outside.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ratio {
    /// What is compared to forwarding functions.
    pub kind: Kind,
    /// Functions in the chain.
    pub functions: usize,
    /// The layout.
    pub layout: Layout,
    /// Throughput, this kind / forward: medians.
    pub throughput: f64,
    /// Page load, this kind / forward: medians.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_load: Option<f64>,
}

/// How long each part of a hop is measured in one run.
const HOP_PART: Duration = Duration::from_millis(200);

/// Measures all chains of the plan. `stage` hears what is being done.
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
            rows.extend(side_by_side(plan, *functions, *layout, stage).await?);
        }
    }
    let ratios = ratios(&rows);
    let hop_parts = match plan.profile_parts {
        true => Some(hop_parts(plan, stage)?),
        false => None,
    };
    Ok(Report {
        rows,
        ratios,
        hop_parts,
        link: plan.link,
        driver: plan.driver,
        profile: plan.profile,
        mtu: plan.mtu,
        machine: Machine::this(),
    })
}

/// In packets as large as a chain of one such function has them.
fn hop_parts(plan: &Plan, stage: &dyn Fn(String)) -> Result<hop::Parts> {
    stage("inside a hop".to_owned());
    let inner_bytes = domain::inner_mtu(Kind::Intrusive, 1, plan.links())?.into();
    hop::parts(inner_bytes, plan.runs, HOP_PART)
}

/// All kinds of chains of one length: up at the same time and measured in turn, run by run, so that what is compared
/// meets the same machine.
async fn side_by_side(
    plan: &Plan,
    functions: usize,
    layout: Layout,
    stage: &dyn Fn(String),
) -> Result<Vec<Row>> {
    let mut chains = Vec::new();
    for kind in &plan.kinds {
        let file = domain::of(*kind, functions, plan.links())?;
        let testbed = Testbed::start(settings(plan, file, layout)).await?;
        chains.push((*kind, testbed, Measured::default()));
    }
    let measured = in_turn(plan, functions, layout, &mut chains, stage).await;
    let mut rows = Vec::new();
    for (kind, testbed, figures) in chains {
        testbed.stop().await?;
        let packet_bytes = domain::inner_mtu(kind, functions, plan.links())?;
        if measured.is_ok() {
            rows.push(Row::of(plan, functions, kind, layout, packet_bytes, figures)?);
        }
    }
    measured.map(|()| rows)
}

async fn in_turn(
    plan: &Plan,
    functions: usize,
    layout: Layout,
    chains: &mut [(Kind, Testbed, Measured)],
    stage: &dyn Fn(String),
) -> Result<()> {
    let once = Plan { runs: 1, ..plan.clone() };
    for run in 1..=plan.runs {
        for (kind, testbed, figures) in &mut *chains {
            let (kind_name, layout_name) = (kind.name(), layout.name());
            let what =
                format!("{functions} {kind_name}, {layout_name}, run {run} of {}", plan.runs);
            stage(what.clone());
            let packet_bytes = domain::inner_mtu(*kind, functions, plan.links())?;
            let testbed = &*testbed;
            let measuring = Measuring { plan: &once, testbed, layout, chain: true, packet_bytes };
            figures.add(measuring.run().await.context(what)?);
        }
    }
    Ok(())
}

/// The same client and server; the proxy of the same gateway connects over a cable.
async fn baseline(plan: &Plan) -> Result<Row> {
    let settings = settings(plan, domain::of(Kind::Forward, 1, plan.links())?, Layout::Processes);
    let program = settings.program.clone();
    let made = |file: &DomainFile, authority| baseline::plan(file, authority, &program);
    let testbed = Testbed::start_as(settings, made).await?;
    let (layout, packet_bytes) = (Layout::Processes, baseline::MTU_BYTES);
    let measuring = Measuring { plan, testbed: &testbed, layout, chain: false, packet_bytes };
    let measured = measuring.run().await;
    testbed.stop().await?;
    Row::of(plan, 0, Kind::Baseline, layout, packet_bytes, measured?)
}

impl Row {
    fn of(
        plan: &Plan,
        functions: usize,
        kind: Kind,
        layout: Layout,
        inner_mtu: u16,
        measured: Measured,
    ) -> Result<Row> {
        Ok(Row {
            functions,
            kind,
            layout,
            traffic: plan.traffic,
            inner_mtu,
            throughput_mbps: measured.throughput_mbps.context("no run")?,
            page_load_ms: measured.page_load_ms,
            datagrams: measured.datagrams,
            packets_lost_inside: measured.lost_by_reason.values().sum(),
            lost_by_reason: measured.lost_by_reason,
            parts: measured.parts,
        })
    }
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

fn ratios(rows: &[Row]) -> Vec<Ratio> {
    let forward = rows.iter().filter(|row| row.kind == Kind::Forward);
    let compared = [Kind::Intrusive, Kind::Attached];
    forward
        .flat_map(|base| {
            compared.into_iter().filter_map(move |kind| {
                let same = |row: &&Row| {
                    row.kind == kind && (row.functions, row.layout) == (base.functions, base.layout)
                };
                let other = rows.iter().find(same)?;
                Some(Ratio {
                    kind,
                    functions: base.functions,
                    layout: base.layout,
                    throughput: other.throughput_mbps.median / base.throughput_mbps.median,
                    page_load: page_load(other, base),
                })
            })
        })
        .collect()
}

fn page_load(other: &Row, forward: &Row) -> Option<f64> {
    Some(other.page_load_ms.as_ref()?.median / forward.page_load_ms.as_ref()?.median)
}
