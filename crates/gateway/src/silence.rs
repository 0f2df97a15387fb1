//! A limit on the time between two frames of a body, and the error where it is passed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// Nothing came for too long.
    #[error("the body stopped coming")]
    Silent,
    /// The connection that it came over.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

/// A limit on the time without a frame. The timer is set once and looked at when it rings: a frame
/// costs no more than a flag.
pub(crate) struct Silence {
    limit: Duration,
    broken: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    /// No frame came yet.
    pub(crate) fn new(limit: Duration) -> Silence {
        Silence { limit, broken: false, timer: None }
    }

    /// A frame came.
    pub(crate) fn broken(&mut self) {
        self.broken = true;
    }

    /// Ready when nothing came for the limit, at the latest for twice the limit.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        while timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.broken) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}
