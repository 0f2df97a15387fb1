//! Readiness: whether every element is there and serves all of its paths, and if not, why. Health: whether it is of use.

use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::DomainStatus;

/// The answer to `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether traffic of every path can flow.
    pub ready: bool,
    /// Why not; empty when it is ready.
    pub reasons: Vec<Unready>,
}

/// One reason why a domain is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unready {
    /// Where.
    pub element: String,
    /// Why.
    pub reason: String,
}

/// Whether traffic of every path can flow.
pub fn readiness(status: &DomainStatus) -> Readiness {
    let mut reasons = Vec::new();
    for element in &status.elements {
        let mut add = |reason: String| {
            reasons.push(Unready { element: element.name.clone(), reason });
        };
        match (&element.status, &element.version) {
            // What control knows of it.
            (None, Some(version)) if element.state == "connected" => {
                if version.progress != "current" {
                    add(format!("it runs version {}, not the one that counts", version.active));
                }
            }
            _ if element.state != "ready" => {
                let why = element.reason.as_ref().map(|why| format!(": {why}"));
                add(format!("it is {}{}", element.state, why.unwrap_or_default()));
            }
            (None, _) => {
                let why = element.reason.as_deref().unwrap_or("no reason given");
                add(format!("it does not answer: {why}"));
            }
            (Some(status), _) => status.not_ready.iter().cloned().for_each(add),
        }
    }
    if status.elements.is_empty() {
        let reason = "there is no element".to_owned();
        reasons.push(Unready { element: status.domain.clone(), reason });
    }
    Readiness { ready: reasons.is_empty(), reasons }
}

/// Whether elements are of use: each does its work, and has a path that traffic can begin or go on along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Health {
    /// Each element answers, and if it has paths, at least one of them can be served.
    pub healthy: bool,
    /// The paths that elements stand on.
    pub paths: u32,
    /// Those of them that can be served.
    pub open_paths: u32,
    /// What is not as it should be.
    pub reasons: Vec<Unready>,
}

/// Whether elements are of use.
pub fn health(status: &DomainStatus) -> Health {
    let reasons = readiness(status).reasons;
    let (mut healthy, mut all, mut open) = (!status.elements.is_empty(), 0, 0);
    for element in &status.elements {
        // Control knows of an element that is there without what it says of itself.
        let connected = element.state == "connected" && element.version.is_some();
        let there = connected || (element.state == "ready" && element.status.is_some());
        let (mut of_element, mut served) = (0, 0);
        for path in element.status.iter().flat_map(|status| &status.paths) {
            of_element += 1;
            let leased = path.lease_s.is_none_or(|left| left > 0.0);
            served += u32::from(path.state == "ready" && leased);
        }
        healthy &= there && (of_element == 0 || served > 0);
        all += of_element;
        open += served;
    }
    Health { healthy, paths: all, open_paths: open, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{ElementReport, VersionReport};
    use crate::control::ElementStatus;

    #[test]
    fn every_reason_is_told_with_its_element() {
        let ready = |name: &str, not_ready: &[&str]| ElementReport {
            name: name.to_owned(),
            state: "ready".to_owned(),
            status: Some(ElementStatus {
                not_ready: not_ready.iter().map(|why| (*why).to_owned()).collect(),
                ..ElementStatus::default()
            }),
            ..ElementReport::default()
        };
        let silent = ElementReport { status: None, ..ready("silent", &[]) };
        let starting = ElementReport { state: "starting".to_owned(), ..silent.clone() };
        let mut status = DomainStatus {
            elements: vec![ready("a", &[]), ready("b", &["no keys", "no TUN"]), silent, starting],
            ..DomainStatus::default()
        };
        let told = readiness(&status);
        assert!(!told.ready);
        let told: Vec<_> = told.reasons.iter().map(|why| why.reason.as_str()).collect();
        let silent = "it does not answer: no reason given";
        assert_eq!(told, ["no keys", "no TUN", silent, "it is starting"]);
        status.elements.truncate(1);
        assert_eq!(readiness(&status), Readiness { ready: true, reasons: Vec::new() });
        status.elements.clear();
        assert!(!readiness(&status).ready);
    }

    #[test]
    fn one_path_that_can_be_served_is_health_enough() {
        use crate::control::PathStatus;
        let path = |state: &str, lease_s| PathStatus {
            state: state.to_owned(),
            lease_s,
            ..PathStatus::default()
        };
        let told = |state: &str, paths: Vec<PathStatus>| {
            let says = ElementStatus { paths, ..ElementStatus::default() };
            let element = ElementReport {
                state: state.to_owned(),
                status: Some(says),
                ..ElementReport::default()
            };
            let health =
                health(&DomainStatus { elements: vec![element], ..DomainStatus::default() });
            (health.healthy, health.paths, health.open_paths)
        };
        let (open, shut) = (|| path("ready", Some(9.0)), || path("no keys", None));
        assert_eq!(told("ready", vec![open(), shut()]), (true, 2, 1));
        assert_eq!(told("ready", vec![shut(), path("ready", Some(0.0))]), (false, 2, 0));
        assert_eq!(told("starting", vec![open()]), (false, 1, 1));
        assert_eq!(told("ready", Vec::new()), (true, 0, 0));
        assert!(!health(&DomainStatus::default()).healthy);
        let silent = ElementReport {
            state: "ready".to_owned(),
            version: Some(VersionReport::default()),
            ..ElementReport::default()
        };
        let status = DomainStatus { elements: vec![silent], ..DomainStatus::default() };
        assert!(!health(&status).healthy);
    }

    #[test]
    fn control_is_ready_when_every_element_runs_what_counts() {
        let element = |state: &str, progress: &str| ElementReport {
            name: "sf1".to_owned(),
            state: state.to_owned(),
            version: Some(VersionReport {
                progress: progress.to_owned(),
                active: 7,
                ..VersionReport::default()
            }),
            ..ElementReport::default()
        };
        let told = |element| {
            let status = DomainStatus { elements: vec![element], ..DomainStatus::default() };
            let readiness = readiness(&status);
            readiness.reasons.into_iter().map(|why| why.reason).collect::<Vec<_>>()
        };
        assert!(told(element("connected", "current")).is_empty());
        let other = told(element("connected", "staged"));
        assert_eq!(other, ["it runs version 7, not the one that counts"]);
        assert_eq!(told(element("away", "away")), ["it is away"]);
    }
}
