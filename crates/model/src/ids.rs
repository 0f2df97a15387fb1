//! The numbers of a domain, one type each, so that none stands where another belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// An element (gateway, hop or egress) within its domain; also its place in tables of neighbours.
    ElementId(u16)
}
number! {
    /// A path within its domain: one direction. What RFC 8300 calls the Service Path Identifier (24 bits).
    PathId(u32)
}
number! {
    /// The version of a path set; only ever grows.
    PathVersion(u64)
}
number! {
    /// An ESP security parameters index (RFC 4303 section 2.1), chosen by the receiver; 0 to 255 are reserved.
    SaSpi(u32)
}
number! {
    /// The lifetime of one set of keys.
    Epoch(u32)
}
number! {
    /// One worker (core) of an element; each has security associations of its own.
    WorkerId(u16)
}

/// An MPLS label (RFC 3032): 20 bits, 0 to 15 reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Label(u32);

impl Label {
    /// The lowest label that is not reserved (RFC 3032 section 2.1).
    pub const MIN: Label = Label(16);
    /// The highest label that 20 bits hold.
    pub const MAX: Label = Label((1 << 20) - 1);

    /// The label of this value, unless it is reserved or wider than 20 bits.
    pub const fn new(value: u32) -> Option<Label> {
        if value < Label::MIN.0 || value > Label::MAX.0 { None } else { Some(Label(value)) }
    }

    /// The 20-bit value.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Label> for u32 {
    fn from(label: Label) -> u32 {
        label.0
    }
}

impl TryFrom<u32> for Label {
    type Error = String;

    fn try_from(value: u32) -> Result<Label, String> {
        Label::new(value)
            .ok_or_else(|| format!("label {value} is outside {} to {}", Label::MIN, Label::MAX))
    }
}

/// SHA-256 over the canonical encoding of a path: what both ends of a segment mean when they name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathDigest(pub [u8; 32]);

impl fmt::Debug for PathDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathDigest({self})")
    }
}

/// The first eight bytes in hex: enough to tell paths apart in a report.
impl fmt::Display for PathDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_and_wide_labels_are_refused() {
        assert_eq!(Label::new(15), None);
        assert_eq!(Label::new(16).map(Label::get), Some(16));
        assert_eq!(Label::new(1 << 20), None);
    }
}
