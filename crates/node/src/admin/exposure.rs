//! What lays traffic open, done and counted: keys that are exported, and taps. Each stands in every log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::server::TapWish;
use crate::control::{Observe, Observed};
use crate::limits::TAP_CONNECTED_WITHIN;

/// Counts and carries out what lays traffic open.
#[derive(Debug)]
pub(crate) struct Exposure {
    /// Where sockets are made for taps, and how many there were.
    dir: PathBuf,
    taps: AtomicU64,
    keys_exported: AtomicU64,
    tapped: AtomicU64,
    taps_refused: AtomicU64,
}

impl Exposure {
    /// Nothing was laid open yet; taps have their sockets in this directory.
    pub(crate) fn new(dir: PathBuf) -> Exposure {
        let (taps, keys_exported, tapped, taps_refused) = Default::default();
        Exposure { dir, taps, keys_exported, tapped, taps_refused }
    }

    /// Each event by name, for a status.
    pub(crate) fn audit(&self) -> BTreeMap<String, u64> {
        let events = [
            ("keys_exported", &self.keys_exported),
            ("tap", &self.tapped),
            ("tap_refused", &self.taps_refused),
        ];
        let count = |(event, count): (&str, &AtomicU64)| (event.to_owned(), count.load(Relaxed));
        events.into_iter().map(count).collect()
    }

    /// Keys leave the process.
    pub(crate) fn exported(&self, associations: usize) {
        self.keys_exported.fetch_add(1, Relaxed);
        tracing::warn!(associations, "traffic keys were exported");
    }

    /// A stream of what an element sees, which `ask` asks.
    pub(crate) async fn tap(
        &self,
        wish: TapWish<'_>,
        ask: impl AsyncFnOnce(Observe) -> Result<Observed, String>,
    ) -> Result<UnixStream, String> {
        let TapWish { path, element, uid, pid } = wish;
        let number = self.taps.fetch_add(1, Relaxed);
        let socket = self.dir.join(format!("tap-{number}.sock"));
        let listener = UnixListener::bind(&socket).map_err(|error| error.to_string())?;
        let connected = async {
            ask(Observe::Tap { path: path.to_owned(), socket: socket.clone() }).await?;
            let accepted = timeout(TAP_CONNECTED_WITHIN, listener.accept()).await;
            let accepted = accepted.map_err(|_| format!("{element} does not connect"))?;
            Ok(accepted.map_err(|error| error.to_string())?.0)
        };
        let connected = connected.await;
        drop(std::fs::remove_file(&socket));
        // Who, what and when stands in every log.
        match &connected {
            Ok(_) => {
                self.tapped.fetch_add(1, Relaxed);
                tracing::warn!(path, element, uid, pid, "decrypted traffic is tapped");
            }
            Err(reason) => {
                self.taps_refused.fetch_add(1, Relaxed);
                tracing::warn!(path, element, uid, pid, reason, "a tap was refused");
            }
        }
        connected
    }
}
