//! What a decision point is asked: `{"input": …}`, described in the manual's chapter on rules.
//!
//! Nothing in it differs between two requests that are the same to a policy, so that answers can be kept: no port of the
//! client, no time, no number. No query and no header field that was not asked for: they may hold secrets.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use serde::Serialize;

use crate::identity::Client;

/// The question.
#[derive(Debug, Serialize)]
pub(crate) struct Question<'a> {
    input: Input<'a>,
}

#[derive(Debug, Serialize)]
struct Input<'a> {
    client: Who<'a>,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    protocol: String,
    chain: Chain<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Requested<'a>>,
}

#[derive(Debug, Serialize)]
struct Who<'a> {
    identity: &'a str,
    names: &'a [String],
    certificate: Certificate<'a>,
}

#[derive(Debug, Serialize)]
struct Certificate<'a> {
    sha256: String,
    subject: &'a str,
    issuer: &'a str,
    not_before_unix_s: u64,
    not_after_unix_s: u64,
}

/// Where it would go.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Chain<'a> {
    pub(crate) rule: &'a str,
    pub(crate) path: &'a str,
    pub(crate) service: &'a str,
}

/// An HTTP request; not there for connections that pass unread.
#[derive(Debug, Serialize)]
pub(crate) struct Requested<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    segments: Vec<&'a str>,
    headers: BTreeMap<&'a str, Vec<String>>,
}

impl<'a> Requested<'a> {
    /// `path` in its normal form, without query; of `fields` those that are in `shown`.
    pub(crate) fn new(
        method: &'a str,
        host: &'a str,
        path: &'a str,
        fields: &HeaderMap,
        shown: &'a [HeaderName],
    ) -> Requested<'a> {
        let values = |name: &HeaderName| {
            let all = fields.get_all(name).iter();
            all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
        };
        let there = shown.iter().filter(|name| fields.contains_key(*name));
        Requested {
            method,
            host,
            path,
            segments: path.split('/').skip(1).collect(),
            headers: there.map(|name| (name.as_str(), values(name))).collect(),
        }
    }
}

impl<'a> Question<'a> {
    /// Whether `client`, known as `identity`, may go.
    pub(crate) fn new(
        client: &'a Client,
        identity: &'a str,
        source: std::net::IpAddr,
        server_name: Option<&'a str>,
        protocol: ringmail_model::domain::ApplicationProtocol,
        chain: Chain<'a>,
        request: Option<Requested<'a>>,
    ) -> Question<'a> {
        let certificate = &client.certificate;
        let shown = Certificate {
            sha256: format!("{:?}", client.fingerprint),
            subject: &client.subject,
            issuer: &certificate.issuer,
            not_before_unix_s: certificate.not_before_unix_s,
            not_after_unix_s: certificate.not_after_unix_s,
        };
        let who = Who { identity, names: client.names(), certificate: shown };
        let source = source.to_canonical().to_string();
        let protocol = protocol.to_string();
        Question { input: Input { client: who, source, server_name, protocol, chain, request } }
    }

    /// Its bytes; there is nothing in it that has none.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }
}
