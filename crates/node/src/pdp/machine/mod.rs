//! One element on a machine of its own: it enrols, follows control, keeps what it was told, and runs without control too.

mod auditing;
mod certificates;
mod desk;
mod enrolled;
mod leases;
mod looks;
mod runtime;
mod session;
mod version;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use ringmail_model::domain::{Domain, Profile};
use ringmail_model::pathset::{PublicKey, Role};
use ringmail_model::pdp::{Follower, FollowerConfig, Usage};
use ringmail_model::{Name, PathVersion};
use ringmail_trust::Token;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use self::auditing::OwnElement;
use self::certificates::Wanted;
use self::desk::{MachineDesk, Question};
use self::enrolled::enrolled;
use self::leases::Leases;
use self::runtime::Asked;
use self::version::Staging;
use super::desk::Desk;
use super::feed::Feed;
use super::limits::RENEW_RETRY;
use super::link::Link;
use super::store::{Enrolled, ListenerCertificate, StateDir};
use crate::control::{FromElement, ListenerTls, ToElement};
use crate::limits::{DRAIN_ENDS_WITHIN, SHUTDOWN_GRACE};
use crate::notify::Notifier;
use crate::random;
use crate::summary::Keeper;

/// Which element runs here, and where its things are.
#[derive(Debug)]
pub struct MachineSettings {
    /// Its name in the domain.
    pub name: Name,
    /// What it has to be.
    pub role: Role,
    /// The state directory.
    pub state: PathBuf,
    /// Where the domain file's relative paths begin on this machine.
    pub files: PathBuf,
    /// Control's address, `HOST:PORT`.
    pub control: String,
    /// What it enrols with, unless it has.
    pub token: Option<Token>,
    /// Where metrics and health are served besides the state directory.
    pub metrics: Option<SocketAddr>,
}

/// Runs the element until `stop` is ready; then it goes on until nobody needs it any more, for `limits.drain_ms` at most, or
/// until `stop` is ready again.
///
/// # Errors
/// Whatever keeps it from serving. That control is away does not, once a version was activated here.
pub async fn run(settings: MachineSettings, mut stop: impl AsyncFnMut()) -> Result<()> {
    let dir = StateDir::open(&settings.state)?;
    let enrolled = tokio::select! {
        enrolled = enrolled(&settings, &dir) => enrolled?,
        () = stop() => return Ok(()),
    };
    let ending = Arc::new(Notify::new());
    let (backend, questions) = MachineDesk::new(settings.state.clone(), Arc::clone(&ending));
    let mut stop = async || {
        tokio::select! {
            () = stop() => {}
            () = ending.notified() => tracing::info!("asked to end"),
        }
    };
    let backend = Arc::new(backend);
    let own = OwnElement { questions: backend.questions(), desk: Arc::clone(&backend) };
    let keeper = Keeper::new(Arc::new(own));
    let _desk = Desk::open(&settings.state, backend, settings.metrics).await?;
    let mut machine = Machine::new(settings, dir, enrolled, questions)?;
    machine.start_from_disk().await?;
    machine.notifier.ready();
    let outcome = tokio::select! {
        outcome = machine.serve() => outcome,
        () = keeper.run() => Ok(()),
        () = stop() => Ok(()),
    };
    machine.notifier.stopping();
    if outcome.is_ok() {
        tokio::select! {
            () = keeper.write() => {}
            ended = machine.serve() => drop(ended),
            () = stop() => {}
        }
        tokio::select! {
            () = machine.drain() => {}
            () = stop() => {}
        }
    }
    machine.leases.save(&machine.dir);
    machine.link.hang_up();
    if let Some(feed) = machine.feed.take() {
        feed.stop(SHUTDOWN_GRACE).await;
    }
    outcome
}

struct Machine {
    settings: MachineSettings,
    dir: StateDir,
    enrolled: Enrolled,
    follower: Follower,
    link: Link,
    feed: Option<Feed>,
    asked: BTreeMap<u64, Asked>,
    /// When the runtime has to have answered that it serves.
    serves_by: Option<Instant>,
    staging: Option<Staging>,
    /// The version that the runtime starts with or changes to.
    changing: Option<Staging>,
    /// The version that counts, once control has answered.
    committed: Option<PathVersion>,
    /// What was refused last, unless a version was taken since.
    refused: Option<(PathVersion, String, Instant)>,
    questions: mpsc::Receiver<Question>,
    /// Operators that wait for the runtime's answer.
    operators: BTreeMap<u64, oneshot::Sender<FromElement>>,
    /// Until when packets are noted for a trace of control, if they are.
    trace_ends: Option<Instant>,
    leases: Leases,
    listeners: BTreeMap<String, ListenerCertificate>,
    wanted: BTreeMap<u32, Wanted>,
    /// The domain of the version that runs.
    domain: Option<Domain>,
    /// What its listeners were told to show, when that is looked at again, when certificates are asked for again that run
    /// out, and what kept them from being renewed.
    shown: Vec<ListenerTls>,
    listeners_at: Instant,
    listeners_asked_at: Instant,
    listeners_said: Option<String>,
    next_number: u32,
    renew_at: Instant,
    notifier: Notifier,
    alive_at: Option<Instant>,
}

impl Machine {
    fn new(
        settings: MachineSettings,
        dir: StateDir,
        enrolled: Enrolled,
        questions: mpsc::Receiver<Question>,
    ) -> Result<Machine> {
        let config = FollowerConfig {
            domain: enrolled.bundle.trust_domain.clone(),
            element: settings.name.to_string(),
            path_key: PublicKey(enrolled.bundle.path_key),
            profiles: Profile::ALL.to_vec(),
            life: random::bytes()?,
            jitter_seed: u64::from_ne_bytes(random::bytes()?),
        };
        let now = Instant::now();
        let notifier = Notifier::from_env();
        let alive_at = notifier.alive_every().map(|every| now + every);
        let mut machine = Machine {
            follower: Follower::new(now, config, dir.held()?),
            link: Link::new(settings.control.clone()),
            feed: None,
            asked: BTreeMap::new(),
            serves_by: None,
            staging: None,
            changing: None,
            committed: None,
            refused: None,
            questions,
            operators: BTreeMap::new(),
            trace_ends: None,
            leases: Leases::open(&dir)?,
            listeners: dir.listeners()?,
            wanted: BTreeMap::new(),
            domain: None,
            shown: Vec::new(),
            listeners_at: now,
            listeners_asked_at: now,
            listeners_said: None,
            next_number: 0,
            renew_at: now,
            notifier,
            alive_at,
            settings,
            dir,
            enrolled,
        };
        machine.renew_at = machine.renewal();
        Ok(machine)
    }

    async fn serve(&mut self) -> Result<()> {
        self.follower.handle_timeout(Instant::now());
        loop {
            self.pump().await?;
            let timeout = self.next_timeout();
            tokio::select! {
                heard = self.link.next() => self.heard(heard).await?,
                said = next_said(self.feed.as_mut()) => self.runtime_said(said).await?,
                Some(question) = self.questions.recv() => self.asked_by_operator(question).await?,
                () = until(timeout) => self.handle_timeouts().await?,
            }
        }
    }

    /// Lets others finish what they do through the element. Control gives it leases meanwhile.
    async fn drain(&mut self) {
        let (Some(feed), Some(domain)) = (&mut self.feed, &self.domain) else { return };
        let within = Duration::from_millis(domain.limits.drain_ms.into()) + DRAIN_ENDS_WITHIN;
        // One that is gone needs no word.
        if feed.tell(&ToElement::Drain).await.is_ok() {
            // It ends with the runtime, which is an error at any other time.
            drop(timeout(within, self.serve()).await);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let all = [
            self.follower.poll_timeout(),
            self.leases.due(),
            self.alive_at,
            self.serves_by,
            self.trace_ends,
            Some(self.renew_at),
            self.domain.as_ref().map(|_| self.listeners_at),
        ];
        all.into_iter().flatten().min()
    }

    async fn handle_timeouts(&mut self) -> Result<()> {
        let now = Instant::now();
        self.follower.handle_timeout(now);
        if self.leases.due().is_some_and(|at| now >= at) {
            self.leases.save(&self.dir);
        }
        if self.alive_at.is_some_and(|at| now >= at) {
            self.notifier.alive();
            self.alive_at = self.notifier.alive_every().map(|every| now + every);
        }
        if self.trace_ends.is_some_and(|at| now >= at) {
            self.end_trace().await?;
        }
        if self.serves_by.is_some_and(|at| now >= at) {
            bail!("the element does not begin to serve");
        }
        if self.domain.is_some() && now >= self.listeners_at {
            self.look_after_listeners().await?;
        }
        if now >= self.renew_at {
            self.renew_at = now + RENEW_RETRY;
            self.ask_for_certificate(Usage::Element, Vec::new())?;
        }
        Ok(())
    }
}

async fn next_said(feed: Option<&mut Feed>) -> Option<FromElement> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
