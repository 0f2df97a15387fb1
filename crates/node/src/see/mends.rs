//! What can be done about packets that are dropped: a sentence for each reason, for the manual and for alerts.

use ringmail_dataplane::DropReason;

/// Where to look, and what to change.
pub fn mend(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Wrapped => {
            "A service, or a function on the way, sends tunnels (IP in IP, GRE, ESP, MPLS, NSH, VXLAN, Geneve): let it send \
             what is inside them, or find out who made it."
        }
        DropReason::UnknownNeighbour => {
            "Somebody else sends to the link port, or an address was changed on one side only: compare `domain show` on \
             both machines, and let the firewall admit none but the elements' addresses."
        }
        DropReason::Malformed => {
            "Something other than ringmail sends to the link port; a capture of the link shows what."
        }
        DropReason::UnknownLabel | DropReason::LabelMismatch => {
            "Elements work with different path sets, or somebody sends forged frames: compare the versions that they \
             report, then look at the sender."
        }
        DropReason::TtlExpired => {
            "A loop, or a path longer than 63 hops: compare the path with `domain show`."
        }
        DropReason::NotEsp => {
            "The sender is no ringmail, or runs another profile: both sides need the same domain."
        }
        DropReason::UnknownSpi => {
            "A few after an element restarted are normal: its neighbours learn of it within a second. Many that go on: \
             the neighbours do not reach each other's control address (TCP, `links.control_port`)."
        }
        DropReason::WrongProfile | DropReason::UnknownServicePath | DropReason::WrongNsh => {
            "Elements work with different path sets, or somebody sends forged frames: compare the versions and profiles \
             that they report, then look at the sender."
        }
        DropReason::WrongServiceIndex => {
            "A frame skipped an element, came twice round, or is forged: nothing was let through; look at who sent it."
        }
        DropReason::UnknownLinkKey => {
            "A few after an element restarted are normal: its neighbours learn of it within a second. Many that go on: \
             the neighbours do not reach each other's control address (TCP, `links.control_port`)."
        }
        DropReason::BadMac => {
            "Labels, the NSH or headers are changed on the way, or forged. Nothing was let through; capture the link on \
             both ends and compare. A forwarder between them may change traffic class and TTL of labels, and nothing else."
        }
        DropReason::StaleTimestamp => {
            "Let the machines' clocks be set by NTP and compare them (`chronyc tracking`); if the link only holds packets up for \
             long, raise `rfc9145.window_ms`. Otherwise somebody sends recorded packets again."
        }
        DropReason::ProofWrong | DropReason::ProofUnknownOrigin => {
            "An element of the path did not do what it should, or a packet was exchanged for another: `ringmail status` \
             shows which path; take its functions out one by one, or compare what they count."
        }
        DropReason::ProofUnknownKey => {
            "A few after an element restarted are normal. Many that go on: an element of the path did not prove that packets \
             passed it, or it and the end of the path do not reach each other's control address."
        }
        DropReason::ProofRepeated => {
            "An element of the path sends packets twice. Nothing was let through a second time."
        }
        DropReason::ProofTooOld => {
            "A packet was overtaken by more than a thousand on its path: look for a function that holds packets back."
        }
        DropReason::Replayed => {
            "A network that delivers twice, or an attacker that sends again what was captured. Nothing was let \
             through; find the sender if it goes on."
        }
        DropReason::TooOld => {
            "The network reorders by more than the window: raise `limits.replay_window_packets`, and look for \
             several routes between two elements."
        }
        DropReason::BadIcv => {
            "Frames are changed on the way, or forged. Nothing was let through; capture the link on both ends and compare."
        }
        DropReason::BadPadding | DropReason::WrongNextHeader => {
            "The sender holds the keys and still seals what no ringmail does: look at its version."
        }
        DropReason::Dummy => "Nothing: such packets carry nothing.",
        DropReason::LeaseExpired => {
            "The element got no lease in time: whoever runs the domain is gone or cannot be reached, or the clock jumped. \
             See `ringmail_path_lease_seconds`, and start the domain's owner again."
        }
        DropReason::SequenceExhausted => {
            "Keys were not replaced in time: key agreement with the next element fails; its log says why."
        }
        DropReason::NoAssociation => {
            "Normal for a moment after the start. If it goes on, key agreement with the next element fails: see \
             `/readyz`, then the log of both."
        }
        DropReason::NoPath => {
            "Packets of no flow that a rule let in. On the gateway: something other than the proxy sends into the TUN. On \
             the egress: the service begins connections by itself, which no path allows, or the flow is long over."
        }
        DropReason::Multicast => {
            "Nothing: paths carry no multicast. With IPv6 inside, the kernel reports its groups and asks for routers by itself."
        }
        DropReason::PathRemoved => {
            "A connection that outlived its path: `ringmail reload` took it out, and `limits.drain_ms` was over. Raise that \
             for connections that last longer."
        }
        DropReason::FlowTableFull => "Raise `limits.flows`, or find out who opens so many.",
        DropReason::UnknownFlow => {
            "A late answer to a connection that is over, or a service that sends by itself. Harmless in small numbers."
        }
        DropReason::WrongService => {
            "A packet for an address that the path's service does not have: the gateway's and the egress's path sets \
             differ, or a function rewrites destinations."
        }
        DropReason::TooBig => {
            "Something ignores the MTU of the TUN: look for a service with jumbo frames or without path MTU discovery, \
             and compare with the inner MTU that `domain show` gives."
        }
        DropReason::MalformedInner => {
            "The sender of the inner packet is broken; a capture of the TUN shows it."
        }
        DropReason::NotForTransport => "Take `psk.mode: tunnel` if such packets are to pass.",
        DropReason::Fragment => {
            "Let the sender discover the path MTU; fragments carry no ports and cannot be classified."
        }
        DropReason::Function => "The function's rules say so; its own counters say which.",
        DropReason::FunctionReset => "A rule of the function matched; its own counters say which.",
        DropReason::FunctionReject => {
            "A rule of the firewall rejects such connections; its counters say which, and `log: true` says whose."
        }
        DropReason::FunctionTableFull => {
            "Raise the function's limits in the domain file, or find out who opens so many connections."
        }
        DropReason::UnmatchedFlow => {
            "If the function is to translate addresses or to be a proxy, write `rewrites: true`; otherwise it sends what \
             nobody asked it to."
        }
        DropReason::UnmatchedError => {
            "The function reports on packets that it was not given, or quotes less than 8 bytes behind the IP header."
        }
        DropReason::AmbiguousPath => {
            "Several paths pass a function that rewrites: write `tell_apart: dscp`, or attach one for each path."
        }
        DropReason::NoPathBack => {
            "The function answers along a path that does not pass it: add it to the hops of the return path."
        }
        DropReason::LinkRefused => {
            "The link is slower than the traffic, or gone: look at the link's `send_waits` and `send_errors`, the \
             interface, and the socket buffers."
        }
        DropReason::MetadataMissing => {
            "An element between them took out what the beginning of the path says of the packet: find out which one is not yours any more."
        }
        DropReason::MetadataUnknownKey => {
            "A few at a change of keys are packets that were overtaken; if it goes on, look at the log of both elements for what they agree on."
        }
        DropReason::MetadataWrong => {
            "An element before this one changed it, or put that of another packet there: links are covered by a code of their own, so it was no link."
        }
        DropReason::ForeignSource => {
            "A machine answers in a service's name, or a service in that of another: find out who by a capture where services \
             are. Where services have moved, or have more networks behind them, say so in the domain file."
        }
        DropReason::TowardsLinks => {
            "A service sends to the network between elements, where it has nothing to seek: find out which, and why."
        }
        DropReason::CongestionNotEct => {
            "Nothing: the network is congested, and a packet without ECN is dropped instead."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_mend_that_is_a_sentence() {
        for reason in DropReason::ALL {
            assert!(mend(*reason).ends_with('.'), "{reason}");
        }
    }
}
