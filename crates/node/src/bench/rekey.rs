//! `ringmail bench rekey`: what it costs a chain under load that its keys change every second: nothing lost, and how late
//! the slowest are, beside the same chain whose keys stay.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use ringmail_model::domain::{LinkDriver, LinkKind, Profile};
use schemars::JsonSchema;
use serde::Serialize;

use super::counts::Counts;
use super::domain::Links;
use super::plan::Kind;
use super::{Figure, Machine, domain, udp};
use crate::layout::Layout;
use crate::runtime::Place;
use crate::supervise::LineSink;
use crate::testbed::{Settings, Testbed};
use crate::topology::Privilege;

/// How long each step of the search for the load takes: much longer than it takes to fill the queues on the way, which
/// otherwise hide that a rate cannot be kept up.
const SEARCH_STEP: Duration = Duration::from_secs(3);

/// How long a chain is under load before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Intrusive functions in the chain.
    pub functions: usize,
    /// What stands in front of ESP.
    pub profile: Profile,
    /// How long each run is.
    pub lasting: Duration,
    /// Runs of both.
    pub runs: usize,
    /// The share of the highest rate that at most one in a thousand is lost at.
    pub load: f64,
    /// The executable of ringmail.
    pub program: PathBuf,
    /// Where runtime directories lie.
    pub place: Place,
    /// With which right.
    pub privilege: Privilege,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// Intrusive functions in the chain.
    pub functions: usize,
    /// What stood in front of ESP.
    pub profile: Profile,
    /// Megabits of payload a second that both chains carried.
    pub load_mbps: f64,
    /// Seconds of each run.
    pub seconds: u64,
    /// Keys that stay.
    pub still: Side,
    /// Keys that change every second.
    pub rekeying: Side,
    /// The p99.9 latency of changing keys in that of keys that stay: medians.
    pub p999_ratio: f64,
    /// What it ran on.
    pub machine: Machine,
}

/// One of both chains.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Side {
    /// Megabits of payload a second that arrived.
    pub delivered_mbps: Figure,
    /// Microseconds that half of the packets took at most.
    pub p50_us: Figure,
    /// That 99 of 100 took.
    pub p99_us: Figure,
    /// That 999 of 1000 took.
    pub p999_us: Figure,
    /// That the slowest took.
    pub max_us: Figure,
    /// Datagrams that were sent, in all runs.
    pub sent: u64,
    /// Datagrams among them that did not arrive.
    pub lost: u64,
    /// Packets that elements dropped, or lost on links, by reason.
    pub lost_by_reason: BTreeMap<String, u64>,
    /// Changes of keys in all runs, of the two neighbours that changed least often.
    pub epochs: u64,
    /// Associations that took the place of others, in all runs.
    pub associations_replaced: u64,
}

/// Measures both. `stage` hears what is being done.
///
/// # Errors
/// When a chain does not come up or carries nothing.
pub async fn run(plan: &Plan, stage: &dyn Fn(String)) -> Result<Report> {
    let (mut still, mut rekeying) = (Vec::new(), Vec::new());
    stage("looking for the load".to_owned());
    let testbed = start(plan, "").await?;
    let highest = highest(&testbed, plan).await;
    testbed.stop().await?;
    let load_mbps = highest? * plan.load;
    for run in 1..=plan.runs {
        for (limits, name, into) in [
            ("", "keys that stay", &mut still),
            ("limits: {rekey_after_s: 1}\n", "keys that change", &mut rekeying),
        ] {
            stage(format!("run {run}: {name}, {load_mbps:.0} Mb/s"));
            let testbed = start(plan, limits).await?;
            let measured = measure(&testbed, plan, load_mbps).await;
            testbed.stop().await?;
            into.push(measured.context(name)?);
        }
    }
    let (still, rekeying) = (Side::of(&still)?, Side::of(&rekeying)?);
    Ok(Report {
        functions: plan.functions,
        profile: plan.profile,
        load_mbps,
        seconds: plan.lasting.as_secs(),
        p999_ratio: rekeying.p999_us.median / still.p999_us.median,
        still,
        rekeying,
        machine: Machine::this(),
    })
}

fn links(plan: &Plan) -> Links {
    let (kind, driver, mtu) = (LinkKind::Udp, LinkDriver::Packet, 1500);
    Links { kind, driver, mtu, profile: plan.profile }
}

async fn start(plan: &Plan, limits: &str) -> Result<Testbed> {
    let file = domain::of(Kind::Intrusive, plan.functions, links(plan))?;
    Testbed::start(Settings {
        file: domain::with(file, limits)?,
        layout: Layout::Processes,
        program: plan.program.clone(),
        place: plan.place.clone(),
        privilege: plan.privilege,
        sink: LineSink::default(),
    })
    .await
}

async fn highest(testbed: &Testbed, plan: &Plan) -> Result<f64> {
    let packet_bytes = domain::inner_mtu(Kind::Intrusive, plan.functions, links(plan))?;
    let stream = udp::through_chain(testbed, packet_bytes).await?;
    udp::highest_mbps(&stream, SEARCH_STEP).await
}

/// One run.
struct Measured {
    outcome: super::stream::Outcome,
    lost_by_reason: BTreeMap<String, u64>,
    epochs: u64,
    replaced: u64,
}

async fn measure(testbed: &Testbed, plan: &Plan, load_mbps: f64) -> Result<Measured> {
    let packet_bytes = domain::inner_mtu(Kind::Intrusive, plan.functions, links(plan))?;
    let stream = udp::through_chain(testbed, packet_bytes).await?;
    stream.run(load_mbps, WARM_UP).await?;
    let before = Counts::at_rest(testbed).await?;
    let changes = Changes::now(testbed).await?;
    let outcome = stream.run(load_mbps, plan.lasting).await?;
    let (epochs, replaced) = Changes::now(testbed).await?.since(&changes);
    let lost_by_reason = Counts::at_rest(testbed).await?.since(&before).lost();
    Ok(Measured { outcome, lost_by_reason, epochs, replaced })
}

/// Epochs by element and neighbour, and associations replaced.
struct Changes {
    epochs: BTreeMap<(String, String), u64>,
    replaced: u64,
}

impl Changes {
    async fn now(testbed: &Testbed) -> Result<Changes> {
        let handle = testbed.handle();
        let mut changes = Changes { epochs: BTreeMap::new(), replaced: 0 };
        for name in testbed.elements() {
            let status = handle.status(&name).await.with_context(|| format!("element `{name}`"))?;
            let replaced = |name: &str| name == "sap_associations_replaced";
            let counters = status.counters.iter().filter(|counter| replaced(&counter.name));
            changes.replaced += counters.map(|counter| counter.value).sum::<u64>();
            for of in status.epochs {
                let epoch = of.epoch.unwrap_or(0).into();
                changes.epochs.insert((name.clone(), of.neighbour), epoch);
            }
        }
        Ok(changes)
    }

    fn since(&self, before: &Changes) -> (u64, u64) {
        let changed = self.epochs.iter().map(|(of, epoch)| {
            epoch.saturating_sub(before.epochs.get(of).copied().unwrap_or(*epoch))
        });
        (changed.min().unwrap_or(0), self.replaced.saturating_sub(before.replaced))
    }
}

impl Side {
    fn of(runs: &[Measured]) -> Result<Side> {
        let figure =
            |of: fn(&Measured) -> f64| Figure::of(runs.iter().map(of).collect()).context("no run");
        let mut lost_by_reason: BTreeMap<String, u64> = BTreeMap::new();
        for (reason, packets) in runs.iter().flat_map(|run| &run.lost_by_reason) {
            *lost_by_reason.entry(reason.clone()).or_default() += packets;
        }
        Ok(Side {
            delivered_mbps: figure(|run| run.outcome.delivered_mbps)?,
            p50_us: figure(|run| run.outcome.latency.p50_us)?,
            p99_us: figure(|run| run.outcome.latency.p99_us)?,
            p999_us: figure(|run| run.outcome.latency.p999_us)?,
            max_us: figure(|run| run.outcome.latency.max_us)?,
            sent: runs.iter().map(|run| run.outcome.sent).sum(),
            lost: runs.iter().map(|run| run.outcome.lost()).sum(),
            lost_by_reason,
            epochs: runs.iter().map(|run| run.epochs).sum(),
            associations_replaced: runs.iter().map(|run| run.replaced).sum(),
        })
    }
}
