//! One listener of the gateway: the thread that serves what it takes, and what becomes of it when the domain changes.
//!
//! A listener that changes is served anew beside the one that runs. Where both have one address they share the socket, so
//! that nobody who waits there is lost; the one before takes no more, and what it took goes on.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use anyhow::Result;
use ringmail_gateway::{Certificates, Chain, Gateway, Limits, Reserved};
use ringmail_model::domain::Listener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::care::Lists;

/// A listener that takes connections.
pub(super) struct Open {
    pub(super) described: Listener,
    limits: Limits,
    /// What it takes connections from; another may share it.
    pub(super) socket: TcpListener,
    /// The way to its certificates.
    pub(super) shown: Certificates,
    pub(super) running: Running,
}

/// The thread that serves what a listener took.
pub(super) struct Running {
    end: watch::Sender<End>,
    thread: JoinHandle<()>,
}

/// How far a listener is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// It takes connections.
    Never,
    /// It takes none, and those that there are go on for as long as they last.
    Retire,
    /// It takes none; requests under way end, then connections, and what does not within the time to drain is cut.
    Stop,
}

/// What another version says about a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// There was none of the name.
    New,
    /// The same.
    Nothing,
    /// It shows others.
    Certificates,
    /// It is served anew, and the one before ends so.
    Replaced(End),
}

/// A listener that is to take connections.
pub(super) struct Coming<C> {
    pub(super) described: Listener,
    pub(super) limits: Limits,
    pub(super) place: Place,
    pub(super) gateway: Gateway<C>,
    pub(super) crl_files: Vec<PathBuf>,
    pub(super) anchors_file: Option<PathBuf>,
    /// What becomes of the one before.
    pub(super) replaces: Option<End>,
}

/// Where a listener takes connections.
pub(super) enum Place {
    /// Nobody did before.
    Reserved(Reserved),
    /// Another does.
    Shared(TcpListener),
}

impl Open {
    /// What differs from how it runs.
    pub(super) fn difference(&self, next: &Listener, limits: &Limits) -> Difference {
        let before = &self.described;
        let same = Listener { certificates: before.certificates.clone(), ..next.clone() };
        let limited =
            Listener { proxy_protocol_from: before.proxy_protocol_from.clone(), ..same.clone() };
        if same == *before && *limits == self.limits {
            match next == before {
                true => Difference::Nothing,
                false => Difference::Certificates,
            }
        } else if limited == *before {
            // What clients agreed to when they came still holds.
            Difference::Replaced(End::Retire)
        } else {
            Difference::Replaced(End::Stop)
        }
    }
}

impl<C: Chain + Clone> Coming<C> {
    /// Lets clients in and serves them; what is to be looked after for as long as one is there comes back, too.
    pub(super) fn serve(self, reopen: Option<Arc<AtomicBool>>) -> Result<(Open, Lists)> {
        let Coming { described, limits, place, gateway, crl_files, anchors_file, .. } = self;
        let socket = match place {
            Place::Reserved(reserved) => reserved.listen()?,
            Place::Shared(socket) => socket,
        };
        let kept = socket.try_clone()?;
        let shown = gateway.certificates();
        let over = Arc::<AtomicBool>::default();
        let lists = Lists::new(
            described.name.to_string(),
            crl_files,
            anchors_file,
            gateway.revocation(),
            Arc::clone(&over),
        );
        let (end, ends) = watch::channel(End::Never);
        let reached = |wanted: End| {
            let mut ends = ends.clone();
            async move {
                let _gone = ends.wait_for(|end| *end >= wanted).await;
            }
        };
        let (retired, stopped) = (reached(End::Retire), reached(End::Stop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            let ended = runtime.block_on(async {
                // It ends with the runtime.
                tokio::spawn(heed_hangup(reopen));
                gateway.run_until_retired(socket, retired, stopped).await
            });
            match ended {
                Ok(drained) if drained.cut == 0 => {}
                Ok(drained) => tracing::warn!(cut = drained.cut, "connections cut"),
                Err(error) => tracing::error!(%error, "a listener stopped"),
            }
            over.store(true, Relaxed);
        };
        let name = format!("proxy-{}", described.name);
        let thread = std::thread::Builder::new().name(name).spawn(serve)?;
        let running = Running { end, thread };
        Ok((Open { described, limits, socket: kept, shown, running }, lists))
    }
}

impl Running {
    /// Says how far it is to go on; never further than was said before.
    pub(super) fn end(&self, end: End) {
        self.end.send_modify(|before| *before = end.max(*before));
    }

    /// Whether its last connection has ended.
    pub(super) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until it has.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a listener's thread panicked");
        }
    }
}

/// SIGHUP is for who moved the access log away, as logrotate does; it does not end the process.
async fn heed_hangup(reopen: Option<Arc<AtomicBool>>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        if let Some(reopen) = &reopen {
            reopen.store(true, Relaxed);
        }
    }
}
