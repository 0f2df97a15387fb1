//! Rules: who may do what, by which path.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApplicationProtocol, CertificateMatch, Hours, PacketMatch, Rate};
use crate::limits::GLOB_BYTES;
use crate::names::{HostPattern, Name, shorten};
use crate::net::Cidr;

/// One rule. The first rule all of whose conditions hold decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The name in logs and answers to "why".
    pub name: Name,
    /// The conditions; all that are given must hold.
    #[serde(default)]
    pub when: When,
    /// The path that the request takes.
    pub path: Name,
    /// The service; without it the path's. Only to say it twice where that reads better: it must be the path's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// How often one client may use this rule. A client that is faster gets 429, and no other rule is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// A decision point that has to say yes as well. If it says no, no other rule is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Name>,
}

/// Conditions. Of a list one entry must hold; a condition that is not given always holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// Names of clients. Not given: every client whose certificate is good, also one that the file does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<Name>>,
    /// What the client speaks. Not given: `http` and `websocket`, so that nothing passes a listener of kind `tls` without
    /// a rule that names its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<ApplicationProtocol>>,
    /// Server names (SNI) that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_names: Option<Vec<HostPattern>>,
    /// Networks that the client comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<Cidr>>,
    /// What the client's certificate is like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateMatch>,
    /// Hours of the week, by the clock of the gateway's machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<Vec<Hours>>,
    /// Hosts of the request (Host, :authority), without port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<HostPattern>>,
    /// Methods, case and all (RFC 9110 section 9.1). CONNECT is allowed only where it stands here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// URL paths, matched after normalisation: `/a/b` exactly this path; `/a/*` one segment in place of the star;
    /// `/a/**` everything below /a and /a itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<UrlPath>>,
    /// Header fields; here every entry must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<HeaderMatch>>,
    /// The first bytes of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_prefix: Option<BodyMatch>,
    /// Packets of a listener of kind `wireguard`. Not given: the rule holds for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<PacketMatch>,
}

impl When {
    /// Whether a condition is given that only an HTTP request can meet.
    pub fn is_of_requests(&self) -> bool {
        self.hosts.is_some()
            || self.methods.is_some()
            || self.paths.is_some()
            || self.headers.as_ref().is_some_and(|headers| !headers.is_empty())
            || self.body_prefix.is_some()
    }
}

/// A condition on a header field: present, or with `exact` or `prefix` on every value that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderMatch {
    /// The field's name, in any case.
    pub name: String,
    /// Every value is this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// Every value begins with this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// With `false`, the field must not be there.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub present: bool,
}

fn yes() -> bool {
    true
}

/// A condition on the first bytes of the body: one of all the texts given stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyMatch {
    /// How many bytes to look at, at most 65536. A shorter body is looked at whole.
    pub bytes: u32,
    /// The body begins with one of these texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starts_with: Vec<String>,
    /// One of these texts stands anywhere in these bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<String>,
}

/// A pattern over normalised URL paths: segments that are literal, `*` (one segment, or a part of one), and at the end
/// `**` (this path and everything below).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UrlPath(String);

/// Why a text is no pattern for URL paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlPathError {
    /// It does not begin at the root.
    #[error("`{0}` is no URL path; it must begin with `/`")]
    Root(String),
    /// A query or fragment, or a byte that a normalised path never holds.
    #[error("`{0}` can never match: {1}")]
    Never(String, &'static str),
    /// `**` elsewhere than as the last segment.
    #[error("`{0}` has `**` in the wrong place; it may only be the last segment")]
    DoubleStar(String),
    /// Too long.
    #[error("`{0}` is too long; at most {GLOB_BYTES} bytes")]
    Long(String),
}

impl UrlPath {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UrlPath {
    type Err = UrlPathError;

    fn from_str(text: &str) -> Result<UrlPath, UrlPathError> {
        let never = |why| Err(UrlPathError::Never(shorten(text), why));
        let Some(rest) = text.strip_prefix('/') else {
            return Err(UrlPathError::Root(shorten(text)));
        };
        if text.len() > GLOB_BYTES {
            return Err(UrlPathError::Long(shorten(text)));
        }
        if text.contains(['?', '#']) {
            return never("query and fragment are no part of the path; leave them out");
        }
        if text.bytes().any(|b| !b.is_ascii_graphic() || b == b'\\') {
            return never("a normalised path holds printable ASCII only; write other bytes as %XX");
        }
        let segments: Vec<&str> = rest.split('/').collect();
        if segments.iter().any(|s| matches!(*s, "." | "..")) {
            return never("dot segments are removed before; write the path without them");
        }
        if segments.iter().rev().skip(1).any(|s| s.is_empty()) {
            return never("a path with `//` is denied before rules are asked; write one slash");
        }
        let sample = text.replace('*', "a");
        match crate::rules::url::normalise(&sample) {
            Ok(normal) if normal == sample => {}
            Ok(_) => {
                return never(
                    "it is not in normal form; decode letters and digits, write %XX in capitals (RFC 3986 section 6.2.2)",
                );
            }
            Err(denied) => return never(denied.mend()),
        }
        let (last, before) = segments.split_last().unwrap_or((&"", &[]));
        if before.iter().any(|s| s.contains("**")) || (last.contains("**") && *last != "**") {
            return Err(UrlPathError::DoubleStar(shorten(text)));
        }
        Ok(UrlPath(text.to_owned()))
    }
}

impl fmt::Debug for UrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for UrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for UrlPath {
    type Error = UrlPathError;

    fn try_from(text: String) -> Result<UrlPath, UrlPathError> {
        text.parse()
    }
}

impl From<UrlPath> for String {
    fn from(path: UrlPath) -> String {
        path.0
    }
}

impl JsonSchema for UrlPath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UrlPath".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A pattern over normalised URL paths: `*` stands for one segment or a part of one, `**` at the end for this path and everything below.",
            "pattern": "^/[^?#\\\\\\s]*$",
        })
    }
}
