//! `ringmail demo`: the paper's testbed (sections VI.D and VII), brought up, used and measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::assemble::DomainFile;
use crate::client::Client;
use crate::site::{FORBIDDEN, UPLOAD_PATH};
use crate::testbed::{self, Testbed};
use crate::topology::Netns;

/// The testbed as a domain file.
pub const CAMPUS: &str = include_str!("../../../examples/campus.yaml");

/// Page loads of each client; the median counts.
const PAGE_LOADS: usize = 10;

/// How long each download should about take.
const DOWNLOAD_TIME: Duration = Duration::from_secs(2);

/// The first download, by which the length of the others is chosen.
const PROBE_BYTES: u64 = 16 << 20;

/// How often it is looked whether packets that seem lost are only under way.
const SETTLE_LOOKS: usize = 20;

/// The time between two such looks.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);

/// What the demo found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// Milliseconds until the page of 9 files and 1.2 MB was there, the median.
    pub page_load_ms: Kinds,
    /// Megabits a second of a large download, HTTPS outside.
    pub throughput_mbps: Kinds,
    /// Whether the request that holds the forbidden string was stopped, and what the client saw.
    pub blocked: bool,
    /// Whether the client without a certificate was refused.
    pub refused: bool,
    /// Packets that went in at one end of a path and did not come out at the other, forbidden ones left out.
    pub packets_lost_inside: u64,
}

/// A figure through one forwarding function, and through forwarding and inspection.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Kinds {
    /// Through one forwarding function.
    pub forward: f64,
    /// Through one forwarding function and one that opens and searches every packet.
    pub intrusive: f64,
}

/// The testbed's domain, read from [`CAMPUS`].
///
/// # Errors
/// Never for the file that is built in.
pub fn campus() -> Result<DomainFile> {
    let loaded = ringmail_model::check::load(CAMPUS, "campus.yaml")?;
    Ok(DomainFile { domain: loaded.domain, text: CAMPUS.to_owned(), folder: ".".into() })
}

/// Uses a testbed that is up. `stage` hears what is being done.
///
/// # Errors
/// When something does not work that should.
pub async fn run(testbed: &Testbed, stage: &dyn Fn(&'static str)) -> Result<Report> {
    let clients = [Guest::new(testbed, "client1")?, Guest::new(testbed, "client2")?];
    stage("loading the page through one forwarding function and through inspection");
    let page_load_ms =
        Kinds { forward: clients[0].pages().await?, intrusive: clients[1].pages().await? };
    stage("downloading a large file through one forwarding function");
    let forward = clients[0].download().await?;
    stage("downloading a large file through forwarding and inspection");
    let intrusive = clients[1].download().await?;
    let lost = lost_inside(testbed).await?;
    stage("sending a forbidden request");
    let blocked = clients[1].is_blocked().await?;
    stage("knocking without a certificate");
    let stranger = Guest { client: testbed.stranger()?, netns: testbed.namespace("client1")? };
    let refused = stranger.is_refused().await?;
    Ok(Report {
        page_load_ms,
        throughput_mbps: Kinds { forward, intrusive },
        blocked,
        refused,
        packets_lost_inside: lost,
    })
}

/// A client in its namespace.
struct Guest {
    client: Client,
    netns: Arc<Netns>,
}

impl Guest {
    fn new(testbed: &Testbed, name: &str) -> Result<Guest> {
        Ok(Guest { client: testbed.client(name)?, netns: testbed.namespace(name)? })
    }

    /// The median time of a page load, in milliseconds.
    async fn pages(&self) -> Result<f64> {
        let client = self.client.clone();
        testbed::within(Arc::clone(&self.netns), || async move {
            let mut times = Vec::new();
            for _ in 0..PAGE_LOADS {
                times.push(client.load_page().await?.elapsed.as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            Ok(times[times.len() / 2])
        })
        .await
        .context("the page does not load")
    }

    /// Megabits a second.
    async fn download(&self) -> Result<f64> {
        let client = self.client.clone();
        testbed::within(Arc::clone(&self.netns), || async move {
            let probe = client.download(PROBE_BYTES).await?;
            let wanted =
                probe.bytes as f64 * DOWNLOAD_TIME.as_secs_f64() / probe.elapsed.as_secs_f64();
            Ok(client.download(wanted as u64).await?.mbps())
        })
        .await
        .context("the download fails")
    }

    /// Whether a request is stopped that holds the forbidden string, and one like it without is not.
    async fn is_blocked(&self) -> Result<bool> {
        let client = self.client.clone();
        testbed::within(Arc::clone(&self.netns), || async move {
            let allowed =
                client.status("POST", UPLOAD_PATH, Bytes::from("a harmless body")).await?;
            ensure!(allowed == StatusCode::OK, "a harmless request got {allowed}");
            let body = Bytes::from(format!("a body with {FORBIDDEN} in it"));
            let started = Instant::now();
            let stopped = client.status("POST", UPLOAD_PATH, body).await;
            tracing::debug!(?stopped, elapsed = ?started.elapsed(), "the forbidden request");
            Ok(stopped.map_or(true, |status| status.is_server_error()))
        })
        .await
    }

    /// Whether the handshake, or the first request after it, fails.
    async fn is_refused(&self) -> Result<bool> {
        let client = self.client.clone();
        testbed::within(Arc::clone(&self.netns), || async move {
            Ok(client.status("GET", "/", Bytes::new()).await.is_err())
        })
        .await
    }
}

/// Frames that an element handed to its link and no other took from its own, plus packets that elements dropped.
///
/// # Errors
/// When an element does not answer.
pub async fn lost_inside(testbed: &Testbed) -> Result<u64> {
    let mut lost = lost_so_far(testbed).await?;
    for _ in 0..SETTLE_LOOKS {
        // The last acknowledgements may be under way.
        if lost == 0 {
            break;
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
        lost = lost_so_far(testbed).await?;
    }
    Ok(lost)
}

async fn lost_so_far(testbed: &Testbed) -> Result<u64> {
    let elements = testbed.elements();
    let handle = testbed.handle();
    let (mut sent, mut received, mut dropped) = (0, 0, 0);
    for name in elements {
        let status = handle.status(&name).await.with_context(|| format!("element `{name}`"))?;
        let count = |name: &str| {
            status.counters.iter().find(|counter| counter.name == name).map_or(0, |c| c.value)
        };
        sent += count("link_out_packets");
        received += count("link_in_packets");
        dropped += status.drops.iter().map(|drop| drop.packets).sum::<u64>();
    }
    Ok(sent.saturating_sub(received) + dropped)
}
