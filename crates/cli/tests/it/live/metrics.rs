//! Metrics, health and readiness of a chain that carries traffic, fetched by curl and read by a parser that knows only
//! what OpenMetrics 1.0 says.

use std::collections::BTreeMap;
use std::process::Command;

use ringmail_node::see::catalog;

use crate::live::programs::{Curl, Nginx};
use crate::live::world::{World, eventually, live};

const WWW: &str = "10.79.0.10:80";
const OPEN_METRICS: &str = "accept: application/openmetrics-text; version=1.0.0";

/// A family as the text tells of it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: Option<String>,
    help: String,
    /// By labels as they stand.
    series: BTreeMap<String, f64>,
}

/// Reads OpenMetrics text; panics at whatever the format does not allow.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (what, rest) = rest.split_once(' ').expect(line);
            let (name, value) = rest.split_once(' ').expect(line);
            if name != current {
                assert!(!families.contains_key(name), "{name} stands in two places");
                assert_eq!(what, "TYPE", "{line}");
                name.clone_into(&mut current);
            }
            let family = families.entry(name.to_owned()).or_default();
            assert!(family.series.is_empty(), "{line}: behind samples");
            match what {
                "TYPE" => value.clone_into(&mut family.kind),
                "UNIT" => {
                    assert!(name.ends_with(&format!("_{value}")), "{line}");
                    family.unit = Some(value.to_owned());
                }
                "HELP" => value.clone_into(&mut family.help),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
            None => (series, ""),
        };
        let family = families.get_mut(&current).expect("a head comes first");
        let suffix = name.strip_prefix(current.as_str()).expect(line);
        match &*family.kind {
            "counter" => assert_eq!(suffix, "_total", "{line}"),
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
            _ => assert_eq!(suffix, "", "{line}"),
        }
        // What a histogram is summed up in is told by labels here, as its buckets are.
        let labels = match suffix {
            "_sum" | "_count" => format!("{labels},is=\"{suffix}\""),
            _ => labels.to_owned(),
        };
        let twice = family.series.insert(labels, value.parse().expect(line));
        assert_eq!(twice, None, "{line} stands twice");
    }
    families
}

impl Family {
    /// The sum over all series that have these labels.
    fn sum(&self, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let has = |series: &str| wanted.iter().all(|label| series.split(',').any(|l| l == label));
        self.series.iter().filter(|(series, _)| has(series)).map(|(_, value)| value).sum()
    }
}

/// Fetches a page of the metrics socket; the status, and the body.
fn fetch(world: &World, page: &str) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--header", OPEN_METRICS])
        .args(["--write-out", "\n%{http_code} %{content_type}", "--unix-socket"])
        .arg(world.runtime_dir().join("metrics.sock"))
        .arg(format!("http://ringmail{page}"));
    let output = curl.output().expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.to_owned(), body.to_owned())
}

#[test]
fn what_is_told_is_what_was_counted() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let nginx = Nginx::start(&world, "www", WWW);
        nginx.put("/page", &[b'x'; 48_000]);
        let got = Curl::new(&world, "client2").get("/page", &[]);
        assert_eq!(got.verdict, "2 200", "{}", got.said);
        // Once nothing is under way any more, both ways of asking say the same.
        let sum = |name| world.elements().iter().map(|e| world.counter(e, name)).sum::<u64>();
        eventually("everything arrives", || {
            (sum("link_in_packets") == sum("link_out_packets")).then_some(())
        });
        let (status, text) = fetch(&world, "/metrics");
        assert_eq!(status, "200 application/openmetrics-text; version=1.0.0; charset=utf-8");
        let families = parse(&text);
        let value = |name: &str, labels: &[(&str, &str)]| {
            families.get(name).unwrap_or_else(|| panic!("no {name} in\n{text}")).sum(labels)
        };
        for element in ["gateway", "sf1", "sf2", "egress"] {
            let labels = [("element", element)];
            assert_eq!(value("ringmail_element_up", &labels), 1.0);
            assert_eq!(value("ringmail_element_ready", &labels), 1.0);
            for name in ["link_in_packets", "link_out_bytes", "sealed_packets"] {
                let counted = world.counter(element, name) as f64;
                assert_eq!(
                    value(&format!("ringmail_{name}"), &labels),
                    counted,
                    "{element} {name}"
                );
            }
            assert_eq!(value("ringmail_dropped_packets", &labels), 0.0);
        }
        let sent = world.counter("gateway", "inner_sent_packets") as f64;
        assert!(sent > 0.0);
        let inner = [("element", "gateway"), ("link", "inner")];
        assert_eq!(value("ringmail_link_sent_packets", &inner), sent);
        // The path's packets leave where it begins, and all arrive where it ends.
        let begin = [("path", "inspected"), ("hop", "0"), ("element", "gateway")];
        let end = [("path", "inspected"), ("element", "egress")];
        let left = value("ringmail_path_out_packets", &begin);
        // Handshake, request, acknowledgements.
        assert!(left > 3.0, "{left}");
        assert_eq!(value("ringmail_path_in_packets", &end), left);
        assert!(value("ringmail_path_lease_seconds", &begin) > 0.0);
        assert_eq!(value("ringmail_gateway_requests_allowed", &[]), 1.0);
        let times = [("element", "gateway"), ("path", "inspected")];
        let time = |of| value("ringmail_gateway_request_seconds", &[&times[..], &[of]].concat());
        assert_eq!((time(("le", "+Inf")), time(("is", "_count"))), (1.0, 1.0));
        assert!(time(("is", "_sum")) > 0.0 && time(("is", "_sum")) < 60.0);
        // One batch in sixteen is timed: a page of 48 kB may be fewer.
        assert!(families.contains_key("ringmail_batch_seconds"));
        let searched = world.counter("sf2", "function_searched_bytes") as f64;
        assert!(searched >= 48_000.0);
        assert_eq!(value("ringmail_dpi_searched_bytes", &[("element", "sf2")]), searched);

        // The catalog knows each of them, with the same help, unit and labels.
        let catalog = catalog::families().expect("the catalog");
        for (name, family) in &families {
            let total = if family.kind == "counter" { "_total" } else { "" };
            let known = catalog.get(&format!("{name}{total}"));
            let known = known.unwrap_or_else(|| panic!("{name} is not in the catalog"));
            assert_eq!(known.help, family.help, "{name}");
            if let Some(unit) = &family.unit {
                assert_eq!(known.unit, *unit, "{name}");
            }
            for series in family.series.keys().filter(|series| !series.is_empty()) {
                let mut labels: Vec<_> =
                    series.split(',').map(|l| l.split_once('=').unwrap().0).collect();
                if family.kind == "histogram" {
                    assert!(["le", "is"].contains(&labels.pop().expect("a bound")), "{name}");
                }
                assert_eq!(labels, known.labels, "{name}");
            }
        }
    });
}

#[test]
fn readiness_says_what_is_missing_and_where() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        let json = "application/json";
        let ready = "{\"ready\":true,\"reasons\":[]}\n";
        assert_eq!(fetch(&world, "/readyz"), (format!("200 {json}"), ready.to_owned()));
        let mut down = Command::new("ip");
        down.args(["link", "set", "rm-inner", "down"]);
        assert!(world.run("egress", &mut down).status.success());
        let (status, body) = fetch(&world, "/readyz");
        assert_eq!(status, format!("503 {json}"));
        let reason = "{\"element\":\"egress\",\"reason\":\"the TUN `rm-inner` is down\"}";
        assert_eq!(body, format!("{{\"ready\":false,\"reasons\":[{reason}]}}\n"));
        // It lives all the same.
        assert_eq!(fetch(&world, "/healthz").0, format!("200 {json}"));
        assert_eq!(fetch(&world, "/nothing").0, "404 text/plain");
    });
}

#[test]
fn a_lease_is_seen_to_run_down() {
    live(|privilege| {
        let world = World::new(privilege, "campus.yaml");
        world.answer_elements(false);
        let left = || {
            let families = parse(&fetch(&world, "/metrics").1);
            let leases = families.get("ringmail_path_lease_seconds").expect("leases");
            let left = leases.series.values().copied().fold(f64::INFINITY, f64::min);
            assert!(left <= 60.0, "a lease lasts a minute: {left}");
            left
        };
        let before = left();
        eventually("the lease runs down", || (left() < before).then_some(()));
    });
}
