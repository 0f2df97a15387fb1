//! What control answers an operator: how far every element is, and a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use ringmail_model::pdp::{self, Progress, Proposing, Refusal, Standing};
use tokio::sync::{Mutex, Notify};

use super::super::press::Press;
use super::looks::Elements;
use super::{ControlError, Distributed, Line, Overview};
use crate::admin::{
    Backend, Distribution, DomainStatus, ElementReport, RefusedVersion, Reloading, VersionReport,
};
use crate::change::{ElementAnswer, ReloadReport};
use crate::control::{Fault, KeyExport, ListenerLists, Nack, Observe, Observed};
use crate::limits::TRACE_WAIT;
use crate::see::prove::{Proofs, ProveWish};
use crate::see::trace::{self, Ask, Route, Trace, TraceWish};

#[derive(Debug)]
pub(super) struct ControlDesk {
    line: Line,
    press: Arc<Press>,
    since: Instant,
    stop: Arc<Notify>,
    tracing: Mutex<()>,
}

impl ControlDesk {
    /// `stop` hears of the wish to end.
    pub(super) fn new(line: Line, press: Arc<Press>, stop: Arc<Notify>) -> ControlDesk {
        ControlDesk { line, press, since: Instant::now(), stop, tracing: Mutex::new(()) }
    }

    async fn report(&self) -> DomainStatus {
        let status = DomainStatus {
            layout: "control".to_owned(),
            pid: std::process::id(),
            up_s: self.since.elapsed().as_secs(),
            ..DomainStatus::default()
        };
        let Some(overview) = self.line.overview().await else { return status };
        let Overview { domain, committed, proposed, elements } = overview;
        let proposed = proposed.map(|version| version.0);
        let distribution = Some(Distribution { version: committed.0, proposed });
        let elements = elements.into_iter().map(element).collect();
        DomainStatus { domain, distribution, elements, ..status }
    }

    async fn follow(&self, wish: TraceWish) -> Result<Trace, String> {
        // A second session would end the first.
        let _one = self.tracing.lock().await;
        let committed = self.press.committed().ok_or("no version counts")?;
        let route = Route::of_set(&committed.set, &wish.path)?;
        let wait = Duration::from_millis(wish.wait_ms).min(TRACE_WAIT);
        // Clocks of two machines are not compared.
        trace::run(&wish, &route, false, &Elements { line: &self.line, wait }).await
    }

    async fn change(&self, text: String, how: Reloading) -> Result<ReloadReport, String> {
        let proposing = match how {
            Reloading::InPlace => Proposing::InPlace,
            Reloading::MayRestart => Proposing::MayRestart,
            Reloading::DryRun => Proposing::Trial,
        };
        let domain = match self.line.overview().await {
            Some(overview) => overview.domain,
            None => return Err("control is ending".to_owned()),
        };
        let dry_run = how == Reloading::DryRun;
        let (version, activated, elements) = match self.line.publish(text, proposing).await {
            Ok(Distributed { version, elements, away }) => {
                let there = elements.into_iter().map(|element| (element, false));
                let all = there.chain(away.into_iter().map(|element| (element, true)));
                let all: BTreeMap<_, _> = all.collect();
                let answer = |(element, away)| ElementAnswer { element, away, nack: None };
                (version, !dry_run, all.into_iter().map(answer).collect())
            }
            Err(ControlError::Rejected { version, nacks, missing, elements }) => {
                let answer = |element: String| {
                    let said = nacks.iter().find(|(name, ..)| *name == element);
                    let nack = said.map(|(_, reason, detail)| no(*reason, detail));
                    ElementAnswer { away: missing.contains(&element), element, nack }
                };
                (version, false, elements.into_iter().map(answer).collect())
            }
            Err(error) => return Err(error.to_string()),
        };
        Ok(ReloadReport { domain, version: version.0, dry_run, activated, elements })
    }
}

impl Backend for ControlDesk {
    fn status(&self) -> BoxFuture<'_, DomainStatus> {
        self.report().boxed()
    }

    fn export_keys(&self) -> BoxFuture<'_, Result<Vec<KeyExport>, String>> {
        async { Err("control has no traffic keys; ask the elements".to_owned()) }.boxed()
    }

    fn read_lists(&self) -> BoxFuture<'_, Result<Vec<ListenerLists>, String>> {
        let reason = "the gateway reads revocation lists: ask where it runs; those of the authority reach it within \
                      three seconds";
        async move { Err(reason.to_owned()) }.boxed()
    }

    fn trace(&self, wish: TraceWish) -> BoxFuture<'_, Result<Trace, String>> {
        self.follow(wish).boxed()
    }

    fn prove(&self, wish: ProveWish) -> BoxFuture<'_, Result<Proofs, String>> {
        let prove = async move {
            let committed = self.press.committed().ok_or("no version counts")?;
            let set = &committed.set;
            let meant = |path: &&ringmail_model::pathset::Path| {
                wish.path.as_ref().is_none_or(|wanted| *wanted == path.name)
            };
            let ends =
                set.paths.iter().filter(meant).filter_map(|path| set.element(path.end.element));
            let ends: BTreeSet<&str> = ends.map(|element| element.name.as_str()).collect();
            let elements = Elements { line: &self.line, wait: Duration::ZERO };
            let ask = async |name: &str| {
                let question = Observe::Proofs { path: wish.path.clone(), last: wish.last };
                let answer = match elements.ask(name, question).await {
                    Ok(Observed::Proofs(paths)) => Ok(paths),
                    Ok(_) => Err("it answered another question".to_owned()),
                    Err(reason) => Err(reason),
                };
                (name.to_owned(), answer)
            };
            Proofs::of(&wish, join_all(ends.into_iter().map(ask)).await)
        };
        prove.boxed()
    }

    fn reload(
        &self,
        text: String,
        _folder: PathBuf,
        how: Reloading,
    ) -> BoxFuture<'_, Result<ReloadReport, String>> {
        self.change(text, how).boxed()
    }

    fn stop(&self) {
        self.stop.notify_one();
    }
}

/// An element as control sees it.
fn element(standing: Standing) -> ElementReport {
    let Standing { element, progress, active, highest, heard, refused } = standing;
    let (state, progress) = match progress {
        Progress::Away => ("away", "away"),
        Progress::Idle => ("connected", "idle"),
        Progress::Offered => ("connected", "offered"),
        Progress::Staged => ("connected", "staged"),
        Progress::Activating => ("connected", "activating"),
        Progress::Current => ("connected", "current"),
    };
    let refused = refused.map(|Refusal { version, reason, detail, at }| RefusedVersion {
        version: version.0,
        reason: told(reason, &detail),
        ago_s: at.elapsed().as_secs(),
    });
    let version = VersionReport {
        progress: progress.to_owned(),
        active: active.0,
        highest: highest.0,
        heard_s: heard.map(|heard| heard.elapsed().as_secs()),
        refused,
    };
    ElementReport {
        name: element,
        state: state.to_owned(),
        version: Some(version),
        ..ElementReport::default()
    }
}

fn told(reason: pdp::Nack, detail: &str) -> String {
    match detail.is_empty() || *detail == reason.to_string() {
        true => reason.to_string(),
        false => format!("{reason}: {detail}"),
    }
}

/// The no of an element, in the words of a reload.
fn no(reason: pdp::Nack, detail: &str) -> Nack {
    let fault = match reason {
        pdp::Nack::NoKeys => Fault::Neighbour,
        pdp::Nack::Unbuildable | pdp::Nack::NotActivated | pdp::Nack::Profile => Fault::Element,
        _ => Fault::Signer,
    };
    let nack = Nack::new(fault, told(reason, detail));
    match reason {
        pdp::Nack::Unbuildable => {
            nack.hint("`ringmail reload --restart` lets elements start again for it")
        }
        pdp::Nack::NoKeys => nack.hint("see `ringmail status` for how that element is"),
        _ => nack,
    }
}
