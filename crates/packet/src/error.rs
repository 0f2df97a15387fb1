//! What can be wrong with bytes that should be a header, or with values that should become one.

use core::fmt;

/// Short for a result of this crate.
pub type Result<T> = core::result::Result<T, Error>;

/// The header that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// Ethernet II.
    Ethernet,
    /// An 802.1Q tag.
    Vlan,
    /// An MPLS label stack.
    Mpls,
    /// The Network Service Header.
    Nsh,
    /// IPv4.
    Ipv4,
    /// The fixed header of IPv6.
    Ipv6,
    /// An extension header of IPv6.
    Ipv6Extension,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP for IPv4.
    Icmpv4,
    /// ICMP for IPv6.
    Icmpv6,
    /// ESP.
    Esp,
    /// An IPFIX message.
    Ipfix,
    /// What the ports of another transport protocol stand in.
    Transport,
}

/// Why bytes are not a header, or values cannot become one.
///
/// [`Error::NoRoom`] and [`Error::FieldValue`] are the caller's fault; all others are the fault of whoever wrote or
/// carried the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end before the header, or what its length field announces, does.
    Truncated {
        /// The header that ends early.
        layer: Layer,
        /// Bytes that the header says or implies there are.
        needed_bytes: usize,
        /// Bytes that are there.
        present_bytes: usize,
    },
    /// The version field names another protocol version.
    Version {
        /// The header that was looked for.
        layer: Layer,
        /// The version that the field holds.
        found: u8,
    },
    /// The header-length field is below the smallest header.
    HeaderLength {
        /// The header with the bad field.
        layer: Layer,
        /// The length that the field gives.
        found_bytes: usize,
    },
    /// The length field of the whole packet is smaller than the packet's own header.
    PacketLength {
        /// The header with the bad field.
        layer: Layer,
        /// The length that the field gives.
        found_bytes: usize,
    },
    /// An option's length field is below the smallest option of its kind or leaves the option area.
    OptionLength {
        /// The header that holds the option.
        layer: Layer,
        /// The option's kind.
        kind: u8,
    },
    /// The checksum is not that of the bytes.
    Checksum {
        /// The header with the checksum.
        layer: Layer,
    },
    /// No entry of the label stack within [`limits::MPLS_STACK_ENTRIES`](crate::limits::MPLS_STACK_ENTRIES) has the
    /// bottom-of-stack bit.
    StackTooDeep,
    /// There are more extension headers than
    /// [`limits::IPV6_EXTENSION_HEADERS`](crate::limits::IPV6_EXTENSION_HEADERS).
    TooManyExtensionHeaders,
    /// A Hop-by-Hop Options header stands elsewhere than directly behind the IPv6 header (RFC 8200 section 4.1).
    HopByHopNotFirst,
    /// The padding of ESP is not 1, 2, 3, … (RFC 4303 section 2.4) or longer than the plaintext.
    Padding,
    /// The buffer to write into is too small.
    NoRoom {
        /// The header to be written.
        layer: Layer,
        /// Bytes that the header takes.
        needed_bytes: usize,
        /// Bytes that the buffer has.
        present_bytes: usize,
    },
    /// A value is too wide for its field, or not one that the field can hold.
    FieldValue {
        /// The header to be written.
        layer: Layer,
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Ethernet => "Ethernet",
            Layer::Vlan => "802.1Q",
            Layer::Mpls => "MPLS",
            Layer::Nsh => "NSH",
            Layer::Ipv4 => "IPv4",
            Layer::Ipv6 => "IPv6",
            Layer::Ipv6Extension => "IPv6 extension",
            Layer::Udp => "UDP",
            Layer::Tcp => "TCP",
            Layer::Icmpv4 => "ICMP",
            Layer::Icmpv6 => "ICMPv6",
            Layer::Esp => "ESP",
            Layer::Ipfix => "IPFIX",
            Layer::Transport => "transport",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Truncated { layer, needed_bytes, present_bytes } => write!(
                f,
                "the {layer} header needs {needed_bytes} bytes and {present_bytes} are there"
            ),
            Error::Version { layer, found } => {
                write!(f, "the version field of the {layer} header holds {found}")
            }
            Error::HeaderLength { layer, found_bytes } => {
                write!(f, "the {layer} header gives its own length as {found_bytes} bytes, too few")
            }
            Error::PacketLength { layer, found_bytes } => write!(
                f,
                "the {layer} header gives the packet's length as {found_bytes} bytes, fewer than the header"
            ),
            Error::OptionLength { layer, kind } => {
                write!(f, "the {layer} option of kind {kind} has an impossible length")
            }
            Error::Checksum { layer } => write!(f, "the {layer} checksum is wrong"),
            Error::StackTooDeep => write!(
                f,
                "none of the first {} MPLS entries is the bottom of the stack",
                crate::limits::MPLS_STACK_ENTRIES
            ),
            Error::TooManyExtensionHeaders => write!(
                f,
                "the IPv6 packet has more than {} extension headers",
                crate::limits::IPV6_EXTENSION_HEADERS
            ),
            Error::HopByHopNotFirst => {
                f.write_str("a Hop-by-Hop Options header does not follow the IPv6 header directly")
            }
            Error::Padding => f.write_str("the ESP padding is not 1, 2, 3, … or too long"),
            Error::NoRoom { layer, needed_bytes, present_bytes } => write!(
                f,
                "the {layer} header takes {needed_bytes} bytes and the buffer has {present_bytes}"
            ),
            Error::FieldValue { layer, field } => {
                write!(f, "the {layer} field `{field}` cannot hold that value")
            }
        }
    }
}

impl core::error::Error for Error {}
