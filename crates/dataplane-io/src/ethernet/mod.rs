//! The Ethernet link: MPLS label stacks in Ethernet frames (RFC 3032 section 5, EtherType 0x8847), for legacy switches.
//!
//! Frames go from the interface's own address to the neighbour's, with a tag of IEEE 802.1Q where the link is a VLAN. The
//! kernel hands over only frames to the own address, of this EtherType and VLAN. A label stack with what it covers is at
//! most as long as the interface's MTU.

pub(crate) mod peers;
mod receive;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use ringmail_dataplane::{BATCH_PACKETS, Batch, DropReason, Neighbour, Verdict};
use ringmail_packet::ethernet::{Address, EtherType};

use crate::counters::{LinkCounter as C, LinkCounters};
use crate::limits;
use crate::link::{Link, Sent};
use crate::packet::{Destination, PacketConfig, PacketSocket};
use peers::Peers;
use receive::Spill;

/// How to open an [`EthernetLink`].
#[derive(Clone, Debug)]
pub struct EthernetConfig {
    /// Name of an interface in the calling thread's namespace.
    pub interface: String,
    /// The VLAN that frames are tagged with, 1 to 4094; none for frames without a tag.
    pub vlan: Option<u16>,
    /// What frames carry: label stacks, or NSH.
    pub carries: EtherType,
    /// The neighbours' addresses, by which a frame's sender is known, too.
    pub peers: Vec<(Neighbour, Address)>,
    /// The number of the group that an element's workers share the interface's frames in; none for a single worker.
    pub fanout: Option<u16>,
    /// Asked of the kernel.
    pub receive_buffer_bytes: usize,
    /// Asked of the kernel.
    pub send_buffer_bytes: usize,
}

impl EthernetConfig {
    /// The usual settings for an interface.
    pub fn new(interface: &str, peers: Vec<(Neighbour, Address)>) -> EthernetConfig {
        EthernetConfig {
            interface: interface.to_owned(),
            vlan: None,
            peers,
            fanout: None,
            carries: EtherType::MPLS,
            receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
            send_buffer_bytes: limits::SEND_BUFFER_BYTES,
        }
    }
}

/// MPLS over Ethernet to the neighbours of an element.
#[derive(Debug)]
pub struct EthernetLink {
    socket: PacketSocket,
    peers: Peers,
    vlan: Option<u16>,
    carries: EtherType,
    spill: Spill,
    counters: Arc<LinkCounters>,
}

impl EthernetLink {
    /// Opens the link in the calling thread's network namespace.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn open(config: &EthernetConfig) -> io::Result<EthernetLink> {
        let socket = PacketSocket::open(&PacketConfig {
            destination: Destination::Own { vlan: config.vlan },
            fanout: config.fanout,
            receive_buffer_bytes: config.receive_buffer_bytes,
            send_buffer_bytes: config.send_buffer_bytes,
            ..PacketConfig::new(&config.interface, config.carries)
        })?;
        Ok(EthernetLink {
            peers: Peers::new(socket.address(), config.vlan, config.carries, &config.peers),
            vlan: config.vlan,
            carries: config.carries,
            spill: Spill::new(socket.frame_bytes()),
            counters: Arc::clone(socket.counters()),
            socket,
        })
    }

    /// Replaces the neighbours. Packets for a neighbour that is not named are left alone by `send`; packets from one come
    /// with no source.
    pub fn set_peers(&mut self, peers: &[(Neighbour, Address)]) {
        self.peers = Peers::new(self.socket.address(), self.vlan, self.carries, peers);
    }

    /// The interface's own address.
    pub fn address(&self) -> Address {
        self.socket.address()
    }

    /// The interface's MTU when the link was opened.
    pub fn mtu_bytes(&self) -> usize {
        self.socket.mtu_bytes()
    }
}

impl Link for EthernetLink {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        let EthernetLink { socket, peers, spill, counters, .. } = self;
        receive::receive(socket, spill, peers, counters, batch)
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        let (mut slots, mut count) = ([0; BATCH_PACKETS], 0);
        let mut refused = [false; BATCH_PACKETS];
        let mut parts = [[IoSlice::new(&[]); 2]; BATCH_PACKETS];
        for slot in 0..batch.len() {
            if let Verdict::Send(neighbour) = batch.verdict(slot)
                && let Some(header) = self.peers.header(neighbour)
            {
                parts[count] = [IoSlice::new(header), IoSlice::new(batch.packet(slot))];
                slots[count] = slot;
                count += 1;
            }
        }
        let mut sent = Sent::default();
        if count == 0 {
            return Ok(sent);
        }
        let mut frames = [&parts[0][..]; BATCH_PACKETS];
        for (frame, parts) in frames.iter_mut().zip(&parts) {
            *frame = &parts[..];
        }
        self.socket.send(&frames[..count], &mut refused);
        let mut bytes = 0;
        for (slot, refused) in slots[..count].iter().zip(refused) {
            if refused {
                sent.refused += 1;
                batch.drop_packet(*slot, DropReason::LinkRefused);
            } else {
                sent.packets += 1;
                bytes += batch.range(*slot).len();
            }
        }
        self.counters.add(C::SentPackets, sent.packets as u64);
        self.counters.add(C::SentBytes, bytes as u64);
        self.counters.add(C::SendRefused, sent.refused as u64);
        Ok(sent)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Send(neighbour) if self.peers.header(neighbour).is_some())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }
}
