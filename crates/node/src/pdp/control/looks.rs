//! A trace that control runs: it asks the elements in their sessions (`docs/pdp.md`, "Looking").

use std::time::{Duration, Instant};

use ringmail_model::pdp::look::{Look, Seen, Unseen};
use tokio::sync::oneshot;

use super::super::look;
use super::hub::Hub;
use super::{Input, Line};
use crate::control::{Observe, Observed};
use crate::limits::TRACE_LOOK_EVERY;
use crate::see::trace::Ask;

/// Who waits for an answer.
pub(super) type Looker = oneshot::Sender<Result<Seen, Unseen>>;

/// Whom a trace asks.
pub(super) struct Elements<'a> {
    pub(super) line: &'a Line,
    pub(super) wait: Duration,
}

impl Ask for Elements<'_> {
    async fn ask(&self, element: &str, question: Observe) -> Result<Observed, String> {
        let look = look::asked(question).ok_or("that is asked on no other machine")?;
        let (answer, answered) = oneshot::channel();
        let input = Input::Look(element.to_owned(), look, answer);
        let ending = || "control is ending".to_owned();
        self.line.0.send(input).await.map_err(|_| ending())?;
        // The protocol's end waits no longer than it may.
        let seen = answered.await.map_err(|_| ending())?;
        look::observed(element, seen.map_err(|why| why.to_string())?)
    }

    async fn wait(&self) {
        tokio::time::sleep(self.wait).await;
    }

    async fn settle(&self) {
        tokio::time::sleep(TRACE_LOOK_EVERY).await;
    }
}

impl Hub {
    pub(super) fn look(&mut self, now: Instant, element: &str, look: Look, looker: Looker) {
        match self.publisher.look(now, element, look) {
            Ok(number) => drop(self.lookers.insert(number, looker)),
            // Who asked may be gone.
            Err(why) => drop(looker.send(Err(why))),
        }
    }

    pub(super) fn seen(&mut self, number: u32, seen: Result<Seen, Unseen>) {
        if let Some(looker) = self.lookers.remove(&number) {
            drop(looker.send(seen));
        }
    }
}
