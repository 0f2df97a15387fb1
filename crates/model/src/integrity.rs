//! What covers Network Service Headers on the way between elements (`docs/nsh.md`, "Integrity on every link" and "RFC 9145").

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What covers Network Service Headers on every link, as the domain file says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IntegrityKind {
    /// A code over all that steers, under a key for each link.
    #[default]
    Segment,
    /// The "MAC and Encrypted Metadata" context header of RFC 9145, for other implementations on the way: HMAC-SHA-256-128
    /// over header and packet, with a timestamp. Slower.
    Rfc9145,
}

/// Settings of `integrity: rfc9145`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rfc9145Settings {
    /// Whether forwarders that have no keys may lessen the TTL on the way. Then the code is MAC#1, which leaves the base header
    /// out; without them it is MAC#2, over everything.
    pub foreign_forwarders: bool,
    /// Milliseconds by which a packet's timestamp may differ from the receiver's clock.
    pub window_ms: u32,
}

impl Default for Rfc9145Settings {
    fn default() -> Rfc9145Settings {
        Rfc9145Settings { foreign_forwarders: false, window_ms: 2_000 }
    }
}

/// What a code of RFC 9145 covers besides service path header, context headers and packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Nothing (section 5.1).
    Mac1,
    /// The base header (section 5.2).
    Mac2,
}

/// What covers Network Service Headers on every link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Integrity {
    /// Ringmail's own code.
    #[default]
    Segment,
    /// That of RFC 9145.
    Rfc9145 {
        /// What it covers.
        scope: Scope,
        /// Milliseconds by which a packet's timestamp may differ from the receiver's clock.
        window_ms: u32,
    },
}

impl Integrity {
    /// What the domain file says.
    pub fn new(kind: IntegrityKind, settings: Option<Rfc9145Settings>) -> Integrity {
        let Rfc9145Settings { foreign_forwarders, window_ms } = settings.unwrap_or_default();
        let scope = if foreign_forwarders { Scope::Mac1 } else { Scope::Mac2 };
        match kind {
            IntegrityKind::Segment => Integrity::Segment,
            IntegrityKind::Rfc9145 => Integrity::Rfc9145 { scope, window_ms },
        }
    }

    /// The scope of RFC 9145's code, where that is the one.
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Integrity::Segment => None,
            Integrity::Rfc9145 { scope, .. } => Some(scope),
        }
    }

    /// Whether it is the one that is so without a word in the domain file.
    pub fn is_default(&self) -> bool {
        *self == Integrity::default()
    }
}
