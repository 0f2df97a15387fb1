//! Clients that come by WireGuard: their keys, and the addresses that they have inside.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::shorten;

/// How a client comes by a listener of kind `wireguard`. Taking this out of the file cuts it off at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its public key, as `wg pubkey` prints it.
    pub public_key: PeerKey,
    /// Its addresses inside, hosts of `gateway.inner`: packets from any other are dropped.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpAddr>,
    /// File of a key that both ends share besides, as `wg genpsk` prints it, relative to the domain file: recorded traffic
    /// then stays closed to who can break Curve25519.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preshared_key_file: Option<PathBuf>,
}

/// A public key of WireGuard: a point of Curve25519.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerKey(pub [u8; KEY_BYTES]);

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// The digits of base64 (RFC 4648 section 4).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no WireGuard key; write the 44 characters that `wg pubkey` prints")]
pub struct PeerKeyError(String);

/// The 32 bytes of a key in the form that `wg` reads and prints, base64 of 44 characters.
pub fn decode_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits: [u8; 43] = text.strip_suffix('=')?.as_bytes().try_into().ok()?;
    let mut key = [0; KEY_BYTES];
    let (mut bits, mut count, mut at) = (0u32, 0, 0);
    for digit in digits {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            *key.get_mut(at)? = (bits >> count) as u8;
            (bits, at) = (bits & ((1 << count) - 1), at + 1);
        }
    }
    // What is left over says nothing, and has one form.
    (bits == 0).then_some(key)
}

/// A key as `wg` prints it.
pub fn encode_key(key: &[u8; KEY_BYTES]) -> String {
    let mut text = String::with_capacity(44);
    for three in key.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for nth in 0..=three.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * nth)) as usize & 63]));
        }
    }
    text.push('=');
    text
}

impl FromStr for PeerKey {
    type Err = PeerKeyError;

    fn from_str(text: &str) -> Result<PeerKey, PeerKeyError> {
        decode_key(text).map(PeerKey).ok_or_else(|| PeerKeyError(shorten(text)))
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_key(&self.0))
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for PeerKey {
    type Error = PeerKeyError;

    fn try_from(text: String) -> Result<PeerKey, PeerKeyError> {
        text.parse()
    }
}

impl From<PeerKey> for String {
    fn from(key: PeerKey) -> String {
        key.to_string()
    }
}

impl JsonSchema for PeerKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PeerKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A WireGuard public key: 32 bytes in base64.",
            "pattern": "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `wg genkey | wg pubkey`.
    const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

    #[test]
    fn a_key_prints_as_wg_prints_it() {
        let key: PeerKey = KEY.parse().expect("a key");
        assert_eq!((key.0[0], key.0[31]), (0xc5, 0x38));
        assert_eq!(key.to_string(), KEY);
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let key = PeerKey([byte; 32]);
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = format!("{KEY}=");
        let bits = KEY.replace("Dg=", "Dh=");
        for text in
            ["", "=", &KEY[..43], &long, &bits, &KEY.replace('x', "-"), &KEY.replace('5', "é")]
        {
            assert!(text.parse::<PeerKey>().is_err(), "{text}");
        }
    }
}
