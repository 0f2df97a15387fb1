//! Frames between elements as the attacker sees them (`docs/nsh.md`), and how they are altered so that what is altered is
//! the only thing wrong: lengths and checksums of the layers below are made right again.
//!
//! ```text
//! | Ethernet 14 | IPv4 20 | UDP 8, port 6635 | labels, 4 each | [NSH] | IPv4 20 | ESP |
//! ```

use ringmail_packet::ipv4;

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const LABEL_BYTES: usize = 4;

/// MPLS in UDP (RFC 7510).
const PORT: [u8; 2] = 6635_u16.to_be_bytes();

/// Bottom of stack, in the third byte of a label entry.
const BOTTOM: u8 = 1;

/// A frame on its way from one element to another.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Who sent it.
    pub(crate) from: String,
    /// Whom it is for; for none in particular if that is for all.
    pub(crate) to: Option<String>,
    /// All of it, from the Ethernet header on.
    pub(crate) bytes: Vec<u8>,
}

/// Where things are in a frame with MPLS in UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The first label.
    pub(crate) labels: usize,
    /// Behind the last label.
    pub(crate) labels_end: usize,
    /// The header in front of ESP.
    pub(crate) outer: usize,
    /// ESP, up to the end of the frame.
    pub(crate) esp: usize,
}

impl Parts {
    /// The Network Service Header, if there is one.
    pub(crate) fn nsh(&self) -> Option<std::ops::Range<usize>> {
        (self.labels_end < self.outer).then_some(self.labels_end..self.outer)
    }
}

impl Frame {
    /// Whether it goes from this element to that.
    pub(crate) fn goes(&self, from: &str, to: &str) -> bool {
        self.from == from && self.to.as_deref() == Some(to)
    }

    /// What is where; `None` if it is no traffic of a chain.
    pub(crate) fn parts(&self) -> Option<Parts> {
        parts(&self.bytes)
    }

    /// Whether it carries a sealed packet of at least this many bytes.
    pub(crate) fn carries(&self, bytes: usize) -> bool {
        self.parts().is_some_and(|parts| self.bytes.len() >= parts.esp + bytes)
    }

    /// The labels, top first.
    pub(crate) fn labels(&self) -> Vec<u32> {
        let Some(parts) = self.parts() else { return Vec::new() };
        let entries = self.bytes[parts.labels..parts.labels_end].chunks_exact(LABEL_BYTES);
        entries.map(|entry| u32::from_be_bytes([0, entry[0], entry[1], entry[2]]) >> 4).collect()
    }

    /// ESP's SPI.
    pub(crate) fn spi(&self) -> Option<u32> {
        let at = self.parts()?.esp;
        self.bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// The sequence number that ESP's IV is.
    pub(crate) fn sequence(&self) -> Option<u64> {
        let at = self.parts()?.esp + 8;
        self.bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// The same frame, altered; below what was altered everything is right again.
    pub(crate) fn altered(&self, alter: impl FnOnce(&mut Vec<u8>, Parts)) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(parts) = self.parts() {
            alter(&mut bytes, parts);
        }
        mend(&mut bytes);
        bytes
    }

    /// The same frame with another stack of labels, TTL 63 each.
    pub(crate) fn relabelled(&self, labels: &[u32]) -> Vec<u8> {
        self.altered(|bytes, parts| {
            let last = labels.len().saturating_sub(1);
            let entry = |(nth, label): (usize, &u32)| {
                let bottom = u32::from(nth == last && BOTTOM == 1);
                (label << 12 | bottom << 8 | 63).to_be_bytes()
            };
            let stack: Vec<u8> = labels.iter().enumerate().flat_map(entry).collect();
            bytes.splice(parts.labels..parts.labels_end, stack);
        })
    }

    /// The same frame with this in the place of ESP.
    pub(crate) fn carrying(&self, esp: &[u8]) -> Vec<u8> {
        self.altered(|bytes, parts| {
            bytes.truncate(parts.esp);
            bytes.extend_from_slice(esp);
        })
    }

    /// The same frame, addressed by another element to another one, on the link's own layers.
    pub(crate) fn readdressed(&self, like: &Frame) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[..12].copy_from_slice(&like.bytes[..12]);
        let addresses = ETHERNET_BYTES + 12..ETHERNET_BYTES + 20;
        bytes[addresses.clone()].copy_from_slice(&like.bytes[addresses]);
        mend(&mut bytes);
        bytes
    }
}

/// Lengths and checksums of IPv4 and UDP of the link, and the checksum of the header in front of ESP.
pub(crate) fn mend(bytes: &mut [u8]) {
    let total = bytes.len().saturating_sub(ETHERNET_BYTES);
    let Some((ip, rest)) =
        bytes.get_mut(ETHERNET_BYTES..).and_then(|ip| ip.split_at_mut_checked(IPV4_BYTES))
    else {
        return;
    };
    ip[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    ipv4::Packet::new_unchecked(ip).fill_checksum();
    if let Some(udp) = rest.get_mut(..UDP_BYTES) {
        udp[4..6].copy_from_slice(&((total - IPV4_BYTES) as u16).to_be_bytes());
        // No checksum (RFC 768).
        udp[6..8].fill(0);
    }
    if let Some(parts) = parts(bytes)
        && let Some(outer) = bytes.get_mut(parts.outer..parts.outer + IPV4_BYTES)
    {
        let total = total + ETHERNET_BYTES - parts.outer;
        outer[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        ipv4::Packet::new_unchecked(outer).fill_checksum();
    }
}

fn parts(bytes: &[u8]) -> Option<Parts> {
    let ethertype = bytes.get(12..14)?;
    let ip = bytes.get(ETHERNET_BYTES..)?;
    let udp = ip.get(IPV4_BYTES..)?;
    let chain = ethertype == [8, 0] && ip[0] == 0x45 && ip[9] == 17 && udp.get(2..4)? == PORT;
    if !chain {
        return None;
    }
    let labels = ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES;
    let mut entries = bytes.get(labels..)?.chunks_exact(LABEL_BYTES);
    let count = 1 + entries.position(|entry| entry[2] & BOTTOM != 0)?;
    let labels_end = labels + count * LABEL_BYTES;
    let outer = match bytes.get(labels_end)? >> 4 {
        4 => labels_end,
        // NSH (RFC 8300): its length in words is in six bits behind the TTL.
        _ => labels_end + 4 * usize::from(bytes.get(labels_end + 1)? & 0x3f),
    };
    let is_esp = *bytes.get(outer)? == 0x45 && *bytes.get(outer + 9)? == 50;
    (is_esp && bytes.len() >= outer + IPV4_BYTES + 16).then_some(Parts {
        labels,
        labels_end,
        outer,
        esp: outer + IPV4_BYTES,
    })
}

/// The frame behind a header of `PACKET_VNET_HDR`, with the checksum that its sender left to the network card.
pub(super) fn whole(received: &[u8], header_bytes: usize) -> Option<Vec<u8>> {
    let (header, frame) = received.split_at_checked(header_bytes)?;
    let mut frame = frame.to_vec();
    let field = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let (flags, start, offset) = (header[0], field(6), field(8));
    if flags & 1 != 0 {
        // VIRTIO_NET_HDR_F_NEEDS_CSUM: the field holds the sum of the pseudo header.
        let sum = frame.get(start..)?.chunks(2).fold(0_u32, |sum, pair| {
            let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
            let sum = sum + u32::from(word);
            (sum & 0xffff) + (sum >> 16)
        });
        let sum = match !(sum as u16) {
            0 => 0xffff,
            sum => sum,
        };
        frame.get_mut(start + offset..start + offset + 2)?.copy_from_slice(&sum.to_be_bytes());
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as profile `mpls` has it, with two labels.
    fn frame() -> Frame {
        let mut bytes = vec![2; 12];
        bytes.extend([8, 0]);
        let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        bytes.append(&mut ip);
        bytes.extend([0xc0, 0, PORT[0], PORT[1], 0, 0, 0, 0]);
        bytes.extend([0, 1, 0, 64, 0, 2, 1, 64]);
        bytes.extend([0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 50, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(7_u32.to_be_bytes().iter().chain(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 9]));
        bytes.extend([0xaa; 24]);
        Frame { from: "a".into(), to: Some("b".into()), bytes }
    }

    #[test]
    fn a_frame_is_taken_apart_and_altered() {
        let frame = frame();
        assert_eq!(
            (frame.labels(), frame.spi(), frame.sequence()),
            (vec![16, 32], Some(7), Some(9))
        );
        let bytes = frame.relabelled(&[48]);
        assert_eq!(bytes.len(), frame.bytes.len() - LABEL_BYTES);
        let other = Frame { bytes, ..frame.clone() };
        assert_eq!((other.labels(), other.spi()), (vec![48], Some(7)));
        let ip = &other.bytes[ETHERNET_BYTES..ETHERNET_BYTES + IPV4_BYTES];
        assert!(ipv4::Packet::new_unchecked(ip).verify_checksum());
        assert_eq!(
            usize::from(u16::from_be_bytes([ip[2], ip[3]])),
            other.bytes.len() - ETHERNET_BYTES
        );
    }

    #[test]
    fn a_checksum_that_was_left_to_the_card_is_filled_in() {
        let mut received = vec![0; 10];
        received[0] = 1;
        received[6..8].copy_from_slice(&4_u16.to_ne_bytes());
        received[8..10].copy_from_slice(&2_u16.to_ne_bytes());
        received.extend([1, 2, 3, 4, 0x12, 0x34, 0, 1, 0xff, 0xff]);
        let frame = whole(&received, 10).expect("a frame");
        assert_eq!(frame[6..8], (!0x1235_u16).to_be_bytes());
        assert_eq!(whole(&received[..9], 10), None);
    }
}
