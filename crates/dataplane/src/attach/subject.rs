//! What flow a packet belongs to: its own, or for an ICMP error that of the packet which it is about.

use ringmail_model::pathset::Direction;
use ringmail_packet::flow::{FlowError, FlowKey};
use ringmail_packet::icmp;
use ringmail_packet::ip::protocol;

use crate::edge;
use crate::verdict::DropReason;

/// A packet's flow, in the direction in which the packet travels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// For an error: that of the packet which it is about, reversed.
    pub(crate) flow: FlowKey,
    /// Whether it is an ICMP error.
    pub(crate) error: bool,
    /// Seconds for which the flow is remembered after this packet.
    pub(crate) idle_s: u32,
}

impl Subject {
    /// `other_idle_s` is for how long flows that are not TCP's are remembered.
    pub(crate) fn of(packet: &[u8], other_idle_s: u32) -> Result<Subject, DropReason> {
        let flow = FlowKey::of(packet).map_err(|error| match error {
            FlowError::Fragment => DropReason::Fragment,
            _ => DropReason::MalformedInner,
        })?;
        let idle_s = edge::idle_s(&flow, packet, other_idle_s);
        if matches!(flow.protocol, protocol::ICMP | protocol::ICMPV6)
            && let Some(about) = icmp::subject(packet)
            // Nobody but the sender of that packet is to hear of it (RFC 1122 section 3.2.2).
            && about.src == flow.dst
        {
            return Ok(Subject { flow: about.reversed(), error: true, idle_s });
        }
        Ok(Subject { flow, error: false, idle_s })
    }

    /// The flow as it goes forward.
    pub(crate) fn forward(&self, direction: Direction) -> FlowKey {
        match direction {
            Direction::Forward => self.flow,
            Direction::Return => self.flow.reversed(),
        }
    }
}
