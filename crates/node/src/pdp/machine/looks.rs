//! What control asks about packets: the runtime answers, and a trace that nobody ends ends by itself.

use std::time::Instant;

use anyhow::Result;
use ringmail_model::pdp::look::{Look, Seen};

use super::super::limits::TRACE_LASTS;
use super::super::look;
use super::Machine;
use super::runtime::Asked;
use crate::control::{FromElement, Observe, ToElement};

impl Machine {
    /// Has the runtime answer control.
    pub(super) async fn look(&mut self, number: u32, look: Look) -> Result<()> {
        let now = Instant::now();
        let Some(feed) = &mut self.feed else {
            let seen = Seen::Refused("no version runs there yet".to_owned());
            self.follower.seen(now, number, seen);
            return Ok(());
        };
        match look {
            Look::Start { .. } => self.trace_ends = Some(now + TRACE_LASTS),
            Look::Stop => self.trace_ends = None,
            Look::Probe { .. } | Look::Find { .. } | Look::Proofs { .. } => {}
        }
        let (request, question) = (feed.question(), look::question(look));
        self.asked.insert(request, Asked::Look(number));
        feed.tell(&ToElement::Observe { request, question }).await
    }

    /// The runtime's answer to control.
    pub(super) fn looked(&mut self, number: u32, said: FromElement) {
        let seen = match said {
            FromElement::Observed { answer, .. } => look::seen(answer),
            FromElement::Refused { reason, .. } => Seen::Refused(reason),
            _ => Seen::Refused("it answered another question".to_owned()),
        };
        self.follower.seen(Instant::now(), number, seen);
    }

    /// Nothing is noted any more for control: it is gone, or forgot.
    pub(super) async fn end_trace(&mut self) -> Result<()> {
        let Some(feed) = self.feed.as_mut().filter(|_| self.trace_ends.take().is_some()) else {
            return Ok(());
        };
        tracing::info!("a trace that control did not end is ended");
        // Nobody waits for the answer.
        let (request, question) = (feed.question(), Observe::TraceStop);
        feed.tell(&ToElement::Observe { request, question }).await
    }
}
