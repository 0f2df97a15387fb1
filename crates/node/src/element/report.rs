//! What an element says of itself when asked: paths, counters, drops by reason, links.

use ringmail_dataplane::attach::AttachCounters;
use ringmail_dataplane::counters::{Counters, Traffic};
use ringmail_dataplane::function::FunctionCounter;
use ringmail_dataplane::hop::Hop;
use ringmail_dataplane::nsh::verify::Verdict;
use ringmail_dataplane::paths::PathState;
use ringmail_dataplane_io::LinkCounters;
use ringmail_dataplane_io::counters::LinkCounter;
use ringmail_dataplane_io::fault::FaultCounts;
use serde::{Deserialize, Serialize};

use super::worker::{Core, Links, Stay};
use crate::control::ProofCount;

/// One worker's report. Packets and bytes since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Traffic of the element: name, packets, bytes.
    pub(crate) traffic: Vec<Flow>,
    /// Traffic of each path, as far as it passes here.
    pub(crate) paths: Vec<PathReport>,
    /// Dropped packets by reason, those with none left out.
    pub(crate) drops: Vec<Drop>,
    /// Flows that are remembered, and how many may be; `None` at a hop that remembers none.
    pub(crate) flows: Option<[u64; 3]>,
    /// How long batches were inside, over powers of two of a nanosecond.
    pub(crate) inside_ns_log2: Vec<u64>,
    /// Their sum.
    pub(crate) inside_ns_sum: u64,
    /// The link to other elements.
    pub(crate) link: Vec<Count>,
    /// The inner side; empty at a hop.
    pub(crate) inner: Vec<Count>,
    /// What the function itself counts.
    pub(crate) function: Vec<Count>,
}

/// Packets and bytes of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flow {
    /// `link_in`, `link_out`, `inner_in`, `inner_out`, `opened`, `sealed` or `originated`.
    pub(crate) name: String,
    /// Packets.
    pub(crate) packets: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// A path at one element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PathReport {
    /// The path's number.
    pub(crate) path: u32,
    /// Whether packets can be sealed here for its next segment; `None` where no segment begins.
    pub(crate) keyed: Option<bool>,
    /// Packets that came in.
    pub(crate) packets_in: u64,
    /// Bytes of inner packets that came in.
    pub(crate) bytes_in: u64,
    /// Packets that went on.
    pub(crate) packets_out: u64,
    /// Bytes of inner packets that went on.
    pub(crate) bytes_out: u64,
    /// Where the path ends and its packets have proofs of transit: packets by verdict.
    pub(crate) proofs: Vec<ProofCount>,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drop {
    /// The reason's name.
    pub(crate) reason: String,
    /// One sentence for people.
    pub(crate) description: String,
    /// Packets.
    pub(crate) packets: u64,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// What is counted.
    pub(crate) name: String,
    /// The unit.
    pub(crate) unit: String,
    /// One sentence.
    pub(crate) description: String,
    /// Whether it may fall.
    pub(crate) gauge: bool,
    /// The count.
    pub(crate) value: u64,
}

impl Report {
    /// The report of a worker.
    pub(super) fn of(
        core: &mut Core,
        links: &Links,
        faults: Option<FaultCounts>,
        stay: &Stay,
    ) -> Report {
        let mut report = match core {
            Core::Edge(edge, _) => Report {
                flows: Some([
                    edge.flows().len() as u64,
                    edge.flows().capacity() as u64,
                    edge.flows().refused(),
                ]),
                ..Report::of_counters(edge.counters())
            },
            Core::Attached(hop, _) => Report {
                flows: Some([hop.flows() as u64, hop.flows_limit() as u64, hop.flows_refused()]),
                function: counts(hop.attach_counters().readings(), AttachCounters::is_gauge),
                ..Report::of_counters(hop.counters())
            },
            Core::Hop(hop) => Report {
                flows: (hop.flows_limit() > 0)
                    .then(|| [hop.flows() as u64, hop.flows_limit() as u64, hop.flows_refused()]),
                function: function(hop),
                ..Report::of_counters(hop.counters())
            },
        };
        report.paths = core
            .paths()
            .iter()
            .map(|state| PathReport {
                path: state.config.id.0,
                keyed: state.is_keyed(),
                packets_in: state.traffic_in.packets.get(),
                bytes_in: state.traffic_in.bytes.get(),
                packets_out: state.traffic_out.packets.get(),
                bytes_out: state.traffic_out.bytes.get(),
                proofs: proofs(state),
            })
            .collect();
        report.inside_ns_log2 = stay.buckets.to_vec();
        report.inside_ns_sum = stay.sum_ns;
        report.link = link(&links.link);
        report.link.extend(faults.into_iter().flat_map(injected));
        report.inner = sum(links.inner.iter().map(|counters| link(counters)));
        report
    }

    fn of_counters(counters: &Counters) -> Report {
        let flow = |(name, _, traffic): (&str, &str, &Traffic)| Flow {
            name: name.to_owned(),
            packets: traffic.packets.get(),
            bytes: traffic.bytes.get(),
        };
        Report {
            traffic: counters.traffic().into_iter().map(flow).collect(),
            drops: counters
                .drops()
                .map(|(reason, packets)| Drop {
                    reason: reason.name().to_owned(),
                    description: reason.description().trim().to_owned(),
                    packets,
                })
                .collect(),
            ..Report::default()
        }
    }
}

/// Every verdict of the end of a path; what is proved from a hop on only where there is any.
pub(super) fn proofs(state: &PathState) -> Vec<ProofCount> {
    let Some(_) = state.nsh.as_ref().and_then(|nsh| nsh.journal()) else { return Vec::new() };
    let count = |verdict: Verdict, from, packets| ProofCount {
        verdict: verdict.name().to_owned(),
        from,
        packets,
    };
    let proved = state.proofs.proved_from().filter(|(from, packets)| *from == 0 || *packets > 0);
    let proved = proved.map(|(from, packets)| count(Verdict::Proved, from.into(), packets));
    let failed = Verdict::ALL.into_iter().filter(|verdict| *verdict != Verdict::Proved);
    proved.chain(failed.map(|verdict| count(verdict, 0, state.proofs.of(verdict)))).collect()
}

fn function(hop: &mut Hop) -> Vec<Count> {
    let counters = hop.function_counters();
    let gauges = hop.function().gauges();
    counts(counters, |name| gauges.contains(&name))
}

fn counts(counters: Vec<FunctionCounter>, is_gauge: impl Fn(&str) -> bool) -> Vec<Count> {
    let count = |counter: FunctionCounter| Count {
        gauge: is_gauge(&counter.name),
        name: counter.name,
        unit: counter.unit.to_owned(),
        description: counter.description.to_owned(),
        value: counter.value,
    };
    counters.into_iter().map(count).collect()
}

/// Counts of several links, each in the same order, added up.
fn sum(all: impl Iterator<Item = Vec<Count>>) -> Vec<Count> {
    let add = |mut sum: Vec<Count>, counts: Vec<Count>| {
        sum.iter_mut().zip(counts).for_each(|(sum, count)| sum.value += count.value);
        sum
    };
    all.reduce(add).unwrap_or_default()
}

fn link(counters: &LinkCounters) -> Vec<Count> {
    let count = |counter: &LinkCounter| Count {
        name: counter.name().to_owned(),
        unit: counter.unit().to_owned(),
        description: counter.description().trim().to_owned(),
        gauge: false,
        value: counters.get(*counter),
    };
    LinkCounter::ALL.iter().map(count).collect()
}

/// Faults on purpose; hardly ever there.
fn injected(faults: FaultCounts) -> [Count; 6] {
    let FaultCounts { lost, duplicated, reordered, corrupted, overflowed, held, .. } = faults;
    let counts = [
        ("lost", "Packets lost on purpose.", lost),
        ("duplicated", "Packets sent twice on purpose.", duplicated),
        ("reordered", "Packets overtaken on purpose.", reordered),
        ("corrupted", "Packets with one bit turned on purpose.", corrupted),
        ("overflowed", "Packets lost since too many are held back on purpose.", overflowed),
        ("held", "Packets held back on purpose now.", held),
    ];
    counts.map(|(name, description, value)| Count {
        name: format!("fault_{name}"),
        unit: "packets".to_owned(),
        description: description.to_owned(),
        gauge: name == "held",
        value,
    })
}
