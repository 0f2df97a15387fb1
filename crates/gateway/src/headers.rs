//! Fields that must not cross the gateway: hop-by-hop ones (RFC 9110 section 7.6.1), those that
//! HTTP/2 spells otherwise (RFC 9113 section 8.2), and what only a proxy may claim about a client.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName,
    HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use ringmail_model::defence::{Defence, off};

/// Hop-by-hop, named in Connection or not.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What a client may not say about itself; services take these from a proxy that they trust.
const CLAIMS: [HeaderName; 6] = [
    FORWARDED,
    HeaderName::from_static("x-real-ip"),
    // CGI turns it into HTTP_PROXY (CVE-2016-5385).
    HeaderName::from_static("proxy"),
    HeaderName::from_static("x-client-cert"),
    HeaderName::from_static("x-ssl-client-cert"),
    HeaderName::from_static("x-ssl-client-verify"),
];

/// What the scrubbed request asked of this hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// To change to another protocol on this connection.
    pub(crate) upgrade: Upgrade,
    /// Not to send the body before 100 (Continue).
    pub(crate) expect_continue: bool,
    /// An expectation that nobody knows.
    pub(crate) expect_other: bool,
}

/// The change of protocol that a request of HTTP/1.1 asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// None, or `h2c`, which a server ignores.
    #[default]
    None,
    /// RFC 6455.
    Websocket,
    /// What this gateway does not know.
    Other,
}

/// Makes a client's fields into those for the service; what rules see is the result.
///
/// Content-Length and Transfer-Encoding go as well: the framing is made anew from the body.
pub(crate) fn scrub_request(headers: &mut HeaderMap) -> Asked {
    let mut asked = Asked { upgrade: wants_upgrade(headers), ..Asked::default() };
    if let Some(expect) = headers.remove(EXPECT) {
        asked.expect_continue = expect.as_bytes().eq_ignore_ascii_case(b"100-continue");
        asked.expect_other = !asked.expect_continue;
    }
    if off(Defence::HopByHopFields) {
        return asked;
    }
    let trailers = headers.get_all(TE).iter().any(|te| has_token(te, "trailers"));
    remove_hop_by_hop(headers);
    headers.remove(CONTENT_LENGTH);
    if trailers {
        // Ours to say (RFC 9110 section 10.1.4): trailers of the response are passed on.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if off(Defence::ClaimedFields) {
        return asked;
    }
    for claim in &CLAIMS {
        headers.remove(claim);
    }
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for claim in claims {
        headers.remove(claim);
    }
    join_cookies(headers);
    asked
}

/// Makes a service's fields into those for the client.
pub(crate) fn scrub_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
}

/// Bytes of a field section as RFC 9113 section 6.5.2 counts them.
pub(crate) fn section_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
            // Ends of the message, not of the hop: nobody may have them removed.
            .filter(|name| name != HOST && name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// `x-forwarded-…` in any spelling: a CGI sees `X_Forwarded_For` as the same field.
fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    name.len() > 12
        && name.starts_with(b"x")
        && name[2..11] == *b"forwarded"
        && matches!((name[1], name[11]), (b'-' | b'_', b'-' | b'_'))
}

fn wants_upgrade(headers: &HeaderMap) -> Upgrade {
    let named = headers.get_all(CONNECTION).iter().any(|value| has_token(value, "upgrade"));
    let mut offers = headers.get_all(UPGRADE).iter();
    match (named, offers.next(), offers.next()) {
        (false, ..) | (_, None, _) => Upgrade::None,
        (_, Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"websocket") => {
            Upgrade::Websocket
        }
        (_, Some(one), None) if has_token(one, "h2c") => Upgrade::None,
        _ => Upgrade::Other,
    }
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    value
        .as_bytes()
        .split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// HTTP/2 may split Cookie over several fields; HTTP/1.1 may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn scrubbed(fields: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut headers = map(fields);
        scrub_request(&mut headers);
        let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
        let fields = headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        let mut fields: Vec<_> = fields.collect();
        fields.sort();
        fields
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn fields_of_the_hop_and_those_that_connection_names_go() {
        let left = scrubbed(&[
            ("connection", "keep-alive, X-Secret"),
            ("connection", "x-other , host, content-length"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("host", "a"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        assert_eq!(left, [pair("accept", "*/*"), pair("host", "a")]);
    }

    #[test]
    fn claims_about_the_client_go_in_any_spelling() {
        let left = scrubbed(&[
            ("x-forwarded-client-cert", "By=me"),
            ("x_forwarded_client_cert", "By=me"),
            ("X-Forwarded_For", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("proxy", "http://evil/"),
            ("x-forwarding", "stays"),
            ("x-forwarded", "stays"),
        ]);
        assert_eq!(left, [pair("x-forwarded", "stays"), pair("x-forwarding", "stays")]);
    }

    #[test]
    fn te_trailers_is_said_anew_and_cookies_are_one_field() {
        let left = scrubbed(&[("te", "gzip;q=1, Trailers"), ("cookie", "a=1"), ("cookie", "b=2")]);
        assert!(left.contains(&pair("te", "trailers")) && left.contains(&pair("connection", "te")));
        assert!(left.contains(&pair("cookie", "a=1; b=2")));
        assert_eq!(left.len(), 3);
    }

    #[test]
    fn upgrades_and_expectations_are_seen() {
        let asked = |fields: &[(&'static str, &'static str)]| scrub_request(&mut map(fields));
        let upgrade = |fields: &[(&'static str, &'static str)]| asked(fields).upgrade;
        let websocket = [("connection", "Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(upgrade(&websocket), Upgrade::Websocket);
        assert_eq!(upgrade(&[("connection", "upgrade"), ("upgrade", "tls/1.0")]), Upgrade::Other);
        let both = [("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "tls/1.0")];
        assert_eq!(upgrade(&both), Upgrade::Other, "one at a time");
        let h2c = [("connection", "upgrade, http2-settings"), ("upgrade", "h2c")];
        assert_eq!(upgrade(&h2c), Upgrade::None);
        assert_eq!(upgrade(&[("upgrade", "websocket")]), Upgrade::None, "not for this hop");
        assert!(asked(&[("expect", "100-Continue")]).expect_continue);
        assert!(asked(&[("expect", "magic")]).expect_other);
    }
}
