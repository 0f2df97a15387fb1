//! A line of the access log, and its schema.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use ringmail_packet::flow::FlowKey;
use ringmail_packet::ip::protocol;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::identity::Client;
use crate::wireguard::Flow;

/// The `schema` of every line.
pub(super) const SCHEMA: &str = "ringmail.access/1";

/// One line: who asked for what, what became of it, and how long it took.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "ringmail access log line")]
pub struct Entry {
    /// `ringmail.access/1`.
    pub schema: &'static str,
    /// When it began: RFC 3339, UTC.
    #[serde(serialize_with = "rfc3339", rename = "time")]
    #[schemars(with = "String")]
    pub begun: SystemTime,
    /// What the line is about.
    pub kind: Kind,
    /// The listener's name.
    #[schemars(with = "String")]
    #[serde(serialize_with = "text")]
    pub listener: Arc<str>,
    /// The client's identity, from its certificate or by its WireGuard key; empty where a handshake failed and none could be read.
    #[schemars(with = "String")]
    #[serde(serialize_with = "text")]
    pub client: Arc<str>,
    /// SHA-256 of its certificate, in hexadecimal; empty where a handshake failed before one was shown, and for WireGuard.
    #[schemars(with = "String")]
    #[serde(serialize_with = "text")]
    pub certificate: Arc<str>,
    /// The subject of its certificate, where the handshake failed; nobody has vouched for it then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Where it came from.
    #[schemars(with = "String")]
    pub source: SocketAddr,
    /// The server name that it asked for (SNI).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// `http/1.1`, `h2`, or a protocol as rules name it; of a flow that of its packets, such as `udp`.
    pub protocol: String,
    /// The request's method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The request's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The request's path in normal form, without query, which may hold secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_path: Option<String>,
    /// Whether a rule allowed it.
    pub decision: Outcome,
    /// Why it was refused or failed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What TLS says about that, where a handshake failed; the reason that a decision point gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The rule that allowed it, or whose rate or decision point did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The path that it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The service that it went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where the packets of a flow came from inside: address, and port if its protocol has ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where they went inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The DS field of the flow's first packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<u8>,
    /// The status of the answer; none where the client left before, or where there is no HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the request's body, or from the client.
    pub bytes_in: u64,
    /// Bytes of the answer's body, or to the client.
    pub bytes_out: u64,
    /// How long things took, in microseconds.
    pub times_us: Times,
}

impl Entry {
    /// What a connection knows.
    pub(crate) fn of(
        client: &Client,
        source: SocketAddr,
        server_name: Option<&str>,
        handshake: u64,
    ) -> Entry {
        Entry {
            schema: SCHEMA,
            begun: SystemTime::UNIX_EPOCH,
            kind: Kind::Request,
            listener: "".into(),
            client: Arc::clone(&client.identity),
            certificate: format!("{:?}", client.fingerprint).into(),
            subject: None,
            source,
            server_name: server_name.map(str::to_owned),
            protocol: "http/1.1".to_owned(),
            method: None,
            host: None,
            url_path: None,
            decision: Outcome::Refused,
            reason: None,
            detail: None,
            rule: None,
            path: None,
            service: None,
            from: None,
            to: None,
            dscp: None,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
            times_us: Times { handshake, ..Times::default() },
        }
    }

    /// A connection that began then and did not get any further than its handshake.
    pub(crate) fn failed(source: SocketAddr, begun: Instant) -> Entry {
        let took = begun.elapsed();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let now = SystemTime::now();
        Entry {
            schema: SCHEMA,
            begun: now.checked_sub(took).unwrap_or(now),
            kind: Kind::Handshake,
            listener: "".into(),
            client: "".into(),
            certificate: "".into(),
            subject: None,
            source,
            server_name: None,
            protocol: "tls".to_owned(),
            method: None,
            host: None,
            url_path: None,
            decision: Outcome::Refused,
            reason: None,
            detail: None,
            rule: None,
            path: None,
            service: None,
            from: None,
            to: None,
            dscp: None,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
            times_us: Times { handshake: took_us, total: took_us, ..Times::default() },
        }
    }
}

impl Entry {
    /// A flow of a WireGuard client that is over.
    pub(crate) fn flow(key: &FlowKey, flow: &Flow, now: std::time::Instant) -> Entry {
        let has_ports = matches!(key.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let end = |ip, port| match has_ports {
            true => SocketAddr::new(ip, port).to_string(),
            false => ip.to_string(),
        };
        let took = now.saturating_duration_since(flow.begun.0);
        let allowed = flow.allowed.as_ref();
        Entry {
            schema: SCHEMA,
            begun: flow.begun.1,
            kind: Kind::Flow,
            listener: "".into(),
            client: Arc::clone(&flow.client),
            certificate: "".into(),
            subject: None,
            source: flow.source,
            server_name: None,
            protocol: ringmail_model::domain::Protocol(key.protocol).to_string(),
            method: None,
            host: None,
            url_path: None,
            decision: if allowed.is_some() { Outcome::Allowed } else { Outcome::Refused },
            reason: allowed.is_none().then_some("no rule allows this flow"),
            detail: None,
            rule: allowed.map(|allowed| allowed.rule.to_string()),
            path: allowed.map(|allowed| allowed.path_name.to_string()),
            service: allowed.map(|allowed| allowed.service.to_string()),
            from: Some(end(key.src, key.src_port)),
            to: Some(end(key.dst, key.dst_port)),
            dscp: Some(flow.dscp),
            status: None,
            bytes_in: flow.bytes_in,
            bytes_out: flow.bytes_out,
            times_us: Times {
                total: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                ..Times::default()
            },
        }
    }
}

#[cfg(test)]
impl Entry {
    /// For tests that are not about what it says.
    pub(super) fn example() -> Entry {
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let client = Client::of(certificate.der()).expect("a client");
        Entry::of(&client, ([192, 0, 2, 11], 1).into(), None, 5)
    }
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A request and its answer; a WebSocket or CONNECT from its request to the end of its bytes.
    Request,
    /// A connection of a listener of kind `tls`.
    Connection,
    /// A connection that did not get any further than its TLS handshake.
    Handshake,
    /// A flow of packets of a listener of kind `wireguard`.
    Flow,
}

/// What the rules said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A rule allows it.
    Allowed,
    /// No rule does, or it was refused before rules were asked.
    Refused,
}

/// Microseconds; the last four from the line's `time` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Times {
    /// The TLS handshake of its connection.
    pub handshake: u64,
    /// Until a rule had decided: waiting for what rules want to see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<u64>,
    /// Opening a connection through the chain; none where a pooled one served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<u64>,
    /// Until the head of the service's answer was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<u64>,
    /// Until the end.
    pub total: u64,
}

/// `docs/schema/ringmail.access.1.json`, to the byte.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(Entry);
    schema.insert("$id".to_owned(), SCHEMA.into());
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let time = OffsetDateTime::from(*time);
    // Microseconds are what the other times have.
    let time = time.replace_nanosecond(time.microsecond() * 1_000).unwrap_or(time);
    serializer.serialize_str(&time.format(&Rfc3339).unwrap_or_default())
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_the_committed_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/ringmail.access.1.json");
        if std::env::var_os("RINGMAIL_UPDATE").is_some() {
            std::fs::write(path, schema()).expect("it can be written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(committed, schema(), "run it with RINGMAIL_UPDATE=1 and look at the difference");
    }
}
