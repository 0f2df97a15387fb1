//! An element's connection to control: one at a time, dialed when the core says so.

use std::sync::Arc;

use anyhow::{Context, Result};
use ringmail_model::limits::PDP_MESSAGE_BYTES;
use ringmail_model::pdp::ALPN;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::limits::{DIAL_WITHIN, INPUTS};
use super::session::{self, Said, Writer};
use crate::sap::tls::{check_connection, nameless};

/// What comes of the connection.
#[derive(Debug)]
pub(super) enum Heard {
    /// It stands, and control is who it must be.
    Connected(Writer),
    /// It could not be had.
    Failed(String),
    /// Control says something, or is gone.
    Said(Said),
}

/// The connection, if there is one.
#[derive(Debug)]
pub(super) struct Link {
    control: String,
    /// Which dial is the one that counts.
    dial: u64,
    task: Option<JoinHandle<()>>,
    writer: Option<Writer>,
    heard: mpsc::Receiver<(u64, Heard)>,
    tell: mpsc::Sender<(u64, Heard)>,
}

impl Link {
    /// A link to control at this address, `HOST:PORT`.
    pub(super) fn new(control: String) -> Link {
        let (tell, heard) = mpsc::channel(INPUTS);
        Link { control, dial: 0, task: None, writer: None, heard, tell }
    }

    /// Dials; what comes of it is heard.
    pub(super) fn dial(&mut self, config: Arc<ClientConfig>) {
        self.hang_up();
        let (dial, tell, control) = (self.dial, self.tell.clone(), self.control.clone());
        self.task = Some(tokio::spawn(async move {
            let connected = timeout(DIAL_WITHIN, connect(&control, config)).await;
            let stream =
                match connected.unwrap_or_else(|_| Err(anyhow::anyhow!("it takes too long"))) {
                    Ok(stream) => stream,
                    Err(error) => {
                        drop(tell.send((dial, Heard::Failed(format!("{error:#}")))).await);
                        return;
                    }
                };
            let (writer, writes) = session::writer();
            if tell.send((dial, Heard::Connected(writer))).await.is_ok() {
                let wrap = move |said| (dial, Heard::Said(said));
                session::run(stream, PDP_MESSAGE_BYTES, writes, tell, wrap).await;
            }
        }));
    }

    /// What comes next of the connection of now. May be cancelled.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            match self.heard.recv().await {
                Some((dial, Heard::Connected(writer))) if dial == self.dial => {
                    self.writer = Some(writer.clone());
                    return Heard::Connected(writer);
                }
                Some((dial, heard)) if dial == self.dial => return heard,
                // Of a connection that was given up.
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Sends a message; false when there is no connection that takes it.
    pub(super) fn send(&self, message: Vec<u8>) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.write(message.into()))
    }

    /// Gives the connection up. What was sent still goes out.
    pub(super) fn hang_up(&mut self) {
        self.dial += 1;
        let stood = self.writer.take().is_some();
        if let Some(task) = self.task.take()
            && !stood
        {
            task.abort();
        }
    }
}

async fn connect(
    control: &str,
    config: Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream =
        TcpStream::connect(control).await.with_context(|| format!("control at {control}"))?;
    stream.set_nodelay(true)?;
    session::heed_death(&stream)?;
    let stream = TlsConnector::from(config).connect(nameless(), stream).await;
    let stream = stream.context("the handshake with control")?;
    check_connection(stream.get_ref().1, ALPN)?;
    Ok(stream)
}
