//! Metadata that travels with packets: what there is to say of a flow, and who may know it (`docs/nsh.md`, "Metadata").
//!
//! Whoever begins packets of a path writes one header for each reader, with what that reader is granted and nothing else.
//! Every header has a fixed length, whatever is in it, so that its length says nothing.

mod facts;
mod said;

pub use facts::{Authorization, Decision, Facts, Ports};
pub use said::{Identity, Malformed, Said};

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// Something that can be said of a flow.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Kind {
    /// Whose it is: the client as rules know it, or the SHA-256 of that if it is long.
    Identity = 1,
    /// Source port, destination port, protocol: for functions that see ciphertext.
    Ports = 2,
    /// The rule that let it in, and who decided.
    Authorization = 3,
    /// The tenant that the file gives the client.
    Tenant = 4,
    /// The name of that rule, or how it begins.
    Reason = 5,
    /// Sixteen random bytes of its own.
    Trace = 6,
}

impl Kind {
    /// Every kind, in the order in which they are written.
    pub const ALL: [Kind; 6] =
        [Kind::Identity, Kind::Ports, Kind::Authorization, Kind::Tenant, Kind::Reason, Kind::Trace];

    /// The name in the domain file.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Identity => "identity",
            Kind::Ports => "ports",
            Kind::Authorization => "authorization",
            Kind::Tenant => "tenant",
            Kind::Reason => "reason",
            Kind::Trace => "trace",
        }
    }

    /// Bytes of the longest value.
    pub const fn most_bytes(self) -> usize {
        match self {
            Kind::Identity => 40,
            Kind::Ports | Kind::Authorization => 5,
            Kind::Tenant => 12,
            Kind::Reason | Kind::Trace => 16,
        }
    }

    const fn bit(self) -> u8 {
        1 << (self as u8 - 1)
    }

    const fn index(self) -> usize {
        self as usize - 1
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes in front of a value: type and length.
const ITEM_HEADER_BYTES: usize = 2;

/// Several kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kinds(u8);

impl Kinds {
    /// None.
    pub const NONE: Kinds = Kinds(0);
    /// All of them.
    pub const ALL: Kinds = Kinds(0x3f);

    /// This one alone.
    pub const fn only(kind: Kind) -> Kinds {
        Kinds(kind.bit())
    }

    /// The kinds of these bits, the first kind being the lowest; `None` for bits of no kind.
    pub const fn from_bits(bits: u8) -> Option<Kinds> {
        if bits & !Kinds::ALL.0 == 0 { Some(Kinds(bits)) } else { None }
    }

    /// A bit for each, the first kind's the lowest.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }

    /// Those that are in either.
    #[must_use]
    pub const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: Kinds) -> Kinds {
        Kinds(self.0 & !other.0)
    }

    /// Each of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    /// Bytes that values of these kinds take when each is as long as it can be: what a header of them always has.
    pub fn len_bytes(self) -> usize {
        self.iter().map(|kind| ITEM_HEADER_BYTES + kind.most_bytes()).sum()
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Kinds {
        kinds.into_iter().fold(Kinds::NONE, |all, kind| all.or(Kinds::only(kind)))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Kind::name).collect();
        f.write_str(&names.join(", "))
    }
}

impl Serialize for Kinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nsh::{KEY_ID_BYTES, MAX_VALUE_BYTES, METADATA_ICV_BYTES};

    /// The longest header of metadata is as long as a context header can be, within a byte.
    #[test]
    fn a_reader_may_be_granted_everything() {
        assert_eq!(Kinds::ALL.len_bytes(), 106);
        assert!(KEY_ID_BYTES + Kinds::ALL.len_bytes() + METADATA_ICV_BYTES <= MAX_VALUE_BYTES);
    }

    #[test]
    fn kinds_are_what_their_bits_say() {
        assert_eq!(Kind::ALL.into_iter().collect::<Kinds>(), Kinds::ALL);
        let some: Kinds = [Kind::Trace, Kind::Identity].into_iter().collect();
        assert_eq!((some.bits(), some.to_string()), (0x21, "identity, trace".to_owned()));
        assert_eq!((Kinds::from_bits(0x21), Kinds::from_bits(0x40)), (Some(some), None));
        assert_eq!(Kinds::ALL.without(some).bits(), 0x1e);
    }
}
