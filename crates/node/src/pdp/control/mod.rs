//! Control: distributes the versions of a domain, enrols its elements, and signs their leases and certificates.

mod accept;
mod certify;
mod desk;
mod hub;
mod looks;
mod trust;
mod versions;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use ringmail_model::PathVersion;
use ringmail_model::pdp::look::Look;
use ringmail_model::pdp::{Absent, Message, Nack, Proposing, PublisherConfig, SessionId, Standing};
use ringmail_trust::Authority;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use self::accept::{Arrived, accept};
use self::desk::ControlDesk;
use self::hub::Hub;
use self::looks::Looker;
pub(crate) use self::trust::identity as control_identity;
use self::trust::{Trust, identity};
use super::desk::Desk;
use super::limits::INPUTS;
use super::press::Press;
use super::session::Said;
use crate::random;

/// Where and how control works.
#[derive(Clone, Copy, Debug)]
pub struct ControlSettings {
    /// Where elements connect.
    pub listen: SocketAddr,
    /// What happens to a version while elements are away.
    pub absent: Absent,
    /// Where metrics and health are served besides the state directory.
    pub metrics: Option<SocketAddr>,
}

/// A version that came to count, or could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distributed {
    /// Which.
    pub version: PathVersion,
    /// The elements that have staged it.
    pub elements: Vec<String>,
    /// Elements that were not there.
    pub away: Vec<String>,
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
        /// Those who said yes or no, and those who are missing.
        elements: Vec<String>,
    },
    /// Another one took its place.
    #[error("another version took its place, or control ends")]
    Overtaken,
}

/// A running control. It ends when it is dropped.
#[derive(Debug)]
pub struct Control {
    line: Line,
    address: SocketAddr,
    desk: Desk,
    /// An operator wants it to end.
    stop: Arc<Notify>,
    tasks: JoinSet<()>,
}

/// A way to ask control something.
#[derive(Clone, Debug)]
struct Line(mpsc::Sender<Input>);

enum Input {
    /// An element has connected, and was authenticated.
    Session(Box<Arrived>),
    Said(SessionId, Said),
    /// What is to be sent in a session.
    Answer(SessionId, Message),
    Publish(String, Proposing, Outcome),
    Overview(oneshot::Sender<Overview>),
    /// What an element is asked about packets.
    Look(String, Look, Looker),
}

type Outcome = oneshot::Sender<Result<Distributed, ControlError>>;

/// How distribution stands.
#[derive(Debug)]
struct Overview {
    domain: String,
    committed: PathVersion,
    proposed: Option<PathVersion>,
    elements: Vec<Standing>,
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
        let line = Line(inputs.clone());
        let stop = Arc::new(Notify::new());
        let backend = Arc::new(ControlDesk::new(line.clone(), press.clone(), Arc::clone(&stop)));
        let desk = Desk::open(press.dir(), backend, settings.metrics).await?;
        let config = PublisherConfig { life: random::bytes()?, absent: settings.absent };
        let hub = Hub::new(
            config,
            committed.published()?,
            press.clone(),
            inputs.clone(),
            trust.clone(),
            identity,
            bundle,
        );
        let hub = if press.is_new(text)? { hub.gathering(text) } else { hub };
        let mut tasks = JoinSet::new();
        tasks.spawn(hub.run(queue));
        tasks.spawn(accept(listener, trust, press.clone(), inputs));
        Ok(Control { line, address, desk, stop, tasks })
    }

    /// Waits until an operator asks control to end.
    pub async fn asked_to_end(&self) {
        self.stop.notified().await;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are served over TCP.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.desk.metrics()
    }

    /// Distributes another file; returns once it counts, or does not.
    ///
    /// # Errors
    /// [`ControlError`]: then everything is as it was.
    pub fn publish(
        &self,
        text: String,
    ) -> impl Future<Output = Result<Distributed, ControlError>> + use<> {
        let line = self.line.clone();
        async move { line.publish(text, Proposing::InPlace).await }
    }

    /// Hangs up on everybody and ends.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Line {
    async fn publish(&self, text: String, how: Proposing) -> Result<Distributed, ControlError> {
        let (outcome, becomes) = oneshot::channel();
        let sent = self.0.send(Input::Publish(text, how, outcome)).await;
        sent.map_err(|_| ControlError::Overtaken)?;
        becomes.await.map_err(|_| ControlError::Overtaken)?
    }

    /// How distribution stands, unless control ends.
    async fn overview(&self) -> Option<Overview> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Input::Overview(answer)).await.ok()?;
        answered.await.ok()
    }
}

fn told(nacks: &[(String, Nack, String)], missing: &[String]) -> String {
    let said = nacks.iter().map(|(element, reason, detail)| match detail.is_empty() {
        true => format!("{element}: {reason}"),
        false => format!("{element}: {reason} ({detail})"),
    });
    let silent = missing.iter().map(|element| format!("{element}: no answer"));
    said.chain(silent).collect::<Vec<_>>().join("; ")
}
