//! A link whose packets are captured, both ways.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmail_dataplane::{Batch, Neighbour, Verdict};

use super::Tap;
use super::block::{self, PACKET_OVERHEAD_BYTES, Way};
use super::frame::HEADERS_BYTES_MAX;
use crate::counters::LinkCounters;
use crate::link::{Link, Sent};

/// A link with a tap. What the link refuses to send is not captured.
#[derive(Debug)]
pub struct Tapped<L> {
    inner: L,
    tap: Tap,
}

impl<L: Link> Tapped<L> {
    /// Captures what `inner` receives and sends.
    pub fn new(inner: L, tap: Tap) -> Tapped<L> {
        Tapped { inner, tap }
    }

    /// The link, no longer captured.
    pub fn into_inner(self) -> L {
        self.inner
    }
}

impl<L: Link> Link for Tapped<L> {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        let count = self.inner.recv(batch)?;
        if count == 0 {
            // There is time.
            self.tap.flush();
        } else {
            self.tap.record(batch, Way::In, |_| true);
        }
        Ok(count)
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        // Sending may take the bytes away, so they are recorded before, and again if not all of them went.
        let recorded = self.tap.record(batch, Way::Out, |verdict| self.inner.carries(verdict));
        let sent = self.inner.send(batch);
        if !matches!(sent, Ok(Sent { refused: 0, .. })) {
            self.tap.forget(recorded);
            let _ = self.tap.record(batch, Way::Out, |verdict| self.inner.carries(verdict));
        }
        sent
    }

    fn carries(&self, verdict: Verdict) -> bool {
        self.inner.carries(verdict)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        self.inner.counters()
    }

    fn set_peers(&mut self, peers: &[(Neighbour, SocketAddr)]) -> bool {
        self.inner.set_peers(peers)
    }
}

/// What one call recorded, to take back.
#[derive(Clone, Copy, Default)]
struct Recorded {
    start: usize,
    packets: u64,
    missed: u64,
}

impl Tap {
    /// Copies one packet, a plain one, with what people read beside it; nothing where there is nothing to say.
    pub fn packet(&mut self, packet: &[u8], way: Way, comment: &str) {
        let (interface, snap_len_bytes) = (self.interface, self.snap_len_bytes);
        let besides = BLOCK_BYTES_BESIDES_PACKET + block::comment_bytes(comment);
        let Some(chunk) = self.chunk_with_room(packet.len() + besides) else {
            return self.miss(1);
        };
        let parts = [&[], packet];
        block::packet(&mut chunk.bytes, interface, now_ns(), parts, snap_len_bytes, way, comment);
        chunk.packets += 1;
    }

    /// Copies the packets whose verdict is wanted.
    fn record(&mut self, batch: &Batch, way: Way, wanted: impl Fn(Verdict) -> bool) -> Recorded {
        let slots = || (0..batch.len()).filter(|slot| wanted(batch.verdict(*slot)));
        let bytes_max: usize =
            slots().map(|slot| batch.range(slot).len() + BLOCK_BYTES_BESIDES_PACKET).sum();
        let packets = slots().count() as u64;
        if packets == 0 {
            return Recorded::default();
        }
        let (interface, snap_len_bytes) = (self.interface, self.snap_len_bytes);
        if self.chunk_with_room(bytes_max).is_none() {
            self.miss(packets);
            return Recorded { start: 0, packets: 0, missed: packets };
        }
        let Some(chunk) = &mut self.chunk else { return Recorded::default() };
        let start = chunk.bytes.len();
        let time_ns = now_ns();
        let mut headers = [0; HEADERS_BYTES_MAX];
        for slot in slots() {
            let neighbour = match (way, batch.verdict(slot)) {
                (Way::In, _) => batch.source(),
                (Way::Out, Verdict::Send(neighbour)) => Some(neighbour),
                (Way::Out, _) => None,
            };
            let packet = batch.packet(slot);
            let len = self.framing.headers(way, neighbour, packet, &mut headers);
            let parts = [&headers[..len], packet];
            block::packet(&mut chunk.bytes, interface, time_ns, parts, snap_len_bytes, way, "");
        }
        chunk.packets += packets;
        Recorded { start, packets, missed: 0 }
    }

    /// Takes back what the last [`Tap::record`] did.
    fn forget(&mut self, recorded: Recorded) {
        if let Some(chunk) = self.chunk.as_mut().filter(|_| recorded.packets > 0) {
            chunk.bytes.truncate(recorded.start);
            chunk.packets -= recorded.packets;
        }
        self.shared.missed.fetch_sub(recorded.missed, Ordering::Relaxed);
    }
}

const BLOCK_BYTES_BESIDES_PACKET: usize = PACKET_OVERHEAD_BYTES + HEADERS_BYTES_MAX + 3;

pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
