//! An element's answer to "how are you?": its workers' reports added up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ringmail_dataplane::DropReason;
use ringmail_dataplane::counters::Counters;
use ringmail_dataplane::sap as sap_core;
use ringmail_model::PathId;
use ringmail_model::pathset::{Direction, Role};
use tokio::sync::oneshot;

use super::agreement::Agreement;
use super::command::Command;
use super::flows::FlowCounters;
use super::guard::Guard;
use super::inner;
use super::keys::Keys;
use super::proxy::Proxy;
use super::replicas::Replicas;
use super::report::Report;
use super::versions::{Version, Versions};
use super::worker::Handle;
use crate::control::{
    Counter, Drops, ElementStatus, EpochStatus, PathStatus, ProofCount, RequestTimes,
};
use crate::sap::Status;

/// What the manual says of the table of flows, too.
pub(crate) const FLOWS: &str = "Flows that are remembered now.";
pub(crate) const FLOWS_LIMIT: &str =
    "Flows that may be remembered; past them new ones are refused.";

pub(crate) const FLOWS_REFUSED: &str = "New flows that found the table full: packets of theirs are dropped at an end of chains and pass a hop unremembered.";

pub(crate) const REPLICA_CLOSED: &str =
    "Connections that were ended because a replica on their path was dead.";
pub(crate) const REPLICA_MOVED: &str =
    "Connections that go on through another replica because one on their path was dead.";

/// Whom to ask.
pub(super) struct Parts<'a> {
    pub(super) versions: &'a Versions,
    pub(super) workers: &'a [Handle],
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) agreement: Option<&'a Agreement>,
    pub(super) replicas: Option<&'a Replicas>,
    pub(super) flows: Option<&'a FlowCounters>,
    pub(super) guard: Option<&'a Guard>,
}

/// The status of an element. A worker that has stopped adds nothing.
pub(super) async fn of(parts: Parts<'_>) -> ElementStatus {
    let Parts { versions, workers, proxy, agreement, replicas, flows, guard } = parts;
    let Version { set, element, .. } = &**versions.active();
    let mut reports = Vec::new();
    for worker in workers {
        let (answer, report) = oneshot::channel();
        worker.give(Command::Report(answer));
        reports.extend(report.await);
    }
    let mut counters = counters(&reports);
    if let Some(proxy) = proxy {
        for reading in proxy.counters().flat_map(|counters| counters.readings()) {
            add(&mut counters, reading.name, reading.unit, reading.description, reading.value);
        }
    }
    let mut epochs = Vec::new();
    if let Some(agreement) = agreement {
        let standing = agreement.status().await;
        let (names, mut sum) = (versions.active().names(), sap_core::Counters::default());
        for Status { neighbour, epoch, epoch_since, counters } in standing {
            sum.add(&counters);
            epochs.push(EpochStatus {
                neighbour: names.get(&neighbour).cloned().unwrap_or_else(|| neighbour.to_string()),
                epoch: epoch.map(|epoch| epoch.0),
                age_s: epoch_since.map(|since| since.elapsed().as_secs_f64()),
            });
        }
        for (name, unit, description, value) in sum.readings() {
            add(&mut counters, name, unit, description, value);
        }
    }
    for (name, unit, description, value) in flows.map(FlowCounters::readings).unwrap_or_default() {
        add(&mut counters, name, unit, description, value);
    }
    if let Some(replicas) = replicas {
        let [closed, moved] = replicas.left();
        add(&mut counters, "replica_connections_closed", "connections", REPLICA_CLOSED, closed);
        add(&mut counters, "replica_connections_moved", "connections", REPLICA_MOVED, moved);
    }
    let paths = paths(versions, &reports, agreement.map(Agreement::keys));
    let mut not_ready: Vec<String> = paths.iter().filter_map(unkeyed).collect();
    if element.role != Role::Hop {
        not_ready.extend(inner::trouble().await);
    }
    let function = versions.active().served();
    ElementStatus {
        version: set.version.0,
        role: match element.role {
            Role::Gateway => "gateway",
            Role::Hop => "hop",
            Role::Egress => "egress",
        }
        .to_owned(),
        function: function.map(|function| function.kind.to_string()),
        not_ready,
        epochs,
        replicas: replicas.map(Replicas::status).unwrap_or_default(),
        paths,
        counters,
        inside_ns_log2: inside(&reports),
        inside_ns_sum: reports.iter().map(|report| report.inside_ns_sum).sum(),
        requests: proxy.map(requests).unwrap_or_default(),
        drops: drops(&reports, guard),
    }
}

/// Listeners together.
fn requests(proxy: &Proxy) -> Vec<RequestTimes> {
    let mut paths: BTreeMap<String, RequestTimes> = BTreeMap::new();
    for (path, times) in proxy.counters().flat_map(|counters| counters.times.read()) {
        let of = paths.entry(path.clone()).or_default();
        (of.path, of.us_sum) = (path, of.us_sum + times.sum_us);
        of.us_log2.resize(times.us_log2.len(), 0);
        of.us_log2.iter_mut().zip(times.us_log2).for_each(|(sum, count)| *sum += count);
    }
    paths.into_values().collect()
}

fn inside(reports: &[Report]) -> Vec<u64> {
    let len = reports.iter().map(|report| report.inside_ns_log2.len()).max().unwrap_or(0);
    let at = |at: usize| reports.iter().filter_map(move |report| report.inside_ns_log2.get(at));
    (0..len).map(|bucket| at(bucket).sum()).collect()
}

/// Why nothing can be sent along a path.
fn unkeyed(path: &PathStatus) -> Option<String> {
    let name = &path.name;
    match path.lease_s {
        _ if path.state == "no keys" => Some(format!("path {name}: no keys for its next segment")),
        Some(left) if left <= 0.0 && path.state == "ready" => {
            Some(format!("path {name}: the lease of its keys ran out"))
        }
        _ => None,
    }
}

/// The paths by name: versions of one that run side by side are one for people, and count together.
fn paths(versions: &Versions, reports: &[Report], keys: Option<&Keys>) -> Vec<PathStatus> {
    let (now, element) = (Instant::now(), versions.active().element.id);
    let lease = |path| keys?.lease_end(path).map(|end| end.saturating_duration_since(now));
    let mut paths: BTreeMap<(&str, bool), PathStatus> = BTreeMap::new();
    for report in reports {
        let mut counted = BTreeSet::new();
        let mut known: Vec<_> = report.paths.iter().collect();
        // The one that is active speaks for the others.
        known.sort_by_key(|seen| versions.active().set.path(PathId(seen.path)).is_none());
        for seen in known {
            let Some((path, set)) = versions.path(PathId(seen.path)) else { continue };
            let position =
                (0..path.hops.len() + 2).find(|at| path.element_at(*at) == Some(element));
            let key = (path.name.as_str(), path.direction == Direction::Return);
            let first = counted.insert(key);
            let status = paths.entry(key).or_insert_with(|| PathStatus {
                name: path.name.clone(),
                direction: match path.direction {
                    Direction::Forward => "forward",
                    Direction::Return => "return",
                }
                .to_owned(),
                state: versions.state(path.id).to_owned(),
                return_path: path
                    .return_path
                    .and_then(|back| set.path(back))
                    .map(|back| back.name.clone()),
                hop: position.unwrap_or_default() as u32,
                lease_s: lease(path.id).map(|left| left.as_secs_f64()),
                ..PathStatus::default()
            });
            if !first {
                status.others += 1;
                continue;
            }
            if seen.keyed == Some(false) && status.state == "ready" {
                "no keys".clone_into(&mut status.state);
            }
            // Where the path begins nothing comes in, where it ends nothing goes on.
            status.packets += seen.packets_out.max(seen.packets_in);
            status.bytes += seen.bytes_out.max(seen.bytes_in);
            status.packets_in += seen.packets_in;
            status.bytes_in += seen.bytes_in;
            status.packets_out += seen.packets_out;
            status.bytes_out += seen.bytes_out;
            add_proofs(&mut status.proofs, &seen.proofs);
        }
    }
    // Every worker has the same.
    let workers = reports.len().max(1) as u32;
    let mut paths: Vec<_> = paths.into_values().collect();
    paths.iter_mut().for_each(|path| path.others /= workers);
    paths
}

/// In the order of positions and verdicts, whoever reports first.
pub(super) fn add_proofs(sums: &mut Vec<ProofCount>, of_worker: &[ProofCount]) {
    for ProofCount { verdict, from, packets } in of_worker {
        let is = |sum: &&mut ProofCount| sum.verdict == *verdict && sum.from == *from;
        if let Some(sum) = sums.iter_mut().find(is) {
            sum.packets += packets;
            continue;
        }
        sums.push(ProofCount { verdict: verdict.clone(), from: *from, packets: *packets });
    }
    sums.sort_by_key(|sum| (!sum.is_proved(), sum.from));
}

fn counters(reports: &[Report]) -> Vec<Counter> {
    let described = Counters::default();
    let mut counters = Vec::new();
    for report in reports {
        for (flow, (name, what, _)) in report.traffic.iter().zip(described.traffic()) {
            add(&mut counters, &format!("{name}_packets"), "packets", what, flow.packets);
            add(&mut counters, &format!("{name}_bytes"), "bytes", what, flow.bytes);
        }
        if let Some([flows, limit, refused]) = report.flows {
            gauge(&mut counters, "flows", "flows", FLOWS, flows);
            gauge(&mut counters, "flows_limit", "flows", FLOWS_LIMIT, limit);
            add(&mut counters, "flows_refused", "flows", FLOWS_REFUSED, refused);
        }
        for (side, counts) in [("link", &report.link), ("inner", &report.inner)] {
            for count in counts {
                let name = format!("{side}_{}", count.name);
                add(&mut counters, &name, &count.unit, &count.description, count.value);
            }
        }
        for count in &report.function {
            let name = format!("function_{}", count.name);
            let add = if count.gauge { gauge } else { add };
            add(&mut counters, &name, &count.unit, &count.description, count.value);
        }
    }
    counters
}

fn drops(reports: &[Report], guard: Option<&Guard>) -> Vec<Drops> {
    let refused = guard.map(Guard::drops).unwrap_or_default();
    let mut drops = Vec::new();
    for reason in DropReason::ALL {
        let of_reason = reports
            .iter()
            .flat_map(|report| &report.drops)
            .filter(|drop| drop.reason == reason.name());
        let at_guard =
            refused.iter().filter(|(known, _)| known == reason).map(|(_, packets)| packets);
        let packets: u64 = of_reason.map(|drop| drop.packets).chain(at_guard.copied()).sum();
        if packets > 0 {
            drops.push(Drops {
                reason: reason.name().to_owned(),
                description: reason.description().trim().to_owned(),
                packets,
            });
        }
    }
    drops
}

fn add(counters: &mut Vec<Counter>, name: &str, unit: &str, description: &str, value: u64) {
    entry(counters, name, unit, description, false).value += value;
}

fn gauge(counters: &mut Vec<Counter>, name: &str, unit: &str, description: &str, value: u64) {
    entry(counters, name, unit, description, true).value += value;
}

fn entry<'a>(
    counters: &'a mut Vec<Counter>,
    name: &str,
    unit: &str,
    description: &str,
    gauge: bool,
) -> &'a mut Counter {
    let at = counters.iter().position(|counter| counter.name == name).unwrap_or_else(|| {
        counters.push(Counter {
            name: name.to_owned(),
            unit: unit.to_owned(),
            description: description.trim().to_owned(),
            gauge,
            value: 0,
        });
        counters.len() - 1
    });
    &mut counters[at]
}
