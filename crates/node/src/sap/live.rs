//! Questions whether an element is alive, over TLS connections of their own (`docs/liveness.md`).
//!
//! They go to the control address like sessions, with the same identities and another ALPN, so that nobody else asks or
//! answers; who may ask, and who is asked, is said beside the neighbours.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future::BoxFuture;
use ringmail_dataplane::liveness::wire;
use ringmail_model::PathId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::accept::Doors;
use super::error::{ConnectError, SetupError};
use super::tls::{Io, Stream};
use super::{Agreements, Trust};

/// The ALPN protocol id (RFC 7301) of such connections.
pub(crate) const ALPN: &[u8] = b"ringmail-live/1";

/// How long a connection to who is asked may take: shorter than TCP waits with its second try.
const DIAL_WITHIN: Duration = Duration::from_millis(900);

/// A connection on which nothing is asked for so long is over.
const ASKED_WITHIN: Duration = Duration::from_secs(120);

/// Connections on which questions are answered at a time.
const ASKERS: usize = 64;

/// Looks whether the element works, and says along which paths it cannot send. A part that hangs lets it hang.
pub(crate) type Look = Box<dyn Fn() -> BoxFuture<'static, Vec<PathId>> + Send + Sync>;

/// What an element needs beside its sessions: whom it asks or is asked by, and how it answers.
#[derive(Clone)]
pub(super) struct Live {
    /// SPIFFE ids.
    pub(super) partners: Arc<ArcSwap<Vec<String>>>,
    look: Arc<ArcSwapOption<Look>>,
    places: Arc<Semaphore>,
}

impl Default for Live {
    fn default() -> Live {
        let (partners, look) = Default::default();
        Live { partners, look, places: Arc::new(Semaphore::new(ASKERS)) }
    }
}

impl Live {
    /// Everybody whose certificate is accepted: neighbours, and those that are only asked or ask.
    pub(super) fn with(&self, doors: &Doors) -> Vec<String> {
        let partners = self.partners.load();
        let all: BTreeSet<&String> = doors.keys().chain(partners.iter()).collect();
        all.into_iter().cloned().collect()
    }

    /// Answers one who may ask until the other end has no more questions.
    pub(super) fn answer(&self, peer: &String, stream: Stream) {
        if !self.partners.load().contains(peer) {
            return;
        }
        let Some(look) = self.look.load_full() else { return };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        tokio::spawn(async move {
            // Who is gone asks no more.
            let _gone = answer(stream, &look).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: Stream, look: &Look) -> std::io::Result<()> {
    let mut question = [0; wire::QUESTION_BYTES];
    loop {
        match timeout(ASKED_WITHIN, stream.read_exact(&mut question)).await {
            Ok(read) => read?,
            Err(_) => return Ok(()),
        };
        let closed = look().await;
        stream.write_all(&wire::answer(u32::from_be_bytes(question), &closed)).await?;
        stream.flush().await?;
    }
}

impl Agreements {
    /// How questions of others are answered.
    pub(crate) fn answer_by(&self, look: Look) {
        self.live.look.store(Some(Arc::new(look)));
    }

    /// Whom this element asks, or is asked by, by their SPIFFE ids.
    ///
    /// # Errors
    /// [`SetupError`]; then everything is as it was.
    pub(crate) fn set_partners(&self, partners: Vec<String>) -> Result<(), SetupError> {
        if **self.live.partners.load() == partners {
            return Ok(());
        }
        self.live.partners.store(Arc::new(partners));
        let trust = self.trust.load_full();
        self.set_trust(&trust.identity, &trust.bundle)
    }

    /// A connection to ask on.
    pub(crate) async fn dial_live(
        &self,
        id: &str,
        control: SocketAddr,
    ) -> Result<Stream, ConnectError> {
        let trust: Arc<Trust> = self.trust.load_full();
        let dialing = async {
            let stream = TcpStream::connect(control).await.map_err(ConnectError::Unreachable)?;
            stream.set_nodelay(true).map_err(ConnectError::Unreachable)?;
            let io: Box<dyn Io> = Box::new(stream);
            trust.tls.dial_live(id, io).await
        };
        timeout(DIAL_WITHIN, dialing).await.map_err(|_| ConnectError::TimedOut)?
    }
}
