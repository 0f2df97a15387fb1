//! The side of the admin socket that answers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ringmail_model::defence::{Defence, off};
use rustix::process::geteuid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::protocol::{AdminReply, AdminRequest, DomainStatus, ElementRekeyed};
use crate::change::ReloadReport;
use crate::control::lines::{LineReader, LineWriter};
use crate::control::{KeyExport, ListenerLists};
use crate::limits::{ADMIN_CONNECTIONS, ADMIN_IDLE};
use crate::see::prove::{Proofs, ProveWish};
use crate::see::trace::{Trace, TraceWish};

/// What the server asks when it is asked.
pub trait Backend: Send + Sync {
    /// The domain as of now. Elements that do not answer in time say so in their report.
    fn status(&self) -> BoxFuture<'_, DomainStatus>;

    /// The keys of all security associations; or why not.
    fn export_keys(&self) -> BoxFuture<'_, Result<Vec<KeyExport>, String>>;

    /// Has these elements, or all, agree on new keys; or why nobody can be asked.
    fn rekey(&self, elements: Vec<String>) -> BoxFuture<'_, Result<Vec<ElementRekeyed>, String>> {
        drop(elements);
        async { Err("no element runs here; ask where they do".to_owned()) }.boxed()
    }

    /// Has the gateway read its revocation lists now; or why it cannot be asked.
    fn read_lists(&self) -> BoxFuture<'_, Result<Vec<ListenerLists>, String>> {
        async { Err("no gateway runs here".to_owned()) }.boxed()
    }

    /// Follows packets along a path; or why not.
    fn trace(&self, wish: TraceWish) -> BoxFuture<'_, Result<Trace, String>> {
        drop(wish);
        async { Err("nothing is traced here".to_owned()) }.boxed()
    }

    /// What the ends of paths said last of the way that packets came; or why it is not known here.
    fn prove(&self, wish: ProveWish) -> BoxFuture<'_, Result<Proofs, String>> {
        drop(wish);
        async { Err("no path ends here".to_owned()) }.boxed()
    }

    /// A stream of what an element sees in plain on a path, as pcapng; or why there is none.
    fn tap<'a>(&'a self, tap: TapWish<'a>) -> BoxFuture<'a, Result<UnixStream, String>> {
        async move { Err(format!("{} is not tapped here", tap.element)) }.boxed()
    }

    /// Brings the domain to another file; or why not.
    fn reload(
        &self,
        text: String,
        folder: PathBuf,
        how: Reloading,
    ) -> BoxFuture<'_, Result<ReloadReport, String>>;

    /// Lets the domain end soon.
    fn stop(&self);
}

/// How a domain comes to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloading {
    /// While it runs.
    InPlace,
    /// While it runs; elements that cannot do that start again.
    MayRestart,
    /// Not at all: every element says whether it could, while it runs.
    DryRun,
}

/// Who wants to see decrypted traffic, and of what.
#[derive(Clone, Copy, Debug)]
pub struct TapWish<'a> {
    /// The path's name.
    pub path: &'a str,
    /// The element's name.
    pub element: &'a str,
    /// The user who asks.
    pub uid: u32,
    /// The process that asks, where the kernel knows it.
    pub pid: Option<i32>,
}

/// A bound admin socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Makes the socket. Its directory keeps others out. Needs a tokio runtime.
    ///
    /// # Errors
    /// The file is there, or the path is longer than a socket's may be (107 bytes).
    pub fn bind(path: &Path) -> io::Result<Server> {
        Ok(Server { listener: UnixListener::bind(path)?, path: path.to_owned() })
    }

    /// Answers until it is dropped.
    pub async fn serve(self, backend: Arc<dyn Backend>) {
        let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors: those in use go away, or their time runs out.
                    tracing::warn!(path = %self.path.display(), %error, "no admin connection");
                    tokio::time::sleep(ADMIN_IDLE / 10).await;
                    continue;
                }
            };
            let backend = Arc::clone(&backend);
            connections.spawn(async move {
                if let Err(error) = converse(stream, &*backend).await {
                    tracing::debug!(%error, "an admin connection ended");
                }
                drop(place);
            });
        }
    }
}

async fn converse(
    mut stream: UnixStream,
    backend: &dyn Backend,
) -> Result<(), crate::control::ChannelError> {
    let peer = stream.peer_cred()?;
    let (read, write) = stream.split();
    let mut writer = LineWriter::new(write);
    let ours = peer.uid() == geteuid().as_raw() || peer.uid() == 0;
    if !ours && !off(Defence::AdminUser) {
        tracing::warn!(uid = peer.uid(), pid = ?peer.pid(), "an admin request of another user");
        let reason = "only the user that runs the domain may ask".to_owned();
        return writer.send(&AdminReply::Refused { reason }).await;
    }
    let mut reader = LineReader::<_, AdminRequest>::new(read);
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    while let Some(request) = timeout(ADMIN_IDLE, reader.next()).await.map_err(late)?? {
        let reply = match request {
            AdminRequest::Status => AdminReply::Status(backend.status().await),
            AdminRequest::ExportKeys => match backend.export_keys().await {
                Ok(keys) => AdminReply::Keys(keys),
                Err(reason) => AdminReply::Refused { reason },
            },
            AdminRequest::ReadLists => match backend.read_lists().await {
                Ok(lists) => AdminReply::Lists(lists),
                Err(reason) => AdminReply::Refused { reason },
            },
            AdminRequest::Rekey { elements } => match backend.rekey(elements).await {
                Ok(elements) => AdminReply::Rekeyed(elements),
                Err(reason) => AdminReply::Refused { reason },
            },
            AdminRequest::Trace(wish) => match backend.trace(wish).await {
                Ok(trace) => AdminReply::Traced(trace),
                Err(reason) => AdminReply::Refused { reason },
            },
            AdminRequest::Prove(wish) => match backend.prove(wish).await {
                Ok(proofs) => AdminReply::Proofs(proofs),
                Err(reason) => AdminReply::Refused { reason },
            },
            AdminRequest::Tap { path, element } => {
                let (uid, pid) = (peer.uid(), peer.pid());
                let wish = TapWish { path: &path, element: &element, uid, pid };
                match backend.tap(wish).await {
                    Ok(copies) => {
                        writer.send(&AdminReply::Tapping).await?;
                        return pass_on(copies, reader, writer).await;
                    }
                    Err(reason) => AdminReply::Refused { reason },
                }
            }
            AdminRequest::Reload { text, folder, dry_run, restart } => {
                let how = match (dry_run, restart) {
                    (true, _) => Reloading::DryRun,
                    (false, true) => Reloading::MayRestart,
                    (false, false) => Reloading::InPlace,
                };
                match backend.reload(text, folder, how).await {
                    Ok(report) => AdminReply::Reloaded(report),
                    Err(reason) => AdminReply::Refused { reason },
                }
            }
            AdminRequest::Down => {
                backend.stop();
                AdminReply::Stopping
            }
        };
        timeout(ADMIN_IDLE, writer.send(&reply)).await.map_err(late)??;
    }
    Ok(())
}

/// Passes a tap's copies on until either side has enough.
async fn pass_on(
    mut copies: UnixStream,
    reader: LineReader<ReadHalf<'_>, AdminRequest>,
    writer: LineWriter<WriteHalf<'_>, AdminReply>,
) -> Result<(), crate::control::ChannelError> {
    let (mut asker, mut out) = (reader.into_stream(), writer.into_stream());
    let mut nothing = [0; 1];
    tokio::select! {
        done = tokio::io::copy(&mut copies, &mut out) => drop(done),
        // Who has seen enough says so by closing its end.
        _ = asker.read(&mut nothing) => {}
    }
    Ok(())
}
