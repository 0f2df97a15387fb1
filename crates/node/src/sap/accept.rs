//! The listener: connections in, handshakes a bounded number at a time, sessions to the tasks of their neighbours.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::Trust;
use super::error::ConnectError;
use super::limits::{ACCEPT_RETRY, HANDSHAKES};
use super::live::Live;
use super::tls::{Io, Purpose, Stream};

/// Where authenticated sessions go, by SPIFFE id.
pub(super) type Doors = BTreeMap<String, mpsc::Sender<Stream>>;

/// The same, changed at one go.
pub(super) type SharedDoors = Arc<ArcSwap<Doors>>;

/// Accepts until it is dropped, and every handshake with it.
pub(super) async fn run(
    listener: TcpListener,
    trust: Arc<ArcSwap<Trust>>,
    doors: SharedDoors,
    live: Live,
) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "the control address accepts no connection");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (trust, doors, live) = (trust.load_full(), doors.load_full(), live.clone());
        handshakes.spawn(async move {
            let _delays_anyway = stream.set_nodelay(true);
            if let Err(error) = handshake(Box::new(stream), &trust, &doors, &live).await {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                debug!(%from, %error, cause, "refused");
            }
            drop(permit);
        });
    }
}

/// Authenticates the other end of a connection, and passes the session to the task of the neighbour that it is.
pub(super) async fn handshake(
    io: Box<dyn Io>,
    trust: &Trust,
    doors: &Doors,
    live: &Live,
) -> Result<(), ConnectError> {
    let (peer, purpose, stream) = trust.tls.accept(io).await?;
    if purpose == Purpose::Live {
        live.answer(&peer, stream);
        return Ok(());
    }
    let door = doors.get(&peer).ok_or(ConnectError::NotSap("is no neighbour"))?;
    if door.try_send(stream).is_err() {
        debug!(neighbour = peer, "opens more sessions than are taken");
    }
    Ok(())
}
