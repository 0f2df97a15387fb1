//! A stream of datagrams at a given rate, from the gateway's inner side to a sink in the service's namespace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ringmail_dataplane::{Batch, Neighbour, Verdict};
use ringmail_dataplane_io::Link;
use ringmail_dataplane_io::poll::Poller;
use ringmail_dataplane_io::udp::{UdpConfig, UdpLink};

use super::latency::{Latency, Times};
use crate::topology::Netns;

/// The only neighbour that either end has.
const PEER: Neighbour = Neighbour(0);

/// Bytes of the batches of both ends: more than one datagram of 64 KiB.
const BATCH_BYTES: usize = 4 * 65_536;

/// Datagrams that are sent by one system call, at most: long ones fill less than half of a batch.
const BURST: usize = 32;

/// How long the sender rests when it is ahead of its rate.
const PAUSE: Duration = Duration::from_micros(100);

/// How long nothing may come until the sink takes what is missing for lost.
const QUIET: Duration = Duration::from_millis(200);

/// Bytes of IPv4 and UDP headers.
const HEADERS_BYTES: usize = 28;

/// Where a stream goes, and how large its datagrams are.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Where it begins.
    pub(super) gateway: Arc<Netns>,
    /// Where it ends.
    pub(super) service: Arc<Netns>,
    /// An address and port of the gateway's inner side.
    pub(super) source: SocketAddr,
    /// The service.
    pub(super) destination: SocketAddr,
    /// Bytes of each IP packet.
    pub(super) packet_bytes: usize,
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// Megabits of datagram payload that were sent a second.
    pub(super) offered_mbps: f64,
    /// Megabits of datagram payload that arrived a second of sending.
    pub(super) delivered_mbps: f64,
    /// Datagrams that the system took.
    pub(super) sent: u64,
    /// Datagrams that the sink got.
    pub(super) delivered: u64,
    /// How long those were on their way.
    pub(super) latency: Latency,
}

impl Outcome {
    /// Datagrams that did not arrive.
    pub(super) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.delivered)
    }

    /// Their share.
    pub(super) fn loss(&self) -> f64 {
        self.lost() as f64 / self.sent.max(1) as f64
    }
}

/// A stream that runs.
#[derive(Debug)]
pub(super) struct Running {
    payload_bytes: usize,
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<(u64, Duration)>>,
    sink_stop: Arc<AtomicBool>,
    sink: JoinHandle<Result<(u64, Latency)>>,
}

impl Stream {
    /// Sends for a while.
    ///
    /// # Errors
    /// When a socket cannot be had or fails.
    pub(super) async fn run(&self, mbps: f64, lasting: Duration) -> Result<Outcome> {
        let running = self.start(mbps)?;
        tokio::time::sleep(lasting).await;
        running.stop().await
    }

    /// Begins to send at this rate of payload.
    ///
    /// # Errors
    /// When a socket or a thread cannot be had.
    pub(super) fn start(&self, mbps: f64) -> Result<Running> {
        let payload_bytes = self.packet_bytes - HEADERS_BYTES;
        let (stop, sink_stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (opened, is_open) = mpsc::channel();
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let (stream, stopping) = (self.clone(), Arc::clone(&sink_stop));
        // Stamps count from here.
        let began = Instant::now();
        let sink = named("udp-sink")
            .spawn(move || stream.service.run(|| sink(&stream, &stopping, &opened, began))?)?;
        // A sink that failed drops its end; what went wrong is told when it is joined.
        let _failed = is_open.recv();
        let (stream, stopping) = (self.clone(), Arc::clone(&stop));
        let a_second = mbps * 1e6 / 8.0 / payload_bytes as f64;
        let sender = named("udp-sender").spawn(move || {
            stream.gateway.run(|| send(&stream, a_second, payload_bytes, &stopping, began))?
        })?;
        Ok(Running { payload_bytes, stop, sender, sink_stop, sink })
    }
}

impl Running {
    /// Ends the sending, and waits for what is under way.
    ///
    /// # Errors
    /// What went wrong at either end.
    pub(super) async fn stop(self) -> Result<Outcome> {
        let Running { payload_bytes, stop, sender, sink_stop, sink } = self;
        stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(move || {
            let sent = sender.join();
            sink_stop.store(true, Ordering::Relaxed);
            (sent, sink.join())
        });
        let (Ok(sent), Ok(delivered)) = joined.await? else { bail!("an end of a stream panicked") };
        let (sent, took) = sent.context("sender")?;
        let (delivered, latency) = delivered.context("sink")?;
        let mbps = |count: u64| {
            count as f64 * payload_bytes as f64 * 8.0 / 1e6 / took.as_secs_f64().max(1e-3)
        };
        let (offered_mbps, delivered_mbps) = (mbps(sent), mbps(delivered));
        Ok(Outcome { offered_mbps, delivered_mbps, sent, delivered, latency })
    }
}

fn send(
    stream: &Stream,
    a_second: f64,
    payload_bytes: usize,
    stop: &AtomicBool,
    began: Instant,
) -> Result<(u64, Duration)> {
    let mut config = UdpConfig::new(
        // Nothing is received here; the link wants a port for it all the same.
        SocketAddr::new(stream.source.ip(), 0),
        vec![(PEER, stream.destination)],
    );
    config.source_port = stream.source.port();
    let mut link = UdpLink::open(&config)?;
    let mut batch = Batch::with_capacity_bytes(BATCH_BYTES);
    let burst = BURST.min(BATCH_BYTES / 2 / payload_bytes) as u64;
    let (started, mut sent, mut tried) = (Instant::now(), 0, 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * a_second) as u64;
        let now = due.saturating_sub(tried).min(burst);
        if now == 0 {
            thread::sleep(PAUSE);
            continue;
        }
        batch.clear();
        let stamp = ns(began.elapsed()).to_be_bytes();
        for _ in 0..now {
            let slot = batch.push(0, payload_bytes, 0)?;
            let packet = batch.packet_mut(slot);
            packet.fill(b'Z');
            if let Some(place) = packet.first_chunk_mut() {
                *place = stamp;
            }
            batch.set_verdict(slot, Verdict::Send(PEER));
        }
        tried += now;
        sent += link.send(&mut batch)?.packets as u64;
    }
    Ok((sent, started.elapsed()))
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn sink(
    stream: &Stream,
    stop: &AtomicBool,
    opened: &mpsc::Sender<()>,
    began: Instant,
) -> Result<(u64, Latency)> {
    let source = SocketAddr::new(stream.source.ip(), stream.source.port());
    let mut link = UdpLink::open(&UdpConfig::new(stream.destination, vec![(PEER, source)]))?;
    let poller = Poller::new()?;
    let fd = link.fd().context("a UDP link has no descriptor")?;
    poller.add(fd, 0)?;
    let _gone = opened.send(());
    let mut batch = Batch::with_capacity_bytes(BATCH_BYTES);
    let (mut delivered, mut last) = (0, Instant::now());
    let mut times = Times::default();
    loop {
        match link.recv(&mut batch)? {
            0 if stop.load(Ordering::Relaxed) && last.elapsed() >= QUIET => {
                return Ok((delivered, times.latency()));
            }
            0 => {
                poller.wait(Some(QUIET / 4))?;
            }
            packets => {
                delivered += packets as u64;
                let now = ns(began.elapsed());
                for index in 0..batch.len() {
                    if let Some(stamp) = batch.packet(index).first_chunk() {
                        times.note(now.saturating_sub(u64::from_be_bytes(*stamp)));
                    }
                }
                last = Instant::now();
            }
        }
    }
}
