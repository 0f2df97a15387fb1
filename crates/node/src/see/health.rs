//! Readiness: whether every element is there and serves all of its paths, and if not, why.

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
