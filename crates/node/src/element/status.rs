//! An element's answer to "how are you?": its workers' reports added up.

use std::collections::BTreeMap;

use ringmail_dataplane::DropReason;
use ringmail_dataplane_io::LinkCounter;
use ringmail_model::pathset::{Direction, Element, PathSet, Role};
use tokio::sync::oneshot;

use super::command::Command;
use super::proxy::Proxy;
use super::report::Report;
use super::worker::Handle;
use crate::control::{Counter, Drops, ElementStatus, PathStatus};

/// The status of an element. A worker that has stopped adds nothing.
pub(super) async fn of(
    set: &PathSet,
    element: &Element,
    workers: &[Handle],
    proxy: Option<&Proxy>,
) -> ElementStatus {
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
    ElementStatus {
        role: match element.role {
            Role::Gateway => "gateway",
            Role::Hop => "hop",
            Role::Egress => "egress",
        }
        .to_owned(),
        paths: paths(set, &reports),
        counters,
        drops: drops(&reports),
    }
}

fn paths(set: &PathSet, reports: &[Report]) -> Vec<PathStatus> {
    let mut paths: BTreeMap<u32, PathStatus> = BTreeMap::new();
    for seen in reports.iter().flat_map(|report| &report.paths) {
        let Some(path) = set.paths.iter().find(|path| path.id.0 == seen.path) else { continue };
        let status = paths.entry(seen.path).or_insert_with(|| PathStatus {
            name: path.name.clone(),
            direction: match path.direction {
                Direction::Forward => "forward",
                Direction::Return => "return",
            }
            .to_owned(),
            state: "ready".to_owned(),
            ..PathStatus::default()
        });
        if seen.keyed == Some(false) {
            "no keys".clone_into(&mut status.state);
        }
        // Where the path begins nothing comes in, where it ends nothing goes on.
        status.packets += seen.packets_out.max(seen.packets_in);
        status.bytes += seen.bytes_out.max(seen.bytes_in);
    }
    paths.into_values().collect()
}

fn counters(reports: &[Report]) -> Vec<Counter> {
    let mut counters = Vec::new();
    for report in reports {
        for flow in &report.traffic {
            let what = describe(&flow.name);
            add(&mut counters, &format!("{}_packets", flow.name), "packets", what, flow.packets);
            add(&mut counters, &format!("{}_bytes", flow.name), "bytes", what, flow.bytes);
        }
        if let Some(flows) = report.flows {
            add(&mut counters, "flows", "flows", "Flows that are remembered.", flows);
        }
        for (side, counts) in [("link", &report.link), ("inner", &report.inner)] {
            for (count, known) in counts.iter().zip(LinkCounter::ALL) {
                let name = format!("{side}_{}", count.name);
                add(&mut counters, &name, &count.unit, known.description(), count.value);
            }
        }
        for count in &report.function {
            add(
                &mut counters,
                &format!("function_{}", count.name),
                &count.unit,
                "Counted by the function.",
                count.value,
            );
        }
    }
    counters
}

fn describe(traffic: &str) -> &'static str {
    match traffic {
        "link_in" => "MPLS frames that came from the link.",
        "link_out" => "MPLS frames handed to the link.",
        "inner_in" => "Plain packets that came from the inner side.",
        "inner_out" => "Plain packets handed to the inner side.",
        "opened" => "Packets opened and found authentic.",
        "sealed" => "Packets sealed.",
        _ => "Packets that the element made itself.",
    }
}

fn drops(reports: &[Report]) -> Vec<Drops> {
    let mut drops = Vec::new();
    for reason in DropReason::ALL {
        let of_reason = reports
            .iter()
            .flat_map(|report| &report.drops)
            .filter(|drop| drop.reason == reason.name());
        let packets: u64 = of_reason.map(|drop| drop.packets).sum();
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
    match counters.iter_mut().find(|counter| counter.name == name) {
        Some(counter) => counter.value += value,
        None => counters.push(Counter {
            name: name.to_owned(),
            unit: unit.to_owned(),
            description: description.trim().to_owned(),
            value,
        }),
    }
}
