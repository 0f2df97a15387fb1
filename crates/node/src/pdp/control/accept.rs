//! Connections that come in: sessions go to the hub, enrolments are answered here.

use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;

use super::super::enrol;
use super::super::limits::{ACCEPT_RETRY, HANDSHAKE_WITHIN, HANDSHAKES};
use super::super::press::Press;
use super::super::session;
use super::super::tls::ENROL_ALPN;
use super::trust::Trust;
use super::{ControlError, Input};
use crate::sap::tls::{check_connection, peer_id};

/// An element that has connected, and was authenticated.
pub(super) struct Arrived {
    pub(super) element: String,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) stream: tokio_rustls::server::TlsStream<TcpStream>,
}

/// Accepts connections until it is dropped: sessions go to the hub, enrolments are answered here.
pub(super) async fn accept(
    listener: TcpListener,
    trust: Arc<ArcSwap<Trust>>,
    press: Arc<Press>,
    inputs: mpsc::Sender<Input>,
) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection is accepted");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (trust, press, inputs) = (trust.load_full(), press.clone(), inputs.clone());
        handshakes.spawn(async move {
            if let Err(error) = receive(stream, &trust, &press, &inputs).await {
                tracing::info!(%from, error = format!("{error:#}"), "a connection is refused");
            }
            drop(permit);
        });
    }
}

async fn receive(
    stream: TcpStream,
    trust: &Trust,
    press: &Press,
    inputs: &mpsc::Sender<Input>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    session::heed_death(&stream)?;
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let hello = timeout(HANDSHAKE_WITHIN, hello).await??;
    let enrols = {
        let hello = hello.client_hello();
        hello.alpn().is_some_and(|mut offered| offered.any(|alpn| alpn == ENROL_ALPN))
    };
    if enrols {
        let stream = hello.into_stream(trust.enrolments.clone());
        let stream = timeout(HANDSHAKE_WITHIN, stream).await??;
        let known = |name: &str| {
            press.live().iter().any(|pressed| pressed.set.element_named(name).is_some())
        };
        return enrol::answer(stream, &press.authority, known).await;
    }
    let stream = hello.into_stream(trust.sessions.clone());
    let stream = timeout(HANDSHAKE_WITHIN, stream).await??;
    let tls = stream.get_ref().1;
    check_connection(tls, ringmail_model::pdp::ALPN)?;
    let id = peer_id(tls)?;
    let element = press.element(&id).with_context(|| format!("{id} is no element"))?;
    let chain = tls.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
    let arrived = Box::new(Arrived { element, chain, stream });
    inputs.send(Input::Session(arrived)).await.map_err(|_| ControlError::Overtaken)?;
    Ok(())
}
