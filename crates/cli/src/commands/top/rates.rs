//! From two statuses to rates.

use std::time::Duration;

use ringmail_node::admin::{DomainStatus, ElementReport};
use ringmail_node::control::{ElementStatus, PathStatus};
use schemars::JsonSchema;
use serde::Serialize;

/// A domain over an interval.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Top {
    /// Its name.
    pub(crate) domain: String,
    /// How long it has been up, in seconds.
    pub(crate) up_s: u64,
    /// Over how long the rates were taken, in seconds.
    pub(crate) interval_s: f64,
    /// Its paths, by name.
    pub(crate) paths: Vec<PathRates>,
    /// Its elements.
    pub(crate) elements: Vec<ElementRates>,
    /// What ends of paths said of the way that packets came.
    pub(crate) proofs: Vec<ProofRates>,
    /// What elements dropped since they started, and drop now.
    pub(crate) drops: Vec<DropRates>,
}

/// What the end of a path said of the way that its packets came.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ProofRates {
    /// The path.
    pub(crate) path: String,
    /// Where it ends.
    pub(crate) end: String,
    /// Packets a second that were proved.
    pub(crate) proved_per_s: f64,
    /// Packets that were proved since the end started.
    pub(crate) proved: u64,
    /// Packets that were not.
    pub(crate) failed: u64,
}

/// A path.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct PathRates {
    /// Its name.
    pub(crate) name: String,
    /// `forward` or `return`.
    pub(crate) direction: String,
    /// The elements on it, in order.
    pub(crate) hops: Vec<String>,
    /// `ready`, or what is missing.
    pub(crate) state: String,
    /// Packets a second that entered it.
    pub(crate) packets_per_s: f64,
    /// Megabits a second of inner packets that entered it.
    pub(crate) mbits_per_s: f64,
    /// Microseconds that half of its packets spend inside its elements at most, links not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inside_us: Option<f64>,
}

/// An element.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ElementRates {
    /// Its name.
    pub(crate) name: String,
    /// `gateway`, `hop` or `egress`.
    pub(crate) role: String,
    /// `ready`, or how it is.
    pub(crate) state: String,
    /// Packets a second that came, from both sides.
    pub(crate) in_packets_per_s: f64,
    /// Megabits a second that came.
    pub(crate) in_mbits_per_s: f64,
    /// Packets a second that went, to both sides.
    pub(crate) out_packets_per_s: f64,
    /// Packets a second that were dropped.
    pub(crate) drops_per_s: f64,
    /// Flows that it remembers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flows: Option<u64>,
    /// Microseconds inside it, at most so many for half of the batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inside_median_us: Option<f64>,
    /// Microseconds inside it, at most so many for all but one in a hundred batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inside_p99_us: Option<f64>,
}

/// Packets that an element drops for one reason.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct DropRates {
    /// Where.
    pub(crate) element: String,
    /// Why.
    pub(crate) reason: String,
    /// Since it started.
    pub(crate) packets: u64,
    /// Now.
    pub(crate) packets_per_s: f64,
}

impl Top {
    /// What happened between two looks.
    pub(crate) fn between(before: &DomainStatus, now: &DomainStatus, interval: Duration) -> Top {
        let interval_s = interval.as_secs_f64().max(1e-3);
        let mut top =
            Top { domain: now.domain.clone(), up_s: now.up_s, interval_s, ..Top::default() };
        for element in &now.elements {
            let earlier = before.elements.iter().find(|known| known.name == element.name);
            let empty = ElementStatus::default();
            let earlier = earlier.and_then(|known| known.status.as_ref()).unwrap_or(&empty);
            // Those without a data plane are none of the chain.
            if element.status.as_ref().is_none_or(|status| !status.paths.is_empty()) {
                top.element(element, earlier);
            }
        }
        top.paths(before, now);
        top.proofs.sort_by(|one, other| (&one.path, &one.end).cmp(&(&other.path, &other.end)));
        top
    }

    fn element(&mut self, element: &ElementReport, before: &ElementStatus) {
        let empty = ElementStatus::default();
        let now = element.status.as_ref().unwrap_or(&empty);
        let sum = |names: &[&str]| -> f64 {
            names.iter().map(|name| self.rate(counter(now, name), counter(before, name))).sum()
        };
        let state = match now.not_ready.first() {
            Some(reason) => reason.clone(),
            None => element.state.clone(),
        };
        let inside = since(&now.inside_ns_log2, &before.inside_ns_log2);
        let mut rates = ElementRates {
            name: element.name.clone(),
            role: now.role.clone(),
            state,
            in_packets_per_s: sum(&["link_in_packets", "inner_in_packets"]),
            in_mbits_per_s: sum(&["link_in_bytes", "inner_in_bytes"]) * 8e-6,
            out_packets_per_s: sum(&["link_out_packets", "inner_out_packets"]),
            drops_per_s: 0.0,
            flows: now.counters.iter().find(|c| c.name == "flows").map(|c| c.value),
            inside_median_us: quantile_us(&inside, 0.5),
            inside_p99_us: quantile_us(&inside, 0.99),
        };
        for drops in &now.drops {
            let earlier = before.drops.iter().find(|known| known.reason == drops.reason);
            let earlier = earlier.map_or(0, |known| known.packets);
            let packets_per_s = self.rate(drops.packets, earlier);
            rates.drops_per_s += packets_per_s;
            self.drops.push(DropRates {
                element: element.name.clone(),
                reason: drops.reason.clone(),
                packets: drops.packets,
                packets_per_s,
            });
        }
        self.elements.push(rates);
        for path in now.paths.iter().filter(|path| !path.proofs.is_empty()) {
            let earlier = before.paths.iter().find(|known| known.name == path.name);
            let (proved, failed) = proofs(path);
            let proved_per_s = self.rate(proved, earlier.map_or(0, |path| proofs(path).0));
            let (path, end) = (path.name.clone(), element.name.clone());
            self.proofs.push(ProofRates { path, end, proved_per_s, proved, failed });
        }
    }

    fn paths(&mut self, before: &DomainStatus, now: &DomainStatus) {
        let mut stands: Vec<(&str, &PathStatus)> = Vec::new();
        for element in &now.elements {
            let paths = element.status.iter().flat_map(|status| &status.paths);
            stands.extend(paths.map(|path| (element.name.as_str(), path)));
        }
        stands.sort_by_key(|(_, path)| (path.name.clone(), path.hop));
        for on_path in stands.chunk_by(|one, other| one.1.name == other.1.name) {
            let (origin, first) = on_path[0];
            let earlier = before.elements.iter().find(|known| known.name == origin);
            let earlier = earlier.and_then(|known| known.status.as_ref());
            let earlier = earlier.and_then(|s| s.paths.iter().find(|p| p.name == first.name));
            let (packets, bytes) =
                earlier.map_or((0, 0), |path| (path.packets_out, path.bytes_out));
            let missing = on_path.iter().find(|(_, path)| path.state != "ready");
            let inside = on_path.iter().map(|(name, _)| {
                let element = self.elements.iter().find(|element| element.name == *name)?;
                element.inside_median_us
            });
            let path = PathRates {
                name: first.name.clone(),
                direction: first.direction.clone(),
                hops: on_path.iter().map(|(name, _)| (*name).to_owned()).collect(),
                state: missing
                    .map_or("ready".to_owned(), |(at, path)| format!("{at}: {}", path.state)),
                packets_per_s: self.rate(first.packets_out, packets),
                mbits_per_s: self.rate(first.bytes_out, bytes) * 8e-6,
                inside_us: inside.sum(),
            };
            self.paths.push(path);
        }
    }

    /// An element that was started anew counts from 0 again.
    fn rate(&self, now: u64, before: u64) -> f64 {
        now.checked_sub(before).unwrap_or(now) as f64 / self.interval_s
    }
}

/// Packets that were proved, and that were not.
fn proofs(path: &PathStatus) -> (u64, u64) {
    let sum = |proved: bool| {
        let of = path.proofs.iter().filter(|count| count.is_proved() == proved);
        of.map(|count| count.packets).sum()
    };
    (sum(true), sum(false))
}

fn counter(status: &ElementStatus, name: &str) -> u64 {
    status.counters.iter().find(|known| known.name == name).map_or(0, |known| known.value)
}

fn since(now: &[u64], before: &[u64]) -> Vec<u64> {
    let earlier = |at: usize| before.get(at).copied().unwrap_or(0);
    (0..now.len()).map(|at| now[at].saturating_sub(earlier(at))).collect()
}

/// The upper end of the bucket that holds the quantile; bucket `n` holds times below 2^n nanoseconds.
fn quantile_us(buckets: &[u64], quantile: f64) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    let wanted = (total as f64 * quantile).ceil().max(1.0) as u64;
    let mut seen = 0;
    for (exponent, count) in buckets.iter().enumerate() {
        seen += count;
        if seen >= wanted {
            return Some(2f64.powi(exponent as i32) / 1e3);
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use ringmail_node::control::{Counter, Drops, ProofCount};

    use super::*;

    fn said(verdict: &str, packets: u64) -> ProofCount {
        ProofCount { verdict: verdict.into(), packets, ..ProofCount::default() }
    }

    fn element(name: &str, hop: u32, packets: u64) -> ElementReport {
        let count = |name: &str, value| Counter { name: name.into(), value, ..Counter::default() };
        let path = PathStatus {
            name: "plain".into(),
            direction: "forward".into(),
            state: if hop == 1 { "no keys" } else { "ready" }.into(),
            packets_out: packets,
            bytes_out: packets * 1000,
            hop,
            proofs: if hop == 1 {
                vec![said("proved", packets), said("wrong_tag", 2)]
            } else {
                vec![]
            },
            ..PathStatus::default()
        };
        let drop = Drops { reason: "replayed".into(), packets: packets / 10, ..Drops::default() };
        let status = ElementStatus {
            role: if hop == 0 { "gateway" } else { "hop" }.into(),
            paths: vec![path],
            counters: vec![count("link_in_packets", packets), count("inner_in_packets", packets)],
            drops: if hop == 1 { vec![drop] } else { Vec::new() },
            inside_ns_log2: vec![0, 0, packets],
            ..ElementStatus::default()
        };
        let state = "ready".into();
        ElementReport { name: name.into(), state, status: Some(status), ..ElementReport::default() }
    }

    pub(in super::super) fn status(packets: u64) -> DomainStatus {
        DomainStatus {
            domain: "campus.example".into(),
            up_s: 75,
            elements: vec![element("sf1", 1, packets), element("gateway", 0, packets)],
            ..DomainStatus::default()
        }
    }

    #[test]
    fn rates_are_what_came_between_two_looks() {
        let top = Top::between(&status(1000), &status(3000), Duration::from_secs(2));
        let [path] = &top.paths[..] else { panic!("{:?}", top.paths) };
        assert_eq!((path.packets_per_s, path.mbits_per_s), (1000.0, 8.0));
        assert_eq!(path.hops, ["gateway", "sf1"]);
        assert_eq!(path.state, "sf1: no keys");
        // Both elements' batches lie below 4 ns.
        assert_eq!(path.inside_us, Some(0.008));
        assert_eq!(top.elements[1].in_packets_per_s, 2000.0);
        let [drop] = &top.drops[..] else { panic!("{:?}", top.drops) };
        assert_eq!((drop.packets, drop.packets_per_s), (300, 100.0));
        let [proofs] = &top.proofs[..] else { panic!("{:?}", top.proofs) };
        assert_eq!((proofs.path.as_str(), proofs.end.as_str()), ("plain", "sf1"));
        assert_eq!((proofs.proved, proofs.failed, proofs.proved_per_s), (3000, 2, 1000.0));
    }

    #[test]
    fn a_counter_that_begins_anew_gives_no_negative_rate() {
        let top = Top::between(&status(3000), &status(10), Duration::from_secs(1));
        assert_eq!(top.paths[0].packets_per_s, 10.0);
    }

    #[test]
    fn quantiles_come_from_the_bucket_that_holds_them() {
        assert_eq!(quantile_us(&[], 0.5), None);
        assert_eq!(quantile_us(&[0, 0, 0], 0.5), None);
        let mut buckets = vec![0; 12];
        (buckets[10], buckets[11]) = (99, 1);
        assert_eq!(quantile_us(&buckets, 0.5), Some(1.024));
        assert_eq!(quantile_us(&buckets, 0.99), Some(1.024));
        assert_eq!(quantile_us(&buckets, 1.0), Some(2.048));
    }
}
