//! One line in the log for what was dropped since the last look, however many packets that were.

use std::collections::BTreeMap;
use std::fmt::Write;

use ringmail_dataplane::DropReason;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::command::Command;
use super::report::Report;
use super::worker::Handle;
use crate::limits::DROPS_SAID_EVERY;

/// Says every [`DROPS_SAID_EVERY`] what was dropped, until it is dropped itself.
pub(super) struct Summaries(JoinHandle<()>);

impl Summaries {
    /// Looks at these workers from now on. Needs a tokio runtime.
    pub(super) fn start(workers: Vec<Handle>) -> Summaries {
        Summaries(tokio::spawn(async move {
            let mut ticks = interval(DROPS_SAID_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut seen = Seen::default();
            loop {
                ticks.tick().await;
                let mut reports = Vec::new();
                for worker in &workers {
                    let (answer, report) = oneshot::channel();
                    worker.give(Command::Report(answer));
                    reports.extend(report.await);
                }
                let Summary { wanted, unwanted } = seen.next(&reports);
                let within_s = DROPS_SAID_EVERY.as_secs();
                if let Some(packets) = unwanted {
                    tracing::warn!(within_s, packets, "packets were dropped");
                }
                if let Some(packets) = wanted {
                    tracing::info!(within_s, packets, "packets were dropped by rule");
                }
            }
        }))
    }
}

impl Drop for Summaries {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What had been dropped at the last look.
#[derive(Debug, Default)]
struct Seen(BTreeMap<&'static str, u64>);

/// Reasons with their packets, such as `replayed 12, bad_icv 3`; `None` without any.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    /// What a function was told to drop.
    wanted: Option<String>,
    /// What nobody asked for.
    unwanted: Option<String>,
}

impl Seen {
    fn next(&mut self, reports: &[Report]) -> Summary {
        let mut summary = Summary::default();
        for reason in DropReason::ALL {
            let drops = reports.iter().flat_map(|report| &report.drops);
            let now = drops.filter(|drop| drop.reason == reason.name()).map(|drop| drop.packets);
            let (now, seen) = (now.sum::<u64>(), self.0.entry(reason.name()).or_default());
            let new = now.saturating_sub(*seen);
            *seen = now;
            if new > 0 {
                let text = match reason {
                    DropReason::Function
                    | DropReason::FunctionReset
                    | DropReason::FunctionReject
                    | DropReason::Dummy => summary.wanted.get_or_insert_default(),
                    _ => summary.unwanted.get_or_insert_default(),
                };
                let comma = if text.is_empty() { "" } else { ", " };
                // To a string this cannot fail.
                let _ = write!(text, "{comma}{reason} {new}");
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::super::report;
    use super::*;

    fn report(drops: &[(DropReason, u64)]) -> Report {
        let drop = |(reason, packets): &(DropReason, u64)| report::Drop {
            reason: reason.name().to_owned(),
            description: String::new(),
            packets: *packets,
        };
        Report { drops: drops.iter().map(drop).collect(), ..Report::default() }
    }

    #[test]
    fn only_what_is_new_is_said_and_rules_apart() {
        use DropReason::{BadIcv, Function, Replayed};
        let mut seen = Seen::default();
        let said = seen.next(&[report(&[(Replayed, 2)]), report(&[(Replayed, 1), (BadIcv, 1)])]);
        assert_eq!(said.unwanted.as_deref(), Some("replayed 3, bad_icv 1"));
        assert_eq!(said.wanted, None);
        let said = seen.next(&[report(&[(Replayed, 3), (BadIcv, 1), (Function, 5)])]);
        assert_eq!((said.unwanted, said.wanted.as_deref()), (None, Some("function_drop 5")));
        assert_eq!(seen.next(&[report(&[(Replayed, 3), (Function, 5)])]), Summary::default());
    }
}
