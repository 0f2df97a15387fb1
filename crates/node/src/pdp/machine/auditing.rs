//! What a lone element signs of packets is kept beside its state, for auditors.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ringmail_trust::Identity;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Machine;
use super::desk::{MachineDesk, Question};
use crate::control::{FromElement, Observe, Observed, ToElement};
use crate::limits::{ANSWER_WITHIN, OBSERVED_WITHIN};
use crate::summary::{Ask, Settings};

/// What the domain says of summaries, who the element is, and its name.
pub(super) struct Standing {
    settings: Option<Settings>,
    identity: Identity,
    name: String,
}

/// Asks the element that runs here.
pub(super) struct OwnElement {
    pub(super) desk: Arc<MachineDesk>,
    pub(super) questions: mpsc::Sender<Question>,
}

impl OwnElement {
    async fn standing(&self) -> Result<Standing> {
        let (answer, answered) = oneshot::channel();
        let asked = self.questions.send(Question::Auditing(answer)).await;
        asked.ok().context("the element is ending")?;
        Ok(timeout(ANSWER_WITHIN, answered).await.context("the element does not answer")??)
    }
}

impl Ask for OwnElement {
    fn settings(&self) -> BoxFuture<'_, Option<Settings>> {
        self.standing().map(|standing| standing.ok()?.settings).boxed()
    }

    fn identity(&self) -> BoxFuture<'_, Result<Identity>> {
        self.standing().map(|standing| Ok(standing?.identity)).boxed()
    }

    fn elements(&self) -> BoxFuture<'_, Vec<String>> {
        self.standing()
            .map(|standing| standing.map(|own| vec![own.name]).unwrap_or_default())
            .boxed()
    }

    fn observe(&self, _: String, question: Observe) -> BoxFuture<'_, Result<Observed, String>> {
        let ask = async move {
            let asked = move |request| ToElement::Observe { request, question };
            match self.desk.ask(OBSERVED_WITHIN, asked).await? {
                FromElement::Observed { answer, .. } => Ok(answer),
                _ => Err("the element answered another question".to_owned()),
            }
        };
        ask.boxed()
    }
}

impl Machine {
    /// What an auditor's files are made of.
    pub(super) fn auditing(&self) -> Standing {
        let runs = self.domain.as_ref().filter(|_| self.feed.is_some());
        let settings = runs
            .and_then(|domain| Settings::of(domain, &self.settings.files, &self.settings.state));
        let name = self.settings.name.to_string();
        Standing { settings, identity: self.enrolled.identity(), name }
    }
}
