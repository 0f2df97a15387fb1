//! MAC addresses of single stations (IEEE 802 clause 8), as the domain file writes them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address of one station, `52:54:00:12:34:56`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

/// Why a text is no station's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six bytes in hex.
    #[error("`{0}` is no MAC address; write one like 52:54:00:12:34:56")]
    Syntax(String),
    /// The bit of groups is set, or nobody has it.
    #[error("`{0}` is no address of a single station")]
    NoStation(String),
}

impl MacAddress {
    /// The address of these bytes, unless it is a group's or all zeros.
    pub const fn new(bytes: [u8; 6]) -> Option<MacAddress> {
        let [a, b, c, d, e, f] = bytes;
        let zero = a | b | c | d | e | f == 0;
        if zero || a & 1 != 0 { None } else { Some(MacAddress(bytes)) }
    }

    /// The locally administered address that an element has whose file says none: `02:00` and its link address.
    pub const fn of_link(address: Ipv4Addr) -> MacAddress {
        let [a, b, c, d] = address.octets();
        MacAddress([0x02, 0, a, b, c, d])
    }

    /// Its bytes in the order of transmission.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<MacAddress, MacError> {
        let syntax = || MacError::Syntax(crate::names::shorten(text));
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(syntax)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(syntax());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| syntax())?;
        }
        if parts.next().is_some() {
            return Err(syntax());
        }
        MacAddress::new(bytes).ok_or_else(|| MacError::NoStation(text.to_owned()))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacError;

    fn try_from(text: String) -> Result<MacAddress, MacError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> String {
        address.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl schemars::JsonSchema for MacAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MacAddress".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "The MAC address of one station, such as 52:54:00:12:34:56.",
            "pattern": "^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_stations_are_read_and_printed() {
        let address: MacAddress = "52:54:00:12:34:aB".parse().unwrap();
        assert_eq!((address.to_string().as_str(), address.bytes()[5]), ("52:54:00:12:34:ab", 0xab));
        let own = MacAddress::of_link([10, 77, 0, 2].into());
        assert_eq!(own.to_string().parse(), Ok(own));
        assert_eq!(own.to_string(), "02:00:0a:4d:00:02");
    }

    #[test]
    fn other_texts_and_groups_are_refused() {
        for text in
            ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "5254.0012.3456", "+2:54:00:12:34:56"]
        {
            assert!(matches!(text.parse::<MacAddress>(), Err(MacError::Syntax(_))), "{text}");
        }
        for text in ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
            assert!(matches!(text.parse::<MacAddress>(), Err(MacError::NoStation(_))), "{text}");
        }
    }
}
