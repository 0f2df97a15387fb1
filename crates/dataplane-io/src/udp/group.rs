//! Which packets of a batch can leave in one GSO datagram: same neighbour, same ECN field, same length, a shorter one last.
//!
//! Packets to one neighbour keep their order. Packets to different neighbours need no order among them, so that two paths
//! whose packets alternate in a batch still make two large datagrams.

use std::ops::Range;

use ringmail_dataplane::{BATCH_PACKETS, Batch, Neighbour, Verdict};
use ringmail_packet::ip::Ecn;

use super::ecn;
use super::peers::Peers;
use crate::limits::{GSO_SEGMENTS_MAX, UDP_PAYLOAD_BYTES_MAX};

const NONE: u8 = u8::MAX;

/// Packets that leave in one datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) neighbour: Neighbour,
    /// The length of all packets but the last.
    pub(super) segment: usize,
    /// The ECN field of its IP header.
    pub(super) ecn: Ecn,
    bytes: usize,
    count: usize,
    /// Where its packets begin in [`Groups::members`].
    first: usize,
    closed: bool,
}

/// The datagrams of one batch, in the order in which they leave.
#[derive(Debug)]
pub(super) struct Groups {
    groups: [Group; BATCH_PACKETS],
    len: usize,
    /// Slots, ordered by group.
    members: [u8; BATCH_PACKETS],
    member_count: usize,
    /// The group that each slot belongs to.
    group_of: [u8; BATCH_PACKETS],
    /// The open group of each neighbour.
    open: Vec<u8>,
}

impl Group {
    /// The positions of its packets in [`Groups::members`].
    pub(super) fn members(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    fn takes(&self, len: usize, ecn: Ecn, gso: bool) -> bool {
        gso && !self.closed
            && ecn == self.ecn
            && len > 0
            && len <= self.segment
            && self.count < GSO_SEGMENTS_MAX
            && self.bytes + len <= UDP_PAYLOAD_BYTES_MAX
    }
}

impl Groups {
    pub(super) fn new() -> Groups {
        let none = Group {
            neighbour: Neighbour(0),
            segment: 0,
            ecn: Ecn::NotEct,
            bytes: 0,
            count: 0,
            first: 0,
            closed: true,
        };
        Groups {
            groups: [none; BATCH_PACKETS],
            len: 0,
            members: [0; BATCH_PACKETS],
            member_count: 0,
            group_of: [NONE; BATCH_PACKETS],
            open: Vec::new(),
        }
    }

    /// Sorts the batch's packets for neighbours in `peers` into datagrams; without `gso` each gets its own.
    pub(super) fn build(&mut self, batch: &Batch, peers: &Peers, gso: bool) {
        self.len = 0;
        self.member_count = 0;
        if self.open.len() < peers.bound() {
            self.open.resize(peers.bound(), NONE);
        }
        for slot in 0..batch.len() {
            self.group_of[slot] = NONE;
            if let Verdict::Send(neighbour) = batch.verdict(slot)
                && peers.address(neighbour).is_some()
            {
                let frame = batch.packet(slot);
                self.group_of[slot] = self.join(neighbour, frame.len(), ecn::outside(frame), gso);
            }
        }
        for group in &mut self.groups[..self.len] {
            self.open[usize::from(group.neighbour.0)] = NONE;
            group.first = self.member_count;
            self.member_count += group.count;
            group.count = 0;
        }
        for slot in 0..batch.len() {
            if let Some(group) = self.groups.get_mut(usize::from(self.group_of[slot])) {
                self.members[group.first + group.count] = slot as u8;
                group.count += 1;
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups[..self.len].iter()
    }

    /// The slots to send, ordered by group.
    pub(super) fn members(&self) -> &[u8] {
        &self.members[..self.member_count]
    }

    fn join(&mut self, neighbour: Neighbour, len: usize, ecn: Ecn, gso: bool) -> u8 {
        let open = &mut self.open[usize::from(neighbour.0)];
        if let Some(group) = self.groups.get_mut(usize::from(*open))
            && group.takes(len, ecn, gso)
        {
            group.count += 1;
            group.bytes += len;
            group.closed = len < group.segment;
            return *open;
        }
        *open = self.len as u8;
        self.groups[self.len] =
            Group { neighbour, segment: len, ecn, bytes: len, count: 1, first: 0, closed: false };
        self.len += 1;
        *open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each packet is (neighbour, length); what comes out are the slots of each datagram.
    fn grouped(packets: &[(u16, usize)], gso: bool) -> Vec<Vec<u8>> {
        let address = |n: u16| (Neighbour(n), format!("10.0.0.{n}:6635").parse().unwrap());
        let peers = Peers::new(&[address(1), address(2)]);
        let mut batch = Batch::with_capacity_bytes(1 << 20);
        for (neighbour, len) in packets {
            let slot = batch.push(0, *len, 0).unwrap();
            batch.set_verdict(slot, Verdict::Send(Neighbour(*neighbour)));
        }
        let mut groups = Groups::new();
        // Twice: nothing may stay from the batch before.
        groups.build(&batch, &peers, gso);
        groups.build(&batch, &peers, gso);
        groups.iter().map(|group| groups.members()[group.members()].to_vec()).collect()
    }

    #[test]
    fn a_shorter_packet_ends_its_datagram_and_a_longer_one_begins_another() {
        let packets = [(1, 100), (1, 100), (1, 60), (1, 60), (1, 100)];
        assert_eq!(grouped(&packets, true), [vec![0, 1, 2], vec![3], vec![4]]);
    }

    #[test]
    fn alternating_neighbours_make_two_datagrams() {
        let packets = [(1, 9), (2, 9), (1, 9), (2, 8), (1, 9), (2, 9)];
        assert_eq!(grouped(&packets, true), [vec![0, 2, 4], vec![1, 3], vec![5]]);
    }

    #[test]
    fn neighbours_of_other_links_are_left_alone() {
        assert_eq!(grouped(&[(3, 9), (1, 9), (0, 9), (999, 9)], true), [vec![1]]);
    }

    #[test]
    fn a_datagram_never_exceeds_what_udp_can_carry() {
        let groups = grouped(&[(1, 9000); 16], true);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7, 2]);
        assert_eq!(grouped(&[(1, 70_000), (1, 70_000)], true).len(), 2);
    }

    #[test]
    fn without_gso_and_for_empty_packets_each_has_a_datagram_of_its_own() {
        assert_eq!(grouped(&[(1, 9), (1, 9)], false), [vec![0], vec![1]]);
        assert_eq!(grouped(&[(1, 0), (1, 0), (1, 9), (1, 0)], true).len(), 4);
    }
}
