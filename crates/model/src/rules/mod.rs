//! Rules as the gateway asks them, one request at a time (RFC 7665's classification, on identity and HTTP).
//!
//! Requests are hostile: host and URL path are brought to one form first, and what has two readings is denied. The first
//! rule whose conditions all hold decides; none means no access.

mod compile;
mod connection;
mod explain;
pub mod host;
mod packet;
mod pattern;
mod strict;
pub mod url;

use std::net::IpAddr;

use crate::domain::{ApplicationProtocol, Rate};
pub use compile::{RuleSet, RuleSetError};
pub use connection::ConnectionFacts;
pub use explain::{Condition, Explanation, RuleOutcome};
pub use packet::PacketFacts;
pub(crate) use pattern::{PathPattern, glob_matches};
pub(crate) use strict::spiffe_matches;

use crate::ids::PathId;

/// What is known of a client's certificate besides whose it is; [`Default`] knows nothing, and no condition on it holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CertificateFacts<'a> {
    /// All its names: `spiffe://…`, `uri:…`, `dns:…`, `email:…`, the last two in lower case.
    pub names: &'a [String],
    /// Who issued it (RFC 2253).
    pub issuer: Option<&'a str>,
    /// Since when it is good.
    pub not_before_unix_s: Option<u64>,
}

/// What is known of a request when its headers have been read.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The client's identity: `spiffe://…`, `dns:…` or `email:…` ([`RuleSet::identify`] chooses among several).
    pub client: &'a str,
    /// Its certificate.
    pub certificate: CertificateFacts<'a>,
    /// What time it is.
    pub now_unix_s: u64,
    /// What it is: `http`, or `websocket` where it asks for that.
    pub protocol: ApplicationProtocol,
    /// The server name that the client asked for in TLS.
    pub sni: Option<&'a str>,
    /// Where the client comes from.
    pub source: IpAddr,
    /// Host or :authority, as it came; the port may be there.
    pub host: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path as it came, without scheme and authority; a query is ignored.
    pub path: &'a str,
    /// The header fields.
    pub headers: &'a dyn Headers,
    /// The first bytes of the body: as many as asked for, or the whole of a shorter body. `None`: not read yet.
    pub body_prefix: Option<&'a [u8]>,
}

/// Without headers and body: they may hold secrets.
impl std::fmt::Debug for RequestFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestFacts")
            .field("client", &self.client)
            .field("protocol", &self.protocol)
            .field("sni", &self.sni)
            .field("source", &self.source)
            .field("host", &self.host)
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The header fields of a request.
pub trait Headers {
    /// Calls `visit` with each value of the field `name` (lower case), in order.
    fn for_each(&self, name: &str, visit: &mut dyn FnMut(&[u8]));
}

/// Names in any case, and values.
impl Headers for [(&str, &[u8])] {
    fn for_each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .for_each(|(_, value)| visit(value));
    }
}

impl<const N: usize> Headers for [(&str, &[u8]); N] {
    fn for_each(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.as_slice().for_each(name, visit);
    }
}

/// What the rules say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It may go, by this path.
    Allow {
        /// The rule that says so.
        rule: &'a str,
        /// The path.
        path: PathId,
        /// The service.
        service: &'a str,
        /// What else has to hold.
        demands: Demands<'a>,
    },
    /// It may not.
    Deny {
        /// Why.
        reason: Denied,
    },
    /// A rule wants to see the beginning of the body: ask again with this many bytes of it, or all that there are.
    NeedBodyPrefix {
        /// Bytes. As many as any rule wants, so that one more question is enough.
        bytes: usize,
    },
}

/// What a rule asks for that only who runs can know: how often the client came, and what somebody else says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands<'a> {
    /// How often one client may use the rule.
    pub rate: Option<Rate>,
    /// The decision point that has to say yes.
    pub ask: Option<&'a str>,
}

/// Why a request may not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Denied {
    /// No rule matches: 403.
    #[error("no rule allows this request")]
    NoRule,
    /// No rule matches, but one would with another certificate of this client: 403.
    #[error("no rule allows this request with this certificate")]
    Certificate,
    /// No rule matches, but one would at another time: 403.
    #[error("no rule allows this request at this time")]
    Time,
    /// The host has no or several readings: 400.
    #[error("the request's host is no host name or address")]
    Host,
    /// The URL path has several readings: 400.
    #[error("the request's path is refused: {}", .0.why())]
    Path(url::PathDenied),
}

impl Denied {
    /// A stable name for counters and logs.
    pub fn code(self) -> &'static str {
        match self {
            Denied::NoRule => "no-rule",
            Denied::Certificate => "certificate",
            Denied::Time => "time",
            Denied::Host => "bad-host",
            Denied::Path(denied) => denied.code(),
        }
    }

    /// The HTTP status that says so: 403 where the rules say no, 400 where the request is at fault.
    pub fn http_status(self) -> u16 {
        match self {
            Denied::NoRule | Denied::Certificate | Denied::Time => 403,
            Denied::Host | Denied::Path(_) => 400,
        }
    }
}
