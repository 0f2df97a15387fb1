//! The sending half of the UDP link: all datagrams of a batch by one sendmmsg, gathered from where the packets lie.

use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsFd;

use ringmail_dataplane::{BATCH_PACKETS, Batch, DropReason};

use super::UdpConfig;
use super::group::Groups;
use super::peers::Peers;
use super::sys::{self, Datagram};
use crate::counters::{LinkCounter as C, LinkCounters};
use crate::limits;
use crate::link::Sent;

/// Sorts a batch into datagrams and sends them.
#[derive(Debug)]
pub(super) struct Sender {
    groups: Groups,
    pub(super) output: Output,
}

/// The socket that sends, and what it may still ask of the kernel.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) socket: UdpSocket,
    pub(super) buffer_bytes: usize,
    pub(super) gso: bool,
    gso_refusals: u32,
}

/// Which slots of the batch the kernel did not take.
type Refused = [bool; BATCH_PACKETS];

impl Sender {
    pub(super) fn open(config: &UdpConfig) -> io::Result<Sender> {
        let mut from = config.local;
        from.set_port(config.source_port);
        let socket = sys::sender(from)?;
        let output = Output {
            buffer_bytes: sys::set_send_buffer(&socket, config.send_buffer_bytes)?,
            socket: socket.into(),
            gso: config.gso,
            gso_refusals: 0,
        };
        Ok(Sender { groups: Groups::new(), output })
    }

    pub(super) fn send(
        &mut self,
        batch: &mut Batch,
        peers: &Peers,
        counters: &LinkCounters,
    ) -> Sent {
        self.groups.build(batch, peers, self.output.gso);
        let members = self.groups.members();
        if members.is_empty() {
            return Sent::default();
        }
        let mut refused = [false; BATCH_PACKETS];
        self.output.send_groups(batch, &self.groups, peers, counters, &mut refused);

        let mut sent = Sent::default();
        let mut bytes = 0;
        for slot in members.iter().map(|slot| usize::from(*slot)) {
            if refused[slot] {
                sent.refused += 1;
                batch.drop_packet(slot, DropReason::LinkRefused);
            } else {
                sent.packets += 1;
                bytes += batch.range(slot).len();
            }
        }
        counters.add(C::SentPackets, sent.packets as u64);
        counters.add(C::SentBytes, bytes as u64);
        counters.add(C::SendRefused, sent.refused as u64);
        sent
    }
}

impl Output {
    fn send_groups(
        &mut self,
        batch: &Batch,
        groups: &Groups,
        peers: &Peers,
        counters: &LinkCounters,
        refused: &mut Refused,
    ) {
        let members = groups.members();
        let mut parts = [IoSlice::new(&[]); BATCH_PACKETS];
        for (part, slot) in parts.iter_mut().zip(members) {
            *part = IoSlice::new(batch.packet(usize::from(*slot)));
        }
        let mut all = groups.iter().filter_map(|group| {
            let to = peers.address(group.neighbour)?;
            let slots = &members[group.members()];
            let parts = &parts[group.members()];
            let segment = if slots.len() > 1 { group.segment as u16 } else { 0 };
            Some(Datagram { to, parts, slots, segment, ecn: group.ecn })
        });
        let Some(first) = all.next() else { return };
        let mut datagrams = [first; BATCH_PACKETS];
        let mut count = 1;
        for datagram in all {
            datagrams[count] = datagram;
            count += 1;
        }
        self.send_datagrams(&datagrams[..count], counters, refused);
    }

    /// Sends in order; waits a little where the socket is full.
    fn send_datagrams(
        &mut self,
        datagrams: &[Datagram<'_>],
        counters: &LinkCounters,
        refused: &mut Refused,
    ) {
        let (mut next, mut waits) = (0, 0);
        while next < datagrams.len() {
            counters.add(C::SendCalls, 1);
            let error = match sys::send_many(self.socket.as_fd(), &datagrams[next..]) {
                Ok(sent) => {
                    for datagram in datagrams[next..].iter().take(sent) {
                        self.count_super(datagram, counters);
                    }
                    next += sent;
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::EAGAIN | libc::ENOBUFS) => {
                    counters.add(C::SendWaits, 1);
                    waits += 1;
                    if waits <= limits::SEND_WAIT_MS && sys::wait_writable(self.socket.as_fd(), 1) {
                        continue;
                    }
                    // The rest of the batch would meet the same full queue.
                    for datagram in &datagrams[next..] {
                        datagram.slots.iter().for_each(|slot| refused[usize::from(*slot)] = true);
                    }
                    return;
                }
                Some(code @ (libc::EIO | libc::EINVAL | libc::EMSGSIZE))
                    if datagrams[next].slots.len() > 1 =>
                {
                    self.send_one_by_one(code, &datagrams[next], counters, refused);
                }
                _ => {
                    counters.add(C::SendErrors, 1);
                    datagrams[next]
                        .slots
                        .iter()
                        .for_each(|slot| refused[usize::from(*slot)] = true);
                }
            }
            next += 1;
        }
    }

    fn count_super(&mut self, datagram: &Datagram<'_>, counters: &LinkCounters) {
        if datagram.slots.len() > 1 {
            self.gso_refusals = 0;
            counters.add(C::SentSupers, 1);
            counters.add(C::SentInSupers, datagram.slots.len() as u64);
        }
    }

    /// The kernel refuses GSO: EIO where the interface computes no checksums, EINVAL where it knows no UDP_SEGMENT, either
    /// that or EMSGSIZE where a packet is over the path MTU. Where all packets pass one by one, GSO was at fault, and soon
    /// is not asked for any more.
    #[cold]
    fn send_one_by_one(
        &mut self,
        code: i32,
        whole: &Datagram<'_>,
        counters: &LinkCounters,
        refused: &mut Refused,
    ) {
        counters.add(C::GsoRefused, 1);
        let mut passed = true;
        for (part, slot) in whole.parts.iter().zip(whole.slots) {
            let (parts, slots) = (std::slice::from_ref(part), std::slice::from_ref(slot));
            let one = Datagram { parts, slots, segment: 0, ..*whole };
            counters.add(C::SendCalls, 1);
            if sys::send_many(self.socket.as_fd(), &[one]).is_err() {
                passed = false;
                counters.add(C::SendErrors, 1);
                refused[usize::from(*slot)] = true;
            }
        }
        if passed {
            self.gso_refusals += 1;
            self.gso = code != libc::EIO && self.gso_refusals < limits::GSO_REFUSALS_MAX;
        }
    }
}
