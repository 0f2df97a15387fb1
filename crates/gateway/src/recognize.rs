//! What a client speaks, from its first bytes: for rules on connections that pass unread.
//!
//! A guess that rules may build on because the service is the judge of it: who claims to be SSH and is not gets nothing
//! from an SSH server.

use ringmail_model::domain::ApplicationProtocol;

/// Bytes that are enough to tell any of these protocols.
pub(crate) const ENOUGH_BYTES: usize = 16;

/// What begins so speaks that.
const BEGINNINGS: [(&[u8], ApplicationProtocol); 17] = [
    (b"SSH-", ApplicationProtocol::Ssh),
    (b"@RSYNCD:", ApplicationProtocol::Rsync),
    (b"EHLO ", ApplicationProtocol::Smtp),
    (b"HELO ", ApplicationProtocol::Smtp),
    (b"LHLO ", ApplicationProtocol::Smtp),
    (b"PING\r\n", ApplicationProtocol::Redis),
    (b"GET /", ApplicationProtocol::RawHttp),
    (b"HEAD /", ApplicationProtocol::RawHttp),
    (b"POST /", ApplicationProtocol::RawHttp),
    (b"PUT /", ApplicationProtocol::RawHttp),
    (b"DELETE /", ApplicationProtocol::RawHttp),
    (b"PATCH /", ApplicationProtocol::RawHttp),
    (b"OPTIONS ", ApplicationProtocol::RawHttp),
    (b"CONNECT ", ApplicationProtocol::RawHttp),
    (b"TRACE /", ApplicationProtocol::RawHttp),
    (b"GET http", ApplicationProtocol::RawHttp),
    (b"PRI * HTTP/2.0", ApplicationProtocol::RawHttp),
];

/// The protocol of a connection that begins with `bytes`; `None` while it could still be one of several.
///
/// Never `http` or `websocket`, which are the names of what the gateway reads; nor `server-first`.
pub(crate) fn recognize(bytes: &[u8]) -> Option<ApplicationProtocol> {
    let mut open = bytes.is_empty();
    for (beginning, protocol) in BEGINNINGS {
        let shared = bytes.len().min(beginning.len());
        if bytes[..shared].eq_ignore_ascii_case(&beginning[..shared]) {
            if shared == beginning.len() {
                return Some(protocol);
            }
            open = true;
        }
    }
    for judge in [tls, postgresql, redis] {
        match judge(bytes) {
            Judged::Yes(protocol) => return Some(protocol),
            Judged::Perhaps => open = true,
            Judged::No => {}
        }
    }
    (!open).then_some(ApplicationProtocol::Unknown)
}

enum Judged {
    Yes(ApplicationProtocol),
    Perhaps,
    No,
}

/// A handshake record of TLS 1.0 to 1.3 (RFC 8446 section 5.1).
fn tls(bytes: &[u8]) -> Judged {
    match bytes {
        [0x16, 0x03, 0..=4, ..] => Judged::Yes(ApplicationProtocol::Tls),
        [] | [0x16] | [0x16, 0x03] => Judged::Perhaps,
        _ => Judged::No,
    }
}

/// A start-up message: its length, then protocol 3.x, or one of the requests that stand in its place.
fn postgresql(bytes: &[u8]) -> Judged {
    let Some((length, code)) = bytes.split_at_checked(4) else {
        return if bytes.iter().take(2).all(|byte| *byte == 0) {
            Judged::Perhaps
        } else {
            Judged::No
        };
    };
    if length[..2] != [0, 0] {
        return Judged::No;
    }
    match code {
        // Version 3, or 1234 in the place of one: cancel, TLS and GSS requests.
        [0, 3, 0, _, ..] | [0x04, 0xd2, 0x16, 0x2e..=0x30, ..] => {
            Judged::Yes(ApplicationProtocol::Postgresql)
        }
        [] | [0] | [0, 3] | [0, 3, 0] | [0x04] | [0x04, 0xd2] | [0x04, 0xd2, 0x16] => {
            Judged::Perhaps
        }
        _ => Judged::No,
    }
}

/// An array of bulk strings, as every client library sends commands: `*2\r\n$3\r\nGET…`.
fn redis(bytes: &[u8]) -> Judged {
    let Some(rest) = bytes.strip_prefix(b"*") else {
        return if bytes.is_empty() { Judged::Perhaps } else { Judged::No };
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match &rest[digits..] {
        [] if digits <= 7 => Judged::Perhaps,
        [b'\r'] | [b'\r', b'\n'] if digits > 0 => Judged::Perhaps,
        [b'\r', b'\n', b'$', ..] if digits > 0 => Judged::Yes(ApplicationProtocol::Redis),
        _ => Judged::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [(&[u8], ApplicationProtocol); 16] = [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", ApplicationProtocol::Ssh),
        (b"@RSYNCD: 31.0 sha512\n", ApplicationProtocol::Rsync),
        (b"ehlo client.example\r\n", ApplicationProtocol::Smtp),
        (b"\x00\x00\x00\x54\x00\x03\x00\x00user\x00a", ApplicationProtocol::Postgresql),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", ApplicationProtocol::Postgresql),
        (b"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x00", ApplicationProtocol::Postgresql),
        (b"*1\r\n$4\r\nPING\r\n", ApplicationProtocol::Redis),
        (b"*12\r\n$7\r\nCOMMAND", ApplicationProtocol::Redis),
        (b"PING\r\n", ApplicationProtocol::Redis),
        (b"GET / HTTP/1.1\r\n", ApplicationProtocol::RawHttp),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ApplicationProtocol::RawHttp),
        (b"\x16\x03\x01\x02\x00\x01\x00", ApplicationProtocol::Tls),
        (b"hello, world, here I am", ApplicationProtocol::Unknown),
        (b"\x00\x00\x00\x00\x00\x00\x00\x00", ApplicationProtocol::Unknown),
        (b"*x", ApplicationProtocol::Unknown),
        (b"\xff", ApplicationProtocol::Unknown),
    ];

    #[test]
    fn what_real_clients_send_first() {
        for (bytes, protocol) in SAMPLES {
            assert_eq!(recognize(bytes), Some(protocol), "{bytes:?}");
        }
    }

    /// However the network cuts it, the answer is the same or still open, and soon given.
    #[test]
    fn the_answer_does_not_depend_on_the_cut() {
        for (bytes, protocol) in SAMPLES {
            for cut in 0..bytes.len() {
                let early = recognize(&bytes[..cut]);
                assert!(early.is_none_or(|early| early == protocol), "{bytes:?} cut at {cut}");
            }
        }
        for first in 0..=255 {
            for second in 0..=255 {
                let mut bytes = [b'0'; ENOUGH_BYTES];
                bytes[..2].copy_from_slice(&[first, second]);
                assert!(recognize(&bytes).is_some(), "{bytes:?}");
            }
        }
        assert!(recognize(b"*0000000000000000").is_some());
    }
}
