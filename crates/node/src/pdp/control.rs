//! Control: distributes the versions of a domain, enrols its elements, and signs their leases and certificates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use arc_swap::ArcSwap;
use ringmail_model::limits::PDP_REQUEST_BYTES;
use ringmail_model::pdp::{
    Absent, CloseReason, Message, Nack, Progress, Publisher, PublisherConfig, PublisherEvent,
    SessionId, Usage,
};
use ringmail_model::{Name, PathVersion};
use ringmail_trust::{Authority, Certificates, ElementKey, EmbeddedCa, Identity, TrustBundle};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, UnixTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::LazyConfigAcceptor;

use super::enrol;
use super::limits::{
    ACCEPT_RETRY, BUNDLE_EVERY, CERTIFICATES_AN_HOUR, GATHER_FOR, HANDSHAKE_WITHIN, HANDSHAKES,
    INPUTS, SESSIONS,
};
use super::press::Press;
use super::session::{self, Said, Writer};
use super::tls::{self, ENROL_ALPN};
use crate::random;
use crate::sap::identity::SvidVerifier;
use crate::sap::tls::{check_connection, peer_id};

/// How long the certificate of a listener holds.
const SERVER_LASTS: Duration = Duration::from_secs(90 * 86_400);

/// What counts is signed anew when it runs out within this time.
const REISSUED_BEFORE: Duration = Duration::from_secs(10 * 86_400);

/// Where and how control works.
#[derive(Clone, Copy, Debug)]
pub struct ControlSettings {
    /// Where elements connect.
    pub listen: SocketAddr,
    /// What happens to a version while elements are away.
    pub absent: Absent,
}

/// Why a version did not come to count. The one before goes on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// The file, or the authority.
    #[error("{0}")]
    Refused(String),
    /// Elements said no.
    #[error("version {version} is refused: {}", told(.nacks, .missing))]
    Rejected {
        /// Which.
        version: PathVersion,
        /// Who, and why.
        nacks: Vec<(String, Nack, String)>,
        /// Who did not answer.
        missing: Vec<String>,
    },
    /// Another one took its place.
    #[error("another version took its place, or control ends")]
    Overtaken,
}

/// A running control. It ends when it is dropped.
#[derive(Debug)]
pub struct Control {
    inputs: mpsc::Sender<Input>,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

enum Input {
    /// An element has connected, and was authenticated.
    Session(Box<Arrived>),
    Said(SessionId, Said),
    /// What is to be sent in a session.
    Answer(SessionId, Message),
    Publish(String, Outcome),
    Progress(oneshot::Sender<Vec<(String, Progress, PathVersion)>>),
}

struct Arrived {
    element: String,
    chain: Vec<CertificateDer<'static>>,
    stream: tokio_rustls::server::TlsStream<TcpStream>,
}

type Outcome = oneshot::Sender<Result<PathVersion, ControlError>>;

/// What handshakes are judged by, changed at one go.
struct Trust {
    sessions: Arc<ServerConfig>,
    enrolments: Arc<ServerConfig>,
    verifier: Arc<SvidVerifier>,
}

struct Hub {
    press: Arc<Press>,
    publisher: Publisher,
    sessions: BTreeMap<SessionId, Open>,
    next_session: u64,
    inputs: mpsc::Sender<Input>,
    trust: Arc<ArcSwap<Trust>>,
    identity: Identity,
    bundle: TrustBundle,
    /// Who waits for what becomes of the version that is proposed.
    outcome: Option<Outcome>,
    /// When each element asked for certificates within the hour.
    asked: BTreeMap<String, VecDeque<Instant>>,
    /// The file that it started with, if that does not count yet, and until when it waits for elements.
    gathering: Option<(Instant, String)>,
    tasks: JoinSet<()>,
}

struct Open {
    writer: Writer,
    chain: Vec<CertificateDer<'static>>,
}

impl Control {
    /// Starts control. A file that does not count yet is proposed at once, or counts at once where no version does.
    /// Needs a tokio runtime of several threads.
    ///
    /// # Errors
    /// The address cannot be bound, or the file or the authority refuses.
    pub async fn start(press: Press, text: &str, settings: ControlSettings) -> Result<Control> {
        let press = Arc::new(press);
        if press.committed().is_none() {
            let first = press.press(text)?;
            first.published()?;
            press.commit(first.set.version)?;
        }
        let committed = press.committed().context("no version counts")?;
        let bundle = press.authority.trust_bundle()?;
        let identity = identity(&press.authority)?;
        let trust = Arc::new(ArcSwap::from_pointee(Trust::new(&press, &identity, &bundle)?));
        let listener = TcpListener::bind(settings.listen).await;
        let listener = listener.with_context(|| format!("no control at {}", settings.listen))?;
        let address = listener.local_addr()?;
        let (inputs, queue) = mpsc::channel(INPUTS);
        let config = PublisherConfig { life: random::bytes()?, absent: settings.absent };
        let hub = Hub {
            publisher: Publisher::new(config, Some(committed.published()?)),
            press: press.clone(),
            sessions: BTreeMap::new(),
            next_session: 0,
            inputs: inputs.clone(),
            trust: trust.clone(),
            identity,
            bundle,
            outcome: None,
            asked: BTreeMap::new(),
            gathering: (!press.is_current(text))
                .then(|| (Instant::now() + GATHER_FOR, text.to_owned())),
            tasks: JoinSet::new(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(hub.run(queue));
        tasks.spawn(accept(listener, trust, press.clone(), inputs.clone()));
        Ok(Control { inputs, address, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Distributes another file; returns once it counts, or does not.
    ///
    /// # Errors
    /// [`ControlError`]: then everything is as it was.
    pub async fn publish(&self, text: String) -> Result<PathVersion, ControlError> {
        let (outcome, becomes) = oneshot::channel();
        let sent = self.inputs.send(Input::Publish(text, outcome)).await;
        sent.map_err(|_| ControlError::Overtaken)?;
        becomes.await.map_err(|_| ControlError::Overtaken)?
    }

    /// How far every element is, and the version that it runs.
    pub async fn progress(&self) -> Vec<(String, Progress, PathVersion)> {
        let (answer, answered) = oneshot::channel();
        match self.inputs.send(Input::Progress(answer)).await {
            Ok(()) => answered.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Hangs up on everybody and ends.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Trust {
    fn new(press: &Press, identity: &Identity, bundle: &TrustBundle) -> Result<Trust> {
        let live = press.live();
        let elements = live.iter().flat_map(|pressed| &pressed.set.elements);
        let ids: BTreeSet<String> = elements.map(|element| element.spiffe_id.clone()).collect();
        let (sessions, verifier) = tls::sessions(identity, bundle, ids)?;
        Ok(Trust { sessions, enrolments: tls::enrolments(identity, bundle)?, verifier })
    }
}

/// Accepts connections until it is dropped: sessions go to the hub, enrolments are answered here.
async fn accept(
    listener: TcpListener,
    trust: Arc<ArcSwap<Trust>>,
    press: Arc<Press>,
    inputs: mpsc::Sender<Input>,
) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection is accepted");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (trust, press, inputs) = (trust.load_full(), press.clone(), inputs.clone());
        handshakes.spawn(async move {
            if let Err(error) = receive(stream, &trust, &press, &inputs).await {
                tracing::info!(%from, error = format!("{error:#}"), "a connection is refused");
            }
            drop(permit);
        });
    }
}

async fn receive(
    stream: TcpStream,
    trust: &Trust,
    press: &Press,
    inputs: &mpsc::Sender<Input>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let hello = timeout(HANDSHAKE_WITHIN, hello).await??;
    let enrols = {
        let hello = hello.client_hello();
        hello.alpn().is_some_and(|mut offered| offered.any(|alpn| alpn == ENROL_ALPN))
    };
    if enrols {
        let stream = hello.into_stream(trust.enrolments.clone());
        let stream = timeout(HANDSHAKE_WITHIN, stream).await??;
        let known = |name: &str| {
            press.live().iter().any(|pressed| pressed.set.element_named(name).is_some())
        };
        return enrol::answer(stream, &press.authority, known).await;
    }
    let stream = hello.into_stream(trust.sessions.clone());
    let stream = timeout(HANDSHAKE_WITHIN, stream).await??;
    let tls = stream.get_ref().1;
    check_connection(tls, ringmail_model::pdp::ALPN)?;
    let id = peer_id(tls)?;
    let live = press.live();
    let mut elements = live.iter().flat_map(|pressed| &pressed.set.elements);
    let element = elements.find(|element| element.spiffe_id == id);
    let element = element.with_context(|| format!("{id} is no element"))?.name.clone();
    let chain = tls.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
    let arrived = Box::new(Arrived { element, chain, stream });
    inputs.send(Input::Session(arrived)).await.map_err(|_| ControlError::Overtaken)?;
    Ok(())
}

impl Hub {
    async fn run(mut self, mut queue: mpsc::Receiver<Input>) {
        let mut news = tokio::time::interval(BUNDLE_EVERY);
        loop {
            let timeout = self.publisher.poll_timeout();
            tokio::select! {
                input = queue.recv() => match input {
                    Some(input) => self.handle(input),
                    None => return,
                },
                () = until(timeout) => self.publisher.handle_timeout(Instant::now()),
                _ = news.tick() => self.look_for_news(),
                () = until(self.gathering.as_ref().map(|(until, _)| *until)) => {}
            }
            self.pump();
            self.gather();
            self.pump();
            while self.tasks.try_join_next().is_some() {}
        }
    }

    /// Offers the file that control started with once all elements are there, or have had their time to come.
    fn gather(&mut self) {
        let Some((until, _)) = &self.gathering else { return };
        let now = Instant::now();
        let all =
            self.publisher.progress().iter().all(|(_, progress, _)| *progress != Progress::Away);
        if (all || now >= *until)
            && let Some((_, text)) = self.gathering.take()
        {
            let (outcome, _nobody_waits) = oneshot::channel();
            self.publish(now, &text, outcome);
        }
    }

    fn handle(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Session(arrived) => self.arrived(now, *arrived),
            Input::Said(session, Said::Message(bytes)) => {
                self.publisher.handle_message(now, unix_ms(), session, &bytes);
            }
            Input::Said(session, Said::Gone) => {
                self.sessions.remove(&session);
                self.publisher.disconnected(now, session);
            }
            Input::Answer(session, message) => self.publisher.answer(now, session, &message),
            Input::Publish(text, outcome) => self.publish(now, &text, outcome),
            Input::Progress(answer) => drop(answer.send(self.publisher.progress())),
        }
    }

    fn arrived(&mut self, now: Instant, arrived: Arrived) {
        let Arrived { element, chain, stream } = arrived;
        if self.sessions.len() >= SESSIONS {
            tracing::warn!(element, "more sessions than are taken");
            return;
        }
        self.next_session += 1;
        let id = SessionId(self.next_session);
        let (writer, writes) = session::writer();
        let tell = self.inputs.clone();
        let wrap = move |said| Input::Said(id, said);
        self.tasks.spawn(session::run(stream, PDP_REQUEST_BYTES, writes, tell, wrap));
        self.sessions.insert(id, Open { writer, chain });
        self.publisher.connected(now, id, &element);
    }

    fn publish(&mut self, now: Instant, text: &str, outcome: Outcome) {
        self.gathering = None;
        if self.press.is_current(text) && self.publisher.proposed().is_none() {
            drop(outcome.send(Ok(self.publisher.version())));
            return;
        }
        let pressed = tokio::task::block_in_place(|| {
            let pressed = self.press.press(text)?;
            let published = pressed.published()?;
            Ok::<_, anyhow::Error>((pressed.set.version, published))
        });
        match pressed {
            Ok((version, published)) => {
                tracing::info!(%version, "a version is offered");
                self.renew_trust();
                // Whoever waited for the one before hears that it is overtaken, since its sender goes.
                self.outcome = None;
                self.publisher.propose(now, published);
                // The event of the one before that is dropped by it is not about this one.
                self.drop_rejections(version);
                self.outcome = Some(outcome);
            }
            Err(error) => {
                let refused = ControlError::Refused(format!("{error:#}"));
                drop(outcome.send(Err(refused)));
            }
        }
    }

    /// Takes out what the proposal of a version has done away with, so that only its own outcome is told.
    fn drop_rejections(&mut self, version: PathVersion) {
        let mut events = Vec::new();
        while let Some(event) = self.publisher.poll_event() {
            let old =
                matches!(&event, PublisherEvent::Rejected { version: old, .. } if *old != version);
            if !old {
                events.push(event);
            }
        }
        events.into_iter().for_each(|event| self.carry_out(event));
    }

    /// Moves what the core made.
    fn pump(&mut self) {
        loop {
            while let Some((session, message)) = self.publisher.poll_transmit() {
                let Some(open) = self.sessions.get(&session) else { continue };
                if !open.writer.write(message) {
                    // It does not read. Its task hears of it when the writer goes.
                    self.sessions.remove(&session);
                    self.publisher.disconnected(Instant::now(), session);
                }
            }
            match self.publisher.poll_event() {
                Some(event) => self.carry_out(event),
                None => return,
            }
        }
    }

    fn carry_out(&mut self, event: PublisherEvent) {
        let now = Instant::now();
        match event {
            PublisherEvent::Commit(version) => {
                match tokio::task::block_in_place(|| self.press.commit(version)) {
                    Ok(()) => {
                        tracing::info!(%version, "a version counts");
                        self.publisher.committed(now, version);
                        self.renew_trust();
                        if let Some(outcome) = self.outcome.take() {
                            drop(outcome.send(Ok(version)));
                        }
                    }
                    Err(error) => {
                        tracing::error!(%version, error = format!("{error:#}"), "a version cannot be kept");
                        self.publisher.withdraw(now);
                    }
                }
            }
            PublisherEvent::Rejected { version, nacks, missing } => {
                let error = ControlError::Rejected { version, nacks, missing };
                tracing::warn!(%error, "the version before goes on");
                self.press.abandon();
                self.renew_trust();
                if let Some(outcome) = self.outcome.take() {
                    drop(outcome.send(Err(error)));
                }
            }
            PublisherEvent::Activated { version, away } if away.is_empty() => {
                tracing::info!(%version, "every element runs the version");
            }
            PublisherEvent::Activated { version, away } => {
                let away = away.join(", ");
                tracing::info!(%version, away, "every element that is there runs the version");
            }
            PublisherEvent::Behind { element, version, nack: Some((reason, detail)) } => {
                tracing::error!(element, %version, %reason, detail, "an element does not take the version that counts");
            }
            PublisherEvent::Behind { element, version, nack: None } => {
                tracing::warn!(element, %version, "an element is slow to activate the version that counts");
            }
            PublisherEvent::Reissue { element, seen } => self.reissue(now, &element, seen),
            PublisherEvent::Joined { element, active } => {
                tracing::info!(element, %active, "an element has come");
                self.tell_bundle(&element);
            }
            PublisherEvent::Left { element } => tracing::info!(element, "an element has gone"),
            PublisherEvent::LeaseRequest { session, element, digest } => {
                match tokio::task::block_in_place(|| self.press.lease(&element, digest)) {
                    Ok(lease) => {
                        let signed = lease.to_bytes().to_vec();
                        self.publisher.answer(now, session, &Message::Lease { signed });
                    }
                    Err(error) => tracing::warn!(element, error = format!("{error:#}"), "no lease"),
                }
            }
            PublisherEvent::CertificateRequest { session, element, number, usage, request } => {
                self.certificate(now, session, element, number, usage, request);
            }
            PublisherEvent::HangUp { session, reason } => {
                tracing::debug!(?session, %reason, "a session ends");
                self.sessions.remove(&session);
            }
        }
    }

    fn reissue(&mut self, now: Instant, element: &str, seen: PathVersion) {
        let made = tokio::task::block_in_place(|| self.press.reissue(seen)?.published());
        match made {
            Ok(published) => {
                let version = published.version();
                tracing::info!(element, %seen, %version, "what counts is signed anew");
                self.publisher.reissue(now, published);
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(element, %seen, error, "an element has seen a higher version than counts");
            }
        }
    }

    /// Signs a certificate beside, since it may wait for another process that uses the authority.
    fn certificate(
        &mut self,
        now: Instant,
        session: SessionId,
        element: String,
        number: u32,
        usage: Usage,
        request: Vec<u8>,
    ) {
        let asked = self.asked.entry(element.clone()).or_default();
        while asked.front().is_some_and(|at| now.duration_since(*at) > Duration::from_secs(3600)) {
            asked.pop_front();
        }
        asked.push_back(now);
        let too_many = asked.len() > CERTIFICATES_AN_HOUR;
        let (press, inputs) = (self.press.clone(), self.inputs.clone());
        self.tasks.spawn(async move {
            let sign = move || {
                ensure!(!too_many, "more than {CERTIFICATES_AN_HOUR} certificates in an hour");
                certify(&press, &element, &usage, &request)
            };
            let signed = match tokio::task::spawn_blocking(sign).await {
                Ok(signed) => signed,
                Err(_) => return,
            };
            let message = match signed {
                Ok(Certificates { chain, not_after_unix_s }) => {
                    let chain = chain.iter().map(|der| der.to_vec()).collect();
                    Message::Certificate { number, not_after_unix_s, chain }
                }
                Err(error) => Message::Refused { number, detail: format!("{error:#}") },
            };
            drop(inputs.send(Input::Answer(session, message)).await);
        });
    }

    /// Looks for revoked certificates, for what runs out, and for a certificate of its own.
    fn look_for_news(&mut self) {
        let found = tokio::task::block_in_place(|| self.press.authority.trust_bundle());
        match found {
            Ok(bundle) if bundle != self.bundle => {
                self.bundle = bundle;
                self.renew_trust();
                self.publisher.tell_all(Instant::now(), &told_bundle(&self.bundle));
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the authority does not say whom to believe"),
        }
        let half = ringmail_trust::limits::ELEMENT_LASTS / 2;
        if self.identity.certificates().not_after_unix_s < unix_ms() / 1000 + half.as_secs() {
            match tokio::task::block_in_place(|| identity(&self.press.authority)) {
                Ok(identity) => {
                    self.identity = identity;
                    self.renew_trust();
                }
                Err(error) => tracing::error!(%error, "control's certificate is not renewed"),
            }
        }
        if self.press.runs_out_within(REISSUED_BEFORE) && self.publisher.proposed().is_none() {
            self.reissue(Instant::now(), "", self.publisher.version());
        }
    }

    /// Judges handshakes, and the sessions that there are, by what is known now.
    fn renew_trust(&mut self) {
        let trust = match Trust::new(&self.press, &self.identity, &self.bundle) {
            Ok(trust) => Arc::new(trust),
            Err(error) => return tracing::error!(%error, "control's certificate cannot be used"),
        };
        let verifier = trust.verifier.clone();
        self.trust.store(trust);
        let now = UnixTime::now();
        let refused = |open: &Open| {
            let Some((svid, rest)) = open.chain.split_first() else { return true };
            verifier.verify(svid, rest, now, webpki::KeyUsage::client_auth()).is_err()
        };
        let gone: Vec<SessionId> =
            self.sessions.iter().filter(|(_, open)| refused(open)).map(|(id, _)| *id).collect();
        for session in gone {
            self.publisher.hang_up(Instant::now(), session, CloseReason::Revoked);
        }
    }

    fn tell_bundle(&mut self, element: &str) {
        self.publisher.tell(Instant::now(), element, &told_bundle(&self.bundle));
    }
}

fn told_bundle(bundle: &TrustBundle) -> Message {
    Message::Bundle {
        roots: bundle.roots.iter().map(|der| der.to_vec()).collect(),
        crls: bundle.crls.iter().map(|der| der.to_vec()).collect(),
        path_key: bundle.path_key,
    }
}

fn certify(press: &Press, element: &str, usage: &Usage, request: &[u8]) -> Result<Certificates> {
    let request = CertificateSigningRequestDer::from(request);
    let (listener, index) = match usage {
        Usage::Element => {
            let name: Name = element.parse()?;
            return Ok(press.authority.sign_element(&name, &request)?);
        }
        Usage::Listener { listener, index } => (listener, usize::from(*index)),
    };
    let found = press.listener(element, listener);
    let found = found.with_context(|| format!("`{element}` has no listener `{listener}`"))?;
    let wanted = found.certificates.get(index).filter(|wanted| wanted.files.is_none());
    let wanted = wanted.context("the authority has no such certificate to give")?;
    let names: BTreeSet<String> = wanted.server_names.iter().map(ToString::to_string).collect();
    let names: Result<Vec<_>, String> = names.iter().map(|name| name.parse()).collect();
    let names = names.map_err(anyhow::Error::msg)?;
    let name: Name = format!("{listener}-{index}").parse()?;
    Ok(press.authority.sign_server(&name, &names, SERVER_LASTS, &request)?)
}

/// A new key and certificate for control itself.
fn identity(authority: &EmbeddedCa) -> Result<Identity> {
    let key = ElementKey::generate()?;
    let request = key.signing_request(authority.trust_domain(), &"control".parse()?)?;
    let certificates = authority.sign_control(&request)?;
    Ok(key.into_identity(certificates))
}

fn told(nacks: &[(String, Nack, String)], missing: &[String]) -> String {
    let said = nacks.iter().map(|(element, reason, detail)| match detail.is_empty() {
        true => format!("{element}: {reason}"),
        false => format!("{element}: {reason} ({detail})"),
    });
    let silent = missing.iter().map(|element| format!("{element}: no answer"));
    said.chain(silent).collect::<Vec<_>>().join("; ")
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
