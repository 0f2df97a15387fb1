//! What a function is told when it is built, and what can be wrong with it.

use std::collections::BTreeSet;

use crate::firewall::FirewallSettings;
use crate::limits;
use crate::logger::LoggerSettings;

/// Which function to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// Passes every packet and counts it.
    Forward,
    /// Searches TCP and UDP payloads for patterns.
    Dpi(DpiSettings),
    /// Lets connections through by rules.
    Firewall(FirewallSettings),
    /// Records what passes.
    Logger(LoggerSettings),
}

/// Settings of the function `dpi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpiSettings {
    /// What to look for. An action names its rule by the index here.
    pub rules: Vec<DpiRule>,
    /// TCP connections remembered at one time.
    pub connections: usize,
    /// Bytes of stream content held for all connections together.
    pub stream_bytes: usize,
}

impl DpiSettings {
    /// These rules, the limits as they are unless somebody says otherwise.
    pub fn new(rules: Vec<DpiRule>) -> DpiSettings {
        DpiSettings {
            rules,
            connections: limits::DPI_CONNECTIONS,
            stream_bytes: limits::DPI_STREAM_BYTES,
        }
    }

    /// What can be said without compiling the rules.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.rules.is_empty() {
            return Err(BuildError::NoRules);
        }
        if self.rules.len() > limits::DPI_RULES {
            return Err(BuildError::TooManyRules { count: self.rules.len() });
        }
        in_range("connections", self.connections, 1, limits::DPI_CONNECTIONS_MAX)?;
        let least = limits::STREAM_BLOCK_BYTES;
        in_range("stream_bytes", self.stream_bytes, least, limits::DPI_STREAM_BYTES_MAX)?;
        let mut names = BTreeSet::new();
        for rule in &self.rules {
            if !names.insert(&rule.name) {
                return Err(BuildError::SameName { rule: rule.name.clone() });
            }
            rule.check()?;
        }
        Ok(())
    }
}

pub(crate) fn in_range(
    what: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), BuildError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(BuildError::LimitOutOfRange { what, value, min, max })
    }
}

/// One rule: a pattern, and what a match leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpiRule {
    /// What reports call it.
    pub name: String,
    /// What is looked for.
    pub pattern: Pattern,
    /// Whether ASCII letters match in either case.
    pub ignore_case: bool,
    /// Only packets with one of these ports, source or destination, can match; none given: every packet.
    pub ports: Vec<u16>,
    /// What a match leads to.
    pub on_match: OnMatch,
}

impl DpiRule {
    fn check(&self) -> Result<(), BuildError> {
        let (bytes, bytes_max) = match &self.pattern {
            Pattern::Bytes(bytes) => (bytes.len(), limits::DPI_PATTERN_BYTES),
            Pattern::Regex(regex) => (regex.len(), limits::DPI_REGEX_BYTES),
        };
        let rule = || self.name.clone();
        if bytes == 0 {
            return Err(BuildError::EmptyPattern { rule: rule() });
        }
        if bytes > bytes_max {
            return Err(BuildError::PatternTooLong { rule: rule(), bytes, bytes_max });
        }
        Ok(())
    }
}

/// What is looked for in a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A regex over bytes in the syntax of Rust's `regex` crate, Unicode mode off: `.` and classes match single bytes.
    /// Of the assertions only `^` is known, since a stream has no end that both sides agree on before it closes.
    Regex(String),
}

/// What a match leads to. The order is that of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnMatch {
    /// The packet passes; an alert is raised.
    Alert,
    /// The packet is dropped, and so is the rest of the TCP connection.
    Drop,
    /// As `Drop`, and both ends of the TCP connection get a reset.
    Reset,
}

/// Why a function was not built. Every one is a fault of the settings; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// What is asked for is a program outside of ringmail.
    #[error("an attached function is a program of its own and not built in")]
    Attached,
    /// No rule at all.
    #[error("the function needs at least one rule")]
    NoRules,
    /// More rules than there may be.
    #[error("{count} rules are more than the {} that one dpi function may have", limits::DPI_RULES)]
    TooManyRules {
        /// How many there were.
        count: usize,
    },
    /// More rules than a firewall may have.
    #[error(
        "{count} rules are more than the {} that one firewall may have",
        limits::FIREWALL_RULES
    )]
    TooManyFirewallRules {
        /// How many there were.
        count: usize,
    },
    /// A rule names a set that is not there.
    #[error("there is no set named \"{set}\"")]
    UnknownSet {
        /// The name.
        set: String,
    },
    /// Two rules of one name.
    #[error("two rules are named \"{rule}\"")]
    SameName {
        /// The name.
        rule: String,
    },
    /// A pattern of no bytes.
    #[error("the pattern of rule \"{rule}\" is empty and would match every packet")]
    EmptyPattern {
        /// Whose pattern it is.
        rule: String,
    },
    /// A pattern that is too long.
    #[error("the pattern of rule \"{rule}\" has {bytes} bytes, more than {bytes_max}")]
    PatternTooLong {
        /// Whose pattern it is.
        rule: String,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The regex is no regex.
    #[error("the regex of rule \"{rule}\" is not valid: {message}")]
    BadRegex {
        /// Whose regex it is.
        rule: String,
        /// What the parser said.
        message: String,
    },
    /// The regex matches where there is nothing.
    #[error("the regex of rule \"{rule}\" matches the empty string and would match every packet")]
    MatchesEmpty {
        /// Whose regex it is.
        rule: String,
    },
    /// The regex asserts something that a stream cannot answer.
    #[error(
        "the regex of rule \"{rule}\" uses $, \\z or a word boundary, which a stream cannot answer"
    )]
    LookAhead {
        /// Whose regex it is.
        rule: String,
    },
    /// The regexes compile to an automaton that is too large.
    #[error("the regexes of the function need more than {bytes_max} bytes when compiled")]
    RegexTooLarge {
        /// How large it may be.
        bytes_max: usize,
    },
    /// A logger without a place for its files.
    #[error("a logger needs a folder for its files")]
    NoFolder,
    /// A limit outside of what is allowed.
    #[error("{what} is {value}, outside {min} to {max}")]
    LimitOutOfRange {
        /// Which setting.
        what: &'static str,
        /// What was asked for.
        value: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
}

impl BuildError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            BuildError::Attached => "attach it, as `kind: attached` asks for",
            BuildError::NoRules => "add a rule, or use the function forward",
            BuildError::TooManyRules { .. } => "spread the rules over two functions of the path",
            BuildError::TooManyFirewallRules { .. } => "use sets, or a second firewall in the path",
            BuildError::UnknownSet { .. } => "define the set, or write its entries in the rule",
            BuildError::SameName { .. } => "rename one of them; alerts and counters go by the name",
            BuildError::EmptyPattern { .. } => "write at least one byte, better four",
            BuildError::PatternTooLong { .. } => "keep the part that tells it from other traffic",
            BuildError::BadRegex { .. } => "the syntax is that of Rust's regex crate",
            BuildError::MatchesEmpty { .. } => "ask for at least one byte, e.g. + instead of *",
            BuildError::LookAhead { .. } => "spell out the byte that follows, e.g. \\r\\n or \\W",
            BuildError::RegexTooLarge { .. } => {
                "lower the counts in braces such as {1,500}, or write the rule as bytes"
            }
            BuildError::NoFolder => "give it settings, `logger: {directory: …}`",
            BuildError::LimitOutOfRange { .. } => "choose a value inside the range",
        }
    }
}
