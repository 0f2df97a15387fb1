//! Datagrams through a chain: the highest rate that hardly any is lost at, found by a bounded search.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::stream::{Outcome, Stream};
use super::{baseline, domain};
use crate::control::PinnedFlow;
use crate::element::inner;
use crate::testbed::Testbed;

/// The share of datagrams that may be lost.
const MAX_LOSS: f64 = 0.001;

/// Halvings of a search.
const STEPS: usize = 7;

/// How much more than what arrived of a flood is tried first.
const ABOVE_FLOOD: f64 = 1.25;

/// More than any chain carries, in Mb/s.
const FLOOD_MBPS: f64 = 100_000.0;

/// The source port of streams: none that the proxy gives out.
const SOURCE_PORT: u16 = 9_001;

/// The protocol number of UDP.
const UDP: u8 = 17;

/// A stream through the chain, its flow pinned to the path of the domain.
///
/// # Errors
/// When the gateway refuses the flow.
pub(super) async fn through_chain(testbed: &Testbed, packet_bytes: u16) -> Result<Stream> {
    let source = *inner::gateway_addresses(testbed.domain()).first().context("no inner side")?;
    let stream = stream(testbed, SocketAddr::new(source, SOURCE_PORT), packet_bytes)?;
    let flow = PinnedFlow {
        path: domain::PATH.to_owned(),
        source: stream.source,
        destination: stream.destination,
        protocol: UDP,
    };
    testbed.handle().pin(domain::GATEWAY, flow).await?;
    Ok(stream)
}

/// A stream over the cable of the baseline.
///
/// # Errors
/// When the domain lacks one of the ends.
pub(super) fn over_cable(testbed: &Testbed, packet_bytes: u16) -> Result<Stream> {
    let networks = &testbed.domain().egress.networks;
    let source = networks.first().and_then(|network| network.host(1)).context("no router")?;
    stream(testbed, SocketAddr::new(source, SOURCE_PORT), packet_bytes)
}

fn stream(testbed: &Testbed, source: SocketAddr, packet_bytes: u16) -> Result<Stream> {
    let service = testbed.domain().services.first().context("no service")?;
    Ok(Stream {
        gateway: testbed.namespace(domain::GATEWAY)?,
        service: testbed.namespace(service.name.as_str())?,
        source,
        destination: *service.addresses.first().context("a service has no address")?,
        // Behind the egress no packet is longer, whatever the links inside carry.
        packet_bytes: packet_bytes.min(baseline::MTU_BYTES).into(),
    })
}

/// The highest rate that was found with at most [`MAX_LOSS`], in Mb/s of payload.
///
/// # Errors
/// When there is none, however low.
pub(super) async fn highest_mbps(stream: &Stream, each: Duration) -> Result<f64> {
    let flood = stream.run(FLOOD_MBPS, each).await?;
    let (mut low, mut high) = (0.0, flood.delivered_mbps * ABOVE_FLOOD);
    for _ in 0..STEPS {
        let rate = f64::midpoint(low, high);
        let outcome = stream.run(rate, each).await?;
        match passes(&outcome) {
            // What was sent, where the sender did not reach the rate.
            true => low = outcome.offered_mbps.min(rate),
            false => high = rate,
        }
        tracing::debug!(rate, ?outcome, "a step of the search");
    }
    (low > 0.0).then_some(low).context("datagrams are lost at every rate")
}

/// Whether at most [`MAX_LOSS`] was lost.
pub(super) fn passes(outcome: &Outcome) -> bool {
    outcome.delivered > 0 && outcome.loss() <= MAX_LOSS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_thousand_may_be_lost() {
        let outcome = |sent, delivered| Outcome { sent, delivered, ..Outcome::default() };
        assert!(passes(&outcome(10_000, 9_990)));
        assert!(!passes(&outcome(10_000, 9_989)));
        assert!(!passes(&outcome(0, 0)), "a stream that carried nothing proves nothing");
    }
}
