//! IP prefixes as the domain file writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An IP prefix, `10.77.0.0/24` or `fd00:77::/64`. No bit is set behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Neither an address nor an address and a length.
    #[error("`{0}` is no IP prefix; write one like 10.77.0.0/24 or fd00:77::/64")]
    Syntax(String),
    /// The length is wider than the address.
    #[error("`{0}` is no IP prefix; the length is at most {1}")]
    TooLong(String, u8),
    /// A host address where a network belongs.
    #[error("`{text}` has bits set behind its prefix; the network is {network}")]
    HostBits {
        /// What was written.
        text: String,
        /// The network that it lies in.
        network: Cidr,
    },
}

impl Cidr {
    /// The prefix of this length around `address`; bits behind it are cleared. `None` when the length is too long.
    pub fn around(address: IpAddr, prefix_len: u8) -> Option<Cidr> {
        let address = match address {
            IpAddr::V4(v4) => {
                let host_bits = 32u32.checked_sub(prefix_len.into())?;
                IpAddr::V4(Ipv4Addr::from_bits(clear(v4.to_bits().into(), host_bits) as u32))
            }
            IpAddr::V6(v6) => {
                let host_bits = 128u32.checked_sub(prefix_len.into())?;
                IpAddr::V6(Ipv6Addr::from_bits(clear(v6.to_bits(), host_bits)))
            }
        };
        Some(Cidr { address, prefix_len })
    }

    /// The first address, all host bits zero.
    pub fn network(self) -> IpAddr {
        self.address
    }

    /// The length of the prefix in bits.
    pub fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// Whether this is an IPv4 prefix.
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether `address` lies inside.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Cidr::around(address, self.prefix_len).is_some_and(|cidr| cidr == self)
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Whether every address of `other` lies inside.
    pub fn covers(self, other: Cidr) -> bool {
        self.prefix_len <= other.prefix_len && self.contains(other.address)
    }

    /// The `index`-th host, from 1. IPv4's broadcast address and the network address itself are no hosts.
    pub fn host(self, index: u32) -> Option<IpAddr> {
        match self.address {
            IpAddr::V4(network) => {
                let hosts = (1u64 << (32 - u32::from(self.prefix_len))).checked_sub(2)?;
                (index >= 1 && u64::from(index) <= hosts)
                    .then(|| IpAddr::V4(Ipv4Addr::from_bits(network.to_bits() + index)))
            }
            IpAddr::V6(network) => {
                let host_bits = 128 - u32::from(self.prefix_len);
                let fits = host_bits >= 32 || u64::from(index) < 1u64 << host_bits;
                (index >= 1 && fits)
                    .then(|| IpAddr::V6(Ipv6Addr::from_bits(network.to_bits() + u128::from(index))))
            }
        }
    }

    /// Whether `address` can be given to a host of this network.
    pub fn is_host(self, address: IpAddr) -> bool {
        let broadcast = match self.address {
            IpAddr::V4(network) if self.prefix_len < 31 => {
                let host_mask = u32::MAX.checked_shr(self.prefix_len.into()).unwrap_or(0);
                Some(IpAddr::V4(Ipv4Addr::from_bits(network.to_bits() | host_mask)))
            }
            _ => None,
        };
        self.contains(address) && address != self.address && Some(address) != broadcast
    }
}

fn clear(bits: u128, host_bits: u32) -> u128 {
    let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    bits & mask
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let syntax = || CidrError::Syntax(text.to_owned());
        let (address, prefix_len) = text.split_once('/').ok_or_else(syntax)?;
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        let plain = !prefix_len.is_empty() && prefix_len.bytes().all(|b| b.is_ascii_digit());
        let prefix_len: u8 =
            if plain { prefix_len.parse().map_err(|_| syntax())? } else { return Err(syntax()) };
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let network = Cidr::around(address, prefix_len)
            .ok_or_else(|| CidrError::TooLong(text.to_owned(), widest))?;
        if network.address != address {
            return Err(CidrError::HostBits { text: text.to_owned(), network });
        }
        Ok(network)
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Cidr, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

impl schemars::JsonSchema for Cidr {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An IP prefix such as 10.77.0.0/24 or fd00:77::/64, no bits set behind the prefix.",
            "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a prefix")
    }

    #[test]
    fn bad_prefixes_say_why() {
        for (text, why) in [
            ("10.0.0.0", "no IP prefix"),
            ("10.0.0.0/", "no IP prefix"),
            ("10.0.0.0/+8", "no IP prefix"),
            ("10.0.0.0/33", "at most 32"),
            ("fd00::/129", "at most 128"),
            ("10.0.0.1/24", "the network is 10.0.0.0/24"),
            ("zebra/8", "no IP prefix"),
        ] {
            let error = text.parse::<Cidr>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn prefixes_contain_overlap_and_cover() {
        assert!(cidr("10.0.0.0/8").contains("10.255.1.2".parse().expect("ip")));
        assert!(!cidr("10.0.0.0/8").contains("11.0.0.0".parse().expect("ip")));
        assert!(!cidr("0.0.0.0/0").contains("::".parse().expect("ip")));
        assert!(cidr("::/0").contains("fd00::1".parse().expect("ip")));
        assert!(cidr("10.0.0.0/8").overlaps(cidr("10.1.0.0/16")));
        assert!(cidr("10.1.0.0/16").overlaps(cidr("10.0.0.0/8")));
        assert!(!cidr("10.1.0.0/16").overlaps(cidr("10.2.0.0/16")));
        assert!(cidr("10.0.0.0/8").covers(cidr("10.1.0.0/16")));
        assert!(!cidr("10.1.0.0/16").covers(cidr("10.0.0.0/8")));
    }

    #[test]
    fn hosts_leave_network_and_broadcast_out() {
        let small = cidr("192.0.2.0/30");
        assert_eq!(small.host(0), None);
        assert_eq!(small.host(2), Some("192.0.2.2".parse().expect("ip")));
        assert_eq!(small.host(3), None);
        assert_eq!(cidr("192.0.2.0/32").host(1), None);
        assert!(!small.is_host("192.0.2.3".parse().expect("ip")));
        assert!(!small.is_host("192.0.2.0".parse().expect("ip")));
        assert!(small.is_host("192.0.2.1".parse().expect("ip")));
        assert_eq!(cidr("fd00::/126").host(3), Some("fd00::3".parse().expect("ip")));
        assert_eq!(cidr("fd00::/126").host(4), None);
    }
}
