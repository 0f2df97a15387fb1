//! From a status to samples: how a counter of an element is called as a metric, and with which labels.
//!
//! Names follow the practice of Prometheus: `ringmail_`, the counter's own name, its unit where the name does not say
//! it, `_total` where it only grows.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use ringmail_dataplane::DropReason;
use ringmail_dataplane_io::LinkCounter;

use super::catalog::{self, Family, Fixed};
use crate::admin::{DomainStatus, ElementReport, VersionReport};
use crate::control::{Counter, ElementStatus, EpochStatus, PathStatus, RequestTimes};
use crate::limits::METRIC_SERIES;

/// One series with its value as of now.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What it belongs to.
    pub family: Family,
    /// What stands behind its name: of histograms `_bucket`, `_sum` or `_count`.
    pub suffix: &'static str,
    /// Names and values, in the family's order; of a bucket its bound `le` last.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// A counter as a metric, the element's own label not among its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What it belongs to.
    pub family: Family,
    /// Besides `element`.
    pub labels: Vec<(String, String)>,
}

/// Everything that a status says, as samples; families stand together. Past [`METRIC_SERIES`] series are left out, and
/// counted.
pub fn samples(status: &DomainStatus) -> Vec<Sample> {
    let mut all = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    all.push(Fixed::BuildInfo.sample(&[version], 1.0));
    all.push(Fixed::Up.sample(&[&status.domain], status.up_s as f64));
    for (event, count) in &status.audit {
        all.push(Fixed::Audit.sample(&[event], *count as f64));
    }
    if let Some(distribution) = &status.distribution {
        all.push(Fixed::VersionCounts.sample::<&str, 0>(&[], distribution.version as f64));
    }
    for element in &status.elements {
        of_element(element, &mut all);
    }
    let left_out = all.len().saturating_sub(METRIC_SERIES);
    all.truncate(METRIC_SERIES);
    all.push(Fixed::LeftOut.sample::<&str, 0>(&[], left_out as f64));
    // Stable: within a family the order of elements stays.
    all.sort_by(|one, other| one.family.name.cmp(&other.family.name));
    all
}

fn of_element(report: &ElementReport, all: &mut Vec<Sample>) {
    let role = report.status.as_ref().map_or("", |status| &status.role);
    let name = report.name.as_str();
    if let Some(version) = &report.version {
        of_version(name, version, all);
    }
    // Control knows of an element on another machine whether it is there; more it says itself.
    let answers = report.status.is_some() || report.state == "connected";
    all.push(Fixed::ElementUp.sample(&[name, role], f64::from(u8::from(answers))));
    let Some(status) = &report.status else { return };
    let ready = report.state == "ready" && status.not_ready.is_empty();
    all.push(Fixed::ElementReady.sample(&[name, role], f64::from(u8::from(ready))));
    for EpochStatus { neighbour, epoch, age_s } in &status.epochs {
        let labels = [name, neighbour];
        all.push(Fixed::Epoch.sample(&labels, f64::from(epoch.unwrap_or(0))));
        if let Some(age_s) = age_s {
            all.push(Fixed::EpochAge.sample(&labels, *age_s));
        }
    }
    for replica in &status.replicas {
        let up = f64::from(u8::from(replica.state == "up"));
        all.push(Fixed::ReplicaUp.sample(&[name, &replica.element], up));
    }
    for path in &status.paths {
        of_path(name, path, all);
    }
    let buckets = &status.inside_ns_log2;
    histogram(&Family::batch(), &[name], (buckets, status.inside_ns_sum), 1e-9, all);
    for RequestTimes { path, us_log2, us_sum } in &status.requests {
        histogram(&Family::requests(), &[name, path], (us_log2, *us_sum), 1e-6, all);
    }
    if !status.paths.is_empty() {
        for reason in DropReason::ALL {
            let drops = status.drops.iter().find(|drops| drops.reason == reason.name());
            let packets = drops.map_or(0, |drops| drops.packets);
            all.push(Fixed::Dropped.sample(&[name, reason.name()], packets as f64));
        }
    }
    for counter in &status.counters {
        let Named { family, labels } = named(counter, status);
        let element = ("element".to_owned(), name.to_owned());
        let labels = std::iter::once(element).chain(labels).collect();
        all.push(Sample { family, suffix: "", labels, value: counter.value as f64 });
    }
}

/// Buckets over powers of two of a part of a second, as many as it takes from a microsecond to 17 seconds.
fn histogram(
    family: &Family,
    labels: &[&str],
    (buckets, sum): (&[u64], u64),
    unit_s: f64,
    all: &mut Vec<Sample>,
) {
    if buckets.is_empty() {
        return;
    }
    let values = labels.iter().map(|&value| value.to_owned());
    let labels: Vec<(String, String)> = family.labels.iter().cloned().zip(values).collect();
    let mut push = |suffix, le: Option<String>, value| {
        let le = le.map(|le| ("le".to_owned(), le));
        let labels = labels.iter().cloned().chain(le).collect();
        all.push(Sample { family: family.clone(), suffix, labels, value });
    };
    let mut below = 0;
    // The last one holds whatever is longer.
    for (place, count) in buckets.iter().enumerate().take(buckets.len() - 1) {
        below += count;
        let bound_s = unit_s * (1_u64 << place) as f64;
        if (HISTOGRAM_FROM_S..HISTOGRAM_TO_S).contains(&bound_s) {
            push("_bucket", Some(format!("{bound_s:e}")), below as f64);
        }
    }
    let count = buckets.iter().sum::<u64>() as f64;
    push("_bucket", Some("+Inf".to_owned()), count);
    push("_sum", None, sum as f64 * unit_s);
    push("_count", None, count);
}

/// The least and the greatest bound of a bucket, in seconds.
const HISTOGRAM_FROM_S: f64 = 0.9e-6;
const HISTOGRAM_TO_S: f64 = 18.0;

fn of_version(element: &str, version: &VersionReport, all: &mut Vec<Sample>) {
    let yes = |yes: bool| f64::from(u8::from(yes));
    all.push(Fixed::ElementVersion.sample(&[element], version.active as f64));
    all.push(Fixed::ElementCurrent.sample(&[element], yes(version.progress == "current")));
    if let Some(heard_s) = version.heard_s {
        all.push(Fixed::ElementHeard.sample(&[element], heard_s as f64));
    }
    let refused = version.refused.as_ref().map_or(0, |refused| refused.version);
    all.push(Fixed::ElementRefused.sample(&[element], refused as f64));
}

fn of_path(element: &str, path: &PathStatus, all: &mut Vec<Sample>) {
    let hop = path.hop.to_string();
    let labels = [element, &path.name, &hop];
    all.push(Fixed::PathInPackets.sample(&labels, path.packets_in as f64));
    all.push(Fixed::PathInBytes.sample(&labels, path.bytes_in as f64));
    all.push(Fixed::PathOutPackets.sample(&labels, path.packets_out as f64));
    all.push(Fixed::PathOutBytes.sample(&labels, path.bytes_out as f64));
    let keyed = f64::from(u8::from(path.state == "ready"));
    all.push(Fixed::PathKeyed.sample(&labels, keyed));
    if let Some(left) = path.lease_s {
        all.push(Fixed::PathLease.sample(&labels, left));
    }
    for proofs in &path.proofs {
        let verdict = match proofs.from {
            0 => proofs.verdict.clone(),
            from => format!("{}_from_{from}", proofs.verdict),
        };
        let labels = [element, &path.name, &verdict];
        all.push(Fixed::PathProofs.sample(&labels, proofs.packets as f64));
    }
}

/// What a counter of an element is called as a metric.
pub fn named(counter: &Counter, of: &ElementStatus) -> Named {
    let (name, mut labels) = split_labels(&counter.name);
    let link = |name: &str| LinkCounter::ALL.iter().any(|known| known.name() == name);
    let side = |side: &str| ("link".to_owned(), side.to_owned());
    let stem = if let Some(rest) = name.strip_prefix("function_") {
        let kind = of.function.as_deref().unwrap_or("function").replace('-', "_");
        format!("{kind}_{rest}")
    } else if name.strip_prefix("link_").is_some_and(link) {
        labels.push(side("outer"));
        name.to_owned()
    } else if let Some(rest) = name.strip_prefix("inner_").filter(|rest| link(rest)) {
        labels.push(side("inner"));
        format!("link_{rest}")
    } else if of.role == "gateway" && GATEWAY.contains(name) {
        format!("gateway_{name}")
    } else {
        name.to_owned()
    };
    let names = std::iter::once("element").chain(labels.iter().map(|(name, _)| name.as_str()));
    let names = names.map(str::to_owned).collect();
    let family =
        Family::new(&stem, &counter.unit, counter.gauge, &sentence(&counter.description), names);
    Named { family, labels }
}

/// Names of the gateway's own counters.
static GATEWAY: LazyLock<BTreeSet<&'static str>> = LazyLock::new(catalog::gateway_names);

/// `alerts{rule="x"}` is `alerts` with the label `rule`.
fn split_labels(name: &str) -> (&str, Vec<(String, String)>) {
    let Some((stem, rest)) = name.split_once('{') else { return (name, Vec::new()) };
    let label = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
    };
    (stem, rest.trim_end_matches('}').split(',').filter_map(label).collect())
}

/// A description as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.trim().chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let text = first.unwrap_or_default() + letters.as_str();
    if text.ends_with('.') { text } else { text + "." }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ProofCount;

    fn counter(name: &str, unit: &str) -> Counter {
        Counter { name: name.into(), unit: unit.into(), ..Counter::default() }
    }

    #[test]
    fn names_say_the_unit_once() {
        let hop = ElementStatus { function: Some("dpi".into()), ..ElementStatus::default() };
        let gateway = ElementStatus { role: "gateway".into(), ..ElementStatus::default() };
        let name = |counter: Counter, of| named(&counter, of).family.name;
        for (of, given, unit, wanted) in [
            (&hop, "link_in_packets", "packets", "ringmail_link_in_packets_total"),
            (&hop, "link_receive_calls", "calls", "ringmail_link_receive_calls_total"),
            (&hop, "inner_sent_supers", "datagrams", "ringmail_link_sent_supers_datagrams_total"),
            (&hop, "function_alerts{rule=\"x\"}", "packets", "ringmail_dpi_alerts_packets_total"),
            (&gateway, "requests", "requests", "ringmail_gateway_requests_total"),
            (&hop, "requests", "requests", "ringmail_requests_total"),
        ] {
            assert_eq!(name(counter(given, unit), of), wanted);
        }
        let flows = Counter { gauge: true, ..counter("flows", "flows") };
        assert_eq!(named(&flows, &hop).family.name, "ringmail_flows");
    }

    #[test]
    fn labels_come_off_the_name() {
        let status = ElementStatus { function: Some("dpi".into()), ..ElementStatus::default() };
        let alerts = named(&counter("function_alerts{rule=\"a\"}", "packets"), &status);
        assert_eq!(alerts.labels, [("rule".to_owned(), "a".to_owned())]);
        assert_eq!(alerts.family.labels, ["element", "rule"]);
        let inner = named(&counter("inner_sent_packets", "packets"), &status);
        assert_eq!(inner.labels, [("link".to_owned(), "inner".to_owned())]);
    }

    #[test]
    fn a_histogram_says_how_many_were_below_each_bound() {
        let requests = RequestTimes {
            path: "plain".into(),
            // Three of 2 or 3 us, one of about a second, one beyond every bound.
            us_log2: (0..32)
                .map(|n| [(2, 3), (20, 1), (31, 1)].iter().find(|b| b.0 == n).map_or(0, |b| b.1))
                .collect(),
            us_sum: 1_000_009,
        };
        let status = ElementStatus { requests: vec![requests], ..ElementStatus::default() };
        let element =
            ElementReport { name: "gw".into(), status: Some(status), ..ElementReport::default() };
        let all = samples(&DomainStatus { elements: vec![element], ..DomainStatus::default() });
        let of: Vec<_> = all.iter().filter(|s| s.family == Family::requests()).collect();
        let value = |suffix: &str, le: Option<&str>| {
            let found = of.iter().find(|sample| {
                let bound = sample.labels.iter().find(|(name, _)| name == "le");
                sample.suffix == suffix && bound.map(|(_, value)| value.as_str()) == le
            });
            found.map(|sample| sample.value)
        };
        assert_eq!(value("_bucket", Some("2e-6")), Some(0.0));
        assert_eq!(value("_bucket", Some("4e-6")), Some(3.0));
        assert_eq!(value("_bucket", Some("+Inf")), Some(5.0));
        assert_eq!((value("_count", None), value("_sum", None)), (Some(5.0), Some(1.000_009)));
        let bounds: Vec<f64> = of
            .iter()
            .filter_map(|sample| sample.labels.last().filter(|(name, _)| name == "le"))
            .map(|(_, bound)| bound.replace("+Inf", "inf").parse().expect("a number"))
            .collect();
        assert!(bounds.is_sorted() && bounds.len() == 26, "{bounds:?}");
    }

    #[test]
    fn proofs_are_told_by_verdict_and_by_the_hop_from_which_they_are() {
        let count = |verdict: &str, from, packets| ProofCount {
            verdict: verdict.to_owned(),
            from,
            packets,
        };
        let proofs = vec![count("proved", 0, 7), count("proved", 2, 3), count("wrong_tag", 0, 1)];
        let path = PathStatus { name: "web".into(), proofs, ..PathStatus::default() };
        let mut all = Vec::new();
        of_path("egress", &path, &mut all);
        let proofs = all.iter().filter(|s| s.family.name == "ringmail_path_proofs_total");
        let told: Vec<_> =
            proofs.map(|sample| (sample.labels[2].1.as_str(), sample.value)).collect();
        assert_eq!(told, [("proved", 7.0), ("proved_from_2", 3.0), ("wrong_tag", 1.0)]);
    }

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let counters = (0..METRIC_SERIES).map(|n| counter(&format!("c{n}"), "packets")).collect();
        let status = ElementStatus { counters, ..ElementStatus::default() };
        let element =
            ElementReport { name: "e".into(), status: Some(status), ..ElementReport::default() };
        let status = DomainStatus { elements: vec![element], ..DomainStatus::default() };
        let samples = samples(&status);
        assert_eq!(samples.len(), METRIC_SERIES + 1);
        let left_out = samples.iter().find(|s| s.family.name == "ringmail_metrics_left_out_series");
        // What every domain and element has beside its counters.
        assert_eq!(left_out.map(|sample| sample.value), Some(4.0));
    }
}
