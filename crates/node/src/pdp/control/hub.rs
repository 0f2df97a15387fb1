//! Control's one task that owns the protocol: sessions and questions in, messages and versions out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ringmail_model::limits::PDP_REQUEST_BYTES;
use ringmail_model::pdp::{
    Message, Published, Publisher, PublisherConfig, PublisherEvent, SessionId,
};
use ringmail_trust::{Authority, Identity, TrustBundle};
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::super::limits::{BUNDLE_EVERY, GATHER_FOR, SESSIONS};
use super::super::press::Press;
use super::super::session::{self, Said, Writer};
use super::accept::Arrived;
use super::looks::Looker;
use super::trust::Trust;
use super::{ControlError, Input, Outcome, Overview};

/// What counts is signed anew when it runs out within this time.
pub(super) const REISSUED_BEFORE: Duration = Duration::from_secs(10 * 86_400);

pub(super) struct Hub {
    pub(super) press: Arc<Press>,
    pub(super) publisher: Publisher,
    pub(super) sessions: BTreeMap<SessionId, Open>,
    next_session: u64,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) trust: Arc<ArcSwap<Trust>>,
    pub(super) identity: Identity,
    pub(super) bundle: TrustBundle,
    /// Who waits for what becomes of the version that is proposed.
    pub(super) outcome: Option<Outcome>,
    /// When each element asked for certificates within the hour.
    pub(super) asked: BTreeMap<String, VecDeque<Instant>>,
    /// The file that it started with, if that does not count yet, and until when it waits for elements.
    pub(super) gathering: Option<(Instant, String)>,
    /// Who waits for what elements say of packets.
    pub(super) lookers: BTreeMap<u32, Looker>,
    pub(super) tasks: JoinSet<()>,
}

pub(super) struct Open {
    writer: Writer,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Hub {
    pub(super) fn new(
        config: PublisherConfig,
        committed: Published,
        press: Arc<Press>,
        inputs: mpsc::Sender<Input>,
        trust: Arc<ArcSwap<Trust>>,
        identity: Identity,
        bundle: TrustBundle,
    ) -> Hub {
        Hub {
            publisher: Publisher::new(config, Some(committed)),
            press,
            sessions: BTreeMap::new(),
            next_session: 0,
            inputs,
            trust,
            identity,
            bundle,
            outcome: None,
            asked: BTreeMap::new(),
            gathering: None,
            lookers: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// This file is to be offered once the elements are there.
    pub(super) fn gathering(self, text: &str) -> Hub {
        Hub { gathering: Some((Instant::now() + GATHER_FOR, text.to_owned())), ..self }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Input>) {
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
            Input::Publish(text, how, outcome) => self.publish(now, &text, how, outcome),
            // Who asked may be gone.
            Input::Overview(answer) => drop(answer.send(self.overview())),
            Input::Look(element, look, looker) => self.look(now, &element, look, looker),
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

    fn overview(&self) -> Overview {
        Overview {
            domain: self.press.authority.trust_domain().to_string(),
            committed: self.publisher.version(),
            proposed: self.publisher.proposed(),
            elements: self.publisher.standings(),
        }
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

    pub(super) fn carry_out(&mut self, event: PublisherEvent) {
        let now = Instant::now();
        match event {
            PublisherEvent::Commit(version) => {
                match tokio::task::block_in_place(|| self.press.commit(version)) {
                    Ok(()) => {
                        tracing::info!(%version, "a version counts");
                        self.publisher.committed(now, version);
                        self.renew_trust();
                        if let Some(outcome) = self.outcome.take() {
                            // Who asked may be gone.
                            drop(outcome.send(Ok(self.distributed(version))));
                        }
                    }
                    Err(error) => {
                        tracing::error!(%version, error = format!("{error:#}"), "a version cannot be kept");
                        self.publisher.withdraw(now);
                    }
                }
            }
            PublisherEvent::Rejected { version, nacks, missing, staged } => {
                let refused = nacks.iter().map(|(element, ..)| element);
                let answered: BTreeSet<_> = refused.chain(&missing).chain(&staged).collect();
                let elements = answered.into_iter().cloned().collect();
                let error = ControlError::Rejected { version, nacks, missing, elements };
                tracing::warn!(%error, "the version before goes on");
                self.press.abandon();
                self.renew_trust();
                if let Some(outcome) = self.outcome.take() {
                    drop(outcome.send(Err(error)));
                }
            }
            PublisherEvent::Tried { version, missing } => {
                tracing::info!(%version, "every element that is there could run the version");
                let mut distributed = self.distributed(version);
                distributed.elements.retain(|name| !missing.contains(name));
                self.press.abandon();
                self.renew_trust();
                if let Some(outcome) = self.outcome.take() {
                    drop(outcome.send(Ok(distributed)));
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
            PublisherEvent::Seen { number, seen } => self.seen(number, seen),
            PublisherEvent::HangUp { session, reason } => {
                tracing::debug!(?session, %reason, "a session ends");
                self.sessions.remove(&session);
            }
        }
    }
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
