//! Conditions on a client's certificate beyond whose it is: what its names look like, who issued it, how old it is
//! (RFC 5280 sections 4.1.2.4, 4.1.2.5 and 4.2.1.6; SPIFFE-ID section 2).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::UrlPath;
use crate::limits::GLOB_BYTES;
use crate::names::{HostName, HostPattern, TrustDomain, shorten};
use crate::rules::{PathPattern, glob_matches, spiffe_matches};

/// What a client's certificate has to be like. Of a list one entry must hold; all keys that are given must.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateMatch {
    /// Patterns of SPIFFE ids: `spiffe://DOMAIN/staff/*` one segment in place of the star, `spiffe://DOMAIN/staff/**`
    /// everything below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe_ids: Option<Vec<SpiffePattern>>,
    /// Patterns of its other names: `dns:*.staff.example`, `email:*@staff.example`, `uri:https://staff.example/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<NamePattern>>,
    /// Names of who issued it, in full, as `openssl x509 -noout -issuer -nameopt RFC2253` prints them: `CN=Staff CA,O=Campus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// Seconds since its notBefore, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u64>,
}

/// A pattern of SPIFFE ids.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffePattern {
    domain: TrustDomain,
    path: UrlPath,
}

/// A pattern of a certificate's names other than SPIFFE ids.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NamePattern {
    /// A DNS name.
    Dns(HostPattern),
    /// A mailbox: what stands before the last `@`, where a star is any text, and a host.
    Email(String, HostName),
    /// A URI; a star is any text.
    Uri(String),
}

/// Why a text is no pattern of a certificate's names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamePatternError {
    /// Not a pattern of SPIFFE ids.
    #[error(
        "`{0}` is no pattern of SPIFFE ids: use spiffe://DOMAIN/PATH, `*` for a segment or a part of one, `**` as the last"
    )]
    Spiffe(String),
    /// None of the forms.
    #[error(
        "`{0}` is no pattern of names: use `dns:NAME` or `dns:*.NAME`, `email:*@HOST`, `uri:…`; SPIFFE ids stand under `spiffe_ids`"
    )]
    Form(String),
}

impl CertificateMatch {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == CertificateMatch::default()
    }
}

impl SpiffePattern {
    /// The pattern, ready to be asked.
    pub(crate) fn compiled(&self) -> (String, PathPattern) {
        (self.domain.to_string(), PathPattern::of(&self.path))
    }

    /// Whether a SPIFFE id is meant.
    pub fn matches(&self, id: &str) -> bool {
        spiffe_matches(&self.domain, &PathPattern::of(&self.path), id)
    }
}

impl NamePattern {
    /// Whether a name is meant: `dns:…`, `email:…`, `uri:…`, the first two in lower case.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            NamePattern::Dns(pattern) => {
                name.strip_prefix("dns:").is_some_and(|name| pattern.matches(name))
            }
            NamePattern::Email(user, host) => name
                .strip_prefix("email:")
                .and_then(|address| address.rsplit_once('@'))
                .is_some_and(|(given, at)| {
                    *host == *at && glob_matches(user.as_bytes(), given.as_bytes())
                }),
            NamePattern::Uri(glob) => name
                .strip_prefix("uri:")
                .is_some_and(|uri| glob_matches(glob.as_bytes(), uri.as_bytes())),
        }
    }
}

impl FromStr for SpiffePattern {
    type Err = NamePatternError;

    fn from_str(text: &str) -> Result<SpiffePattern, NamePatternError> {
        let parsed = || {
            let rest = text.strip_prefix("spiffe://")?;
            let (domain, path) = rest.split_at(rest.find('/')?);
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"/.-_*".contains(&b);
            let whole = path.len() > 1 && !path.ends_with('/') && path.bytes().all(plain);
            if !whole {
                return None;
            }
            Some(SpiffePattern { domain: domain.parse().ok()?, path: path.parse().ok()? })
        };
        parsed().ok_or_else(|| NamePatternError::Spiffe(shorten(text)))
    }
}

impl FromStr for NamePattern {
    type Err = NamePatternError;

    fn from_str(text: &str) -> Result<NamePattern, NamePatternError> {
        let short = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
            (plain && text.len() <= GLOB_BYTES).then(|| text.to_owned())
        };
        let parsed = || match text.split_once(':')? {
            ("dns", name) => Some(NamePattern::Dns(name.parse().ok()?)),
            ("email", address) => {
                let (user, host) = address.rsplit_once('@')?;
                Some(NamePattern::Email(short(&user.to_ascii_lowercase())?, host.parse().ok()?))
            }
            ("uri", uri) => Some(NamePattern::Uri(short(uri)?)),
            _ => None,
        };
        parsed().ok_or_else(|| NamePatternError::Form(shorten(text)))
    }
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{}", self.domain, self.path)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamePattern::Dns(pattern) => write!(f, "dns:{pattern}"),
            NamePattern::Email(user, host) => write!(f, "email:{user}@{host}"),
            NamePattern::Uri(uri) => write!(f, "uri:{uri}"),
        }
    }
}

/// Parsed from a text, printed as one.
macro_rules! as_text {
    ($name:ident, $error:ty, $pattern:literal, $about:literal) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.to_string())
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<$name, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }

        impl JsonSchema for $name {
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
pub(super) use as_text;

as_text!(
    SpiffePattern,
    NamePatternError,
    "^spiffe://[a-z0-9._-]+/[A-Za-z0-9/._*-]+$",
    "A pattern of SPIFFE ids: `*` stands for one segment or a part of one, `**` at the end for everything below."
);
as_text!(
    NamePattern,
    NamePatternError,
    "^(dns:|email:.+@|uri:).+$",
    "dns:NAME, dns:*.NAME (the star stands for one label), email:USER@HOST or uri:URI, where a star is any text."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_names_mean_what_they_say() {
        for (pattern, name, expected) in [
            ("dns:*.staff.example", "dns:a.staff.example", true),
            ("dns:*.staff.example", "dns:a.b.staff.example", false),
            ("dns:*.staff.example", "email:a.staff.example", false),
            ("email:*@staff.example", "email:a@staff.example", true),
            ("email:*@staff.example", "email:a@x.staff.example", false),
            ("email:*@staff.example", "email:a@staff.example@evil.example", false),
            ("email:A*@staff.example", "email:ab@staff.example", true),
            ("uri:https://a/*", "uri:https://a/b/c", true),
            ("uri:https://a/*", "uri:https://ab/c", false),
        ] {
            let parsed: NamePattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "spiffe://campus.example",
            "spiffe://campus.example/",
            "spiffe://campus.example/a/",
            "spiffe://campus.example//a",
            "spiffe://campus.example/a/../b",
            "spiffe://campus.example/**/a",
            "spiffe://*/a",
            "spiffe://campus.example/%61",
            "spiffe://campus.example/a?b",
        ] {
            assert!(bad.parse::<SpiffePattern>().is_err(), "{bad}");
        }
        for bad in
            ["", "a.example", "dns:", "dns:a.*.example", "email:@a.example", "email:a", "uri:"]
        {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
        let long = format!("uri:{}", "x".repeat(GLOB_BYTES + 1));
        assert!(long.parse::<NamePattern>().is_err());
    }

    #[test]
    fn patterns_print_as_they_are_written() {
        for text in ["spiffe://campus.example/staff/*", "spiffe://campus.example/**"] {
            assert_eq!(text.parse::<SpiffePattern>().expect(text).to_string(), text);
        }
        for text in ["dns:*.a.example", "email:*@a.example", "uri:https://a/*"] {
            assert_eq!(text.parse::<NamePattern>().expect(text).to_string(), text);
        }
    }
}
