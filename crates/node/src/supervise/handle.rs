//! A way to the running elements that may be cloned and used from anywhere.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::RequestError;
use super::exit::Exit;
use crate::control::{
    ElementStatus, FromElement, KeyExport, ListenerLists, Observe, Observed, PinnedFlow, Rekeyed,
    ToElement,
};
use crate::limits::{ANSWER_WITHIN, OBSERVED_WITHIN, PENDING_REQUESTS, REKEY_ANSWERED_WITHIN};

/// A way to the running elements.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    elements: Arc<Mutex<BTreeMap<String, Arc<Link>>>>,
}

/// What the parent keeps of one element.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) outbox: mpsc::Sender<ToElement>,
    pub(super) state: watch::Sender<ElementState>,
    /// The process, where it is one.
    pub(super) process: Option<Process>,
    /// How often an element of this name ended before.
    pub(super) restarts: u64,
    open: Mutex<HashMap<u64, oneshot::Sender<FromElement>>>,
    next_request: AtomicU64,
}

/// A process and the descriptor that stands for it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
}

/// How far an element is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementState {
    /// It runs, and has not said that it is ready.
    Starting,
    /// It serves.
    Ready,
    /// It ended.
    Ended(Exit),
}

impl Handle {
    /// Every element that was started, with its process number and how far it is, by name.
    pub fn elements(&self) -> Vec<(String, Option<u32>, ElementState)> {
        let elements = lock(&self.elements);
        let all = elements.iter();
        all.map(|(name, link)| (name.clone(), link.pid(), link.state.borrow().clone())).collect()
    }

    /// How often an element was started again.
    pub fn restarts(&self, element: &str) -> u64 {
        self.link(element).map_or(0, |link| link.restarts)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The element does not exist, has ended, or does not read.
    pub fn send(&self, element: &str, message: ToElement) -> Result<(), RequestError> {
        self.link(element)?.send(message)
    }

    /// Ends an element at once (SIGKILL), where it is a process. Its supervisor hears of that as of any other end.
    pub fn kill(&self, element: &str) {
        if let Ok(link) = self.link(element) {
            link.signal(Signal::KILL);
        }
    }

    /// Waits until an element serves.
    ///
    /// # Errors
    /// It does not exist, or it ends, or takes longer than this.
    pub async fn ready(&self, element: &str, within: Duration) -> Result<(), RequestError> {
        let mut state = self.link(element)?.state.subscribe();
        let settled = state.wait_for(|state| *state != ElementState::Starting);
        match tokio::time::timeout(within, settled).await {
            Err(_) => Err(RequestError::Late { within }),
            Ok(Ok(state)) if *state == ElementState::Ready => Ok(()),
            Ok(_) => Err(RequestError::Ended),
        }
    }

    /// Forgets an element that ended, and that nobody starts again.
    pub(crate) fn forget(&self, element: &str) {
        let mut elements = lock(&self.elements);
        if elements.get(element).is_some_and(|link| link.ended()) {
            elements.remove(element);
        }
    }

    /// Asks an element how it is.
    ///
    /// # Errors
    /// It does not exist, has ended, refuses, or takes longer than [`ANSWER_WITHIN`].
    pub async fn status(&self, element: &str) -> Result<ElementStatus, RequestError> {
        match self.ask(element, ANSWER_WITHIN, |request| ToElement::Status { request }).await? {
            FromElement::Status { status, .. } => Ok(status),
            _ => Err(RequestError::Mismatch),
        }
    }

    /// Asks an element for the keys by which it receives.
    ///
    /// # Errors
    /// As [`Handle::status`].
    pub async fn export_keys(&self, element: &str) -> Result<Vec<KeyExport>, RequestError> {
        match self.ask(element, ANSWER_WITHIN, |request| ToElement::ExportKeys { request }).await? {
            FromElement::Keys { keys, .. } => Ok(keys),
            _ => Err(RequestError::Mismatch),
        }
    }

    /// Has an element agree on new keys with its neighbours, and waits until they are in use.
    ///
    /// # Errors
    /// As [`Handle::status`], with a time of its own.
    pub async fn rekey(&self, element: &str) -> Result<Vec<Rekeyed>, RequestError> {
        let question = |request| ToElement::Rekey { request };
        match self.ask(element, REKEY_ANSWERED_WITHIN, question).await? {
            FromElement::Rekeyed { neighbours, .. } => Ok(neighbours),
            _ => Err(RequestError::Mismatch),
        }
    }

    /// Has the gateway send a flow along a path.
    ///
    /// # Errors
    /// As [`Handle::status`].
    pub async fn pin(&self, gateway: &str, flow: PinnedFlow) -> Result<(), RequestError> {
        match self.ask(gateway, ANSWER_WITHIN, |request| ToElement::Pin { request, flow }).await? {
            FromElement::Pinned { .. } => Ok(()),
            _ => Err(RequestError::Mismatch),
        }
    }

    /// Has the gateway read its revocation lists now.
    ///
    /// # Errors
    /// As [`Handle::status`].
    pub async fn read_lists(&self, gateway: &str) -> Result<Vec<ListenerLists>, RequestError> {
        match self.ask(gateway, ANSWER_WITHIN, |request| ToElement::ReadLists { request }).await? {
            FromElement::Lists { listeners, .. } => Ok(listeners),
            _ => Err(RequestError::Mismatch),
        }
    }

    /// Looks into an element.
    ///
    /// # Errors
    /// As [`Handle::status`].
    pub async fn observe(
        &self,
        element: &str,
        question: Observe,
    ) -> Result<Observed, RequestError> {
        let question = |request| ToElement::Observe { request, question };
        match self.ask(element, OBSERVED_WITHIN, question).await? {
            FromElement::Observed { answer, .. } => Ok(answer),
            _ => Err(RequestError::Mismatch),
        }
    }

    /// Sends a question with a fresh number, and waits for the message with that number.
    ///
    /// # Errors
    /// As [`Handle::status`].
    pub async fn ask(
        &self,
        element: &str,
        within: Duration,
        question: impl FnOnce(u64) -> ToElement,
    ) -> Result<FromElement, RequestError> {
        let link = self.link(element)?;
        let mut state = link.state.subscribe();
        let (number, answer) = link.open_question()?;
        let asked = async {
            link.send(question(number))?;
            tokio::select! {
                answer = answer => answer.map_err(|_| RequestError::Ended),
                _ = state.wait_for(|state| matches!(state, ElementState::Ended(_))) => {
                    Err(RequestError::Ended)
                }
            }
        };
        let answer = tokio::time::timeout(within, asked).await;
        lock(&link.open).remove(&number);
        match answer.map_err(|_| RequestError::Late { within })?? {
            FromElement::Refused { reason, .. } => Err(RequestError::Refused { reason }),
            answer => Ok(answer),
        }
    }

    pub(super) fn add(&self, name: &str, link: Arc<Link>) {
        lock(&self.elements).insert(name.to_owned(), link);
    }

    /// How often a new element of this name will have been started again.
    pub(super) fn restarts_of_next(&self, name: &str) -> u64 {
        lock(&self.elements).get(name).map_or(0, |link| link.restarts + 1)
    }

    /// Whether an element was started and has not ended.
    pub(crate) fn is_alive(&self, name: &str) -> bool {
        lock(&self.elements).get(name).is_some_and(|link| !link.ended())
    }

    pub(super) fn links(&self) -> Vec<(String, Arc<Link>)> {
        lock(&self.elements).iter().map(|(name, link)| (name.clone(), Arc::clone(link))).collect()
    }

    fn link(&self, element: &str) -> Result<Arc<Link>, RequestError> {
        let unknown = || RequestError::Unknown { element: element.to_owned() };
        lock(&self.elements).get(element).cloned().ok_or_else(unknown)
    }
}

impl Link {
    pub(super) fn new(
        outbox: mpsc::Sender<ToElement>,
        process: Option<Process>,
        restarts: u64,
    ) -> Link {
        Link {
            outbox,
            state: watch::Sender::new(ElementState::Starting),
            process,
            restarts,
            open: Mutex::default(),
            next_request: AtomicU64::new(1),
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(process) = self.process.as_ref().filter(|_| !self.ended()) {
            // It may have ended at this moment.
            let _ended = pidfd_send_signal(&process.pidfd, signal);
        }
    }

    pub(super) fn send(&self, message: ToElement) -> Result<(), RequestError> {
        self.outbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RequestError::Busy,
            mpsc::error::TrySendError::Closed(_) => RequestError::Ended,
        })
    }

    /// Hands an answer to whoever asked; gives back what is no answer, and drops an answer that nobody waits for.
    pub(super) fn settle(&self, message: FromElement) -> Option<FromElement> {
        let Some(number) = message.request() else { return Some(message) };
        if let Some(asker) = lock(&self.open).remove(&number) {
            drop(asker.send(message));
        }
        None
    }

    pub(super) fn ended(&self) -> bool {
        matches!(*self.state.borrow(), ElementState::Ended(_))
    }

    fn open_question(&self) -> Result<(u64, oneshot::Receiver<FromElement>), RequestError> {
        let mut open = lock(&self.open);
        if open.len() >= PENDING_REQUESTS {
            return Err(RequestError::Busy);
        }
        let number = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        open.insert(number, asker);
        Ok((number, answer))
    }
}

/// What these locks guard is whole after every statement, so that a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
