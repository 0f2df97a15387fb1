//! External policy decision points: who else has to say yes, over HTTP in the shape of OPA's data API.
//!
//! The gateway sends `POST URL` with `{"input": …}` and takes `{"result": true}` or `{"result": {"allow": true}}` for a
//! yes, everything else for a no. The manual's chapter on rules lists what stands in the input.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CertificateFiles;
use super::credential::as_text;
use crate::names::{HostName, Name, shorten};

/// Somebody who is asked before a request or a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionPoint {
    /// The name that rules use.
    pub name: Name,
    /// What is asked, such as `https://10.1.2.3:8181/v1/data/campus/allow`.
    pub url: DecisionUrl,
    /// Where it listens, if the host in `url` is a name, which is never looked up: `10.1.2.3:8181`, or `unix:/run/opa.sock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<PointAddress>,
    /// PEM file of the trust anchors of its certificate, relative to the domain file; for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate that the gateway shows, if it is asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFiles>,
    /// Milliseconds that its answer may take, with the connection.
    #[serde(default = "half_a_second")]
    pub timeout_ms: u32,
    /// What counts where there is no answer.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Keeps its answers for a while; without it, it is asked every time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<DecisionCache>,
    /// Header fields of the request that it gets to see. Others stay here, since they may hold secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Asks it over plain http though it is on another machine: who stands between can answer in its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_plaintext: bool,
}

/// What counts where a decision point does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// No: HTTP 503, and a connection that passes unread is closed.
    #[default]
    Deny,
    /// Yes, as if it had not to be asked; counted.
    Allow,
}

/// How long answers of a decision point count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionCache {
    /// Milliseconds that an answer counts for the same question. A change of the domain forgets all of them.
    pub keep_ms: u32,
    /// How many are kept.
    #[serde(default = "four_thousand")]
    pub entries: u32,
}

fn half_a_second() -> u32 {
    500
}

fn four_thousand() -> u32 {
    4_096
}

/// An http or https URL without query.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DecisionUrl(String);

/// Where a decision point listens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PointAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket of the gateway's machine, by its absolute path.
    Unix(PathBuf),
}

/// Why a text names no decision point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// Not such a URL.
    #[error(
        "`{0}` is no URL of a decision point: use http:// or https://, a host, a path and no query, such as https://10.1.2.3:8181/v1/data/campus/allow"
    )]
    Url(String),
    /// Not such an address.
    #[error("`{0}` is no address: use IP:PORT, or `unix:` and an absolute path")]
    Address(String),
}

impl DecisionUrl {
    /// Whether it is https.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Host and port, as a request names them.
    pub fn authority(&self) -> &str {
        self.parts().0
    }

    /// The path.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let (host, _) = split_port(self.authority()).unwrap_or((self.authority(), None));
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Where it listens, if the host is an address.
    pub fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host().parse().ok()?;
        let (_, port) = split_port(self.authority())?;
        Some(SocketAddr::new(ip, port.unwrap_or(if self.is_tls() { 443 } else { 80 })))
    }

    fn parts(&self) -> (&str, &str) {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }
}

impl DecisionPoint {
    /// Where it listens: its `address`, or else the one in its `url`.
    pub fn reached_at(&self) -> Option<PointAddress> {
        self.address.clone().or_else(|| self.url.address().map(PointAddress::Tcp))
    }
}

impl PointAddress {
    /// Whether nothing on the way there leaves the machine.
    pub fn is_local(&self) -> bool {
        match self {
            PointAddress::Tcp(address) => address.ip().is_loopback(),
            PointAddress::Unix(_) => true,
        }
    }
}

/// Host and port of an authority; `None` where it is none.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match at {
        Some(at) => (&authority[..at], Some(authority[at + 1..].parse().ok().filter(|p| *p > 0)?)),
        None => (authority, None),
    };
    let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match ipv6 {
        Some(ipv6) => ipv6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.parse::<HostName>().is_ok(),
    };
    good.then_some((host, port))
}

impl FromStr for DecisionUrl {
    type Err = PointError;

    fn from_str(text: &str) -> Result<DecisionUrl, PointError> {
        const URL_BYTES: usize = 1024;
        let url = DecisionUrl(text.to_owned());
        let scheme = text.starts_with("http://") || text.starts_with("https://");
        let (authority, path) = url.parts();
        let good = scheme
            && text.len() <= URL_BYTES
            && split_port(authority).is_some()
            && path.len() > 1
            && path.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&b));
        if good { Ok(url) } else { Err(PointError::Url(shorten(text))) }
    }
}

impl fmt::Display for DecisionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PointAddress {
    type Err = PointError;

    fn from_str(text: &str) -> Result<PointAddress, PointError> {
        // The kernel's limit of a socket's path (unix(7)).
        const PATH_BYTES: usize = 107;
        if let Some(path) = text.strip_prefix("unix:") {
            let good = path.starts_with('/') && path.len() <= PATH_BYTES && !path.contains('\0');
            return good
                .then(|| PointAddress::Unix(path.into()))
                .ok_or_else(|| PointError::Address(shorten(text)));
        }
        let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
        address.map(PointAddress::Tcp).ok_or_else(|| PointError::Address(shorten(text)))
    }
}

impl fmt::Display for PointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PointAddress::Tcp(address) => address.fmt(f),
            PointAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

as_text!(
    DecisionUrl,
    PointError,
    "^https?://[^/?#]+/[^?#]+$",
    "An http or https URL with a path and without query, such as https://10.1.2.3:8181/v1/data/campus/allow."
);
as_text!(
    PointAddress,
    PointError,
    "^(unix:/.+|.+:[0-9]+)$",
    "IP:PORT, or `unix:` and the absolute path of a Unix socket."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_its_parts() {
        let parts = |text: &str| {
            let url: DecisionUrl = text.parse().expect(text);
            let address = url.address().map(|address| address.to_string());
            (url.host().to_owned(), address, url.path().to_owned(), url.is_tls())
        };
        let v4 = parts("http://10.1.2.3:8181/v1/data/a");
        assert_eq!(
            v4,
            ("10.1.2.3".into(), Some("10.1.2.3:8181".into()), "/v1/data/a".into(), false)
        );
        let v6 = parts("https://[2001:db8::1]/v1/data/a");
        let address = Some("[2001:db8::1]:443".to_owned());
        assert_eq!(v6, ("2001:db8::1".into(), address, "/v1/data/a".into(), true));
        let name = parts("https://opa.campus.example:8181/v1/data/a");
        assert_eq!(name, ("opa.campus.example".into(), None, "/v1/data/a".into(), true));
    }

    #[test]
    fn what_names_no_decision_point_is_refused() {
        for bad in [
            "",
            "ftp://a/b",
            "http://a",
            "http://a/",
            "http:///b",
            "http://user@a/b",
            "http://a:0/b",
            "http://a:99999/b",
            "http://a/b?c",
            "http://a/b#c",
            "http://a/b c",
            "http://[::1/b",
            "http://::1/b",
        ] {
            assert!(bad.parse::<DecisionUrl>().is_err(), "{bad}");
        }
        for bad in ["", "opa:8181", "10.1.2.3", "10.1.2.3:0", "unix:", "unix:opa.sock"] {
            assert!(bad.parse::<PointAddress>().is_err(), "{bad}");
        }
        for text in ["10.1.2.3:80", "[::1]:80", "unix:/run/opa.sock"] {
            assert_eq!(text.parse::<PointAddress>().expect(text).to_string(), text);
        }
    }
}
