//! The gateway: listeners outside, certificates, limits towards clients, and its inner addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::standby::Standby;
use crate::ids::Label;
use crate::names::{HostPattern, Name};
use crate::net::Cidr;

/// Where clients arrive: classifier and encryption proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The networks outside, where clients and listeners have their addresses.
    pub outside: Vec<Cidr>,
    /// The gateway's inner networks, at most one of each IP version: its requests leave with addresses from here. The
    /// gateway's own address is the first host of each.
    pub inner: Vec<Cidr>,
    /// What clients connect to.
    pub listeners: Vec<Listener>,
    /// Limits towards clients.
    #[serde(default)]
    pub limits: GatewayLimits,
    /// A line of JSON for every request and connection; without it none is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Workers, where not the domain's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u16>,
    /// The link address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The label that ends return paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u32>", range(min = 16, max = 1_048_575))]
    pub label: Option<Label>,
    /// A second gateway, on a machine of its own, that takes the listeners' addresses over when this one is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Standby>,
}

/// Where the access log goes; each line is of the schema ringmail.access/1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// The file, relative to the domain file; it is opened again when it was moved away. `-` is the standard output of
    /// the gateway's process, which `ringmail up` does not show.
    pub file: PathBuf,
    /// Bytes from which on the file is moved to FILE.1, that to FILE.2 and so on. Without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// How many moved files are kept.
    #[serde(default = "five")]
    pub keep: u32,
}

fn five() -> u32 {
    5
}

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name in logs and counters.
    pub name: Name,
    /// The protocol.
    #[serde(default)]
    pub kind: ListenerKind,
    /// Address and port, such as 192.0.2.1:443.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// Server certificates, chosen by SNI. A listener of kind `wireguard` has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Whom clients are certified by.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Load balancers in front: connections from these networks begin with a header of the PROXY protocol, version 1 or 2,
    /// that names the client's address. Others do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_protocol_from: Vec<Cidr>,
    /// Of a listener of kind `wireguard`: the file of the gateway's private key, as `wg genkey` prints it, relative to the
    /// domain file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// The protocol of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerKind {
    /// HTTP/1.1 and HTTP/2 over mutual TLS 1.3 or 1.2.
    #[default]
    Https,
    /// Any protocol over TCP after mutual TLS; rules tell protocols apart by `protocols`.
    Tls,
    /// Any IP packet over WireGuard; rules tell packets apart by `packets`.
    Wireguard,
}

/// A server certificate and the names that it is shown for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The server names (SNI) that it is shown for; a request for another authority on the connection gets 421.
    pub server_names: Vec<HostPattern>,
    /// Certificate chain and key. Without it the embedded authority issues the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<CertificateFiles>,
}

/// PEM files, relative to the domain file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate chain, the server's own first.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whom clients are certified by. Every client shows a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAuth {
    /// PEM files of trust anchors, relative to the domain file. Without any, the embedded authority is the anchor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_files: Vec<PathBuf>,
    /// PEM files of revocation lists. The embedded authority's own list is always checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crl_files: Vec<PathBuf>,
}

/// Limits towards clients; a client that reaches one is cut off, the others do not notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayLimits {
    /// Bytes of a request's header section.
    pub header_bytes: u32,
    /// Connections at once.
    pub connections: u32,
    /// Connections at once of one client identity.
    pub connections_a_client: u32,
    /// Requests under way at once of one client identity; more get 429.
    pub requests_a_client: u32,
    /// TLS handshakes under way at once.
    pub handshakes: u32,
    /// TLS handshakes under way at once from one address; for IPv6, from one network of 64 bits.
    pub handshakes_an_address: u32,
    /// Streams at once of one HTTP/2 connection.
    pub streams_a_connection: u32,
    /// Milliseconds that a TLS handshake may take.
    pub handshake_timeout_ms: u32,
    /// Milliseconds that the header section of a request may take.
    pub header_timeout_ms: u32,
    /// Milliseconds without a request.
    pub idle_timeout_ms: u32,
    /// Milliseconds without a byte in either direction, where bytes pass unread: listeners of kind `tls`, WebSockets
    /// and CONNECT.
    pub tunnel_idle_timeout_ms: u32,
    /// Milliseconds that a client of a listener of kind `tls` may take for its first byte before it counts as one that
    /// waits for the service (`server-first`).
    pub first_byte_timeout_ms: u32,
    /// Milliseconds that the connection to a service may take.
    pub connect_timeout_ms: u32,
    /// Idle connections kept for each pool of backend connections.
    pub pool_idle_connections: u32,
    /// Milliseconds that an idle backend connection is kept.
    pub pool_idle_timeout_ms: u32,
    /// Bytes of a body that are held back for rules which look at its beginning.
    pub body_prefix_bytes: u32,
    /// WireGuard handshakes a second, from all clients together, from which on a client has to show by a cookie that it
    /// receives at the address that it sends from.
    pub handshakes_a_second: u32,
    /// Flows at once of one WireGuard client.
    pub flows_a_client: u32,
}

impl Default for GatewayLimits {
    fn default() -> GatewayLimits {
        GatewayLimits {
            header_bytes: 32 << 10,
            connections: 10_000,
            connections_a_client: 256,
            requests_a_client: 1_024,
            handshakes: 1_024,
            handshakes_an_address: 256,
            streams_a_connection: 128,
            handshake_timeout_ms: 5_000,
            header_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            tunnel_idle_timeout_ms: 3_600_000,
            first_byte_timeout_ms: 500,
            connect_timeout_ms: 5_000,
            pool_idle_connections: 32,
            pool_idle_timeout_ms: 30_000,
            body_prefix_bytes: 8 << 10,
            handshakes_a_second: 100,
            flows_a_client: 4096,
        }
    }
}
