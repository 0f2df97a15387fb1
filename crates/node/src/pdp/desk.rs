//! The sockets by which an operator looks into control or into a lone element, as with `up`: admin and metrics, in the
//! state directory, which lets nobody else in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::admin::{self, Backend};
use crate::see;

/// Open sockets; they go when it is dropped.
#[derive(Debug)]
pub(super) struct Desk {
    files: Vec<PathBuf>,
    metrics: Option<SocketAddr>,
    _tasks: JoinSet<()>,
}

impl Desk {
    /// Opens the sockets in a state directory that is locked, and serves metrics at a TCP address, too, if there is one.
    ///
    /// # Errors
    /// A socket cannot be made; a path of more than 107 bytes is one reason.
    pub(super) async fn open(
        dir: &Path,
        backend: Arc<dyn Backend>,
        metrics: Option<SocketAddr>,
    ) -> Result<Desk> {
        let mut desk = Desk { files: Vec::new(), metrics: None, _tasks: JoinSet::new() };
        let mut file = |name: &str| {
            let path = dir.join(name);
            // Of a life before, which did not end in order: the directory's lock is ours.
            drop(std::fs::remove_file(&path));
            desk.files.push(path.clone());
            path
        };
        let (questions, seen) = (file(admin::SOCKET_FILE), file(see::SOCKET_FILE));
        let failed = |path: &Path| format!("no socket at {}", path.display());
        let server = admin::Server::bind(&questions).with_context(|| failed(&questions))?;
        desk._tasks.spawn(server.serve(backend.clone()));
        let server = see::Server::bind_unix(&seen).with_context(|| failed(&seen))?;
        desk._tasks.spawn(server.serve(backend.clone()));
        if let Some(address) = metrics {
            let server = see::Server::bind_tcp(address).await;
            let server = server.with_context(|| format!("no metrics at {address}"))?;
            desk.metrics = server.address();
            desk._tasks.spawn(server.serve(backend));
        }
        Ok(desk)
    }

    /// Where metrics are served over TCP.
    pub(super) fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for file in &self.files {
            drop(std::fs::remove_file(file));
        }
    }
}
