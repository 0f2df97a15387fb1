//! What a client does in a bench: page loads and downloads over HTTPS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::client::Client;
use crate::testbed;
use crate::topology::Netns;

/// The first download, by which the length of the others is chosen.
const PROBE_BYTES: u64 = 32 << 20;

/// Page loads besides the counted ones, for caches and connections.
const WARM_UPS: usize = 2;

/// Milliseconds of each page load.
pub(super) async fn pages(client: Client, netns: Arc<Netns>, runs: usize) -> Result<Vec<f64>> {
    testbed::within(netns, move || async move {
        let mut times = Vec::new();
        for _ in 0..runs + WARM_UPS {
            times.push(client.load_page().await?.elapsed.as_secs_f64() * 1e3);
        }
        Ok(times.split_off(WARM_UPS))
    })
    .await
}

/// Megabits a second of each download, which takes about as long as wanted.
pub(super) async fn downloads(
    client: Client,
    netns: Arc<Netns>,
    runs: usize,
    each: Duration,
) -> Result<Vec<f64>> {
    testbed::within(netns, move || async move {
        let probe = client.download(PROBE_BYTES).await?;
        let bytes = probe.bytes as f64 * each.as_secs_f64() / probe.elapsed.as_secs_f64();
        let mut rates = Vec::new();
        for _ in 0..runs {
            rates.push(client.download(bytes as u64).await?.mbps());
        }
        Ok(rates)
    })
    .await
}
