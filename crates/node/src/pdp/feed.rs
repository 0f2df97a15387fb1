//! The element's runtime on a thread of its own, fed over a control channel exactly as `up` feeds its elements.

use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

use super::limits::STOP_WITHIN;
use crate::control::{ControlChannel, FromElement, ParentChannel, ToElement};
use crate::element::{self, Workshop};

/// A running element.
#[derive(Debug)]
pub(super) struct Feed {
    channel: ParentChannel,
    thread: JoinHandle<()>,
    questions: u64,
}

impl Feed {
    /// Starts the runtime of the element of this name; it waits to be told who it is.
    ///
    /// # Errors
    /// No descriptor or thread is left.
    pub(super) fn start(name: &str) -> Result<Feed> {
        let (ours, theirs) = UnixStream::pair()?;
        let channel = ParentChannel::from_std(ours)?;
        let owned = name.to_owned();
        let work = move || {
            let serve = || -> Result<()> {
                theirs.set_nonblocking(true)?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let control = ControlChannel::from_std(theirs)?;
                    element::run(&owned, control, Workshop::Within).await
                })
            };
            // It has told its end over the channel; a panic closes the channel.
            if let Err(error) = serve() {
                tracing::debug!(error = format!("{error:#}"), "the element has ended");
            }
        };
        let thread = std::thread::Builder::new().name("element".to_owned()).spawn(work);
        Ok(Feed { channel, thread: thread.context("no thread is left")?, questions: 0 })
    }

    /// A number for the next question.
    pub(super) fn question(&mut self) -> u64 {
        self.questions += 1;
        self.questions
    }

    /// Tells the element something.
    ///
    /// # Errors
    /// It is gone.
    pub(super) async fn tell(&mut self, message: &ToElement) -> Result<()> {
        Ok(self.channel.send(message).await?)
    }

    /// What the element says next; `None` when it has ended. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<FromElement> {
        self.channel.recv().await.unwrap_or_else(|error| {
            tracing::error!(%error, "the element cannot be understood");
            None
        })
    }

    /// Lets the element finish what is under way, and waits for its end.
    pub(super) async fn stop(mut self, grace: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // One that is gone needs no word.
        drop(self.channel.send(&ToElement::Shutdown { grace_ms }).await);
        let ended = async { while self.next().await.is_some() {} };
        if timeout(grace + STOP_WITHIN, ended).await.is_err() {
            tracing::warn!("the element does not end");
            return;
        }
        let joined = tokio::task::spawn_blocking(|| self.thread.join());
        drop(timeout(STOP_WITHIN, joined).await);
    }
}
