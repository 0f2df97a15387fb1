//! The side of the admin socket that asks.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::protocol::{AdminReply, AdminRequest, DomainStatus, ElementRekeyed};
use super::server::Reloading;
use crate::change::ReloadReport;
use crate::control::lines::{LineReader, LineWriter};
use crate::control::{ChannelError, KeyExport, ListenerLists};
use crate::limits::{ADMIN_ANSWER_WITHIN, RELOAD_WITHIN, TRACE_WITHIN};
use crate::see::prove::{Proofs, ProveWish};
use crate::see::trace::{Trace, TraceWish};

/// A connection to a running domain.
#[derive(Debug)]
pub struct Client {
    reader: LineReader<OwnedReadHalf, AdminReply>,
    writer: LineWriter<OwnedWriteHalf, AdminRequest>,
}

/// A running domain did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It is just starting or ending, or hangs.
    #[error("{path} cannot be connected to")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// It went away, or is of another version.
    #[error("the domain cannot be understood")]
    Channel(#[from] ChannelError),
    /// It went away.
    #[error("the domain ended before it answered")]
    Ended,
    /// It hangs.
    #[error("the domain does not answer within {} s", within.as_secs_f64())]
    Late {
        /// What it had.
        within: Duration,
    },
    /// It says no.
    #[error("the domain refuses: {reason}")]
    Refused {
        /// In its words.
        reason: String,
    },
    /// The domain's fault.
    #[error("the domain answered another question")]
    Mismatch,
}

impl Client {
    /// Connects to the socket of a domain.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(path: &Path) -> Result<Client, AdminError> {
        let failed = |source| AdminError::Connect { path: path.to_owned(), source };
        let (read, write) = UnixStream::connect(path).await.map_err(failed)?.into_split();
        Ok(Client { reader: LineReader::new(read), writer: LineWriter::new(write) })
    }

    /// The domain as of now.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn status(&mut self) -> Result<DomainStatus, AdminError> {
        self.status_within(ADMIN_ANSWER_WITHIN).await
    }

    /// The domain as of now, if it answers in time.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn status_within(&mut self, within: Duration) -> Result<DomainStatus, AdminError> {
        match self.ask_within(AdminRequest::Status, within).await? {
            AdminReply::Status(status) => Ok(status),
            _ => Err(AdminError::Mismatch),
        }
    }

    /// The keys of all security associations. Whoever has them reads the traffic.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn danger_export_keys(&mut self) -> Result<Vec<KeyExport>, AdminError> {
        match self.ask(AdminRequest::ExportKeys).await? {
            AdminReply::Keys(keys) => Ok(keys),
            _ => Err(AdminError::Mismatch),
        }
    }

    /// Has these elements, or all of them, agree on new keys, and waits until they are in use.
    ///
    /// # Errors
    /// It does not answer, or refuses. Neighbours that are late are in the answer.
    pub async fn rekey(
        &mut self,
        elements: Vec<String>,
    ) -> Result<Vec<ElementRekeyed>, AdminError> {
        match self.ask(AdminRequest::Rekey { elements }).await? {
            AdminReply::Rekeyed(elements) => Ok(elements),
            _ => Err(AdminError::Mismatch),
        }
    }

    /// Has the gateway read its revocation lists now, and says what is in force.
    ///
    /// # Errors
    /// It does not answer, or refuses. Lists that are refused are in the answer.
    pub async fn read_lists(&mut self) -> Result<Vec<ListenerLists>, AdminError> {
        match self.ask(AdminRequest::ReadLists).await? {
            AdminReply::Lists(lists) => Ok(lists),
            _ => Err(AdminError::Mismatch),
        }
    }

    /// What becomes of packets along a path.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn trace(&mut self, wish: TraceWish) -> Result<Trace, AdminError> {
        match self.ask_within(AdminRequest::Trace(wish), TRACE_WITHIN).await? {
            AdminReply::Traced(trace) => Ok(trace),
            _ => Err(AdminError::Mismatch),
        }
    }

    /// What the ends of paths said last of the way that packets came.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn prove(&mut self, wish: ProveWish) -> Result<Proofs, AdminError> {
        match self.ask(AdminRequest::Prove(wish)).await? {
            AdminReply::Proofs(proofs) => Ok(proofs),
            _ => Err(AdminError::Mismatch),
        }
    }

    /// Copies of what an element sees in plain on a path, as pcapng, for as long as they are read.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn danger_tap(
        mut self,
        path: &str,
        element: &str,
    ) -> Result<impl AsyncRead + Unpin, AdminError> {
        let (path, element) = (path.to_owned(), element.to_owned());
        match self.ask(AdminRequest::Tap { path, element }).await? {
            AdminReply::Tapping => {
                let (begun, rest) = self.reader.into_parts();
                // The other half says that somebody still reads.
                let held = self.writer.into_stream();
                Ok(Tapped { begun, rest, _held: held })
            }
            _ => Err(AdminError::Mismatch),
        }
    }

    /// Brings the domain to another file, or tries whether that would do. `folder` is where the file's relative paths begin.
    ///
    /// # Errors
    /// It does not answer, or refuses: the file cannot be used. The no of an element is in the report.
    pub async fn reload(
        &mut self,
        text: String,
        folder: PathBuf,
        how: Reloading,
    ) -> Result<ReloadReport, AdminError> {
        let (dry_run, restart) = (how == Reloading::DryRun, how == Reloading::MayRestart);
        let request = AdminRequest::Reload { text, folder, dry_run, restart };
        match self.ask_within(request, RELOAD_WITHIN).await? {
            AdminReply::Reloaded(report) => Ok(report),
            _ => Err(AdminError::Mismatch),
        }
    }

    /// Lets the domain end. It has not ended yet when this returns.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn down(&mut self) -> Result<(), AdminError> {
        match self.ask(AdminRequest::Down).await {
            // It may be gone before its answer is on the way.
            Ok(AdminReply::Stopping) | Err(AdminError::Ended) => Ok(()),
            Ok(_) => Err(AdminError::Mismatch),
            Err(error) => Err(error),
        }
    }

    async fn ask(&mut self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        self.ask_within(request, ADMIN_ANSWER_WITHIN).await
    }

    async fn ask_within(
        &mut self,
        request: AdminRequest,
        within: Duration,
    ) -> Result<AdminReply, AdminError> {
        let asked = async {
            // A server that refuses may have closed its end before it read; its reason is there to be read.
            let sent = self.writer.send(&request).await;
            match self.reader.next().await {
                Ok(Some(reply)) => Ok(reply),
                Ok(None) => sent.map_err(AdminError::from).and(Err(AdminError::Ended)),
                Err(error) => Err(error.into()),
            }
        };
        match timeout(within, asked).await.map_err(|_| AdminError::Late { within })?? {
            AdminReply::Refused { reason } => Err(AdminError::Refused { reason }),
            reply => Ok(reply),
        }
    }
}

/// The bytes of a tap.
struct Tapped {
    /// What came with the answer.
    begun: BytesMut,
    rest: OwnedReadHalf,
    _held: OwnedWriteHalf,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begun.is_empty() {
            return Pin::new(&mut self.rest).poll_read(context, into);
        }
        let len = self.begun.len().min(into.remaining());
        into.put_slice(&self.begun.split_to(len));
        Poll::Ready(Ok(()))
    }
}
