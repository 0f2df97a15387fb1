//! Key agreement with the neighbours, by SAP over TLS on the control address (`docs/sap.md`).
//!
//! The core is [`ringmail_dataplane::sap`]; here are TLS, TCP and the clock.
//!
//! ```text
//!  listener ── handshake ──┐
//!                          ├─► task of a neighbour: core, streams ──► notices ──► element ──► workers
//!  dial ────── handshake ──┘                ▲─────────── commands ◄── Agreements ◄──┘
//! ```

mod accept;
mod error;
pub(crate) mod identity;
pub mod limits;
mod live;
mod neighbour;
mod session;
pub(crate) mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ringmail_dataplane::sa::SpiAllocator;
use ringmail_dataplane::sap::{
    AllocateSpi, BootId, Config, Counters, Event, PathKey, Sap, SegmentView, Settled, SignedLease,
    VerifyLease,
};
use ringmail_model::{ElementId, Epoch, SaSpi};
use ringmail_trust::{Identity, TrustBundle};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use neighbour::{Command, Parts, Shared};

pub use error::{ConnectError, SetupError};
pub(crate) use live::Look;
pub use neighbour::{Dial, Dialing};
pub use tls::Io;
pub(crate) use tls::Stream as LiveStream;

/// What an element agrees on, and with whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This element.
    pub element: ElementId,
    /// The elements at the other ends of its segments.
    pub neighbours: Vec<Neighbour>,
    /// The age of a session at which a new epoch begins.
    pub epoch_lifetime: Duration,
}

/// The element at the other end of some segments.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its number.
    pub element: ElementId,
    /// Who it has to be, `spiffe://DOMAIN/element/NAME`.
    pub spiffe_id: String,
    /// Where it is dialed.
    pub control: SocketAddr,
    /// The segments between it and this element, either direction.
    pub segments: Vec<SegmentView>,
}

/// What the agreement with a neighbour asks of the element.
#[derive(Debug)]
pub struct Notice {
    /// The neighbour.
    pub neighbour: ElementId,
    /// What to do, or what has happened. [`Event::Dial`] never comes; sessions are ended already.
    pub event: Event,
}

/// How the agreement with a neighbour stands.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// The neighbour.
    pub neighbour: ElementId,
    /// The epoch of the session in use; `None` without one.
    pub epoch: Option<Epoch>,
    /// Since when that session has been in use.
    pub epoch_since: Option<std::time::Instant>,
    /// What has happened since the start.
    pub counters: Counters,
}

/// What handshakes and leases are judged by, changed at one go.
struct Trust {
    tls: tls::Tls,
    path_key: PathKey,
    /// What it was made of, for when neighbours come.
    identity: Identity,
    bundle: TrustBundle,
}

/// The agreements of one element. Its tasks end when it is dropped.
#[derive(Debug)]
pub struct Driver {
    agreements: Agreements,
    notices: mpsc::Receiver<Notice>,
    tasks: JoinSet<()>,
    life: Life,
    shared: Shared,
    /// The way to neighbours that are none any more: their associations run out in their own time.
    gone: Vec<(Instant, mpsc::Sender<Command>)>,
}

/// What is the same towards all neighbours.
#[derive(Clone, Copy, Debug)]
struct Life {
    element: ElementId,
    boot: BootId,
    epoch_lifetime: Duration,
}

/// The way to tell agreements something, from anywhere.
#[derive(Clone)]
pub struct Agreements {
    commands: Arc<ArcSwap<Commands>>,
    doors: accept::SharedDoors,
    trust: Arc<ArcSwap<Trust>>,
    spis: SharedSpis,
    live: live::Live,
}

/// The way to each neighbour's task, with who the neighbour is.
type Commands = BTreeMap<ElementId, (String, mpsc::Sender<Command>)>;

impl Driver {
    /// Starts a task for each neighbour and one for the listener, inside a tokio runtime. Every start is a new life: nothing
    /// of an earlier one is known or can be.
    ///
    /// # Errors
    /// [`SetupError`] when identity or trust bundle will not do.
    pub fn start(
        settings: Settings,
        identity: &Identity,
        bundle: &TrustBundle,
        listener: TcpListener,
        dial: Arc<dyn Dial>,
    ) -> Result<Driver, SetupError> {
        let Settings { element, neighbours, epoch_lifetime } = settings;
        let trust = Arc::new(ArcSwap::from_pointee(Trust::new(identity, bundle, &[])?));
        let (notify, notices) = mpsc::channel(limits::NOTICE_QUEUE);
        let agreements = Agreements {
            commands: Arc::default(),
            doors: Arc::default(),
            trust: trust.clone(),
            spis: SharedSpis::default(),
            live: live::Live::default(),
        };
        let mut tasks = JoinSet::new();
        let (doors, live) = (agreements.doors.clone(), agreements.live.clone());
        tasks.spawn(accept::run(listener, trust.clone(), doors, live));
        let shared = Shared { trust, dial, notices: notify };
        let life = Life { element, boot: BootId(random()?), epoch_lifetime };
        let mut driver = Driver { agreements, notices, tasks, life, shared, gone: Vec::new() };
        driver.admit(neighbours)?;
        Ok(driver)
    }

    /// Takes the neighbours and segments that a new path set names. Segments that stay keep their associations; those of
    /// others run out within a grace time.
    ///
    /// # Errors
    /// [`SetupError`] when two neighbours have one name or number; then everything is as it was.
    pub async fn set_neighbours(&mut self, neighbours: Vec<Neighbour>) -> Result<(), SetupError> {
        let now = Instant::now();
        self.gone.retain(|(since, _)| now < *since + limits::GONE_NEIGHBOUR_KEPT);
        let known = self.agreements.commands.load_full();
        let (stay, come): (Vec<_>, Vec<_>) = neighbours.into_iter().partition(|neighbour| {
            known.get(&neighbour.element).is_some_and(|(id, _)| *id == neighbour.spiffe_id)
        });
        let leave = known
            .iter()
            .filter(|(element, _)| !stay.iter().any(|neighbour| neighbour.element == **element));
        let leave: Vec<ElementId> = leave.map(|(element, _)| *element).collect();
        for element in leave {
            self.agreements.set_segments(element, Vec::new()).await;
            // One without segments ends its sessions by itself; its number may be another's from now on.
            if come.iter().any(|neighbour| neighbour.element == element) {
                self.dismiss(now, element);
            }
        }
        self.admit(come)?;
        for neighbour in stay {
            self.agreements.set_segments(neighbour.element, neighbour.segments).await;
        }
        Ok(())
    }

    /// Epochs last so long from now on, those that run too.
    pub async fn set_epoch_lifetime(&mut self, lifetime: Duration) {
        self.life.epoch_lifetime = lifetime;
        for neighbour in self.agreements.neighbours() {
            self.agreements.tell(neighbour, Command::EpochLifetime(lifetime)).await;
        }
    }

    fn dismiss(&mut self, now: Instant, element: ElementId) {
        let mut commands = Commands::clone(&self.agreements.commands.load());
        if let Some((spiffe_id, command)) = commands.remove(&element) {
            let mut doors = accept::Doors::clone(&self.agreements.doors.load());
            doors.remove(&spiffe_id);
            self.agreements.doors.store(Arc::new(doors));
            self.gone.push((now, command));
        }
        self.agreements.commands.store(Arc::new(commands));
    }

    /// Begins to agree with neighbours that are new.
    fn admit(&mut self, neighbours: Vec<Neighbour>) -> Result<(), SetupError> {
        if neighbours.is_empty() {
            return Ok(());
        }
        let Life { element: own, boot, epoch_lifetime } = self.life;
        let mut commands = Commands::clone(&self.agreements.commands.load());
        let mut doors = accept::Doors::clone(&self.agreements.doors.load());
        let mut parts = Vec::new();
        for neighbour in neighbours {
            let Neighbour { element, spiffe_id, control, segments } = neighbour;
            let mut config = Config::new(
                own,
                element,
                boot,
                Box::new(LatestPathKey(self.shared.trust.clone())),
                Box::new(self.agreements.spis.clone()),
            );
            config.segments = segments;
            config.epoch_lifetime = epoch_lifetime;
            config.jitter_seed = u64::from_ne_bytes(random()?);
            let (command, commanded) = mpsc::channel(limits::COMMAND_QUEUE);
            let (door, accepted) = mpsc::channel(limits::ACCEPTED_QUEUE);
            let twice = commands.insert(element, (spiffe_id.clone(), command)).is_some()
                || doors.insert(spiffe_id.clone(), door).is_some();
            if twice {
                return Err(SetupError::NeighbourTwice(spiffe_id));
            }
            parts.push(Parts {
                element,
                spiffe_id,
                control,
                sap: Sap::new(Instant::now().into_std(), config),
                shared: self.shared.clone(),
                commands: commanded,
                accepted,
            });
        }
        let ids = self.agreements.live.with(&doors);
        let trust = self.shared.trust.load_full();
        let trust = Trust::new(&trust.identity, &trust.bundle, &ids)?;
        self.shared.trust.store(Arc::new(trust));
        self.agreements.doors.store(Arc::new(doors));
        self.agreements.commands.store(Arc::new(commands));
        for parts in parts {
            self.tasks.spawn(neighbour::run(parts));
        }
        Ok(())
    }

    /// The way to tell agreements something.
    pub fn agreements(&self) -> Agreements {
        self.agreements.clone()
    }

    /// What an agreement asks for next. Whoever takes notices has to keep taking them: meanwhile no neighbour is read.
    pub async fn next_notice(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }

    /// Ends all tasks. Neighbours notice that the connections are gone; keys live on there until their leases end.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Agreements {
    /// All workers have this inbound association, which [`Event::InstallInbound`] brought.
    pub async fn installed(&self, neighbour: ElementId, spi: SaSpi) {
        self.tell(neighbour, Command::Installed(spi)).await;
    }

    /// An inbound association could not be installed.
    pub async fn install_failed(&self, neighbour: ElementId, spi: SaSpi) {
        self.tell(neighbour, Command::InstallFailed(spi)).await;
    }

    /// An inbound association is gone from all workers, as [`Event::RemoveInbound`] asked; its SPI may be given out again.
    pub fn removed(&self, spi: SaSpi) {
        self.spis.lock(|spis| spis.release(spi));
    }

    /// An outbound association is not used any more, as [`Event::StopSending`] asked; the last sequence number used, or 0.
    pub async fn stopped(&self, neighbour: ElementId, spi: SaSpi, last_sequence: u64) {
        self.tell(neighbour, Command::Stopped(spi, last_sequence)).await;
    }

    /// A lease of this element came, as [`Event::RenewLease`] asked. All neighbours on its path get it.
    pub async fn set_lease(&self, lease: &SignedLease) {
        for neighbour in self.neighbours() {
            self.tell(neighbour, Command::Lease(Box::new(*lease))).await;
        }
    }

    /// A new path set names these segments between this element and a neighbour.
    pub async fn set_segments(&self, neighbour: ElementId, segments: Vec<SegmentView>) {
        self.tell(neighbour, Command::Segments(segments)).await;
    }

    /// A new epoch begins: before an association runs out of sequence numbers, or because the operator asks.
    pub async fn begin_epoch(&self, neighbour: ElementId) {
        self.tell(neighbour, Command::BeginEpoch(None)).await;
    }

    /// The same with all neighbours.
    pub async fn begin_epochs(&self) {
        for neighbour in self.neighbours() {
            self.begin_epoch(neighbour).await;
        }
    }

    /// The same, and who wants to hear when the new epochs are in use everywhere: of a neighbour that is none any more
    /// nothing comes.
    pub async fn rekey(&self) -> Vec<(ElementId, oneshot::Receiver<Settled>)> {
        let mut waiting = Vec::new();
        for neighbour in self.neighbours() {
            let (tell, settled) = oneshot::channel();
            self.tell(neighbour, Command::BeginEpoch(Some(tell))).await;
            waiting.push((neighbour, settled));
        }
        waiting
    }

    /// A renewed identity, or news of whom to trust. Counts for every handshake from now on.
    ///
    /// # Errors
    /// [`SetupError`]; then everything is as it was.
    pub fn set_trust(&self, identity: &Identity, bundle: &TrustBundle) -> Result<(), SetupError> {
        let ids = self.live.with(&self.doors.load());
        self.trust.store(Arc::new(Trust::new(identity, bundle, &ids)?));
        Ok(())
    }

    /// A connection that somebody opened by another way than the listener.
    ///
    /// # Errors
    /// [`ConnectError`] when it is no neighbour, or something fails in the handshake.
    pub async fn accept(&self, io: Box<dyn Io>) -> Result<(), ConnectError> {
        accept::handshake(io, &self.trust.load_full(), &self.doors.load_full(), &self.live).await
    }

    /// How all agreements stand.
    pub async fn status(&self) -> Vec<Status> {
        let mut all = Vec::new();
        for neighbour in self.neighbours() {
            let (answer, answered) = oneshot::channel();
            self.tell(neighbour, Command::Status(answer)).await;
            all.extend(answered.await);
        }
        all
    }

    /// An agreement that is gone is told nothing: the driver was stopped.
    async fn tell(&self, neighbour: ElementId, command: Command) {
        let commands = self.commands.load().get(&neighbour).map(|(_, commands)| commands.clone());
        if let Some(commands) = commands {
            let _stopped = commands.send(command).await;
        }
    }

    fn neighbours(&self) -> Vec<ElementId> {
        self.commands.load().keys().copied().collect()
    }
}

impl fmt::Debug for Agreements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreements").field("neighbours", &self.neighbours()).finish_non_exhaustive()
    }
}

/// Dials by TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial(&self, _: ElementId, control: SocketAddr) -> Dialing {
        Box::pin(async move {
            let stream = TcpStream::connect(control).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}

impl Trust {
    fn new(
        identity: &Identity,
        bundle: &TrustBundle,
        neighbours: &[String],
    ) -> Result<Trust, SetupError> {
        let tls = tls::Tls::new(identity, bundle, neighbours)?;
        Ok(Trust {
            tls,
            path_key: PathKey(bundle.path_key),
            identity: identity.clone(),
            bundle: bundle.clone(),
        })
    }
}

/// The path-signing key of the trust bundle in force.
struct LatestPathKey(Arc<ArcSwap<Trust>>);

impl VerifyLease for LatestPathKey {
    fn verify_lease(&self, lease: &SignedLease) -> bool {
        self.0.load().path_key.verify_lease(lease)
    }
}

/// The SPIs of the element, given out to the agreements with all neighbours.
#[derive(Clone, Default)]
struct SharedSpis(Arc<Mutex<SpiAllocator>>);

impl SharedSpis {
    fn lock<T>(&self, with: impl FnOnce(&mut SpiAllocator) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AllocateSpi for SharedSpis {
    fn allocate(&mut self) -> Option<SaSpi> {
        let random = u32::from_ne_bytes(random().ok()?);
        self.lock(|spis| spis.allocate(random)).ok()
    }

    fn release(&mut self, spi: SaSpi) {
        self.lock(|spis| spis.release(spi));
    }
}

fn random<const N: usize>() -> Result<[u8; N], SetupError> {
    crate::random::bytes().map_err(|_| SetupError::NoRandom)
}
