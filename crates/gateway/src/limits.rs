//! Every bound of the gateway in one place: a constant each, and [`Limits`] to set another value.
//!
//! The defaults follow what HAProxy, nginx and Envoy ship where they agree, and the stricter of them
//! where they do not.

use std::time::Duration;

use ringmail_model::domain::GatewayLimits;

/// Changes of the names of a listener's trust anchors that are told to clients; later ones still count, and only what a
/// client shows unasked differs. A rotation of the authority's root makes three.
pub const ANCHOR_CHANGES: usize = 16;
/// Open client connections of one gateway process, handshakes included.
pub const CONNECTIONS: usize = 16_384;
/// TLS handshakes under way at once; what a flood of half-open clients can hold.
pub const HANDSHAKES: usize = 1_024;
/// The same from one address, or one IPv6 network of 64 bits: nobody alone keeps others from their handshakes.
pub const HANDSHAKES_PER_ADDRESS: usize = 256;
/// Open connections of one client identity.
pub const CONNECTIONS_PER_CLIENT: usize = 2_048;
/// Requests under way of one client identity: nobody alone takes all connections to services.
pub const REQUESTS_PER_CLIENT: usize = 2_048;
/// From accept to the end of the TLS handshake.
pub const HANDSHAKE_MS: u64 = 10_000;
/// From the first byte of a request to the end of its headers (HTTP/1).
pub const HEADER_READ_MS: u64 = 10_000;
/// A connection without a request in progress.
pub const IDLE_MS: u64 = 60_000;
/// Between two reads of a request body.
pub const BODY_IDLE_MS: u64 = 30_000;
/// A client that takes nothing of its responses; never less than what a service may take.
pub const STALL_MS: u64 = 120_000;
/// Without a byte in either direction, where bytes pass unread.
pub const TUNNEL_IDLE_MS: u64 = 3_600_000;
/// For the first byte of a client that passes unread; then it counts as one that waits for the service.
pub const FIRST_BYTE_MS: u64 = 500;
/// After a close: how long the client's remaining bytes are read, so that it sees our last words.
pub const LINGER_MS: u64 = 2_000;
/// After a shutdown: how long requests in progress may take.
pub const DRAIN_MS: u64 = 30_000;

/// Bytes of a request's header section, request line included; for HTTP/2 as RFC 9113 section
/// 6.5.2 counts them.
pub const HEADER_BYTES: u32 = 32 * 1024;
/// Header fields of a request or of a trailer section.
pub const HEADER_COUNT: usize = 100;
/// Bytes of a body that rules may ask to see.
pub const BODY_PREFIX_BYTES: usize = 64 * 1024;
/// To gather that prefix.
pub const BODY_PREFIX_MS: u64 = 10_000;

/// Concurrent streams of one HTTP/2 connection.
pub const H2_STREAMS: u32 = 128;
/// Paths whose requests are timed; those of later ones are not.
pub const TIMED_PATHS: usize = 1024;

/// Requests that a client may cancel unanswered within [`H2_CANCEL_WINDOW_MS`] (CVE-2023-44487).
pub const H2_CANCELLED: u32 = 200;
/// The window over which cancelled requests are counted.
pub const H2_CANCEL_WINDOW_MS: u64 = 10_000;
/// Streams reset by the client before we took them, held at once.
pub const H2_PENDING_RESETS: usize = 32;
/// Request body bytes that a stream may send ahead of the service.
pub const H2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for all streams of a connection.
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Response bytes buffered for a stream.
pub const H2_SEND_BUFFER_BYTES: usize = 256 * 1024;

/// To open a connection through the chain.
pub const CONNECT_MS: u64 = 5_000;
/// From the end of the request to the head of the response.
pub const RESPONSE_HEAD_MS: u64 = 60_000;
/// Between two reads of a response body.
pub const RESPONSE_IDLE_MS: u64 = 120_000;
/// How long a request body is held back for the service's 100 (Continue).
pub const CONTINUE_MS: u64 = 1_000;
/// Bytes of a response's header section.
pub const RESPONSE_HEADER_BYTES: usize = 64 * 1024;
/// Open connections to services, a worker.
pub const BACKEND_CONNECTIONS: usize = 8_192;
/// Idle connections to services, a worker.
pub const POOL_IDLE: usize = 1_024;
/// Idle connections of one pool: same client certificate, rule, path version and service.
pub const POOL_IDLE_PER_KEY: usize = 64;
/// An idle connection to a service; below the 75 s of nginx, so that we close first.
pub const POOL_IDLE_MS: u64 = 30_000;
/// Tries of a request: the first, and one more where a pooled connection had died.
pub const TRIES: usize = 2;

/// Bytes that hyper reads ahead from one connection, and queues towards it.
pub const COPY_BUFFER_BYTES: usize = 128 * 1024;
/// Ciphertext read from a client at once.
pub const TLS_RECEIVE_BYTES: usize = 64 * 1024;
/// Plaintext that waits as ciphertext for a client's socket.
pub const TLS_SEND_BYTES: usize = 256 * 1024;
/// Bytes that are held for each direction of a connection that passes unread, while it moves.
pub const RELAY_BUFFER_BYTES: usize = 64 * 1024;
/// Clients whose rates are remembered, counted once a rule; new ones wait while none of them can be forgotten.
pub const RATE_CLIENTS: usize = 65_536;
/// The least time between two looks for clients that can be forgotten.
pub const RATE_SWEEP_MS: u64 = 1_000;
/// Questions to one decision point that are under way at once; later ones wait, within their time.
pub const DECISION_CALLS: usize = 256;
/// Idle connections to one decision point.
pub const DECISION_IDLE: usize = 64;
/// Bytes of the answer of a decision point.
pub const DECISION_ANSWER_BYTES: usize = 64 * 1024;
/// Bytes of the header section of that answer.
pub const DECISION_HEADER_BYTES: usize = 16 * 1024;
/// Bytes of a decision point's reason that go into the access log.
pub const DECISION_REASON_BYTES: usize = 256;
/// Lines of the access log that wait for the writer; more are left out and counted.
pub const ACCESS_QUEUE: usize = 8_192;
/// Bytes of the access log that are written at once.
pub const ACCESS_BUFFER_BYTES: usize = 64 * 1024;
/// How often the access log's writer looks whether its file is still in its place.
pub const ACCESS_LOOK_MS: u64 = 500;
/// Bytes of a PROXY header behind its fixed part.
pub const PROXY_HEADER_BYTES: usize = 2_048;
/// Bytes that a listening socket's queue holds connections for.
pub const ACCEPT_QUEUE: i32 = 4_096;
/// After a failed accept (no file descriptors left): the pause before the next.
pub const ACCEPT_RETRY_MS: u64 = 50;

/// WireGuard handshakes a second that are looked at at all: each that is costs a MAC and a cookie.
pub const WIREGUARD_HANDSHAKES_MOST: u32 = 50_000;
/// Handshakes a second that are answered of one client whose key is good.
pub const WIREGUARD_INITIATIONS_A_PEER: u32 = 20;
/// Bytes of the longest datagram, and of the longest packet inside with what WireGuard adds.
pub const WIREGUARD_DATAGRAM_BYTES: usize = 65_536;
/// How often the timers of WireGuard sessions are looked at.
pub const WIREGUARD_TICK_MS: u64 = 100;
/// How often flows and parts of packets are looked through for their age.
pub const WIREGUARD_SWEEP_MS: u64 = 1_000;
/// Seconds for which a flow is refused without asking the rules again.
pub const WIREGUARD_REFUSED_S: u32 = 10;
/// ICMP errors that the gateway sends to WireGuard clients within a second.
pub const WIREGUARD_ANSWERS_A_SECOND: u32 = 1_000;
/// Packets of WireGuard clients of which parts are held at once: of all, and of one client.
pub const WIREGUARD_PACKETS_IN_PARTS: usize = 1_024;
/// See [`WIREGUARD_PACKETS_IN_PARTS`].
pub const WIREGUARD_PACKETS_IN_PARTS_A_PEER: usize = 64;
/// Parts of one packet.
pub const WIREGUARD_FRAGMENTS_A_PACKET: usize = 64;
/// Bytes of a packet that comes in parts; no path carries larger ones.
pub const WIREGUARD_WHOLE_BYTES: usize = 9_216;
/// How long the parts of a packet may take.
pub const WIREGUARD_PARTS_MS: u64 = 5_000;

/// The bounds that an operator may set; [`Default`] is the constants of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`CONNECTIONS`].
    pub connections: usize,
    /// See [`HANDSHAKES`].
    pub handshakes: usize,
    /// See [`HANDSHAKES_PER_ADDRESS`].
    pub handshakes_per_address: usize,
    /// See [`CONNECTIONS_PER_CLIENT`].
    pub connections_per_client: usize,
    /// See [`REQUESTS_PER_CLIENT`].
    pub requests_per_client: usize,
    /// See [`HANDSHAKE_MS`].
    pub handshake_ms: u64,
    /// See [`HEADER_READ_MS`].
    pub header_read_ms: u64,
    /// See [`IDLE_MS`].
    pub idle_ms: u64,
    /// See [`BODY_IDLE_MS`].
    pub body_idle_ms: u64,
    /// See [`STALL_MS`].
    pub stall_ms: u64,
    /// See [`TUNNEL_IDLE_MS`].
    pub tunnel_idle_ms: u64,
    /// See [`FIRST_BYTE_MS`].
    pub first_byte_ms: u64,
    /// See [`LINGER_MS`].
    pub linger_ms: u64,
    /// See [`DRAIN_MS`].
    pub drain_ms: u64,
    /// See [`HEADER_BYTES`].
    pub header_bytes: u32,
    /// See [`HEADER_COUNT`].
    pub header_count: usize,
    /// See [`BODY_PREFIX_BYTES`].
    pub body_prefix_bytes: usize,
    /// See [`BODY_PREFIX_MS`].
    pub body_prefix_ms: u64,
    /// See [`H2_STREAMS`].
    pub h2_streams: u32,
    /// See [`H2_CANCELLED`].
    pub h2_cancelled: u32,
    /// See [`CONNECT_MS`].
    pub connect_ms: u64,
    /// See [`RESPONSE_HEAD_MS`].
    pub response_head_ms: u64,
    /// See [`RESPONSE_IDLE_MS`].
    pub response_idle_ms: u64,
    /// See [`CONTINUE_MS`].
    pub continue_ms: u64,
    /// See [`BACKEND_CONNECTIONS`].
    pub backend_connections: usize,
    /// See [`POOL_IDLE`].
    pub pool_idle: usize,
    /// See [`POOL_IDLE_PER_KEY`].
    pub pool_idle_per_key: usize,
    /// See [`POOL_IDLE_MS`].
    pub pool_idle_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: CONNECTIONS,
            handshakes: HANDSHAKES,
            handshakes_per_address: HANDSHAKES_PER_ADDRESS,
            connections_per_client: CONNECTIONS_PER_CLIENT,
            requests_per_client: REQUESTS_PER_CLIENT,
            handshake_ms: HANDSHAKE_MS,
            header_read_ms: HEADER_READ_MS,
            idle_ms: IDLE_MS,
            body_idle_ms: BODY_IDLE_MS,
            stall_ms: STALL_MS,
            tunnel_idle_ms: TUNNEL_IDLE_MS,
            first_byte_ms: FIRST_BYTE_MS,
            linger_ms: LINGER_MS,
            drain_ms: DRAIN_MS,
            header_bytes: HEADER_BYTES,
            header_count: HEADER_COUNT,
            body_prefix_bytes: BODY_PREFIX_BYTES,
            body_prefix_ms: BODY_PREFIX_MS,
            h2_streams: H2_STREAMS,
            h2_cancelled: H2_CANCELLED,
            connect_ms: CONNECT_MS,
            response_head_ms: RESPONSE_HEAD_MS,
            response_idle_ms: RESPONSE_IDLE_MS,
            continue_ms: CONTINUE_MS,
            backend_connections: BACKEND_CONNECTIONS,
            pool_idle: POOL_IDLE,
            pool_idle_per_key: POOL_IDLE_PER_KEY,
            pool_idle_ms: POOL_IDLE_MS,
        }
    }
}

/// What the domain file says, and the defaults for the rest.
impl From<&GatewayLimits> for Limits {
    fn from(given: &GatewayLimits) -> Limits {
        Limits {
            header_bytes: given.header_bytes,
            connections: given.connections as usize,
            handshakes: given.handshakes as usize,
            handshakes_per_address: given.handshakes_an_address as usize,
            connections_per_client: given.connections_a_client as usize,
            requests_per_client: given.requests_a_client as usize,
            h2_streams: given.streams_a_connection,
            handshake_ms: given.handshake_timeout_ms.into(),
            header_read_ms: given.header_timeout_ms.into(),
            idle_ms: given.idle_timeout_ms.into(),
            tunnel_idle_ms: given.tunnel_idle_timeout_ms.into(),
            first_byte_ms: given.first_byte_timeout_ms.into(),
            connect_ms: given.connect_timeout_ms.into(),
            pool_idle_per_key: given.pool_idle_connections as usize,
            pool_idle_ms: given.pool_idle_timeout_ms.into(),
            body_prefix_bytes: given.body_prefix_bytes as usize,
            ..Limits::default()
        }
    }
}

impl Limits {
    /// How long a connection with requests in progress may pass without any of them moving: a slow
    /// service ends by its own limits first.
    pub(crate) fn stall(&self) -> Duration {
        let service_ms = self.response_head_ms.max(self.response_idle_ms);
        Duration::from_millis(self.stall_ms.max(service_ms + self.connect_ms))
    }
}

/// The longest that a connection may last, however long its client's certificate holds: what timers can wait for.
pub(crate) const CONNECTION_LASTS: Duration = Duration::from_secs(365 * 86_400);

/// Milliseconds as a duration.
pub(crate) const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_file_sets_its_limits_and_no_others() {
        let given = GatewayLimits {
            header_bytes: 1,
            connections: 2,
            connections_a_client: 3,
            requests_a_client: 14,
            handshakes: 15,
            handshakes_an_address: 16,
            streams_a_connection: 4,
            handshake_timeout_ms: 5,
            header_timeout_ms: 6,
            idle_timeout_ms: 7,
            tunnel_idle_timeout_ms: 12,
            first_byte_timeout_ms: 13,
            connect_timeout_ms: 8,
            pool_idle_connections: 9,
            pool_idle_timeout_ms: 10,
            body_prefix_bytes: 11,
            handshakes_a_second: 15,
            flows_a_client: 16,
        };
        let expected = Limits {
            header_bytes: 1,
            connections: 2,
            connections_per_client: 3,
            requests_per_client: 14,
            handshakes: 15,
            handshakes_per_address: 16,
            h2_streams: 4,
            handshake_ms: 5,
            header_read_ms: 6,
            idle_ms: 7,
            tunnel_idle_ms: 12,
            first_byte_ms: 13,
            connect_ms: 8,
            pool_idle_per_key: 9,
            pool_idle_ms: 10,
            body_prefix_bytes: 11,
            ..Limits::default()
        };
        assert_eq!(Limits::from(&given), expected);
    }
}
