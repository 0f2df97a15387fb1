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
        });
        #[cfg(feature = "weaken")]
        let flow = flow.map_or_else(
            |refused| weaken::guess(packet, None).ok_or(refused),
            |flow| Ok(weaken::guess(packet, Some(flow)).unwrap_or(flow)),
        );
        let flow = flow?;
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

/// Readers that do not look as closely.
#[cfg(feature = "weaken")]
mod weaken {
    use std::net::IpAddr;

    use ringmail_model::defence::{Defence, off};
    use ringmail_packet::flow::FlowKey;
    use ringmail_packet::ip::protocol;

    /// The flow that a careless reader takes a packet for, which is `really` of that one or of none.
    pub(super) fn guess(packet: &[u8], really: Option<FlowKey>) -> Option<FlowKey> {
        let careless = match packet.first()? >> 4 {
            4 => off(Defence::Fragments) && really.is_none(),
            _ => off(Defence::ExtensionHeaders) && packet.get(6) != Some(&protocol::UDP),
        };
        let other =
            really.is_some_and(|flow| !matches!(flow.protocol, protocol::UDP | protocol::TCP));
        if !careless && !(other && off(Defence::FlowProtocol)) {
            return None;
        }
        let address = |at: usize| {
            let v4 = || Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            let v6 = || Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            if packet[0] >> 4 == 4 { v4() } else { v6() }
        };
        let (src, dst, ports) = if packet[0] >> 4 == 4 { (12, 16, 20) } else { (8, 24, 40) };
        let port = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
        let ports = (port(ports)?, port(ports + 2)?);
        if ports == (0, 0) {
            return None;
        }
        Some(FlowKey {
            src: address(src)?,
            dst: address(dst)?,
            src_port: ports.0,
            dst_port: ports.1,
            protocol: protocol::UDP,
        })
    }
}
