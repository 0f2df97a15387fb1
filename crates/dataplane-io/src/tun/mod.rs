//! TUN: IP packets from and to the kernel, up to 64 KiB a system call (IFF_VNET_HDR, TSO, USO).
//!
//! What the kernel hands over as one super-packet is cut into packets of MTU size, laid into the batch with the room that
//! encapsulation needs; what is delivered is coalesced again. [`split`] and [`coalesce`] do that without I/O.

pub mod coalesce;
mod queue;
pub mod split;
mod sys;
pub mod virtio;

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use ringmail_dataplane::{BATCH_PACKETS, Batch, DropReason, Verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::counters::{LinkCounter as C, LinkCounters};
use crate::limits;
use crate::link::{Link, Sent};
use coalesce::{Coalesce, Coalescer, HEADERS_BYTES_MAX, Super};
use split::SuperPacket;
use virtio::VirtioHeader;

/// How to make a TUN.
#[derive(Clone, Debug)]
pub struct TunConfig {
    /// Name of the interface, at most 15 bytes; with `%d` in it the kernel chooses a number.
    pub name: String,
    /// MTU of the interface: no packet that comes in is larger.
    pub mtu_bytes: u32,
    /// Room to leave before each packet in the batch.
    pub headroom_bytes: usize,
    /// Room to leave behind each packet in the batch.
    pub tailroom_bytes: usize,
    /// Links to open, one a worker; the kernel keeps a flow on one of them.
    pub queues: usize,
    /// What to coalesce of the packets delivered.
    pub coalesce: Coalesce,
}

impl TunConfig {
    /// One queue, everything coalesced.
    pub fn new(name: &str, mtu_bytes: u32, headroom_bytes: usize, tailroom_bytes: usize) -> Self {
        TunConfig {
            name: name.to_owned(),
            mtu_bytes,
            headroom_bytes,
            tailroom_bytes,
            queues: 1,
            coalesce: Coalesce { tcp: true, udp: true, verify: true },
        }
    }
}

/// Makes a TAP in the calling thread's namespace, for another program to open by its name. It has no queue, is down, and goes
/// with the namespace.
///
/// # Errors
/// What the system said: the name is taken, or the right is missing (CAP_NET_ADMIN).
pub fn make_tap(name: &str) -> io::Result<()> {
    sys::make_tap(name)
}

/// One queue of a TUN. The interface goes when its last queue is dropped.
pub struct TunLink {
    queue: File,
    name: String,
    headroom_bytes: usize,
    tailroom_bytes: usize,
    /// The last super-packet read, and what is left of it.
    scratch: Box<[u8]>,
    pending: Option<(SuperPacket, usize)>,
    coalesce: Coalesce,
    coalescer: Coalescer,
    uso: bool,
    counters: Arc<LinkCounters>,
}

impl TunLink {
    /// Makes a TUN in the current network namespace, sets its MTU, takes it up and opens its queues. Addresses and routes
    /// are for somebody else to set.
    ///
    /// # Errors
    /// What the system said: mostly that this needs CAP_NET_ADMIN in the namespace, or that the name is taken.
    pub fn create(config: &TunConfig) -> io::Result<Vec<TunLink>> {
        if config.queues == 0 || config.queues > limits::TUN_QUEUES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut links: Vec<TunLink> = Vec::with_capacity(config.queues);
        for _ in 0..config.queues {
            let name = links.first().map_or(config.name.as_str(), |link| link.name.as_str());
            links.push(TunLink::open(config, name)?);
        }
        let name = &links[0].name;
        sys::set_mtu(name, config.mtu_bytes)?;
        queue::set_packets(name, limits::TUN_QUEUE_PACKETS)?;
        sys::set_up(name)?;
        Ok(links)
    }

    /// The name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the kernel hands over and takes UDP super-packets.
    pub fn uses_uso(&self) -> bool {
        self.uso
    }

    fn open(config: &TunConfig, name: &str) -> io::Result<TunLink> {
        let (queue, name) = sys::open_queue(name, config.queues > 1)?;
        let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        // Kernels before 6.2 know no USO.
        let uso = sys::set_offload(&queue, tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6).is_ok();
        if !uso {
            sys::set_offload(&queue, tcp)?;
        }
        Ok(TunLink {
            queue,
            name,
            headroom_bytes: config.headroom_bytes,
            tailroom_bytes: config.tailroom_bytes,
            scratch: vec![0; limits::SUPER_PACKET_BYTES_MAX].into_boxed_slice(),
            pending: None,
            coalesce: Coalesce { udp: config.coalesce.udp && uso, ..config.coalesce },
            coalescer: Coalescer::default(),
            uso,
            counters: Arc::default(),
        })
    }

    /// Reads the next super-packet; `false` if there is none.
    fn read(&mut self) -> io::Result<bool> {
        let mut header = [0; virtio::HEADER_BYTES];
        self.counters.add(C::ReceiveCalls, 1);
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(&mut self.scratch)];
        let len = match rustix::io::readv(&self.queue, &mut parts) {
            Ok(len) => len.saturating_sub(virtio::HEADER_BYTES),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(error) => {
                self.counters.add(C::ReceiveErrors, 1);
                return Err(error.into());
            }
        };
        match SuperPacket::parse(&VirtioHeader::parse(&header), &self.scratch[..len]) {
            Ok(packet) => {
                let packets = packet.remaining();
                if packets > 1 {
                    self.counters.add(C::ReceivedSupers, 1);
                    self.counters.add(C::ReceivedInSupers, packets as u64);
                }
                self.pending = Some((packet, len));
            }
            Err(_) => self.counters.add(C::ReceivedBad, 1),
        }
        Ok(true)
    }

    /// Cuts packets off the pending super-packet until it is used up (`true`) or the batch is full.
    fn cut(&mut self, batch: &mut Batch) -> bool {
        let Some((packet, len)) = &mut self.pending else { return true };
        while let Some(next_len) = packet.next_len() {
            match batch.push(self.headroom_bytes, next_len, self.tailroom_bytes) {
                Ok(slot) => packet.cut_next(&self.scratch[..*len], batch.packet_mut(slot)),
                Err(_) if batch.is_empty() => {
                    // It would never fit.
                    self.counters.add(C::ReceivedBad, 1);
                    break;
                }
                Err(_) => {
                    self.counters.add(C::ReceivedSpilled, packet.remaining() as u64);
                    return false;
                }
            }
        }
        self.pending = None;
        true
    }

    /// Writes one super-packet, or one packet as it is.
    fn write(&self, batch: &Batch, group: &Super, waits: &mut i32) -> Result<(), Errno> {
        let slots = &self.coalescer.members()[group.members()];
        let first = batch.packet(usize::from(slots[0]));
        let mut headers = [0; HEADERS_BYTES_MAX];
        let mut parts = [IoSlice::new(&[]); BATCH_PACKETS + 2];
        let (header, len);
        if slots.len() == 1 {
            header = VirtioHeader::default().emit();
            parts[1] = IoSlice::new(first);
            len = 2;
        } else {
            header = group.emit_headers(first, &mut headers).emit();
            let header_len = group.header_len();
            parts[1] = IoSlice::new(&headers[..header_len]);
            for (part, slot) in parts[2..].iter_mut().zip(slots) {
                *part = IoSlice::new(&batch.packet(usize::from(*slot))[header_len..]);
            }
            len = 2 + slots.len();
        }
        parts[0] = IoSlice::new(&header);
        loop {
            self.counters.add(C::SendCalls, 1);
            match rustix::io::writev(&self.queue, &parts[..len]) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error @ (Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM)) => {
                    self.counters.add(C::SendWaits, 1);
                    *waits += 1;
                    if *waits > limits::SEND_WAIT_MS || !self.wait_writable() {
                        return Err(error);
                    }
                }
                Err(error) => {
                    self.counters.add(C::SendErrors, 1);
                    return Err(error);
                }
            }
        }
    }

    fn wait_writable(&self) -> bool {
        let timeout = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let mut fds = [PollFd::new(&self.queue, PollFlags::OUT)];
        matches!(poll(&mut fds, Some(&timeout)), Ok(1))
    }
}

impl Link for TunLink {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        batch.clear();
        for _ in 0..limits::RECEIVE_CALLS_MAX {
            if !self.cut(batch) || batch.len() >= limits::RECEIVE_MORE_BELOW_PACKETS {
                break;
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        if !batch.is_empty() {
            let bytes: usize = (0..batch.len()).map(|index| batch.range(index).len()).sum();
            self.counters.add(C::ReceivedPackets, batch.len() as u64);
            self.counters.add(C::ReceivedBytes, bytes as u64);
        }
        Ok(batch.len())
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        self.coalescer.build(batch, Verdict::Deliver, self.coalesce);
        let mut sent = Sent::default();
        let (mut bytes, mut waits) = (0, 0);
        for index in 0..self.coalescer.supers().len() {
            let group = self.coalescer.supers()[index];
            let slots = &self.coalescer.members()[group.members()];
            if self.write(batch, &group, &mut waits).is_ok() {
                sent.packets += slots.len();
                bytes +=
                    slots.iter().map(|slot| batch.range(usize::from(*slot)).len()).sum::<usize>();
                if slots.len() > 1 {
                    self.counters.add(C::SentSupers, 1);
                    self.counters.add(C::SentInSupers, slots.len() as u64);
                }
            } else {
                sent.refused += slots.len();
                for slot in slots {
                    batch.drop_packet(usize::from(*slot), DropReason::LinkRefused);
                }
            }
        }
        self.counters.add(C::SentPackets, sent.packets as u64);
        self.counters.add(C::SentBytes, bytes as u64);
        self.counters.add(C::SendRefused, sent.refused as u64);
        Ok(sent)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        verdict == Verdict::Deliver
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }
}

impl fmt::Debug for TunLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunLink")
            .field("name", &self.name)
            .field("uso", &self.uso)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
