//! The task of one neighbour: it owns the core and the streams, and moves bytes, events and time between them.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ringmail_dataplane::sap::{
    EndReason, Event, LeaseError, Now, Opener, Sap, SegmentView, SessionId, Settled, SignedLease,
};
use ringmail_model::{ElementId, SaSpi};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::error::ConnectError;
use super::limits::DIAL_WITHIN;
use super::session::{Input, Streams};
use super::tls::{Io, Stream, TlsExporter};
use super::{Notice, Status, Trust};

/// Opens connections to neighbours.
pub trait Dial: Send + Sync {
    /// A connection to the control address of this element.
    fn dial(&self, to: ElementId, control: SocketAddr) -> Dialing;
}

/// A dial under way.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// What the element tells the agreement with one neighbour.
#[derive(Debug)]
pub(super) enum Command {
    Installed(SaSpi),
    InstallFailed(SaSpi),
    Stopped(SaSpi, u64),
    Lease(Box<SignedLease>),
    Segments(Vec<SegmentView>),
    /// Who waits until a later epoch is in use everywhere is told of it.
    BeginEpoch(Option<oneshot::Sender<Settled>>),
    EpochLifetime(Duration),
    Status(oneshot::Sender<Status>),
}

/// What the task is made of.
pub(super) struct Parts {
    pub(super) element: ElementId,
    pub(super) spiffe_id: String,
    pub(super) control: SocketAddr,
    pub(super) sap: Sap,
    pub(super) shared: Shared,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) accepted: mpsc::Receiver<Stream>,
}

/// What the tasks of all neighbours have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) trust: Arc<ArcSwap<Trust>>,
    pub(super) dial: Arc<dyn Dial>,
    pub(super) notices: mpsc::Sender<Notice>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

type Handshaking = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

struct Task {
    parts: Parts,
    streams: Streams,
    dialing: Option<Handshaking>,
    /// Notices that the element has not taken yet; behind them nothing is read.
    waiting: VecDeque<Notice>,
    /// Who waits for an epoch after that of this session.
    rekeying: Vec<(Option<SessionId>, oneshot::Sender<Settled>)>,
}

enum Happened {
    Command(Option<Command>),
    Notified,
    Accepted(Stream),
    Dialed(Result<Stream, ConnectError>),
    Timeout,
    Input(Input),
}

/// Runs until the element lets go of the agreement.
pub(super) async fn run(parts: Parts) {
    let (dialing, waiting) = (None, VecDeque::new());
    let streams = Streams::new();
    let mut task = Task { parts, streams, dialing, waiting, rekeying: Vec::new() };
    task.settle();
    while task.turn().await {
        task.settle();
    }
}

impl Task {
    /// Waits for one thing and passes it to the core; `false` when nobody listens any more.
    async fn turn(&mut self) -> bool {
        let Task { parts, streams, dialing, waiting, .. } = self;
        let timer = parts.sap.poll_timeout(now().instant).map(Instant::from_std);
        let timer = [timer, streams.deadline()].into_iter().flatten().min();
        let happened = tokio::select! {
            command = parts.commands.recv() => Happened::Command(command),
            permit = parts.shared.notices.reserve(), if !waiting.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(notice) = waiting.pop_front() {
                        permit.send(notice);
                    }
                    Happened::Notified
                }
                Err(_) => Happened::Command(None),
            },
            Some(stream) = parts.accepted.recv() => Happened::Accepted(stream),
            dialed = or_never(dialing.as_mut()) => Happened::Dialed(dialed),
            () = until(timer) => Happened::Timeout,
            input = streams.next(waiting.is_empty()) => Happened::Input(input),
        };
        match happened {
            Happened::Command(None) => return false,
            Happened::Command(Some(command)) => self.obey(command),
            Happened::Notified => {}
            Happened::Accepted(stream) => self.adopt(Opener::Peer, stream),
            Happened::Dialed(dialed) => {
                self.dialing = None;
                self.dialed(dialed);
            }
            Happened::Timeout => {
                self.streams.expire(Instant::now());
                self.parts.sap.handle_timeout(now().instant);
            }
            Happened::Input(input) => self.input(input),
        }
        true
    }

    fn obey(&mut self, command: Command) {
        let (now, sap) = (now(), &mut self.parts.sap);
        match command {
            Command::Installed(spi) => sap.installed(now.instant, spi),
            Command::InstallFailed(spi) => sap.install_failed(now.instant, spi),
            Command::Stopped(spi, last) => sap.stopped(now.instant, spi, last),
            Command::Lease(lease) => match sap.set_lease(now, &lease) {
                // The element's other neighbours have other paths in common with it.
                Ok(()) | Err(LeaseError::AnotherPath(_)) => {}
                Err(error) => {
                    warn!(neighbour = self.parts.spiffe_id, %error, "an own lease does not count");
                }
            },
            Command::Segments(segments) => sap.set_segments(now.instant, &segments),
            Command::BeginEpoch(waiting) => {
                self.rekeying.extend(waiting.map(|waiting| (sap.session(), waiting)));
                sap.begin_epoch(now.instant);
            }
            Command::EpochLifetime(lasts) => sap.set_epoch_lifetime(now.instant, lasts),
            Command::Status(answer) => {
                let _gone = answer.send(Status {
                    neighbour: self.parts.element,
                    epoch: sap.epoch(),
                    epoch_since: sap.epoch_since(),
                    counters: *sap.counters(),
                });
            }
        }
    }

    fn adopt(&mut self, opener: Opener, stream: Stream) {
        let id = self.parts.sap.open_session(now().instant, opener);
        self.streams.add(id, stream);
    }

    fn dialed(&mut self, dialed: Result<Stream, ConnectError>) {
        match dialed {
            Ok(stream) => self.adopt(Opener::Us, stream),
            Err(error) => {
                let neighbour = self.parts.spiffe_id.as_str();
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                match error {
                    // Neighbours that start together are not there yet: no reason for a warning.
                    ConnectError::Unreachable(_) => debug!(neighbour, %error, cause, "dialed"),
                    _ => warn!(neighbour, %error, cause, "dialed"),
                }
                self.parts.sap.dial_failed(now().instant);
            }
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Bytes(id) => {
                while let Some(message) = self.streams.next_message(id) {
                    self.message(id, &message);
                    // The core may have ended the session: then its stream is gone, and the rest unread.
                    self.settle();
                }
            }
            Input::Gone(id, error) => {
                if let Some(error) = error {
                    debug!(neighbour = self.parts.spiffe_id, %error, "a session broke");
                }
                self.streams.end(id);
                self.parts.sap.session_lost(now().instant, id);
            }
        }
    }

    fn message(&mut self, id: SessionId, bytes: &[u8]) {
        let Some(stream) = self.streams.stream(id) else { return };
        let handled = self.parts.sap.handle_message(now(), id, bytes, &TlsExporter(stream));
        if let Err(violation) = handled {
            warn!(neighbour = self.parts.spiffe_id, %violation, "the protocol was broken");
        }
    }

    /// Does what the core asks for.
    fn settle(&mut self) {
        while let Some(transmit) = self.parts.sap.poll_transmit() {
            self.streams.send(&transmit);
        }
        while let Some(event) = self.parts.sap.poll_event() {
            let neighbour = self.parts.spiffe_id.as_str();
            match &event {
                Event::Dial => {
                    self.dialing = Some(self.dial());
                    continue;
                }
                Event::EndSession { session, reason } => {
                    match reason {
                        EndReason::Superseded => debug!(neighbour, %reason, "session ended"),
                        _ => info!(neighbour, %reason, "session ended"),
                    }
                    self.streams.end(*session);
                }
                Event::Established { epoch, .. } => {
                    info!(neighbour, epoch = epoch.0, "session established");
                }
                _ => {}
            }
            self.waiting.push_back(Notice { neighbour: self.parts.element, event });
        }
        self.tell_rekeyed();
    }

    /// Tells those who wait for it that a later epoch is in use everywhere.
    fn tell_rekeyed(&mut self) {
        if self.rekeying.is_empty() {
            return;
        }
        let sap = &self.parts.sap;
        self.rekeying.retain(|(_, waiting)| !waiting.is_closed());
        let settled = sap.settled();
        for (before, waiting) in std::mem::take(&mut self.rekeying) {
            match settled {
                Some(settled) if sap.session() != before => drop(waiting.send(settled)),
                _ => self.rekeying.push((before, waiting)),
            }
        }
    }

    fn dial(&self) -> Handshaking {
        let connecting = self.parts.shared.dial.dial(self.parts.element, self.parts.control);
        let trust = self.parts.shared.trust.load_full();
        let neighbour = self.parts.spiffe_id.clone();
        Box::pin(async move {
            let io = timeout(DIAL_WITHIN, connecting).await;
            let io = io.map_err(|_| ConnectError::TimedOut)?.map_err(ConnectError::Unreachable)?;
            trust.tls.dial(&neighbour, io).await
        })
    }
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now().into_std(), unix_s: since.as_secs() }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

async fn or_never<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}
