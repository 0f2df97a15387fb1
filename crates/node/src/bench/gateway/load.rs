//! What the clients of this bench do: the same to both servers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::site::DOWNLOAD_PREFIX;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Large files.
    Bytes,
    /// A small file again and again.
    Requests,
    /// Connections that end after the handshake.
    Handshakes,
}

/// Connections at once that download.
const DOWNLOADS: usize = 4;

/// Bytes of a download.
const DOWNLOAD_BYTES: u64 = 64 << 20;

/// Connections at once that ask for a small file.
const ASKING: usize = 32;

/// Handshakes under way at once.
const SHAKING: usize = 8;

/// Bytes of the small file; small enough that the work is the request's.
const SMALL_BYTES: u64 = 128;

impl Load {
    pub(super) const ALL: [Load; 3] = [Load::Bytes, Load::Requests, Load::Handshakes];

    pub(super) fn name(self) -> &'static str {
        match self {
            Load::Bytes => "bytes",
            Load::Requests => "requests",
            Load::Handshakes => "handshakes",
        }
    }

    /// Loads for that long; gives how many bytes, requests or handshakes were done.
    ///
    /// # Errors
    /// When one of them fails.
    pub(super) async fn run(self, client: Client, each: Duration) -> Result<u64> {
        let until = Instant::now() + each;
        let mut tasks = JoinSet::new();
        let count = match self {
            Load::Bytes => DOWNLOADS,
            Load::Requests => ASKING,
            Load::Handshakes => SHAKING,
        };
        for _ in 0..count {
            let client = client.clone();
            tasks.spawn(async move {
                match self {
                    Load::Bytes => download(&client, until).await,
                    Load::Requests => ask(&client, until).await,
                    Load::Handshakes => shake(&client, until).await,
                }
            });
        }
        let mut done = 0;
        while let Some(part) = tasks.join_next().await {
            done += part.context("a client panicked")??;
        }
        Ok(done)
    }
}

/// Downloads; what is under way at the end is given up and counts as far as it came.
async fn download(client: &Client, until: Instant) -> Result<u64> {
    let mut sender = client.http1().await?;
    let mut received = 0;
    loop {
        let path = format!("{DOWNLOAD_PREFIX}{DOWNLOAD_BYTES}");
        let mut answer =
            sender.send_request(client.get_request(&path)?).await.context("no answer")?;
        ensure!(answer.status() == StatusCode::OK, "{path} got {}", answer.status());
        while let Some(frame) = answer.frame().await {
            received += frame?.data_ref().map_or(0, |data| data.len() as u64);
            if Instant::now() > until {
                return Ok(received);
            }
        }
    }
}

async fn ask(client: &Client, until: Instant) -> Result<u64> {
    let mut sender = client.http1().await?;
    let path = format!("{DOWNLOAD_PREFIX}{SMALL_BYTES}");
    let mut asked = 0;
    while Instant::now() < until {
        let answer = sender.send_request(client.get_request(&path)?).await.context("no answer")?;
        ensure!(answer.status() == StatusCode::OK, "{path} got {}", answer.status());
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(body.len() as u64 == SMALL_BYTES, "{} bytes instead of {SMALL_BYTES}", body.len());
        asked += 1;
    }
    Ok(asked)
}

/// Handshakes to the end: the server closes only after it has checked the client's certificate.
async fn shake(client: &Client, until: Instant) -> Result<u64> {
    let mut done = 0;
    while Instant::now() < until {
        let mut tls = client.handshake(b"http/1.1").await?;
        tls.shutdown().await?;
        let mut rest = Vec::new();
        tls.read_to_end(&mut rest).await.context("no close in good order")?;
        done += 1;
    }
    Ok(done)
}
