//! What a service may be told about a client, beside the request: `Forwarded` (RFC 7239) and Envoy's
//! `x-forwarded-client-cert`. What the client itself sent under these names never passes.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

use crate::identity::Client;

/// `for=…;by=…;host=…;proto=https` (RFC 7239 section 4).
pub(crate) fn forwarded(
    source: SocketAddr,
    destination: SocketAddr,
    host: &HeaderValue,
) -> Option<HeaderValue> {
    let host = host.to_str().ok()?;
    let text = format!(
        "for={};by={};host={};proto=https",
        node(source.ip()),
        node(destination.ip()),
        quoted(host)
    );
    HeaderValue::from_str(&text).ok()
}

/// A node without its port, IPv6 in brackets and quotes (RFC 7239 section 6).
fn node(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

/// A token as it is, anything else as quoted-string (RFC 9110 section 5.6.4).
fn quoted(text: &str) -> String {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.bytes().all(is_token) { text.to_owned() } else { in_quotes(text) }
}

fn in_quotes(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// `Hash=…;Subject="…";URI=…;DNS=…` (Envoy, "x-forwarded-client-cert").
pub(crate) fn client_certificate(client: &Client) -> Option<HeaderValue> {
    let mut text = format!("Hash={:?}", client.fingerprint);
    let mut add = |key: &str, value: &str| {
        let value = if value.bytes().any(|b| b",;=\"".contains(&b)) {
            in_quotes(value)
        } else {
            value.to_owned()
        };
        let _ = write!(text, ";{key}={value}");
    };
    add("Subject", &client.subject);
    for name in client.names() {
        if let Some(dns) = name.strip_prefix("dns:") {
            add("DNS", dns);
        } else if !name.starts_with("email:") {
            add("URI", name.strip_prefix("uri:").unwrap_or(name));
        }
    }
    // What HTTP cannot carry in a field cannot be told.
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_hosts_are_quoted_where_they_must_be() {
        let say = |source: &str, host: &'static str| {
            let (source, by) = (source.parse().expect("an address"), "192.0.2.1:443".parse());
            let value = forwarded(source, by.expect("an address"), &HeaderValue::from_static(host));
            value.expect("a field").to_str().expect("text").to_owned()
        };
        assert_eq!(
            say("192.0.2.11:1", "www.example"),
            "for=192.0.2.11;by=192.0.2.1;host=www.example;proto=https"
        );
        assert_eq!(
            say("[2001:db8::11]:1", "www.example:8443"),
            "for=\"[2001:db8::11]\";by=192.0.2.1;host=\"www.example:8443\";proto=https"
        );
        assert!(say("[::ffff:192.0.2.11]:1", "a").starts_with("for=192.0.2.11;"));
    }
}
