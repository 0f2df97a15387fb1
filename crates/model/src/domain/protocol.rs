//! Application protocols, as rules and listeners name them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client speaks: on a listener of kind `https` known from the request, on one of kind `tls` from the first
/// bytes after the handshake.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ApplicationProtocol {
    /// A request over HTTP/1.1 or HTTP/2, on a listener of kind `https`.
    Http,
    /// A WebSocket (RFC 6455, RFC 8441), on a listener of kind `https`.
    Websocket,
    /// SSH (RFC 4253 section 4.2).
    Ssh,
    /// PostgreSQL's frontend protocol 3.
    Postgresql,
    /// Redis: RESP or inline commands.
    Redis,
    /// The rsync daemon's own protocol; rsync over SSH is `ssh`.
    Rsync,
    /// SMTP, of a client that does not wait for the greeting.
    Smtp,
    /// HTTP on a listener of kind `tls`: the gateway does not look into it, and its fields pass as the client sent them.
    RawHttp,
    /// TLS within TLS.
    Tls,
    /// The client waits for the service to speak first, as SMTP, IMAP, FTP and MySQL do.
    ServerFirst,
    /// Something else.
    Unknown,
}

impl ApplicationProtocol {
    /// All, in the order of the manual.
    pub const ALL: [ApplicationProtocol; 11] = [
        ApplicationProtocol::Http,
        ApplicationProtocol::Websocket,
        ApplicationProtocol::Ssh,
        ApplicationProtocol::Postgresql,
        ApplicationProtocol::Redis,
        ApplicationProtocol::Rsync,
        ApplicationProtocol::Smtp,
        ApplicationProtocol::RawHttp,
        ApplicationProtocol::Tls,
        ApplicationProtocol::ServerFirst,
        ApplicationProtocol::Unknown,
    ];

    /// The name as rules spell it.
    pub const fn name(self) -> &'static str {
        match self {
            ApplicationProtocol::Http => "http",
            ApplicationProtocol::Websocket => "websocket",
            ApplicationProtocol::Ssh => "ssh",
            ApplicationProtocol::Postgresql => "postgresql",
            ApplicationProtocol::Redis => "redis",
            ApplicationProtocol::Rsync => "rsync",
            ApplicationProtocol::Smtp => "smtp",
            ApplicationProtocol::RawHttp => "raw-http",
            ApplicationProtocol::Tls => "tls",
            ApplicationProtocol::ServerFirst => "server-first",
            ApplicationProtocol::Unknown => "unknown",
        }
    }

    /// Whether it is judged request by request; otherwise once a connection.
    pub const fn is_of_requests(self) -> bool {
        matches!(self, ApplicationProtocol::Http | ApplicationProtocol::Websocket)
    }
}

impl std::fmt::Display for ApplicationProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_file() {
        for protocol in ApplicationProtocol::ALL {
            let text = serde_json::to_value(protocol).expect("a text");
            assert_eq!(text, protocol.name());
        }
    }
}
