//! What a lone element answers an operator: how it is, which version it runs, its keys, a tap.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use super::{Machine, auditing};
use crate::admin::{
    Backend, DomainStatus, ElementRekeyed, ElementReport, Exposure, RefusedVersion, Reloading,
    TapWish, VersionReport,
};
use crate::change::ReloadReport;
use crate::control::{FromElement, KeyExport, ListenerLists, Observe, Observed, ToElement};
use crate::limits::{ANSWER_WITHIN, OBSERVED_WITHIN, PENDING_REQUESTS, REKEY_ANSWERED_WITHIN};
use crate::see::prove::{Proofs, ProveWish};
use crate::see::trace::{Trace, TraceWish};

/// What the machine is asked.
pub(super) enum Question {
    /// What it knows itself.
    Standing(oneshot::Sender<Standing>),
    /// What files for auditors are made of.
    Auditing(oneshot::Sender<auditing::Standing>),
    /// Something that its runtime knows: the message with this number in it.
    Runtime(Box<dyn FnOnce(u64) -> ToElement + Send>, oneshot::Sender<FromElement>),
}

/// What the machine knows of itself.
pub(super) struct Standing {
    domain: String,
    name: String,
    state: &'static str,
    version: VersionReport,
}

/// Answers an operator.
#[derive(Debug)]
pub(super) struct MachineDesk {
    questions: mpsc::Sender<Question>,
    exposure: Exposure,
    since: Instant,
    stop: Arc<Notify>,
}

impl MachineDesk {
    /// A desk, and what is asked there. Taps have their sockets in this directory. `stop` hears of the wish to end.
    pub(super) fn new(dir: PathBuf, stop: Arc<Notify>) -> (MachineDesk, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(PENDING_REQUESTS);
        let (exposure, since) = (Exposure::new(dir), Instant::now());
        (MachineDesk { questions, exposure, since, stop }, asked)
    }

    /// Where questions go.
    pub(super) fn questions(&self) -> mpsc::Sender<Question> {
        self.questions.clone()
    }

    async fn report(&self) -> DomainStatus {
        let status = DomainStatus {
            layout: "machine".to_owned(),
            pid: std::process::id(),
            up_s: self.since.elapsed().as_secs(),
            audit: self.exposure.audit(),
            ..DomainStatus::default()
        };
        let (answer, answered) = oneshot::channel();
        if self.questions.send(Question::Standing(answer)).await.is_err() {
            return status;
        }
        let Ok(Standing { domain, name, state, version }) = answered.await else { return status };
        let mut element = ElementReport {
            name,
            state: state.to_owned(),
            version: Some(version),
            ..ElementReport::default()
        };
        if state == "ready" {
            let question = |request| ToElement::Status { request };
            match self.ask(ANSWER_WITHIN, question).await {
                Ok(FromElement::Status { status, .. }) => element.status = Some(status),
                Ok(_) => element.reason = Some("it answered another question".to_owned()),
                Err(reason) => element.reason = Some(reason),
            }
        }
        DomainStatus { domain, elements: vec![element], ..status }
    }

    pub(super) async fn ask(
        &self,
        within: std::time::Duration,
        question: impl FnOnce(u64) -> ToElement + Send + 'static,
    ) -> Result<FromElement, String> {
        let (answer, answered) = oneshot::channel();
        let asked = Question::Runtime(Box::new(question), answer);
        self.questions.send(asked).await.map_err(|_| "the element is ending".to_owned())?;
        match timeout(within, answered).await {
            Ok(Ok(FromElement::Refused { reason, .. })) => Err(reason),
            Ok(Ok(said)) => Ok(said),
            Ok(Err(_)) => Err("no version runs here yet".to_owned()),
            Err(_) => Err(format!("the element does not answer within {} s", within.as_secs())),
        }
    }
}

impl Backend for MachineDesk {
    fn status(&self) -> BoxFuture<'_, DomainStatus> {
        self.report().boxed()
    }

    fn export_keys(&self) -> BoxFuture<'_, Result<Vec<KeyExport>, String>> {
        let keys = async {
            match self.ask(ANSWER_WITHIN, |request| ToElement::ExportKeys { request }).await? {
                FromElement::Keys { keys, .. } => {
                    self.exposure.exported(keys.len());
                    Ok(keys)
                }
                _ => Err("the element answered another question".to_owned()),
            }
        };
        keys.boxed()
    }

    fn rekey(&self, elements: Vec<String>) -> BoxFuture<'_, Result<Vec<ElementRekeyed>, String>> {
        let ask = async move {
            let status = self.report().await;
            let own = status.elements.first().ok_or("the element is ending")?.name.clone();
            if let Some(other) = elements.iter().find(|name| **name != own) {
                return Err(format!("`{own}` runs here, not `{other}`"));
            }
            let question = |request| ToElement::Rekey { request };
            match self.ask(REKEY_ANSWERED_WITHIN, question).await? {
                FromElement::Rekeyed { neighbours, .. } => {
                    Ok(vec![ElementRekeyed { element: own, neighbours, reason: None }])
                }
                _ => Err("the element answered another question".to_owned()),
            }
        };
        ask.boxed()
    }

    fn tap<'a>(&'a self, wish: TapWish<'a>) -> BoxFuture<'a, Result<UnixStream, String>> {
        let ask = async move |question: Observe| {
            let asked = move |request| ToElement::Observe { request, question };
            match self.ask(OBSERVED_WITHIN, asked).await? {
                FromElement::Observed { answer, .. } => Ok(answer),
                _ => Err("the element answered another question".to_owned()),
            }
        };
        self.exposure.tap(wish, ask).boxed()
    }

    fn read_lists(&self) -> BoxFuture<'_, Result<Vec<ListenerLists>, String>> {
        let ask = async {
            match self.ask(ANSWER_WITHIN, |request| ToElement::ReadLists { request }).await? {
                FromElement::Lists { listeners, .. } => Ok(listeners),
                _ => Err("the element answered another question".to_owned()),
            }
        };
        ask.boxed()
    }

    fn trace(&self, _wish: TraceWish) -> BoxFuture<'_, Result<Trace, String>> {
        let reason = "an element alone cannot follow packets to others on their machines: `ringmail trace --state` asks control; \
                      `ringmail top --state` shows what passes here, and `ringmail tap --state` what it is";
        async move { Err(reason.to_owned()) }.boxed()
    }

    fn prove(&self, wish: ProveWish) -> BoxFuture<'_, Result<Proofs, String>> {
        let prove = async move {
            let question = Observe::Proofs { path: wish.path.clone(), last: wish.last };
            let asked = move |request| ToElement::Observe { request, question };
            match self.ask(OBSERVED_WITHIN, asked).await? {
                FromElement::Observed { answer: Observed::Proofs(paths), .. } => {
                    Proofs::of(&wish, [(String::new(), Ok(paths))])
                }
                _ => Err("the element answered another question".to_owned()),
            }
        };
        prove.boxed()
    }

    fn reload(
        &self,
        _text: String,
        _folder: PathBuf,
        _how: Reloading,
    ) -> BoxFuture<'_, Result<ReloadReport, String>> {
        async { Err("an element takes its versions from control; reload there".to_owned()) }.boxed()
    }

    fn stop(&self) {
        self.stop.notify_one();
    }
}

impl Machine {
    /// Answers, or has the runtime answer.
    pub(super) async fn asked_by_operator(&mut self, question: Question) -> anyhow::Result<()> {
        match question {
            // Who asked may be gone.
            Question::Standing(answer) => drop(answer.send(self.standing())),
            Question::Auditing(answer) => drop(answer.send(self.auditing())),
            Question::Runtime(question, answer) => {
                self.operators.retain(|_, waiting| !waiting.is_closed());
                if let Some(feed) = &mut self.feed
                    && self.operators.len() < PENDING_REQUESTS
                {
                    let request = feed.question();
                    feed.tell(&question(request)).await?;
                    self.operators.insert(request, answer);
                }
            }
        }
        Ok(())
    }

    fn standing(&self) -> Standing {
        let held = self.follower.held();
        let progress = match self.follower.staging() {
            _ if !self.follower.is_following() => "away",
            Some((_, true)) => "staged",
            Some((_, false)) => "offered",
            None if self.changing.is_some() => "activating",
            None if self.committed == Some(held.active) => "current",
            None => "idle",
        };
        let refused = self.refused.as_ref().map(|(version, reason, at)| RefusedVersion {
            version: version.0,
            reason: reason.clone(),
            ago_s: at.elapsed().as_secs(),
        });
        let serves = self.feed.is_some() && self.serves_by.is_none();
        Standing {
            domain: self.enrolled.bundle.trust_domain.to_string(),
            name: self.settings.name.to_string(),
            state: if serves { "ready" } else { "starting" },
            version: VersionReport {
                progress: progress.to_owned(),
                active: held.active.0,
                highest: held.highest.0,
                heard_s: self.committed.map(|_| self.follower.heard().elapsed().as_secs()),
                refused,
            },
        }
    }
}
