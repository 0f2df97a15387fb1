//! The code over what steers a packet, made anew on every link (`docs/nsh.md`, "Integrity on every link").
//!
//! ```text
//! AES-128-CMAC(key | key id, words of the NSH, labels, zeros to a whole block   the same in all packets of the path
//!                  | TTL, IP, ESP's header and ICV, context headers            different in each)
//! ```

use ringmail_model::SaSpi;
use ringmail_model::nsh::{CONTEXT_BYTES, HEADER_BYTES, KEY_ID_BYTES, MAX_BYTES, TAG_BYTES};
use ringmail_packet::{esp, ipv4, ipv6};

use super::cmac::{self, BLOCK_BYTES, CmacKey, LANES, Tag};
use crate::labels::LabelStack;
use crate::verdict::DropReason;

/// Bytes of the longest message: TTL, protocol, length, two addresses of IPv6, header and ICV of ESP, context headers.
const MESSAGE_BYTES: usize = 4 + 32 + esp::HEADER_LEN_BYTES + esp::ICV_LEN_BYTES + MAX_BYTES;

/// What is the same in all packets of a path on one link: words of the NSH, and the labels. Whoever takes a packet has
/// compared these with what it is, so they enter the code as what they have to be, and are worked off once a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constant(Vec<u8>);

impl Constant {
    /// These words of an NSH, its TTL zero, and these labels.
    pub fn new(words: impl Iterator<Item = u32>, labels: &LabelStack) -> Constant {
        Constant(words.chain(labels.steering()).flat_map(u32::to_be_bytes).collect())
    }
}

/// A key of a link, ready for the packets of one path.
#[derive(Debug)]
pub struct LinkKey {
    key: CmacKey,
    begun: Tag,
}

impl LinkKey {
    /// This key, which packets call by this id; the caller wipes its own copy.
    pub fn new(key: &[u8; cmac::KEY_BYTES], id: SaSpi, constant: &Constant) -> LinkKey {
        let mut message = [&id.0.to_be_bytes(), &constant.0[..]].concat();
        message.resize(message.len().next_multiple_of(BLOCK_BYTES), 0);
        let key = CmacKey::new(key);
        let begun = key.after(message.as_chunks().0);
        LinkKey { key, begun }
    }
}

/// What differs between packets of a path, in its parts.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
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
        let malformed = DropReason::Malformed;
        let mut out = Writer { bytes: &mut self.messages[self.count], len: 0 };
        let first = parts.nsh.first_chunk().ok_or(malformed)?;
        let ttl = (u16::from_be_bytes(*first) >> 6 & 0x3f) as u8;
        match parts.ip.len() {
            ipv4::MIN_HEADER_LEN_BYTES => {
                out.put(&[ttl, parts.ip[9], parts.ip[2], parts.ip[3]])?;
                out.put(&parts.ip[12..20])?;
            }
            ipv6::HEADER_LEN_BYTES => {
                out.put(&[ttl, parts.ip[6], parts.ip[4], parts.ip[5]])?;
                out.put(&parts.ip[8..40])?;
            }
            _ => return Err(malformed),
        }
        let body = parts.esp.len().checked_sub(esp::ICV_LEN_BYTES);
        let body = body.filter(|body| *body >= esp::HEADER_LEN_BYTES);
        let (head, icv) = parts.esp.split_at(body.ok_or(malformed)?);
        out.put(&head[..esp::HEADER_LEN_BYTES])?;
        out.put(icv)?;
        let code = mac + KEY_ID_BYTES..mac + KEY_ID_BYTES + TAG_BYTES;
        parts.nsh.get(code).ok_or(malformed)?;
        // From the first value to the header of the code.
        let from = HEADER_BYTES + CONTEXT_BYTES;
        let to = mac.checked_sub(CONTEXT_BYTES).ok_or(malformed)?;
        out.put(parts.nsh.get(from..to).unwrap_or_default())?;
        self.lens[self.count] = out.len;
        self.count += 1;
        Ok(())
    }

    /// The codes of all packets, in order, under one key.
    pub fn codes(&self, key: &LinkKey) -> [Tag; LANES] {
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
            let made = key.key.tags(&key.begun, &messages[..end - begin]);
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
    use ringmail_model::Label;

    use super::*;

    const MAC: usize = 28;
    const ID: SaSpi = SaSpi(0x0102_0304);

    /// NSH with a code at 28, IPv4, ESP with four bytes of ciphertext.
    fn packet() -> [Vec<u8>; 3] {
        let run = |from: u8, len: usize| (0..len).map(|at| from.wrapping_add(at as u8)).collect();
        [run(0x20, 48), run(0x60, 20), run(0xa0, 36)]
    }

    fn constant() -> Constant {
        let labels = [17, 1_048_575].map(|label| Label::new(label).unwrap());
        Constant::new([0x1111_1111, 0x2222_2222].into_iter(), &LabelStack::new(&labels).unwrap())
    }

    fn key() -> LinkKey {
        LinkKey::new(&[7; 16], ID, &constant())
    }

    fn code(parts: &[Vec<u8>; 3]) -> Tag {
        let [nsh, ip, esp] = parts;
        let mut covered = Covered::default();
        covered.push(Parts { nsh, ip, esp }, MAC).unwrap();
        covered.codes(&key())[0]
    }

    /// Every bit is covered but those that are compared with the constant, those that change under way, the code itself, and
    /// the ciphertext that the ICV stands for.
    #[test]
    fn every_bit_that_differs_between_packets_is_covered() {
        let whole = packet();
        let free = |part: usize, at: usize, bit: u8| match part {
            0 => match at {
                0 => bit & 0x0f == 0,
                1 => bit & 0xc0 == 0,
                _ => !(12..MAC - 4).contains(&at),
            },
            1 => !matches!(at, 2 | 3 | 9 | 12..20),
            _ => (16..20).contains(&at),
        };
        for part in 0..3 {
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
    fn a_key_is_of_one_path_link_and_id() {
        let with = |id, constant: &Constant| {
            let [nsh, ip, esp] = &packet();
            let mut covered = Covered::default();
            covered.push(Parts { nsh, ip, esp }, MAC).unwrap();
            covered.codes(&LinkKey::new(&[7; 16], id, constant))[0]
        };
        let labels = LabelStack::new(&[Label::new(17).unwrap()]).unwrap();
        let words = || [0x1111_1111, 0x2222_2222].into_iter();
        let others = [
            (SaSpi(1), constant()),
            (ID, Constant::new(words(), &labels)),
            (ID, Constant::new(words(), &LabelStack::NONE)),
            (ID, Constant::new(words().rev(), &labels)),
        ];
        for (id, other) in others {
            assert_ne!(with(ID, &constant()), with(id, &other), "{id:?} {other:?}");
        }
    }

    #[test]
    fn the_code_is_that_of_the_parts_in_order() {
        let [nsh, ip, esp] = packet();
        let mut message = ID.0.to_be_bytes().to_vec();
        message.extend([0x11; 4]);
        message.extend([0x22; 4]);
        message.extend([0, 1, 0x10, 0, 0xff, 0xff, 0xf1, 0]);
        message.resize(32, 0);
        message.push((nsh[0] & 0x0f) << 2 | nsh[1] >> 6);
        message.extend([ip[9], ip[2], ip[3]]);
        message.extend(&ip[12..20]);
        message.extend(&esp[..16]);
        message.extend(&esp[20..]);
        message.extend(&nsh[12..MAC - 4]);
        let expected = CmacKey::new(&[7; 16]).tags(&[0; 16], &[&message])[0];
        assert_eq!(code(&[nsh, ip, esp]), expected);
    }

    #[test]
    fn packets_of_several_lengths_go_through_together() {
        let mut covered = Covered::default();
        let mut singly = Vec::new();
        for ip in [20, 20, 40, 40, 40, 20, 40, 20].into_iter().cycle().take(LANES) {
            let [nsh, _, mut esp] = packet();
            esp[0] = singly.len() as u8;
            let parts = [nsh, vec![9; ip], esp];
            let [nsh, ip, esp] = &parts;
            covered.push(Parts { nsh, ip, esp }, MAC).unwrap();
            singly.push(code(&parts));
        }
        assert!(covered.is_full());
        assert_eq!(covered.codes(&key()).to_vec(), singly);
        covered.clear();
        assert!(covered.is_empty());
    }

    #[test]
    fn a_code_is_found_where_it_is_and_only_whole() {
        let [mut nsh, ..] = packet();
        let code: Tag = nsh[MAC + 4..].try_into().unwrap();
        assert!(holds(&nsh, MAC, &code) && !holds(&nsh[..MAC + 19], MAC, &code));
        nsh[MAC + 19] ^= 1;
        assert!(!holds(&nsh, MAC, &code));
    }

    #[test]
    fn parts_that_no_packet_has_are_refused() {
        let [nsh, ip, esp] = packet();
        let push = |nsh: &[u8], ip: &[u8], esp: &[u8], mac: usize| {
            let mut covered = Covered::default();
            let pushed = covered.push(Parts { nsh, ip, esp }, mac);
            assert_eq!(covered.len(), usize::from(pushed.is_ok()));
            pushed
        };
        let malformed = Err(DropReason::Malformed);
        assert_eq!(push(&nsh, &ip, &esp, MAC), Ok(()));
        assert_eq!(push(&nsh, &[0; 40], &esp, MAC), Ok(()));
        // A header with nothing in front of the code.
        assert_eq!(push(&nsh, &ip, &esp, 12), Ok(()));
        assert_eq!(push(&nsh[..47], &ip, &esp, MAC), malformed);
        assert_eq!(push(&[], &ip, &esp, MAC), malformed);
        assert_eq!(push(&[0; 600], &ip, &esp, 400), malformed);
        assert_eq!(push(&nsh, &ip[..19], &esp, MAC), malformed);
        assert_eq!(push(&nsh, &[0; 24], &esp, MAC), malformed);
        assert_eq!(push(&nsh, &ip, &esp[..31], MAC), malformed);
        assert_eq!(push(&nsh, &ip, &esp, 3), malformed);
    }
}
