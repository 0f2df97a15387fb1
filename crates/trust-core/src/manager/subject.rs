//! Who has a standing: a host, a function on it, or the agent that speaks for the host; and which standings there are.

use std::fmt;
use std::str::FromStr;

use ringmail_model::{Name, TrustDomain};
use serde::{Deserialize, Serialize};

/// What a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A machine.
    Host,
    /// A hop, gateway, egress or function: whatever agrees on traffic keys.
    Function,
    /// Whoever speaks to the manager for a host. Its certificate is good for nothing else.
    Agent,
}

impl Kind {
    /// The word in reports and in the audit log's text form.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Host => "host",
            Kind::Function => "function",
            Kind::Agent => "agent",
        }
    }

    pub(super) const fn code(self) -> u8 {
        match self {
            Kind::Host => 1,
            Kind::Function => 2,
            Kind::Agent => 3,
        }
    }

    pub(super) const fn of_code(code: u8) -> Option<Kind> {
        Some(match code {
            1 => Kind::Host,
            2 => Kind::Function,
            3 => Kind::Agent,
            _ => return None,
        })
    }
}

/// A host, function or agent by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What it is.
    pub kind: Kind,
    /// Its name; an agent has its host's.
    pub name: Name,
}

impl Subject {
    /// A host.
    pub const fn host(name: Name) -> Subject {
        Subject { kind: Kind::Host, name }
    }

    /// A function.
    pub const fn function(name: Name) -> Subject {
        Subject { kind: Kind::Function, name }
    }

    /// The agent of a host.
    pub const fn agent(name: Name) -> Subject {
        Subject { kind: Kind::Agent, name }
    }

    /// Its SPIFFE id. A function's is that of the element it is: `spiffe://DOMAIN/element/NAME`.
    pub fn spiffe_id(&self, domain: &TrustDomain) -> String {
        match self.kind {
            Kind::Host => format!("spiffe://{domain}/host/{}", self.name),
            Kind::Function => domain.element_id(&self.name),
            Kind::Agent => format!("spiffe://{domain}/agent/{}", self.name),
        }
    }

    /// Whose SPIFFE id this is, if it is one of this domain's hosts, functions or agents.
    pub fn of_spiffe_id(domain: &TrustDomain, id: &str) -> Option<Subject> {
        let path = id.strip_prefix("spiffe://")?.strip_prefix(domain.as_str())?;
        let (kind, name) = path.strip_prefix('/')?.split_once('/')?;
        let kind = match kind {
            "host" => Kind::Host,
            "element" => Kind::Function,
            "agent" => Kind::Agent,
            _ => return None,
        };
        Some(Subject { kind, name: name.parse().ok()? })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// How far a host or function is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is known, and has shown nothing good yet.
    Enrolling,
    /// Its evidence is good.
    Trusted,
    /// Something is wrong, and policy lets it go on for now.
    Warned,
    /// It stands in no path and gets nothing new; what it has is not revoked.
    Quarantined,
    /// All that it had is revoked.
    Revoked,
    /// Its evidence is good again, and an operator has to say so.
    Recovering,
}

impl Standing {
    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Standing::Enrolling => "enrolling",
            Standing::Trusted => "trusted",
            Standing::Warned => "warned",
            Standing::Quarantined => "quarantined",
            Standing::Revoked => "revoked",
            Standing::Recovering => "recovering",
        }
    }

    /// Whether certificates and leases are given in this standing.
    pub const fn takes_part(self) -> bool {
        matches!(self, Standing::Trusted | Standing::Warned)
    }

    pub(super) const fn code(self) -> u8 {
        match self {
            Standing::Enrolling => 1,
            Standing::Trusted => 2,
            Standing::Warned => 3,
            Standing::Quarantined => 4,
            Standing::Revoked => 5,
            Standing::Recovering => 6,
        }
    }

    pub(super) const fn of_code(code: u8) -> Option<Standing> {
        Some(match code {
            1 => Standing::Enrolling,
            2 => Standing::Trusted,
            3 => Standing::Warned,
            4 => Standing::Quarantined,
            5 => Standing::Revoked,
            6 => Standing::Recovering,
            _ => return None,
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A certificate's serial number; printed as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(pub [u8; 16]);

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = String;

    fn from_str(text: &str) -> Result<Serial, String> {
        let well_formed = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(value) if well_formed => Ok(Serial(value.to_be_bytes())),
            _ => Err("a serial number is 32 hex digits".to_owned()),
        }
    }
}

impl TryFrom<String> for Serial {
    type Error = String;

    fn try_from(text: String) -> Result<Serial, String> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> String {
        serial.to_string()
    }
}
