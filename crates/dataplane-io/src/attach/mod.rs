//! The cable to an attached function: plain IP packets in Ethernet frames over one end of a veth pair or any other
//! interface (packet(7)), TCP as super-packets of up to 64 KiB.
//!
//! The function sees a neighbour that has every address there is and answers for it. Frames are sent to the function's own
//! MAC address, which is learned from what it sends; through a bridge to the far side's.

mod neighbours;
mod socket;

use std::array;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use ringmail_dataplane::{BATCH_PACKETS, Batch, DropReason, Side, Verdict};
use ringmail_packet::ethernet::{self, Address, EtherType};
use ringmail_packet::{ipv4, ipv6};

use crate::counters::{LinkCounter as C, LinkCounters};
use crate::limits;
use crate::link::{Link, Sent};
use crate::packet::{Inbox, PacketConfig, PacketSocket};
use crate::tun::coalesce::{Coalesce, Coalescer, HEADERS_BYTES_MAX};
use crate::tun::split::SuperPacket;
use crate::tun::virtio::{self, VirtioHeader};
pub use socket::SocketLink;

const ETHERNET: usize = ethernet::HEADER_LEN_BYTES;

/// Bytes before the payload of a super-packet: virtio header, Ethernet header, the packet's headers.
const HEAD_BYTES_MAX: usize = virtio::HEADER_BYTES + ETHERNET + HEADERS_BYTES_MAX;

/// How to open an [`AttachLink`].
#[derive(Clone, Debug)]
pub struct AttachLinkConfig {
    /// Name of the interface at ringmail's end of the cable.
    pub interface: String,
    /// Which side of the function the cable leads to.
    pub side: Side,
    /// Where frames are sent to.
    pub towards: Towards,
    /// Whether TCP and UDP packets go in joined, with checksums for a network card to fill in. Otherwise each goes in as
    /// it travelled.
    pub supers: bool,
    /// Room to leave before each packet in the batch.
    pub headroom_bytes: usize,
    /// Room to leave behind each packet in the batch.
    pub tailroom_bytes: usize,
}

/// The MAC address that frames to a function have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// The function's own: this one at first, then what it last sent from.
    Function(Address),
    /// Always this one, behind the function.
    Behind(Address),
}

/// One end of a cable to a function.
pub struct AttachLink {
    socket: PacketSocket,
    side: Side,
    towards: Towards,
    own: Address,
    headroom_bytes: usize,
    tailroom_bytes: usize,
    inbox: Inbox,
    /// A super-packet that did not fit into the last batch, and how far it was cut.
    scratch: Box<[u8]>,
    pending: Option<(SuperPacket, usize)>,
    coalesce: Coalesce,
    coalescer: Coalescer,
    heads: Box<[[u8; HEAD_BYTES_MAX]; BATCH_PACKETS]>,
    counters: Arc<LinkCounters>,
}

impl AttachLink {
    /// Opens the link in the calling thread's network namespace.
    ///
    /// # Errors
    /// What the system said: there is no such interface, or the right to use it raw is missing (CAP_NET_RAW).
    pub fn open(config: &AttachLinkConfig) -> io::Result<AttachLink> {
        let socket = PacketSocket::open(&PacketConfig::supers(&config.interface))?;
        let supers = config.supers;
        Ok(AttachLink {
            own: socket.address(),
            counters: Arc::clone(socket.counters()),
            socket,
            side: config.side,
            towards: config.towards,
            headroom_bytes: config.headroom_bytes,
            tailroom_bytes: config.tailroom_bytes,
            inbox: Inbox::default(),
            scratch: vec![0; limits::SUPER_PACKET_BYTES_MAX].into_boxed_slice(),
            pending: None,
            // ESP has vouched for every byte since the chain's beginning.
            coalesce: Coalesce { tcp: supers, udp: supers, verify: true },
            coalescer: Coalescer::default(),
            heads: Box::new([[0; HEAD_BYTES_MAX]; BATCH_PACKETS]),
        })
    }

    /// Cuts what is left of the pending super-packet; `true` when nothing is.
    fn cut_pending(&mut self, batch: &mut Batch) -> bool {
        let Some((packet, len)) = &mut self.pending else { return true };
        let room = (self.headroom_bytes, self.tailroom_bytes);
        match cut(packet, &self.scratch[..*len], batch, room) {
            Cut::Whole => {}
            Cut::Never => self.counters.add(C::ReceivedBad, 1),
            Cut::Partly => {
                self.counters.add(C::ReceivedSpilled, packet.remaining() as u64);
                return false;
            }
        }
        self.pending = None;
        true
    }

    /// Takes the next frame out of the inbox. `false` if there is none, or the batch is full.
    fn take(&mut self, batch: &mut Batch) -> bool {
        let Some(frame) = self.inbox.take() else { return false };
        let Ok(header) = ethernet::Packet::new_checked(frame.bytes) else {
            self.counters.add(C::ReceivedBad, 1);
            return true;
        };
        let (from, payload) = (header.src_addr(), &frame.bytes[ETHERNET..]);
        if let Towards::Function(known) = &mut self.towards
            && !from.is_multicast()
        {
            *known = from;
        }
        let mut answer = [0; neighbours::ANSWER_BYTES_MAX];
        let answered = match header.ethertype() {
            EtherType::IPV4 | EtherType::IPV6 if !of_the_cable(payload) => None,
            EtherType::IPV6 => Some(neighbours::solicitation(payload, from, self.own, &mut answer)),
            neighbours::ARP => Some(neighbours::arp(payload, self.own, &mut answer)),
            _ => Some(None),
        };
        if let Some(answered) = answered {
            self.counters.add(C::ReceivedOfCable, 1);
            if let Some(len) = answered {
                let virtio = VirtioHeader::default().emit();
                let parts = [IoSlice::new(&virtio), IoSlice::new(&answer[..len])];
                self.socket.send(&[&parts], &mut []);
            }
            return true;
        }
        let parsed = frame.header.behind(ETHERNET as u16).filter(|_| !frame.truncated);
        let payload = without_padding(payload, frame.header.gso == virtio::Gso::None);
        let parsed = parsed.and_then(|header| SuperPacket::parse(&header, payload).ok());
        let Some(mut packet) = parsed else {
            self.counters.add(C::ReceivedBad, 1);
            return true;
        };
        let packets = packet.remaining();
        if packets > 1 {
            self.counters.add(C::ReceivedSupers, 1);
            self.counters.add(C::ReceivedInSupers, packets as u64);
        }
        match cut(&mut packet, payload, batch, (self.headroom_bytes, self.tailroom_bytes)) {
            Cut::Whole => true,
            Cut::Never => {
                self.counters.add(C::ReceivedBad, 1);
                true
            }
            Cut::Partly => {
                self.counters.add(C::ReceivedSpilled, packet.remaining() as u64);
                self.scratch[..payload.len()].copy_from_slice(payload);
                self.pending = Some((packet, payload.len()));
                false
            }
        }
    }

    /// The MAC address that frames go to.
    fn destination(&self) -> Address {
        match self.towards {
            Towards::Function(address) | Towards::Behind(address) => address,
        }
    }
}

impl Link for AttachLink {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<usize> {
        batch.clear();
        for _ in 0..limits::RECEIVE_CALLS_MAX {
            if !self.cut_pending(batch) || batch.len() >= limits::RECEIVE_MORE_BELOW_PACKETS {
                break;
            }
            if self.inbox.is_empty() {
                match self.socket.receive_supers(&mut self.inbox) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(_) if !batch.is_empty() => break,
                    Err(error) => return Err(error),
                }
            }
            while batch.len() < limits::RECEIVE_MORE_BELOW_PACKETS && self.take(batch) {}
        }
        if !batch.is_empty() {
            let bytes: usize = (0..batch.len()).map(|index| batch.range(index).len()).sum();
            self.counters.add(C::ReceivedPackets, batch.len() as u64);
            self.counters.add(C::ReceivedBytes, bytes as u64);
        }
        Ok(batch.len())
    }

    fn send(&mut self, batch: &mut Batch) -> io::Result<Sent> {
        self.coalescer.build(batch, Verdict::Function(self.side), self.coalesce);
        let supers = self.coalescer.supers();
        if supers.is_empty() {
            return Ok(Sent::default());
        }
        let mut refused = [false; BATCH_PACKETS];
        {
            let (own, towards) = (self.own, self.destination());
            let mut lens = [0; BATCH_PACKETS];
            for (at, group) in supers.iter().enumerate() {
                let slots = &self.coalescer.members()[group.members()];
                let first = batch.packet(usize::from(slots[0]));
                let mut headers = [0; HEADERS_BYTES_MAX];
                let (virtio, headers) = match slots.len() {
                    1 => (VirtioHeader::default(), &[][..]),
                    _ => {
                        let virtio = group.emit_headers(first, &mut headers);
                        (virtio, &headers[..group.header_len()])
                    }
                };
                let head = &mut self.heads[at];
                // Offsets of headers are far from the end of their field.
                let virtio = virtio.before(ETHERNET as u16).unwrap_or_default();
                head[..virtio::HEADER_BYTES].copy_from_slice(&virtio.emit());
                let ethernet = &mut head[virtio::HEADER_BYTES..][..ETHERNET];
                ethernet[..6].copy_from_slice(&towards.0);
                ethernet[6..12].copy_from_slice(&own.0);
                let six = first.first().is_some_and(|byte| byte >> 4 == 6);
                let ethertype = if six { EtherType::IPV6 } else { EtherType::IPV4 };
                ethernet[12..].copy_from_slice(&ethertype.0.to_be_bytes());
                head[virtio::HEADER_BYTES + ETHERNET..][..headers.len()].copy_from_slice(headers);
                lens[at] = virtio::HEADER_BYTES + ETHERNET + headers.len();
            }
            let mut parts = [IoSlice::new(&[]); 2 * BATCH_PACKETS];
            let mut ends = [0; BATCH_PACKETS];
            let mut filled = 0;
            for (at, group) in supers.iter().enumerate() {
                parts[filled] = IoSlice::new(&self.heads[at][..lens[at]]);
                filled += 1;
                let slots = &self.coalescer.members()[group.members()];
                let cut = if slots.len() == 1 { 0 } else { group.header_len() };
                for slot in slots {
                    parts[filled] = IoSlice::new(&batch.packet(usize::from(*slot))[cut..]);
                    filled += 1;
                }
                ends[at] = filled;
            }
            let mut begin = 0;
            let frames: [&[IoSlice<'_>]; BATCH_PACKETS] = array::from_fn(|at| {
                let end = ends[at].max(begin);
                let frame = &parts[begin..end];
                begin = end;
                frame
            });
            self.socket.send(&frames[..supers.len()], &mut refused);
        }
        let (mut sent, mut bytes) = (Sent::default(), 0);
        for (at, group) in supers.iter().enumerate() {
            let slots = &self.coalescer.members()[group.members()];
            if refused[at] {
                sent.refused += slots.len();
                for slot in slots {
                    batch.drop_packet(usize::from(*slot), DropReason::LinkRefused);
                }
                continue;
            }
            sent.packets += slots.len();
            bytes += slots.iter().map(|slot| batch.range(usize::from(*slot)).len()).sum::<usize>();
            if slots.len() > 1 {
                self.counters.add(C::SentSupers, 1);
                self.counters.add(C::SentInSupers, slots.len() as u64);
            }
        }
        self.counters.add(C::SentPackets, sent.packets as u64);
        self.counters.add(C::SentBytes, bytes as u64);
        self.counters.add(C::SendRefused, sent.refused as u64);
        Ok(sent)
    }

    fn carries(&self, verdict: Verdict) -> bool {
        verdict == Verdict::Function(self.side)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn counters(&self) -> &Arc<LinkCounters> {
        &self.counters
    }
}

impl fmt::Debug for AttachLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachLink")
            .field("side", &self.side)
            .field("towards", &self.towards)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// How much of a super-packet found room in a batch.
enum Cut {
    Whole,
    Partly,
    Never,
}

fn cut(packet: &mut SuperPacket, bytes: &[u8], batch: &mut Batch, room: (usize, usize)) -> Cut {
    while let Some(next_len) = packet.next_len() {
        match batch.push(room.0, next_len, room.1) {
            Ok(slot) => packet.cut_next(bytes, batch.packet_mut(slot)),
            Err(_) if batch.is_empty() => return Cut::Never,
            Err(_) => return Cut::Partly,
        }
    }
    Cut::Whole
}

/// Whether an IP packet concerns the cable alone: it goes to many, or comes from or goes to a link-local address of IPv6.
fn of_the_cable(packet: &[u8]) -> bool {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet.len() >= ipv4::MIN_HEADER_LEN_BYTES => {
            let to = ipv4::Packet::new_unchecked(packet).dst_addr();
            to.is_multicast() || to.is_broadcast()
        }
        Some(6) if packet.len() >= ipv6::HEADER_LEN_BYTES => {
            let packet = ipv6::Packet::new_unchecked(packet);
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            to.is_multicast() || from.is_unicast_link_local() || to.is_unicast_link_local()
        }
        _ => false,
    }
}

/// A frame shorter than Ethernet allows may have been filled up (IEEE 802.3 section 3.2.8).
fn without_padding(payload: &[u8], single: bool) -> &[u8] {
    let number = |at: usize| payload.get(at..)?.first_chunk().map(|n| u16::from_be_bytes(*n));
    let len = match payload.first().map(|byte| byte >> 4) {
        Some(4) => number(2).map(usize::from),
        Some(6) => number(4).map(|len| usize::from(len) + ipv6::HEADER_LEN_BYTES),
        _ => None,
    };
    match len {
        Some(len) if single && len >= ipv4::MIN_HEADER_LEN_BYTES && len < payload.len() => {
            &payload[..len]
        }
        _ => payload,
    }
}
