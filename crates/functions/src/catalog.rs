//! What functions count, without one that runs: for the manual and for whoever checks names of metrics.

use ringmail_dataplane::Function;
use ringmail_dataplane::function::FunctionCounter;
use ringmail_model::domain::{FirewallAction, FunctionKind};

use crate::firewall::{FirewallRule, FirewallSettings};
use crate::logger::LoggerSettings;
use crate::settings::{DpiRule, DpiSettings, OnMatch, Pattern, Settings};
use crate::{BuildError, build};

/// A function and its kind.
pub type Specimen = (FunctionKind, Box<dyn Function>);

/// A function of every kind, each with its kind. What counts for each rule has one rule here, named `NAME`.
///
/// # Errors
/// Never, unless a kind cannot be built from the least that it takes, which a test sees.
pub fn specimens() -> Result<Vec<Specimen>, BuildError> {
    let kinds =
        [FunctionKind::Forward, FunctionKind::Dpi, FunctionKind::Firewall, FunctionKind::Logger];
    kinds.into_iter().map(|kind| Ok((kind, build(&least(kind), [0; 4])?))).collect()
}

/// Every counter of every kind, with whether it may fall.
///
/// # Errors
/// As [`specimens`].
pub fn counters() -> Result<Vec<(FunctionKind, FunctionCounter, bool)>, BuildError> {
    let mut all = Vec::new();
    for (kind, function) in specimens()? {
        let gauges = function.gauges();
        // What a firewall counts where no rule speaks is the same metric as that of a rule.
        let default = |counter: &FunctionCounter| counter.name.ends_with("{rule=\"default\"}");
        for counter in function.counters().into_iter().filter(|counter| !default(counter)) {
            let gauge = gauges.contains(&counter.name.as_str());
            all.push((kind, counter, gauge));
        }
    }
    Ok(all)
}

fn least(kind: FunctionKind) -> Settings {
    match kind {
        // What is attached is counted by its hop and stands in no list here.
        FunctionKind::Forward | FunctionKind::Attached => Settings::Forward,
        FunctionKind::Dpi => Settings::Dpi(DpiSettings {
            connections: 1,
            ..DpiSettings::new(vec![DpiRule {
                name: "NAME".to_owned(),
                pattern: Pattern::Bytes(b"x".to_vec()),
                ignore_case: false,
                ports: Vec::new(),
                on_match: OnMatch::Alert,
            }])
        }),
        FunctionKind::Logger => {
            let snap_len_bytes = crate::limits::LOG_SNAP_LEN_MIN;
            Settings::Logger(LoggerSettings { snap_len_bytes, only: Vec::new() })
        }
        FunctionKind::Firewall => Settings::Firewall(FirewallSettings {
            connections: 1,
            ..FirewallSettings::new(vec![FirewallRule::any("NAME", FirewallAction::Allow)])
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_counts_and_every_gauge_is_a_counter() {
        let all = counters().expect("every kind can be built");
        for (kind, function) in specimens().expect("every kind can be built") {
            for gauge in function.gauges() {
                let is_one = |(of, counter, _): &&(FunctionKind, FunctionCounter, bool)| {
                    *of == kind && counter.name == *gauge
                };
                assert!(all.iter().any(|one| is_one(&one)), "{kind}: no counter `{gauge}`");
            }
        }
        for (kind, counter, _) in &all {
            assert!(!counter.unit.is_empty(), "{kind}: {} has no unit", counter.name);
            assert!(counter.description.ends_with('.'), "{kind}: {}", counter.name);
        }
    }
}
