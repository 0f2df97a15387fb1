//! What a packet's Network Service Header says of its way, for those who only look on: captures. Nothing of it is true but
//! where it was proved (`docs/nsh.md`, "Proof of transit").

use ringmail_model::ElementId;
use ringmail_model::nsh::{Context, WORD_BYTES};
use ringmail_packet::nsh;

/// Who began a packet, as it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Element, worker and life.
    pub origin: [u8; WORD_BYTES],
    /// The origin's count.
    pub sequence: u64,
}

impl Beginning {
    /// Reads what begins with a header; `None` where that says nothing of a proof, or is none.
    pub fn read(header: &[u8]) -> Option<Beginning> {
        let header = nsh::Packet::new_checked(header).ok()?;
        let mut contexts = header.contexts().map_while(Result::ok);
        let proof = |context: &nsh::context::Context<'_>| {
            (context.class, context.kind) == Context::Proof.wire()
        };
        let value = contexts.find(proof)?.value;
        let (origin, rest) = value.split_first_chunk()?;
        Some(Beginning { origin: *origin, sequence: u64::from_be_bytes(*rest.first_chunk()?) })
    }

    /// The element that began the packet.
    pub fn element(&self) -> ElementId {
        ElementId(u16::from_be_bytes([self.origin[0], self.origin[1]]))
    }

    /// The worker of that element.
    pub fn worker(&self) -> u16 {
        u16::from_be_bytes([self.origin[2], self.origin[3]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of MD type 2 with these words behind base and path.
    fn header(words: &[u32]) -> Vec<u8> {
        let len = (2 + words.len() as u32) << 16;
        let all = [0x0fc0_0201 | len, 0x0000_01ff].into_iter().chain(words.iter().copied());
        all.flat_map(u32::to_be_bytes).collect()
    }

    const PROOF: [u32; 11] = [0xfff6_0128, 0x0003_0001, 0x0908_0706, 0, 17, 1, 2, 3, 4, 5, 6];

    #[test]
    fn the_claim_is_read_where_there_is_one() {
        let beginning = Beginning::read(&header(&PROOF)).unwrap();
        assert_eq!((beginning.element(), beginning.worker()), (ElementId(3), 1));
        assert_eq!((beginning.origin[4..].to_vec(), beginning.sequence), (vec![9, 8, 7, 6], 17));
        // Behind another one, too.
        let second = Beginning::read(&header(&[&[0xfff6_0204, 7][..], &PROOF].concat()));
        assert_eq!(second, Some(beginning));
    }

    #[test]
    fn what_is_none_is_read_as_none() {
        let whole = header(&PROOF);
        let other_class = header(&[&[0x0000_0128][..], &PROOF[1..]].concat());
        let short = header(&[0xfff6_010c, 1, 2, 3]);
        for bytes in [&whole[..whole.len() - 1], &header(&[]), &other_class, &short, &[]] {
            assert_eq!(Beginning::read(bytes), None, "{bytes:?}");
        }
    }
}
