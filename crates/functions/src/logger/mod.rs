//! The function `logger`: records packets, or their beginnings, for somebody else to write (pcapng, in `ringmail-node`).
//!
//! Everything passes, at once and unchanged. What finds no room on its way to the writer is counted as `not_logged`, and
//! traffic goes on. An intrusive logger takes plaintext out of the chain, which the domain file has to say by a danger
//! name; another sees outer headers with SPI and sequence number.

mod ring;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringmail_dataplane::function::FunctionCounter;
use ringmail_dataplane::{Function, FunctionBatch};
use ringmail_model::Cidr;
use ringmail_packet::flow::FlowKey;

pub use self::ring::{Chunk, Drain, Fates, FunctionGone, Record};
use self::ring::{Ring, ring};
use crate::limits;
use crate::settings::{BuildError, in_range};

/// Settings of the function `logger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggerSettings {
    /// Bytes that are kept of a packet, from its IP header on.
    pub snap_len_bytes: usize,
    /// Only flows that one of these means; none given: all.
    pub only: Vec<Selector>,
}

/// Flows to record. A condition that is empty always holds; the others hold for either end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// One end's address.
    pub addresses: Vec<Cidr>,
    /// One end's port, first and last of each range.
    pub ports: Vec<(u16, u16)>,
    /// Transport protocols.
    pub protocols: Vec<u8>,
}

/// The function `logger`.
#[derive(Debug)]
pub struct Logger {
    settings: LoggerSettings,
    /// None where nobody writes.
    ring: Option<Ring>,
    fates: Arc<Fates>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    logged_packets: u64,
    logged_bytes: u64,
    not_logged: u64,
    other_packets: u64,
}

impl Logger {
    /// A logger, and where its records come out. Their times count from `now`.
    ///
    /// # Errors
    /// [`BuildError`], always a fault of the settings.
    pub fn new(settings: &LoggerSettings, now: Instant) -> Result<(Logger, Drain), BuildError> {
        settings.check()?;
        let (ring, drain) = ring(now);
        let (settings, fates) = (settings.clone(), Arc::clone(drain.fates()));
        Ok((Logger { settings, ring: Some(ring), fates, counts: Counts::default() }, drain))
    }

    /// A logger that nobody takes records from: it counts them as not recorded.
    ///
    /// # Errors
    /// As [`Logger::new`].
    pub fn idle(settings: &LoggerSettings) -> Result<Logger, BuildError> {
        settings.check()?;
        let (settings, ring) = (settings.clone(), None);
        Ok(Logger { settings, ring, fates: Arc::default(), counts: Counts::default() })
    }

    fn wants(&self, packet: &[u8]) -> bool {
        let only = &self.settings.only;
        only.is_empty()
            || FlowKey::of(packet)
                .is_ok_and(|flow| only.iter().any(|selector| selector.means(&flow)))
    }
}

impl LoggerSettings {
    fn check(&self) -> Result<(), BuildError> {
        let (least, most) = (limits::LOG_SNAP_LEN_MIN, limits::LOG_SNAP_LEN_MAX);
        in_range("snap_len", self.snap_len_bytes, least, most)
    }
}

impl Selector {
    fn means(&self, flow: &FlowKey) -> bool {
        let address = |network: &Cidr| network.contains(flow.src) || network.contains(flow.dst);
        let port = |(first, last): &(u16, u16)| {
            [flow.src_port, flow.dst_port].iter().any(|port| (first..=last).contains(&port))
        };
        (self.addresses.is_empty() || self.addresses.iter().any(address))
            && (self.ports.is_empty() || self.ports.iter().any(port))
            && (self.protocols.is_empty() || self.protocols.contains(&flow.protocol))
    }
}

/// Bytes of an IP packet as its header says; of outer headers only those are seen.
fn original_bytes(packet: &[u8]) -> u32 {
    let said = match *packet {
        [first, _, a, b, ..] if first >> 4 == 4 => u16::from_be_bytes([a, b]).into(),
        [first, _, _, _, a, b, ..] if first >> 4 == 6 => 40 + u32::from(u16::from_be_bytes([a, b])),
        _ => 0,
    };
    said.max(packet.len() as u32)
}

impl Function for Logger {
    fn handle_batch(&mut self, now: Instant, packets: &mut FunctionBatch<'_>) {
        for nth in 0..packets.len() {
            let packet = packets.packet(nth);
            if !self.wants(packet) {
                self.counts.other_packets += 1;
                continue;
            }
            let record = Record {
                since_epoch: Duration::ZERO,
                path: packets.path(nth),
                direction: packets.direction(nth),
                beginning: packets.beginning(nth),
                original_bytes: original_bytes(packet),
                bytes: &packet[..packet.len().min(self.settings.snap_len_bytes)],
            };
            if self.ring.as_mut().is_some_and(|ring| ring.put(now, &record)) {
                self.counts.logged_packets += 1;
                self.counts.logged_bytes += record.bytes.len() as u64;
            } else {
                self.counts.not_logged += 1;
            }
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {
        if let Some(ring) = &mut self.ring {
            ring.flush();
        }
    }

    fn counters(&self) -> Vec<FunctionCounter> {
        let counter = |name: &str, unit, description, value| FunctionCounter {
            name: name.to_owned(),
            unit,
            description,
            value,
        };
        let (counts, fates) = (&self.counts, &self.fates);
        let fate = |count: &AtomicU64| count.load(Ordering::Relaxed);
        vec![
            counter(
                "logged_packets",
                "packets",
                "Packets recorded for the file.",
                counts.logged_packets,
            ),
            counter("logged_bytes", "bytes", "Bytes kept of those packets.", counts.logged_bytes),
            counter(
                "not_logged",
                "packets",
                "Packets that passed and were not recorded, since the writer did not keep up.",
                counts.not_logged,
            ),
            counter(
                "other_packets",
                "packets",
                "Packets of flows that are not to be recorded.",
                counts.other_packets,
            ),
            counter(
                "written_packets",
                "packets",
                "Packets that are in a file.",
                fate(&fates.written_packets),
            ),
            counter(
                "write_failed",
                "packets",
                "Recorded packets that could not be written; the log says why.",
                fate(&fates.failed_packets),
            ),
            counter("files", "files", "Files begun.", fate(&fates.files)),
            counter(
                "deleted_files",
                "files",
                "Old files deleted to stay within the limits.",
                fate(&fates.deleted_files),
            ),
        ]
    }
}
