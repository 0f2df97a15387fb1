//! A gateway without a data plane, for the baseline of a bench: its proxy connects to services as the system routes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use ringmail_gateway::{Chain, ChainError, ChainRequest, ChainStream};
use ringmail_model::PathId;
use tokio::net::TcpStream;

use super::proxy::{self, Proxy};
use super::told::learn;
use crate::control::{ControlChannel, FromElement, ToElement};

/// Runs the gateway's proxy alone until its parent says shut down or is gone.
///
/// # Errors
/// Whatever keeps it from serving.
pub async fn run_direct(name: &str, control: ControlChannel) -> Result<()> {
    let (mut receiver, mut sender) = control.split();
    let Some(told) = learn(name, &mut receiver, &mut sender).await? else { return Ok(()) };
    let direct =
        Direct { services: Arc::new(proxy::services(&told.version.domain, &told.version.set)) };
    let (domain, set) = (&told.version.domain, &told.version.set);
    let proxy = Proxy::start(domain, set, &direct, told.listeners, told.legs)?;
    sender.send(&FromElement::Ready).await?;
    loop {
        match receiver.recv().await? {
            None | Some(ToElement::Shutdown { .. }) => break,
            Some(
                ToElement::Status { request }
                | ToElement::ExportKeys { request }
                | ToElement::Pin { request, .. }
                | ToElement::Stage { request, .. }
                | ToElement::Activate { request, .. }
                | ToElement::Abandon { request, .. },
            ) => {
                let reason = "there is no chain here".to_owned();
                sender.send(&FromElement::Refused { request, reason }).await?;
            }
            Some(_) => {}
        }
    }
    tokio::task::spawn_blocking(|| proxy.stop()).await?;
    Ok(())
}

/// Connects without a chain.
#[derive(Clone)]
struct Direct {
    services: Arc<BTreeMap<(PathId, String), Vec<SocketAddr>>>,
}

impl Chain for Direct {
    async fn open(&self, request: ChainRequest<'_>) -> Result<ChainStream, ChainError> {
        let (path, service) = (request.path, request.service.to_owned());
        let addresses = self.services.get(&(path, service.clone()));
        let Some(addresses) = addresses else { return Err(ChainError::Unknown { path, service }) };
        let connect = |source| ChainError::Connect { service: service.clone(), source };
        let stream = TcpStream::connect(&addresses[..]).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        Ok(ChainStream::new(stream, ()))
    }
}
