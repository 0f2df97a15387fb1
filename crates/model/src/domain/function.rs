//! Functions: what packets pass on the way, and the rules of `dpi`.

use std::fmt;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attach::AttachSettings;
use super::firewall::FirewallSettings;
use super::logger::LoggerSettings;
use crate::ids::Label;
use crate::metadata::Kind;
use crate::names::{Name, shorten};

/// One instance of a function, together with its hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// The name that paths use.
    pub name: Name,
    /// What it does.
    pub kind: FunctionKind,
    /// Whether it sees plaintext. If not, it sees outer addresses, protocol and SPI only.
    pub intrusive: bool,
    /// Settings of `kind: dpi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpi: Option<DpiSettings>,
    /// Settings of `kind: attached`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<AttachSettings>,
    /// Settings of `kind: firewall`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<FirewallSettings>,
    /// How many of it stand side by side; each flow passes one of them, and its answers the same. 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u16>,
    /// Settings of `kind: logger`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logger: Option<LoggerSettings>,
    /// What of a flow's metadata it is told. Nobody else on the path can read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<Kind>,
    /// What an SFC-aware function may tell those behind it, with the packets that it sends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_add: Vec<Kind>,
    /// Workers, where not the domain's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u16>,
    /// The link address of its hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The label of its hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u32>", range(min = 16, max = 1_048_575))]
    pub label: Option<Label>,
}

/// What a function does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FunctionKind {
    /// Passes every packet on.
    Forward,
    /// Searches the payload for patterns, across the packets of a TCP stream.
    Dpi,
    /// A program of yours that takes and gives plain IP packets, in a network namespace of its own.
    Attached,
    /// Lets connections through by rules.
    Firewall,
    /// Writes what passes to files.
    Logger,
}

impl fmt::Display for FunctionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FunctionKind::Forward => "forward",
            FunctionKind::Dpi => "dpi",
            FunctionKind::Attached => "attached",
            FunctionKind::Firewall => "firewall",
            FunctionKind::Logger => "logger",
        })
    }
}

/// Settings of `kind: dpi`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DpiSettings {
    /// What to look for. All are looked for at once; of those found, the gravest action is taken.
    pub rules: Vec<DpiRule>,
    /// What it may remember.
    #[serde(default)]
    pub limits: DpiLimits,
}

/// One pattern and what to do where it is found. Exactly one of `bytes`, `hex` and `regex` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DpiRule {
    /// The name in alerts and counters.
    pub name: Name,
    /// The text to look for, as UTF-8 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// The bytes to look for, in hex, such as `de ad be ef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// A regular expression over bytes, in the syntax of Rust's `regex` crate without Unicode: `.` and classes stand for
    /// single bytes. Of the assertions only `^` is known, since a stream that is still running has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Whether ASCII letters match in either case; of `bytes` and `regex`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
    /// Looks only at packets with one of these ports, source or destination. None given: at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// What to do where it is found.
    pub action: DpiAction,
}

/// What to do where a pattern is found, least grave first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum DpiAction {
    /// Count it and say so.
    Alert,
    /// Drop the packet, and all further packets of the flow.
    Drop,
    /// Drop, and reset the TCP connection in both directions.
    Reset,
}

/// What a dpi function may remember.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DpiLimits {
    /// TCP connections at one time.
    pub connections: u32,
    /// Bytes of stream content held for all connections together; taken from the system as they are used.
    pub stream_bytes: u64,
}

impl Default for DpiLimits {
    fn default() -> DpiLimits {
        DpiLimits { connections: 65_536, stream_bytes: 128 << 20 }
    }
}

/// What a dpi rule looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// These bytes.
    Literal(Vec<u8>),
    /// This regular expression over bytes, Unicode mode off.
    Regex(String),
}

/// Why a dpi rule has no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// None of the three keys.
    #[error("a dpi rule needs one of `bytes`, `hex` and `regex`")]
    Missing,
    /// More than one of the three keys.
    #[error("a dpi rule takes only one of `bytes`, `hex` and `regex`")]
    Several,
    /// An empty pattern would match everything.
    #[error("an empty pattern matches every packet")]
    Empty,
    /// Not hex.
    #[error("`{0}` is not hex: write pairs of hex digits such as `de ad be ef`")]
    Hex(String),
}

impl Function {
    /// Whether its hop sends packets that did not come to it: answers for those that it refuses, and whatever comes out of
    /// an attached function, which tells nobody what it was made of.
    #[must_use]
    pub fn originates(&self) -> bool {
        let resets =
            |dpi: &DpiSettings| dpi.rules.iter().any(|rule| rule.action == DpiAction::Reset);
        self.intrusive
            && match self.kind {
                // Its rules change in place, and any of them may come to reject.
                FunctionKind::Attached | FunctionKind::Firewall => true,
                FunctionKind::Dpi => self.dpi.as_ref().is_some_and(resets),
                FunctionKind::Forward | FunctionKind::Logger => false,
            }
    }

    /// Whether everything that it sends begins with it: nothing of what came with a packet goes on with what it made of it.
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        self.kind == FunctionKind::Attached
    }

    /// Whether it is told of paths and labels, and may be of metadata.
    #[must_use]
    pub fn is_aware(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.socket.is_some())
    }

    /// What of it makes the paths over it others when it changes. Where it runs does not, nor what a firewall takes in
    /// place: everything but the size of its table.
    #[must_use]
    pub fn lasting(&self) -> Function {
        let firewall = self.firewall.as_ref().map(|firewall| FirewallSettings {
            limits: firewall.limits.clone(),
            ..FirewallSettings::default()
        });
        Function { workers: None, address: None, label: None, firewall, ..self.clone() }
    }
}

impl DpiRule {
    /// The one pattern of the rule; `ignore_case` is in it.
    ///
    /// # Errors
    /// None or several of the three keys, an empty pattern, or bad hex.
    pub fn pattern(&self) -> Result<Pattern, PatternError> {
        let pattern = match (&self.bytes, &self.hex, &self.regex) {
            (None, None, None) => return Err(PatternError::Missing),
            (Some(bytes), None, None) if self.ignore_case && !bytes.is_empty() => {
                Pattern::Regex(format!("(?i){}", regex_syntax::escape(bytes)))
            }
            (Some(bytes), None, None) => Pattern::Literal(bytes.clone().into_bytes()),
            (None, Some(hex), None) => Pattern::Literal(from_hex(hex)?),
            (None, None, Some(regex)) if self.ignore_case && !regex.is_empty() => {
                Pattern::Regex(format!("(?i){regex}"))
            }
            (None, None, Some(regex)) => Pattern::Regex(regex.clone()),
            _ => return Err(PatternError::Several),
        };
        let empty = match &pattern {
            Pattern::Literal(bytes) => bytes.is_empty(),
            Pattern::Regex(regex) => regex.is_empty(),
        };
        if empty { Err(PatternError::Empty) } else { Ok(pattern) }
    }
}

fn from_hex(text: &str) -> Result<Vec<u8>, PatternError> {
    let bad = || PatternError::Hex(shorten(text));
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !matches!(c, ' ' | ':'))
        .map(|c| c.to_digit(16).map(|d| d as u8).ok_or_else(bad))
        .collect::<Result<_, _>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(bad());
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_pairs_of_digits() {
        assert_eq!(from_hex("de ad:BEEF"), Ok(vec![0xde, 0xad, 0xbe, 0xef]));
        assert!(from_hex("abc").is_err());
        assert!(from_hex("0x12").is_err());
    }

    #[test]
    fn case_is_part_of_the_pattern() {
        let rule = |bytes: Option<&str>, regex: Option<&str>| DpiRule {
            name: "a".parse().expect("a name"),
            bytes: bytes.map(str::to_owned),
            hex: None,
            regex: regex.map(str::to_owned),
            ignore_case: true,
            ports: vec![],
            action: DpiAction::Alert,
        };
        assert_eq!(rule(Some("a.b"), None).pattern(), Ok(Pattern::Regex(r"(?i)a\.b".into())));
        assert_eq!(rule(None, Some("^a")).pattern(), Ok(Pattern::Regex("(?i)^a".into())));
        assert_eq!(rule(Some(""), None).pattern(), Err(PatternError::Empty));
    }
}
