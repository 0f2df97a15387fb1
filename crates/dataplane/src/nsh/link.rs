//! The code over what steers a packet, made anew on every link (`docs/nsh.md`, "Integrity on every link").

use ringmail_model::nsh::{KEY_ID_BYTES, MAX_BYTES, TAG_BYTES};
use ringmail_packet::{esp, ipv4, ipv6};

use super::cmac::{self, CmacKey, LANES, Tag};
use crate::labels::ENTRY_BYTES;
use crate::limits::MAX_LABELS;
use crate::verdict::DropReason;

/// The bits of a label entry that are covered: not traffic class nor TTL, which forwarders change.
const COVERED: u32 = 0xffff_f100;

/// Bytes of the longest message: header, labels, two addresses of IPv6 with length and protocol, header and ICV of ESP.
const MESSAGE_BYTES: usize =
    MAX_BYTES + MAX_LABELS * ENTRY_BYTES + 36 + esp::HEADER_LEN_BYTES + esp::ICV_LEN_BYTES;

/// A packet in its parts, as they follow one another on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The labels, those that only lead to the receiver of this link included; none in profile `nsh`.
    pub labels: &'a [u8],
    /// The whole NSH.
    pub nsh: &'a [u8],
    /// The IP header in front of ESP, of either version, without options or extension headers.
    pub ip: &'a [u8],
    /// Everything from ESP's header on.
    pub esp: &'a [u8],
}

/// What the codes of a group of packets are made over, and room for it that is used again.
#[derive(Debug)]
pub struct Covered {
    messages: [[u8; MESSAGE_BYTES]; LANES],
    lens: [usize; LANES],
    count: usize,
}

impl Default for Covered {
    fn default() -> Covered {
        Covered { messages: [[0; MESSAGE_BYTES]; LANES], lens: [0; LANES], count: 0 }
    }
}

impl Covered {
    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Packets that are laid down.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether another packet finds room.
    pub fn is_full(&self) -> bool {
        self.count == LANES
    }

    /// Lays a packet down whose code, behind its key id, is at `mac` in the NSH.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] for parts that no packet of a path has; nothing was laid down.
    ///
    /// # Panics
    /// If all room is taken.
    pub fn push(&mut self, parts: Parts<'_>, mac: usize) -> Result<(), DropReason> {
        let mut out = Writer { bytes: &mut self.messages[self.count], len: 0 };
        out.put(parts.nsh)?;
        let code = mac + KEY_ID_BYTES..mac + KEY_ID_BYTES + TAG_BYTES;
        out.bytes[..out.len].get_mut(code).ok_or(DropReason::Malformed)?.fill(0);
        for entry in parts.labels.chunks(ENTRY_BYTES) {
            let entry = entry.first_chunk().ok_or(DropReason::Malformed)?;
            out.put(&(u32::from_be_bytes(*entry) & COVERED).to_be_bytes())?;
        }
        match parts.ip.len() {
            ipv4::MIN_HEADER_LEN_BYTES => {
                out.put(&parts.ip[12..20])?;
                out.put(&[parts.ip[2], parts.ip[3], parts.ip[9], 0])?;
            }
            ipv6::HEADER_LEN_BYTES => {
                out.put(&parts.ip[8..40])?;
                out.put(&[parts.ip[4], parts.ip[5], parts.ip[6], 0])?;
            }
            _ => return Err(DropReason::Malformed),
        }
        let body = parts.esp.len().checked_sub(esp::ICV_LEN_BYTES);
        let body = body.filter(|body| *body >= esp::HEADER_LEN_BYTES);
        let (head, icv) = parts.esp.split_at(body.ok_or(DropReason::Malformed)?);
        out.put(&head[..esp::HEADER_LEN_BYTES])?;
        out.put(icv)?;
        self.lens[self.count] = out.len;
        self.count += 1;
        Ok(())
    }

    /// The codes of all packets, in order, under one key.
    pub fn codes(&self, key: &CmacKey) -> [Tag; LANES] {
        let mut codes = [[0; TAG_BYTES]; LANES];
        let mut begin = 0;
        // Packets of one path and position are of one length; where several meet, neighbours that agree go together.
        while begin < self.count {
            let len = self.lens[begin];
            let alike = self.lens[begin..self.count].iter().take_while(|other| **other == len);
            let end = begin + alike.count();
            let mut messages = [&[][..]; LANES];
            for (message, bytes) in messages.iter_mut().zip(&self.messages[begin..end]) {
                *message = &bytes[..len];
            }
            let made = key.tags(&[0; TAG_BYTES], &messages[..end - begin]);
            codes[begin..end].copy_from_slice(&made[..end - begin]);
            begin = end;
        }
        codes
    }
}

/// Whether the code that an NSH holds behind the key id at `mac` is this one, in a time that says nothing of where it differs.
pub fn holds(nsh: &[u8], mac: usize, code: &Tag) -> bool {
    let there = nsh.get(mac + KEY_ID_BYTES..).and_then(<[u8]>::first_chunk::<TAG_BYTES>);
    there.is_some_and(|there| cmac::equal(there, code))
}

struct Writer<'a> {
    bytes: &'a mut [u8; MESSAGE_BYTES],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, part: &[u8]) -> Result<(), DropReason> {
        let room = self.bytes.get_mut(self.len..self.len + part.len());
        room.ok_or(DropReason::Malformed)?.copy_from_slice(part);
        self.len += part.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: usize = 12;

    /// Labels, NSH with a code at 12, IPv4, ESP with four bytes of ciphertext.
    fn packet() -> [Vec<u8>; 4] {
        let run = |from: u8, len: usize| (0..len).map(|at| from.wrapping_add(at as u8)).collect();
        [run(0x10, 8), run(0x20, 32), run(0x60, 20), run(0xa0, 36)]
    }

    fn code(parts: &[Vec<u8>; 4]) -> Tag {
        let [labels, nsh, ip, esp] = parts;
        let mut covered = Covered::default();
        covered.push(Parts { labels, nsh, ip, esp }, MAC).unwrap();
        covered.codes(&CmacKey::new(&[7; 16]))[0]
    }

    /// Every bit is covered but those that change under way, the code itself, and the ciphertext that the ICV stands for.
    #[test]
    fn every_bit_that_does_not_change_under_way_is_covered() {
        let whole = packet();
        let free = |part: usize, at: usize, bit: u8| match part {
            0 => at % 4 == 3 || at % 4 == 2 && bit & 0x0e != 0,
            1 => (MAC + 4..MAC + 20).contains(&at),
            2 => !matches!(at, 2 | 3 | 9 | 12..20),
            _ => (16..20).contains(&at),
        };
        for part in 0..4 {
            for at in 0..whole[part].len() {
                for bit in (0..8).map(|shift| 1u8 << shift) {
                    let mut other = whole.clone();
                    other[part][at] ^= bit;
                    let same = code(&other) == code(&whole);
                    assert_eq!(same, free(part, at, bit), "part {part}, byte {at}, bit {bit:#x}");
                }
            }
        }
    }

    #[test]
    fn the_code_is_that_of_the_parts_in_order() {
        let [labels, nsh, ip, esp] = packet();
        let mut message = nsh.clone();
        message[MAC + 4..MAC + 20].fill(0);
        for entry in labels.chunks(4) {
            message.extend([entry[0], entry[1], entry[2] & 0xf1, 0]);
        }
        message.extend(&ip[12..20]);
        message.extend([ip[2], ip[3], ip[9], 0]);
        message.extend(&esp[..16]);
        message.extend(&esp[20..]);
        let expected = CmacKey::new(&[7; 16]).tags(&[0; 16], &[&message])[0];
        assert_eq!(code(&[labels, nsh, ip, esp]), expected);
    }

    #[test]
    fn packets_of_several_lengths_go_through_together() {
        let mut covered = Covered::default();
        let mut singly = Vec::new();
        for labels in [8, 8, 4, 4, 4, 8, 0, 0] {
            let [all, nsh, ip, mut esp] = packet();
            esp[0] = singly.len() as u8;
            let parts = [all[..labels].to_vec(), nsh, ip, esp];
            let [labels, nsh, ip, esp] = &parts;
            covered.push(Parts { labels, nsh, ip, esp }, MAC).unwrap();
            singly.push(code(&parts));
        }
        assert!(covered.is_full());
        assert_eq!(covered.codes(&CmacKey::new(&[7; 16])).to_vec(), singly);
        covered.clear();
        assert!(covered.is_empty());
    }

    #[test]
    fn a_code_is_found_where_it_is_and_only_whole() {
        let [_, mut nsh, ..] = packet();
        let code: Tag = nsh[16..32].try_into().unwrap();
        assert!(holds(&nsh, MAC, &code) && !holds(&nsh[..31], MAC, &code));
        nsh[31] ^= 1;
        assert!(!holds(&nsh, MAC, &code));
    }

    #[test]
    fn parts_that_no_packet_has_are_refused() {
        let [labels, nsh, ip, esp] = packet();
        let push = |labels: &[u8], nsh: &[u8], ip: &[u8], esp: &[u8]| {
            let mut covered = Covered::default();
            let pushed = covered.push(Parts { labels, nsh, ip, esp }, MAC);
            assert_eq!(covered.len(), usize::from(pushed.is_ok()));
            pushed
        };
        let malformed = Err(DropReason::Malformed);
        assert_eq!(push(&labels, &nsh, &ip, &esp), Ok(()));
        assert_eq!(push(&labels, &nsh, &[0; 40], &esp), Ok(()));
        assert_eq!(push(&labels[..7], &nsh, &ip, &esp), malformed);
        assert_eq!(push(&labels, &nsh[..31], &ip, &esp), malformed);
        assert_eq!(push(&labels, &[0; 600], &ip, &esp), malformed);
        assert_eq!(push(&labels, &nsh, &ip[..19], &esp), malformed);
        assert_eq!(push(&labels, &nsh, &[0; 24], &esp), malformed);
        assert_eq!(push(&labels, &nsh, &ip, &esp[..31]), malformed);
        assert_eq!(push(&[0; 4 * (MAX_LABELS + 1)], &[0; 252], &[0; 40], &esp), malformed);
    }
}
