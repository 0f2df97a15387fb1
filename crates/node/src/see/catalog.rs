//! Every metric that there is, whether anything runs or not: one walk over the counters that the planes define.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use ringmail_dataplane::attach::AttachCounters;
use ringmail_dataplane::counters::Counters;
use ringmail_dataplane::sap;
use ringmail_dataplane_io::LinkCounter;
use ringmail_model::domain::FunctionKind;

use super::metrics::{Sample, named};
use crate::control::{Counter, ElementStatus};
use crate::element::{
    FLOWS, FLOWS_LIMIT, FLOWS_REFUSED, FlowCounters, REPLICA_CLOSED, REPLICA_MOVED,
};

/// A metric: what all series of one name have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    /// With `ringmail_` in front, and `_total` behind where it only grows.
    pub name: String,
    /// Whether it may fall.
    pub gauge: bool,
    /// Whether it is counted in buckets.
    pub histogram: bool,
    /// E.g. `packets`; empty for a yes or no.
    pub unit: String,
    /// One sentence.
    pub help: String,
    /// The names of its labels.
    pub labels: Vec<String>,
}

impl Family {
    pub(super) fn new(
        stem: &str,
        unit: &str,
        gauge: bool,
        help: &str,
        labels: Vec<String>,
    ) -> Family {
        let mut name = format!("ringmail_{stem}");
        if !unit.is_empty() && stem.split('_').all(|word| word != unit) {
            name = format!("{name}_{unit}");
        }
        if !gauge {
            name.push_str("_total");
        }
        let histogram = false;
        Family { name, gauge, histogram, unit: unit.to_owned(), help: help.to_owned(), labels }
    }

    /// One that is counted in buckets, in seconds.
    fn histogram(stem: &str, help: &str, labels: &[&str]) -> Family {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        // Its name is that of a gauge.
        let family = Family::new(stem, "seconds", true, help, labels);
        Family { gauge: false, histogram: true, ..family }
    }

    /// How long batches of packets are inside of an element.
    pub(super) fn batch() -> Family {
        let help = "How long batches of packets are inside of the element, from their receipt until they are sent; one in sixteen is looked at.";
        Family::histogram("batch_seconds", help, &["element"])
    }

    /// How long requests take.
    pub(super) fn requests() -> Family {
        let help = "How long allowed requests take at the gateway, from the head of the request to that of the answer.";
        Family::histogram("gateway_request_seconds", help, &["element", "path"])
    }
}

macro_rules! fixed {
    ($($variant:ident = $stem:literal, $unit:literal, $gauge:literal, [$($label:literal),*], $help:literal;)+) => {
        /// The metrics that are no element's counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Fixed { $($variant,)+ }

        impl Fixed {
            const ALL: &'static [Fixed] = &[$(Fixed::$variant,)+];

            pub(super) fn family(self) -> Family {
                match self {
                    $(Fixed::$variant => {
                        Family::new($stem, $unit, $gauge, $help, vec![$($label.to_owned()),*])
                    })+
                }
            }
        }
    };
}

fixed! {
    BuildInfo = "build_info", "", true, ["version"], "The program's version; always 1.";
    Up = "domain_up_seconds", "seconds", true, ["domain"], "How long the domain has been up.";
    ElementUp = "element_up", "", true, ["element", "role"], "Whether the element answers.";
    ElementReady = "element_ready", "", true, ["element", "role"], "Whether the element serves all of its paths.";
    VersionCounts = "version_counts", "", true, [], "Of control: the version that all elements are to run.";
    ElementVersion = "element_version", "", true, ["element"], "The version that an element on a machine of its own runs; 0 for none.";
    ElementCurrent = "element_current", "", true, ["element"], "Whether an element on a machine of its own runs the version that counts.";
    ElementHeard = "element_heard_seconds", "seconds", true, ["element"], "Time since control heard of the element last, or the element of control.";
    ElementRefused = "element_refused_version", "", true, ["element"], "The version that the element refused last; 0 where it took one since, or refused none.";
    PathInPackets = "path_in_packets", "packets", false, ["element", "path", "hop"], "Packets of the path that came in; none where it begins.";
    PathInBytes = "path_in_bytes", "bytes", false, ["element", "path", "hop"], "Bytes of the path's inner packets that came in.";
    PathOutPackets = "path_out_packets", "packets", false, ["element", "path", "hop"], "Packets of the path that went on; none where it ends.";
    PathOutBytes = "path_out_bytes", "bytes", false, ["element", "path", "hop"], "Bytes of the path's inner packets that went on.";
    PathKeyed = "path_keyed", "", true, ["element", "path", "hop"], "Whether keys stand for the path's next segment; 1 where none begins.";
    PathLease = "path_lease_seconds", "seconds", true, ["element", "path", "hop"], "Time until the first association in use fails closed unless its lease is renewed.";
    PathProofs = "path_proofs", "proofs", false, ["element", "path", "verdict"], "Packets at the end of their path by what their proofs of transit said: proved, proved_from_N for those that hop N made, or why not.";
    Epoch = "epoch", "", true, ["element", "neighbour"], "The epoch of the keys with a neighbour; 0 while they do not agree.";
    EpochAge = "epoch_age_seconds", "seconds", true, ["element", "neighbour"], "Time since the keys with a neighbour changed last.";
    ReplicaUp = "replica_up", "", true, ["element", "replica"], "Whether a hop on a path over replicas answers the gateway in time.";
    Dropped = "dropped_packets", "packets", false, ["element", "reason"], "Packets that went nowhere, by reason; see the manual's table of reasons.";
    Audit = "audit_events", "events", false, ["event"], "What lays traffic open, each time that it was done.";
    LeftOut = "metrics_left_out_series", "series", true, [], "Series left out of this answer, since there are too many.";
}

impl Fixed {
    /// Its series with these labels.
    pub(super) fn sample<S: AsRef<str>, const N: usize>(
        self,
        labels: &[S; N],
        value: f64,
    ) -> Sample {
        let family = self.family();
        debug_assert_eq!(family.labels.len(), N);
        let values = labels.iter().map(|value| value.as_ref().to_owned());
        let labels = family.labels.iter().cloned().zip(values).collect();
        Sample { family, suffix: "", labels, value }
    }
}

/// Every metric, by name.
///
/// # Errors
/// Never in a program whose tests passed.
pub fn families() -> Result<BTreeMap<String, Family>> {
    let mut all = BTreeMap::new();
    for fixed in Fixed::ALL {
        let family = fixed.family();
        all.insert(family.name.clone(), family);
    }
    for family in [Family::batch(), Family::requests()] {
        all.insert(family.name.clone(), family);
    }
    for (counter, of) in counters()? {
        let family = named(&counter, &of).family;
        all.insert(family.name.clone(), family);
    }
    Ok(all)
}

/// Every counter of every kind of element, as its status would show it.
fn counters() -> Result<Vec<(Counter, ElementStatus)>> {
    let gateway = ElementStatus { role: "gateway".to_owned(), ..ElementStatus::default() };
    let mut all = Vec::new();
    let mut add = |name: String, unit: &str, description: &str, gauge, of: &ElementStatus| {
        let (unit, description) = (unit.to_owned(), description.trim().to_owned());
        all.push((Counter { name, unit, description, gauge, value: 0 }, of.clone()));
    };
    for (name, description, _) in Counters::default().traffic() {
        for unit in ["packets", "bytes"] {
            add(format!("{name}_{unit}"), unit, description, false, &gateway);
        }
    }
    add("flows".to_owned(), "flows", FLOWS, true, &gateway);
    add("flows_limit".to_owned(), "flows", FLOWS_LIMIT, true, &gateway);
    add("flows_refused".to_owned(), "flows", FLOWS_REFUSED, false, &gateway);
    for (name, what) in [("closed", REPLICA_CLOSED), ("moved", REPLICA_MOVED)] {
        add(format!("replica_connections_{name}"), "connections", what, false, &gateway);
    }
    for counter in LinkCounter::ALL {
        let name = format!("link_{}", counter.name());
        add(name, counter.unit(), counter.description(), false, &gateway);
    }
    for reading in ringmail_gateway::Counters::default().readings() {
        add(reading.name.to_owned(), reading.unit, reading.description, false, &gateway);
    }
    for (name, unit, description, _) in sap::Counters::default().readings() {
        add(name.to_owned(), unit, description, false, &gateway);
    }
    for (name, unit, description, _) in FlowCounters::default().readings() {
        add(name.to_owned(), unit, description, false, &gateway);
    }
    for (kind, counter, gauge) in ringmail_functions::catalog::counters()? {
        let of = ElementStatus { function: Some(kind.to_string()), ..ElementStatus::default() };
        let name = format!("function_{}", counter.name);
        add(name, counter.unit, counter.description, gauge, &of);
    }
    let kind = Some(FunctionKind::Attached.to_string());
    let of = ElementStatus { function: kind, ..ElementStatus::default() };
    for counter in AttachCounters::default().readings() {
        let gauge = AttachCounters::is_gauge(&counter.name);
        add(format!("function_{}", counter.name), counter.unit, counter.description, gauge, &of);
    }
    Ok(all)
}

/// Names of the gateway's own counters.
pub(super) fn gateway_names() -> BTreeSet<&'static str> {
    ringmail_gateway::Counters::default().readings().map(|reading| reading.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own_and_says_what_it_is() {
        let counters = counters().expect("the catalog");
        let families = families().expect("the catalog");
        for (counter, of) in &counters {
            let family = named(counter, of).family;
            // What counts for each rule or reason is one metric; nothing else shares a name.
            assert_eq!(families.get(&family.name), Some(&family), "two have one name");
        }
        for family in families.values() {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(family.name.chars().all(allowed), "{}", family.name);
            assert!(family.help.ends_with('.'), "{}: {}", family.name, family.help);
            let counter = !family.gauge && !family.histogram;
            assert_eq!(counter, family.name.ends_with("_total"), "{}", family.name);
        }
    }
}
