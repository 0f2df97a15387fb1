//! What an element says of itself when asked: paths, counters, drops by reason, links.

use ringmail_dataplane::counters::{Counters, Traffic};
use ringmail_dataplane_io::LinkCounters;
use ringmail_dataplane_io::counters::LinkCounter;
use serde::{Deserialize, Serialize};

use super::worker::{Core, Links};

/// One worker's report. Packets and bytes since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Traffic of the element: name, packets, bytes.
    pub traffic: Vec<Flow>,
    /// Traffic of each path, as far as it passes here.
    pub paths: Vec<PathReport>,
    /// Dropped packets by reason, those with none left out.
    pub drops: Vec<Drop>,
    /// Flows that are remembered; `None` at a hop.
    pub flows: Option<u64>,
    /// The link to other elements.
    pub link: Vec<Count>,
    /// The inner side; empty at a hop.
    pub inner: Vec<Count>,
    /// What the function itself counts.
    pub function: Vec<Count>,
}

/// Packets and bytes of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// `link_in`, `link_out`, `inner_in`, `inner_out`, `opened`, `sealed` or `originated`.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A path at one element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathReport {
    /// The path's number.
    pub path: u32,
    /// Whether packets can be sealed here for its next segment; `None` where no segment begins.
    pub keyed: Option<bool>,
    /// Packets that came in.
    pub packets_in: u64,
    /// Bytes of inner packets that came in.
    pub bytes_in: u64,
    /// Packets that went on.
    pub packets_out: u64,
    /// Bytes of inner packets that went on.
    pub bytes_out: u64,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// The reason's name.
    pub reason: String,
    /// One sentence for people.
    pub description: String,
    /// Packets.
    pub packets: u64,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What is counted.
    pub name: String,
    /// The unit.
    pub unit: String,
    /// The count.
    pub value: u64,
}

impl Report {
    /// The report of a worker.
    pub(super) fn of(core: &mut Core, links: &Links) -> Report {
        let mut report = match core {
            Core::Edge(edge, _) => Report {
                flows: Some(edge.flows().len() as u64),
                ..Report::of_counters(edge.counters())
            },
            Core::Hop(hop) => Report {
                function: hop
                    .function()
                    .counters()
                    .into_iter()
                    .map(|counter| Count {
                        name: counter.name,
                        unit: counter.unit.to_owned(),
                        value: counter.value,
                    })
                    .collect(),
                ..Report::of_counters(hop.counters())
            },
        };
        report.paths = core
            .paths()
            .iter()
            .map(|state| PathReport {
                path: state.config.id.0,
                keyed: state
                    .config
                    .leaving
                    .and_then(|leaving| leaving.tunnel)
                    .map(|_| state.outbound.is_some()),
                packets_in: state.traffic_in.packets.get(),
                bytes_in: state.traffic_in.bytes.get(),
                packets_out: state.traffic_out.packets.get(),
                bytes_out: state.traffic_out.bytes.get(),
            })
            .collect();
        report.link = link(&links.link);
        report.inner = links.inner.as_deref().map(link).unwrap_or_default();
        report
    }

    fn of_counters(counters: &Counters) -> Report {
        let flow = |name: &str, traffic: &Traffic| Flow {
            name: name.to_owned(),
            packets: traffic.packets.get(),
            bytes: traffic.bytes.get(),
        };
        Report {
            traffic: vec![
                flow("link_in", &counters.link_in),
                flow("link_out", &counters.link_out),
                flow("inner_in", &counters.inner_in),
                flow("inner_out", &counters.inner_out),
                flow("opened", &counters.opened),
                flow("sealed", &counters.sealed),
                flow("originated", &counters.originated),
            ],
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

    /// Packets of one kind of traffic.
    pub fn packets(&self, name: &str) -> u64 {
        self.traffic.iter().find(|flow| flow.name == name).map_or(0, |flow| flow.packets)
    }

    /// The value of one of the link's counters.
    pub fn link_count(&self, counter: LinkCounter) -> u64 {
        let found = self.link.iter().find(|count| count.name == counter.name());
        found.map_or(0, |count| count.value)
    }
}

fn link(counters: &LinkCounters) -> Vec<Count> {
    let count = |counter: &LinkCounter| Count {
        name: counter.name().to_owned(),
        unit: counter.unit().to_owned(),
        value: counters.get(*counter),
    };
    LinkCounter::ALL.iter().map(count).collect()
}
