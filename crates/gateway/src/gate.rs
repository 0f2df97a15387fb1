//! A request body that waits for 100 (Continue).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Sleep, sleep};

/// Holds a body back until the service says 100 (Continue), or does not say anything for a while
/// (RFC 9110 section 10.1.1).
#[derive(Debug)]
pub(crate) struct Gate {
    open: AtomicBool,
    waker: AtomicWaker,
    patience: Mutex<Pin<Box<Sleep>>>,
    answered: AtomicBool,
}

impl Gate {
    pub(crate) fn new(patience: Duration) -> Arc<Gate> {
        Arc::new(Gate {
            open: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            patience: Mutex::new(Box::pin(sleep(patience))),
            answered: AtomicBool::new(false),
        })
    }

    /// The service said 100 (Continue).
    pub(crate) fn open(&self) {
        self.open.store(true, Relaxed);
        self.waker.wake();
    }

    /// The service gave its final answer. True: without wanting the body, which now never goes.
    pub(crate) fn answered(&self) -> bool {
        self.answered.store(true, Relaxed);
        !self.open.load(Relaxed)
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.open.load(Relaxed) {
            return Poll::Ready(());
        }
        if self.answered.load(Relaxed) {
            return Poll::Pending;
        }
        let mut patience = match self.patience.lock() {
            Ok(patience) => patience,
            Err(poisoned) => poisoned.into_inner(),
        };
        ready!(patience.as_mut().poll(cx));
        self.open.store(true, Relaxed);
        Poll::Ready(())
    }
}
