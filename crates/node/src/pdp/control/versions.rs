//! Versions on their way: pressed, proposed, signed anew, and what is said of them.

use std::time::Instant;

use ringmail_model::PathVersion;
use ringmail_model::pdp::{Progress, Proposing, PublisherEvent, Standing};
use tokio::sync::oneshot;

use super::hub::Hub;
use super::{ControlError, Distributed, Outcome};

impl Hub {
    /// Offers the file that control started with once all elements are there, or have had their time to come.
    pub(super) fn gather(&mut self) {
        let Some((until, _)) = &self.gathering else { return };
        let now = Instant::now();
        let standings = self.publisher.standings();
        let all = standings.iter().all(|standing| standing.progress != Progress::Away);
        if (all || now >= *until)
            && let Some((_, text)) = self.gathering.take()
        {
            let (outcome, _nobody_waits) = oneshot::channel();
            self.publish(now, &text, Proposing::InPlace, outcome);
        }
    }

    pub(super) fn publish(&mut self, now: Instant, text: &str, how: Proposing, outcome: Outcome) {
        if how == Proposing::Trial && self.publisher.proposed().is_some() {
            let reason = "another version is being distributed".to_owned();
            return drop(outcome.send(Err(ControlError::Refused(reason))));
        }
        if how != Proposing::Trial {
            self.gathering = None;
        }
        if self.press.is_current(text) && self.publisher.proposed().is_none() {
            let distributed = self.distributed(self.publisher.version());
            return drop(outcome.send(Ok(distributed)));
        }
        let pressed = tokio::task::block_in_place(|| {
            let pressed = self.press.press(text)?;
            let published = pressed.published()?;
            Ok::<_, anyhow::Error>((pressed.set.version, published))
        });
        match pressed {
            Ok((version, published)) => {
                tracing::info!(%version, "a version is offered");
                self.renew_trust();
                self.publisher.propose(now, published, how);
                let others = self.without_rejection();
                // Whoever waited for the one before hears that it is overtaken, since its sender goes.
                self.outcome = Some(outcome);
                others.into_iter().for_each(|event| self.carry_out(event));
            }
            Err(error) => {
                let refused = ControlError::Refused(format!("{error:#}"));
                drop(outcome.send(Err(refused)));
            }
        }
    }

    /// What is to be done, but that the proposal before was done away with: it made room.
    fn without_rejection(&mut self) -> Vec<PublisherEvent> {
        let proposed = self.publisher.proposed();
        let events = std::iter::from_fn(|| self.publisher.poll_event());
        let other = |event: &PublisherEvent| match event {
            PublisherEvent::Rejected { version, .. } => Some(*version) == proposed,
            _ => true,
        };
        events.filter(other).collect()
    }

    /// What is to be said of a version that came to count, or could.
    pub(super) fn distributed(&self, version: PathVersion) -> Distributed {
        let elements = self.elements_of(version);
        let gone = |standing: &Standing| {
            standing.progress == Progress::Away && elements.contains(&standing.element)
        };
        let standings = self.publisher.standings().into_iter();
        let away: Vec<_> = standings.filter(gone).map(|standing| standing.element).collect();
        let elements = elements.into_iter().filter(|name| !away.contains(name)).collect();
        Distributed { version, elements, away }
    }

    fn elements_of(&self, version: PathVersion) -> Vec<String> {
        let live = self.press.live();
        let found = live.iter().find(|pressed| pressed.set.version == version);
        let elements = found.into_iter().flat_map(|pressed| &pressed.set.elements);
        elements.map(|element| element.name.clone()).collect()
    }

    pub(super) fn reissue(&mut self, now: Instant, element: &str, seen: PathVersion) {
        let made = tokio::task::block_in_place(|| self.press.reissue(seen)?.published());
        match made {
            Ok(published) => {
                let version = published.version();
                tracing::info!(element, %seen, %version, "what counts is signed anew");
                self.publisher.reissue(now, published);
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(element, %seen, error, "an element has seen a higher version than counts");
            }
        }
    }
}
