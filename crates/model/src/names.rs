//! The names of a domain: of its parts, of its hosts, and of who may come.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::NAME_BYTES;

/// Makes a checked text type: parsed from a string, printed as it was kept, compared as text.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $error:ty, $pattern:literal, $about:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<$name, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $about,
                    "pattern": $pattern,
                })
            }
        }
    };
}

text! {
    /// The name of a function, path, rule, client, service or listener: lower-case letters, digits and inner hyphens,
    /// at most 32. It becomes a part of SPIFFE ids, file and interface names, so nothing else is allowed.
    Name,
    NameError,
    "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$",
    "Lower-case letters, digits and inner hyphens, at most 32."
}

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name: use 1 to 32 lower-case letters, digits and inner hyphens, such as `sf1`"
)]
pub struct NameError(String);

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        let ok = text.len() <= NAME_BYTES && is_ldh_label(text);
        if ok { Ok(Name(text.to_owned())) } else { Err(NameError(shorten(text))) }
    }
}

text! {
    /// A DNS name in lower case, without port and trailing dot (RFC 1123 section 2.1).
    HostName,
    HostError,
    "^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$",
    "A DNS name in lower case, without port and trailing dot."
}

text! {
    /// A DNS name, or `*.` and a DNS name: any one label in the place of the star (RFC 6125 section 6.4.3), or an IP
    /// address as it stands in an authority.
    HostPattern,
    HostError,
    "^(\\*\\.)?[a-z0-9_.:\\[\\]-]+$",
    "A DNS name in lower case, `*.` and a DNS name (the star stands for one label), or an IP address."
}

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Not a DNS name.
    #[error(
        "`{0}` is no host name: use lower-case letters, digits, hyphens and dots, such as `www.campus.example`"
    )]
    Syntax(String),
    /// A star elsewhere than as the whole first label.
    #[error(
        "`{0}` has a star in the wrong place: it may only be the whole first label, as in `*.campus.example`"
    )]
    Star(String),
}

impl FromStr for HostName {
    type Err = HostError;

    fn from_str(text: &str) -> Result<HostName, HostError> {
        let ok = text.len() <= 253 && text.split('.').all(is_dns_label);
        if ok { Ok(HostName(text.to_owned())) } else { Err(HostError::Syntax(shorten(text))) }
    }
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<HostPattern, HostError> {
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Ok(HostPattern(text.to_owned()));
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        if name.contains('*') {
            return Err(HostError::Star(shorten(text)));
        }
        name.parse::<HostName>().map_err(|_| HostError::Syntax(shorten(text)))?;
        Ok(HostPattern(text.to_owned()))
    }
}

impl HostPattern {
    /// Whether `host` (lower case, without port and trailing dot) is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self.0.strip_prefix("*.") {
            None => self.0 == host,
            Some(suffix) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
        }
    }

    /// Whether every host that `other` means is meant.
    pub fn covers(&self, other: &HostPattern) -> bool {
        self == other || (!other.0.starts_with("*.") && self.matches(&other.0))
    }

    /// Whether there is a host that both mean.
    pub fn meets(&self, other: &HostPattern) -> bool {
        self.covers(other) || other.covers(self)
    }
}

text! {
    /// The trust domain of SPIFFE ids: lower-case letters, digits, dots, hyphens and underscores.
    TrustDomain,
    TrustDomainError,
    "^[a-z0-9._-]{1,255}$",
    "The trust domain of the domain's SPIFFE ids, such as campus.example."
}

/// Why a text is no trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no trust domain: use lower-case letters, digits, dots, hyphens and underscores, such as `campus.example`"
)]
pub struct TrustDomainError(String);

impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(text: &str) -> Result<TrustDomain, TrustDomainError> {
        let ok = (1..=255).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        if ok { Ok(TrustDomain(text.to_owned())) } else { Err(TrustDomainError(shorten(text))) }
    }
}

impl TrustDomain {
    /// The SPIFFE id of an element: `spiffe://DOMAIN/element/NAME`.
    pub fn element_id(&self, name: &str) -> String {
        format!("spiffe://{self}/element/{name}")
    }

    /// The SPIFFE id of whoever distributes the domain's paths: `spiffe://DOMAIN/control`.
    pub fn control_id(&self) -> String {
        format!("spiffe://{self}/control")
    }

    /// The SPIFFE id that the domain's own authority gives a client: `spiffe://DOMAIN/client/NAME`.
    pub fn client_id(&self, name: &str) -> String {
        format!("spiffe://{self}/client/{name}")
    }
}

fn is_ldh_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !bytes.is_empty()
        && bytes.iter().all(inner)
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && !text.is_empty() && is_ldh_label(&text.replace('_', "a"))
}

/// What an error repeats of a hostile text.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN_CHARS: usize = 64;
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for good in ["a", "sf1", "web-2", "0"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "SF1", "a.b", "../x", "a b", &"a".repeat(33)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let pattern: HostPattern = "*.campus.example".parse().expect("a pattern");
        assert!(pattern.matches("www.campus.example"));
        assert!(!pattern.matches("campus.example"));
        assert!(!pattern.matches("a.b.campus.example"));
        assert!(!pattern.matches(".campus.example"));
        for bad in ["*", "w*.example", "a.*.example", "Www.example", "www.example.", "a..b", ""] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
        assert!("192.0.2.1".parse::<HostPattern>().expect("an address").matches("192.0.2.1"));
    }
}
