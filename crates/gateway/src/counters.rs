//! What the gateway did, as counters: each with a unit and a description, so that any exporter can
//! say what it shows.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::times::TimesByPath;

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub(crate) fn one(&self) {
        self.add(1);
    }

    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// One counter as an exporter shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The counter's name, unique within the gateway.
    pub name: &'static str,
    /// What is counted: connections, requests, bytes.
    pub unit: &'static str,
    /// What it means.
    pub description: &'static str,
    /// The count so far.
    pub value: u64,
}

macro_rules! counters {
    ($($name:ident, $unit:literal, $description:literal;)*) => {
        /// All counters of a gateway, shared by its workers.
        #[derive(Debug, Default)]
        #[allow(missing_docs, reason = "each has its description beside it")]
        pub struct Counters {
            $(#[doc = $description] pub $name: Counter,)*
            /// From the head of a request to that of its answer, for each path.
            pub times: TimesByPath,
        }

        impl Counters {
            /// Every counter with its present value, in a fixed order.
            pub fn readings(&self) -> impl Iterator<Item = Reading> {
                [$(Reading {
                    name: stringify!($name),
                    unit: $unit,
                    description: $description,
                    value: self.$name.get(),
                },)*].into_iter()
            }
        }
    };
}

counters! {
    connections, "connections", "client connections accepted";
    connections_authenticated, "connections", "client connections whose TLS handshake succeeded";
    connections_http1, "connections", "authenticated connections that speak HTTP/1";
    connections_http2, "connections", "authenticated connections that speak HTTP/2";
    passed, "connections", "connections of listeners of kind tls that a rule let through to their service";
    passed_refused_by_rules, "connections", "connections of listeners of kind tls that no rule allows";
    passed_refused_by_certificate, "connections", "connections of listeners of kind tls that a rule would allow with another certificate of the client";
    passed_refused_by_time, "connections", "connections of listeners of kind tls that a rule would allow at another time";
    passed_refused_by_rate, "connections", "connections of listeners of kind tls whose client uses a rule more often than it may";
    passed_refused_by_decision, "connections", "connections of listeners of kind tls to which a decision point said no";
    passed_refused_undecided, "connections", "connections of listeners of kind tls of which a decision point said nothing";
    passed_unreachable, "connections", "connections of listeners of kind tls whose service could not be reached";
    rates_full, "requests", "requests and connections that had to wait because the rates of as many clients as possible are remembered";
    decisions_asked, "questions", "questions sent to decision points";
    decisions_from_cache, "questions", "questions to decision points answered from what they said before";
    decisions_failed, "questions", "questions to decision points without an answer that could be used";
    decisions_failed_open, "questions", "of those, the ones that went on as if the answer were yes, because the domain file says so";
    tunnels, "tunnels", "WebSockets and CONNECT tunnels opened";
    connections_revoked, "connections", "open connections cut because their client's certificate was revoked";
    connections_expired, "connections", "open connections cut because their client's certificate ended";
    crl_reloads, "reloads", "revocation lists replaced while running";
    crl_refused, "reloads", "new revocation lists refused; the old ones stay in force";
    access_lines, "lines", "lines of the access log handed to its writer";
    access_dropped, "lines", "lines of the access log left out because its writer could not keep up";
    passed_idle_closed, "connections", "passed unread, and closed because nothing moved for the idle time";
    passed_truncated, "connections", "passed unread, and ended by the client without a close of TLS";
    accept_failed, "connections", "accepts that the system refused, most often for want of file descriptors";
    refused_connections, "connections", "refused because the gateway holds as many as it may";
    refused_handshakes, "connections", "refused because as many handshakes as allowed were under way";
    refused_handshakes_address, "connections", "refused because as many handshakes as allowed were under way from one address";
    refused_per_client, "connections", "refused because the client holds as many as it may";
    handshake_timeout, "connections", "closed because the TLS handshake took too long";
    handshake_no_certificate, "connections", "handshakes refused: the client showed no certificate";
    handshake_revoked, "connections", "handshakes refused: the client's certificate is revoked";
    handshake_untrusted, "connections", "handshakes refused: the client's certificate is not acceptable";
    handshake_failed, "connections", "handshakes that failed for another reason";
    slow_headers, "connections", "closed because a request's headers took too long";
    idle_closed, "connections", "closed because they carried no request for the idle time";
    stalled_closed, "connections", "closed because the client took nothing of its responses";
    h2_cancel_floods, "connections", "closed because the client cancelled too many requests unanswered";
    h2_protocol_errors, "connections", "HTTP/2 connections ended for a violation of the protocol";
    connections_broken, "connections", "ended by the client or the network in the middle of a message";
    connections_path_removed, "connections", "connections to services that did not end before the path that they took was taken out";
    connections_cut, "connections", "cut at a shutdown, after the time to drain";
    requests, "requests", "requests received";
    requests_allowed, "requests", "requests that a rule allowed";
    refused_malformed, "requests", "refused with 400: not a well-formed or an unambiguous request";
    refused_by_rules, "requests", "refused with 403: no rule allows them";
    refused_by_certificate, "requests", "refused with 403: a rule would allow them with another certificate of the client";
    refused_by_time, "requests", "refused with 403: a rule would allow them at another time";
    refused_by_rate, "requests", "refused with 429: the client uses a rule more often than it may";
    refused_at_once, "requests", "refused with 429: the client has as many requests under way as it may";
    refused_by_decision, "requests", "refused with 403: a decision point said no";
    refused_undecided, "requests", "refused with 503: a decision point did not answer";
    refused_slow_body, "requests", "refused with 408 or cut: the body stopped coming";
    refused_misdirected, "requests", "refused with 421: an authority outside the connection's certificate";
    refused_header_size, "requests", "refused with 431 or 414: too many or too large headers";
    refused_method, "requests", "refused with 501: TRACE, or a change to a protocol that is not offered";
    backend_refused, "requests", "answered 502: the service could not be reached or answered nonsense";
    backend_not_ready, "requests", "answered 503: the chain is not ready";
    backend_busy, "requests", "answered 503: as many connections to services as allowed";
    backend_timeout, "requests", "answered 504: no answer in time";
    backend_truncated, "responses", "responses cut because the service stopped in the middle";
    requests_cancelled, "requests", "given up by the client before the answer began";
    requests_retried, "requests", "sent again because a pooled connection had died";
    responses, "responses", "responses begun, refusals included";
    backend_opened, "connections", "connections opened to services";
    backend_reused, "requests", "requests sent over a pooled connection";
    bytes_from_clients, "bytes", "bytes of request bodies, and of what passes unread";
    bytes_to_clients, "bytes", "bytes of response bodies, and of what passes unread";
    wireguard_datagrams, "datagrams", "datagrams that came to listeners of kind wireguard";
    wireguard_handshakes, "handshakes", "WireGuard handshakes that were looked into";
    wireguard_cookies, "handshakes", "WireGuard handshakes answered with a cookie instead: there were too many";
    wireguard_flooded, "handshakes", "WireGuard handshakes dropped unread: there were far too many, or too many of one client";
    wireguard_invalid, "datagrams", "datagrams to listeners of kind wireguard that are none of WireGuard's, or for another key";
    wireguard_unknown_peer, "datagrams", "WireGuard datagrams and answers for nobody in the domain file";
    wireguard_not_authentic, "datagrams", "WireGuard datagrams that cannot be opened, or came before";
    wireguard_packets_in, "packets", "packets that WireGuard clients sent";
    wireguard_packets_out, "packets", "packets that WireGuard clients were sent";
    wireguard_spoofed, "packets", "packets dropped: a WireGuard client sent them from an address that is not its own";
    wireguard_wrapped, "packets", "packets dropped: something else is wrapped in them, which functions would not see";
    wireguard_malformed, "packets", "packets of WireGuard clients dropped: no well-formed IP";
    wireguard_fragments, "packets", "parts of packets of WireGuard clients dropped: they contradict each other, are too many or did not all come";
    wireguard_reassembled, "packets", "packets of WireGuard clients that came in parts and went on whole";
    wireguard_flows, "flows", "flows of WireGuard clients that a rule allowed";
    wireguard_refused_by_rules, "flows", "flows of WireGuard clients that no rule allows";
    wireguard_refused_packets, "packets", "packets of such flows";
    wireguard_flows_limited, "packets", "packets dropped: their WireGuard client, or all together, have as many flows as they may";
    wireguard_too_fast, "packets", "packets dropped: their WireGuard client begins more flows than the rate of the rule allows";
    wireguard_no_flow, "packets", "packets dropped: an answer or an ICMP error that belongs to no flow of a WireGuard client";
    wireguard_too_big, "packets", "packets of WireGuard clients dropped: larger than their path carries, which the client is told";
    wireguard_overrun, "packets", "packets of WireGuard clients dropped: the data plane could not keep up";
    wireguard_no_endpoint, "packets", "answers dropped: nobody knows where their WireGuard client is";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn readings_are_named_apart_and_described() {
        let counters = Counters::default();
        counters.requests.add(3);
        let readings: Vec<_> = counters.readings().collect();
        let names: BTreeSet<_> = readings.iter().map(|reading| reading.name).collect();
        assert_eq!(names.len(), readings.len());
        assert!(readings.iter().all(|reading| !reading.description.is_empty()));
        let requests = readings.iter().find(|reading| reading.name == "requests");
        assert_eq!(requests.map(|reading| reading.value), Some(3));
    }
}
