//! Starts elements, brings them to readiness, tells what happens to them, and stops them in order.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::element::{Body, ElementSpec};
use super::error::{SpawnError, StartError};
use super::exit::{Exit, How};
use super::handle::{ElementState, Handle, Link, Process};
use super::spawn::{Spawner, Started, spawn_thread};
use super::stderr::{LineSink, Tail, pass_on};
use crate::control::{FromElement, ParentChannel, Receiver, Sender, ToElement};
use crate::limits::{CONTROL_QUEUE, EVENT_QUEUE, KILL_GRACE, SHUTDOWN_GRACE, TERMINATE_GRACE};

/// The elements of a domain. Dropping it kills those that are processes.
#[derive(Debug)]
pub struct Supervisor {
    spawner: Spawner,
    sink: LineSink,
    handle: Handle,
    events: mpsc::Receiver<Event>,
    report: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
}

/// Something that an element did.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a few wait at a time, and most are messages")]
pub enum Event {
    /// It said something that is no answer to a question.
    Message {
        /// Which.
        element: String,
        /// What.
        message: FromElement,
    },
    /// It ended, for whatever reason. The last event of an element.
    Ended {
        /// Which.
        element: String,
        /// How, and why.
        exit: Exit,
    },
}

/// Answers what elements ask for: a certificate, paths, a lease.
pub trait Conductor: Send {
    /// The messages that an element gets for one of its own.
    ///
    /// # Errors
    /// Why it gets nothing; while elements are being started this ends the start.
    fn answer(
        &mut self,
        element: &str,
        message: FromElement,
    ) -> Result<Vec<ToElement>, Box<dyn Error + Send + Sync>>;

    /// What others get because of the last answer. One that has ended meanwhile gets nothing.
    fn news(&mut self) -> Vec<(String, ToElement)> {
        Vec::new()
    }
}

impl Supervisor {
    /// A supervisor without elements. Needs a tokio runtime.
    ///
    /// # Errors
    /// No thread is left.
    pub fn new(sink: LineSink) -> io::Result<Supervisor> {
        let (report, events) = mpsc::channel(EVENT_QUEUE);
        Ok(Supervisor {
            spawner: Spawner::start()?,
            sink,
            handle: Handle::default(),
            events,
            report,
            tasks: JoinSet::new(),
        })
    }

    /// A way to the elements for others.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts an element. Returns its process number, where it is a process.
    ///
    /// # Errors
    /// What keeps it from starting; nothing of it is left.
    pub async fn spawn(&mut self, spec: ElementSpec) -> Result<Option<u32>, SpawnError> {
        let ElementSpec { name, netns, body } = spec;
        if self.handle.is_alive(&name) {
            return Err(SpawnError::Twice { element: name });
        }
        let restarts = self.handle.restarts_of_next(&name);
        let failed = |step| {
            let element = name.clone();
            move |source| SpawnError::System { element, step, source }
        };
        let (ours, theirs) =
            StdUnixStream::pair().map_err(failed("its control channel cannot be made"))?;
        let channel =
            ParentChannel::from_std(ours).map_err(failed("its control channel cannot be used"))?;
        let (outbox, inbox) = mpsc::channel(CONTROL_QUEUE);
        let (receiver, sender) = channel.split();
        match body {
            Body::Process(program) => {
                let started = self.spawner.spawn(&program, &netns, theirs.into()).await;
                let started = started.map_err(failed("its program cannot be started"))?;
                let Started { mut child, pid, pidfd } = started;
                let link = Arc::new(Link::new(outbox, Some(Process { pid, pidfd }), restarts));
                let stderr = child.stderr.take();
                let (sink, named) = (self.sink.clone(), name.clone());
                let tail = Tail::default();
                let kept = tail.clone();
                let lines = tokio::spawn(async move {
                    if let Some(stderr) = stderr {
                        pass_on(stderr, named, sink, kept).await;
                    }
                });
                let end = async move {
                    let how = child.wait().await.map_or(How::Unknown, How::of);
                    finish(lines).await;
                    Exit { last_lines: tail.lines(), ..Exit::new(how) }
                };
                self.watch(name, link, receiver, sender, inbox, end);
                Ok(Some(pid))
            }
            Body::Thread(body) => {
                let end = spawn_thread(&name, netns, theirs, body)
                    .map_err(failed("its thread cannot be started"))?;
                let end = async move {
                    let (how, causes) = end.await.unwrap_or((How::Unknown, Vec::new()));
                    Exit { causes, ..Exit::new(how) }
                };
                let link = Arc::new(Link::new(outbox, None, restarts));
                self.watch(name, link, receiver, sender, inbox, end);
                Ok(None)
            }
        }
    }

    /// The next thing that happens. May be cancelled. Without elements it waits for ever.
    pub async fn next_event(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            // Not reached: the supervisor itself holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Lets the conductor answer the elements until every one is ready.
    ///
    /// # Errors
    /// One ends, takes too long, or cannot be answered. The others go on; the caller stops them.
    pub async fn await_ready(
        &mut self,
        within: Duration,
        conductor: &mut dyn Conductor,
    ) -> Result<(), StartError> {
        let names = self.handle.links().into_iter().map(|(name, _)| name);
        let mut waited_for: BTreeSet<String> = names.collect();
        let until = Instant::now() + within;
        while !waited_for.is_empty() {
            let Ok(event) = timeout_at(until, self.next_event()).await else {
                return Err(StartError::Late {
                    elements: waited_for.into_iter().collect(),
                    within,
                });
            };
            if let Event::Message { element, message: FromElement::Ready } = &event {
                waited_for.remove(element);
            }
            self.conduct(event, conductor)?;
        }
        Ok(())
    }

    /// Lets the conductor answer the elements until one ends. May be cancelled.
    ///
    /// # Errors
    /// Always: it names the element that ended, or that could not be answered.
    pub async fn conduct_until_end(&mut self, conductor: &mut dyn Conductor) -> StartError {
        loop {
            let event = self.next_event().await;
            if let Err(error) = self.conduct(event, conductor) {
                return error;
            }
        }
    }

    fn conduct(&self, event: Event, conductor: &mut dyn Conductor) -> Result<(), StartError> {
        let (element, message) = match event {
            Event::Ended { element, exit } => return Err(StartError::Ended { element, exit }),
            Event::Message { message: FromElement::Ready | FromElement::Failed { .. }, .. } => {
                return Ok(());
            }
            Event::Message { element, message } => (element, message),
        };
        let answered = conductor.answer(&element, message);
        for (other, message) in conductor.news() {
            if let Err(error) = self.handle.send(&other, message) {
                tracing::debug!(element = other, %error, "does not hear the news");
            }
        }
        match answered {
            Ok(answers) => answers.into_iter().try_for_each(|answer| {
                let sent = self.handle.send(&element, answer);
                sent.map_err(|source| StartError::Request { element: element.clone(), source })
            }),
            Err(source) => Err(StartError::Conduct { element, source }),
        }
    }

    /// Stops all elements: first asks, then SIGTERM, then SIGKILL. Returns how each ended; `None` for a thread that does
    /// not end.
    pub async fn stop(self) -> Vec<(String, Option<Exit>)> {
        self.stop_within(SHUTDOWN_GRACE, TERMINATE_GRACE).await
    }

    /// As [`Supervisor::stop`], with times of the caller's choice.
    pub async fn stop_within(
        mut self,
        shutdown: Duration,
        terminate: Duration,
    ) -> Vec<(String, Option<Exit>)> {
        // Nobody listens any more; elements that still talk must not wait for it.
        self.events.close();
        let links = self.handle.links();
        let grace_ms = u64::try_from(shutdown.as_millis()).unwrap_or(u64::MAX);
        for (_, link) in &links {
            // One that ended or does not read is met by the signals.
            drop(link.send(ToElement::Shutdown { grace_ms }));
        }
        if !all_ended(&links, shutdown).await {
            signal(&links, Signal::TERM);
            if !all_ended(&links, terminate).await {
                signal(&links, Signal::KILL);
                all_ended(&links, KILL_GRACE).await;
            }
        }
        let end = |link: &Link| match &*link.state.borrow() {
            ElementState::Ended(exit) => Some(exit.clone()),
            _ => None,
        };
        links.iter().map(|(name, link)| (name.clone(), end(link))).collect()
    }

    fn watch(
        &mut self,
        name: String,
        link: Arc<Link>,
        receiver: Receiver<FromElement>,
        sender: Sender<ToElement>,
        inbox: mpsc::Receiver<ToElement>,
        end: impl Future<Output = Exit> + Send + 'static,
    ) {
        self.handle.add(&name, Arc::clone(&link));
        self.tasks.spawn(write(sender, inbox));
        let (report, named, reading) = (self.report.clone(), name.clone(), Arc::clone(&link));
        let read = tokio::spawn(read(receiver, named, reading, report.clone()));
        self.tasks.spawn(async move {
            let mut exit = end.await;
            // What it said last is told before its end, which may wait for room in the queue of events, not for ever.
            let causes = finish(read).await;
            if exit.causes.is_empty() {
                exit.causes = causes;
            }
            link.state.send_replace(ElementState::Ended(exit.clone()));
            drop(report.send(Event::Ended { element: name, exit }).await);
        });
    }
}

fn signal(links: &[(String, Arc<Link>)], signal: Signal) {
    for (element, link) in links.iter().filter(|(_, link)| !link.ended()) {
        tracing::debug!(element, ?signal, "an element does not end by itself");
        link.signal(signal);
    }
}

async fn write(mut sender: Sender<ToElement>, mut inbox: mpsc::Receiver<ToElement>) {
    while let Some(message) = inbox.recv().await {
        if let Err(error) = sender.send(&message).await {
            tracing::debug!(%error, "an element does not take messages any more");
            return;
        }
    }
}

/// Passes on what an element says; returns why it failed, if it said so.
async fn read(
    mut receiver: Receiver<FromElement>,
    name: String,
    link: Arc<Link>,
    report: mpsc::Sender<Event>,
) -> Vec<String> {
    let mut causes = Vec::new();
    loop {
        let message = match receiver.recv().await {
            Ok(Some(message)) => message,
            Ok(None) => return causes,
            Err(error) => {
                tracing::warn!(element = name, %error, "an element says what cannot be understood");
                return causes;
            }
        };
        let Some(message) = link.settle(message) else { continue };
        match &message {
            FromElement::Ready => drop(link.state.send_if_modified(|state| {
                let starting = *state == ElementState::Starting;
                if starting {
                    *state = ElementState::Ready;
                }
                starting
            })),
            FromElement::Failed { causes: said } => causes.clone_from(said),
            _ => {}
        }
        drop(report.send(Event::Message { element: name.clone(), message }).await);
    }
}

/// What a reading task has collected. A process that the element left behind may hold its streams open: then it is not
/// waited for.
async fn finish<T: Default>(mut task: JoinHandle<T>) -> T {
    match timeout(TERMINATE_GRACE, &mut task).await {
        Ok(done) => done.unwrap_or_default(),
        Err(_) => {
            task.abort();
            T::default()
        }
    }
}

async fn all_ended(links: &[(String, Arc<Link>)], within: Duration) -> bool {
    let ended = async {
        for (_, link) in links {
            let mut state = link.state.subscribe();
            // The sender is in the link, which lives here.
            drop(state.wait_for(|state| matches!(state, ElementState::Ended(_))).await);
        }
    };
    timeout(within, ended).await.is_ok()
}
