//! What whoever holds traffic keys can do with them: open what was recorded, and seal what he likes (RFC 4303, RFC 4106).

use std::net::SocketAddrV4;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ringmail_node::control::KeyExport;
use ringmail_packet::ipv4;

/// SPI, sequence number and IV.
const HEADER_BYTES: usize = 16;
const ICV_BYTES: usize = 16;
/// What AES-128-GCM takes: key and salt.
const MATERIAL_BYTES: usize = 20;

/// A key of an association, stolen.
#[derive(Clone)]
pub(crate) struct Stolen([u8; MATERIAL_BYTES]);

impl Stolen {
    /// As an element exports it.
    pub(crate) fn of(export: &KeyExport) -> Result<Stolen> {
        let material = export.key_and_salt.danger_bytes().try_into().ok();
        Ok(Stolen(material.context("the domain's suite is not aes-128-gcm")?))
    }

    /// The same byte all over: what elements have without keys of their own.
    pub(crate) fn everybodys() -> Stolen {
        Stolen([0x77; MATERIAL_BYTES])
    }

    fn key(&self) -> Result<LessSafeKey> {
        let key = UnboundKey::new(&AES_128_GCM, &self.0[..16]);
        key.map(LessSafeKey::new).map_err(|_| anyhow::anyhow!("the key is refused"))
    }

    fn nonce(&self, iv: [u8; 8]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.0[16..]);
        nonce[4..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals an IPv4 packet as ESP in tunnel mode.
    pub(crate) fn seal(&self, spi: u32, sequence: u64, inner: &[u8]) -> Result<Vec<u8>> {
        let padding = (inner.len() + 2).next_multiple_of(4) - inner.len() - 2;
        let mut text = inner.to_vec();
        text.extend((1..=padding).map(|at| at as u8));
        text.extend([padding as u8, 4]);
        let (spi, iv) = (spi.to_be_bytes(), sequence.to_be_bytes());
        let aad = Aad::from([&spi[..], &iv].concat());
        let sealed = self.key()?.seal_in_place_append_tag(self.nonce(iv), aad, &mut text);
        sealed.map_err(|_| anyhow::anyhow!("nothing was sealed"))?;
        Ok([&spi, &iv[4..], &iv, &text[..]].concat())
    }

    /// Opens ESP; `None` if this is not its key.
    pub(crate) fn open(&self, esp: &[u8]) -> Result<Option<Vec<u8>>> {
        ensure!(esp.len() >= HEADER_BYTES + ICV_BYTES, "no ESP");
        let iv: [u8; 8] = esp[8..16].try_into()?;
        let aad = Aad::from([&esp[..4], &iv].concat());
        let mut text = esp[HEADER_BYTES..].to_vec();
        let opened = self.key()?.open_in_place(self.nonce(iv), aad, &mut text);
        Ok(opened.ok().map(|text| text.to_vec()))
    }
}

/// A datagram of UDP in IPv4.
pub(crate) fn datagram(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_bytes = (8 + payload.len()) as u16;
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    // No checksum (RFC 768).
    let udp = [&ports[..], &udp_bytes.to_be_bytes(), &[0, 0], payload].concat();
    packet(from, to, 17, [0, 0], &udp)
}

/// An IPv4 packet with this payload, protocol, and flags with fragment offset.
pub(crate) fn packet(
    from: SocketAddrV4,
    to: SocketAddrV4,
    protocol: u8,
    fragment: [u8; 2],
    payload: &[u8],
) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 7, fragment[0], fragment[1], 64, protocol, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    ipv4::Packet::new_unchecked(&mut packet[..]).fill_checksum();
    packet.extend_from_slice(payload);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_its_key_alone() {
        let key = Stolen([3; MATERIAL_BYTES]);
        let inner = datagram(
            "10.0.0.1:1".parse().expect("one"),
            "10.0.0.2:2".parse().expect("one"),
            b"abc",
        );
        let esp = key.seal(300, 7, &inner).expect("sealed");
        let text = key.open(&esp).expect("ESP").expect("opened");
        assert!(text.starts_with(&inner) && text.ends_with(&[4]));
        assert_eq!(Stolen::everybodys().open(&esp).expect("ESP"), None);
    }
}
