//! One form for a request's host (RFC 9110 section 7.2, RFC 3986 section 3.2.2): no port, no trailing dot, lower case.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

/// Bytes of the longest host.
const HOST_BYTES: usize = 253;

/// The host in its one form; `None` where it is none. `WWW.Example.:443` gives `www.example`, `[::1]:80` gives `::1`.
pub fn canonical(host: &str) -> Option<Cow<'_, str>> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let plain = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return plain.then(|| Cow::Owned(IpAddr::V6(address).to_canonical().to_string()));
    }
    let name = match host.split_once(':') {
        None => host,
        Some((name, port)) if is_port(port) => name,
        Some(_) => return None,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.len() > HOST_BYTES || !name.split('.').all(label) {
        return None;
    }
    // `127.1`, `0x7f.1` and the like: an address to some, a name to others (WHATWG URL, "ends in a number").
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit())
        || last.get(..2).is_some_and(|p| p.eq_ignore_ascii_case("0x"));
    if number && name.parse::<std::net::Ipv4Addr>().is_err() {
        return None;
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Some(Cow::Owned(name.to_ascii_lowercase()))
    } else {
        Some(Cow::Borrowed(name))
    }
}

fn is_port(text: &str) -> bool {
    text.len() <= 5
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.is_empty() || text.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (given, form) in [
            ("www.example", "www.example"),
            ("WWW.Example.:443", "www.example"),
            ("www.example:", "www.example"),
            ("192.0.2.1:8080", "192.0.2.1"),
            ("[2001:DB8::1]:443", "2001:db8::1"),
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
            ("a_b.example", "a_b.example"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(form), "{given}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for given in [
            "",
            ".",
            "..",
            "a..b",
            "www.example..",
            "user@www.example",
            "www.example:99999",
            "www.example:x",
            "www.example/",
            "www example",
            "www%2eexample",
            "[::1",
            "[::1]x",
            "::1",
            "127.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "[fe80::1%25eth0]",
            "wéb.example",
        ] {
            assert_eq!(canonical(given), None, "{given}");
        }
    }
}
