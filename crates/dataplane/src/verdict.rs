//! What becomes of a packet: sent to a neighbour, delivered on the inner side, or dropped for a reason that is counted.

use std::fmt;

/// Index into an element's table of link neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour(pub u16);

/// A side of an attached function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Towards clients: what goes forward goes in here, what goes back comes out here.
    In,
    /// Towards the service: what goes forward comes out here, what goes back goes in here.
    Out,
}

/// What becomes of one packet of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was decided yet; a driver that sends a batch treats it as dropped.
    Pending,
    /// Encapsulated; goes over the link to this neighbour.
    Send(Neighbour),
    /// Plain IP; goes out at the inner side (TUN).
    Deliver,
    /// Plain IP; goes into an attached function at this side of it.
    Function(Side),
    /// Goes nowhere.
    Drop(DropReason),
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped. Every reason has one counter, in packets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];

            /// The name used in counters, reports and the manual.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)+ }
            }

            /// One sentence for people, as shown by `status` and the manual.
            pub const fn description(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    /// The frame came from an address that is no neighbour of this element.
    UnknownNeighbour = "unknown_neighbour",
    /// The bytes are no well-formed MPLS stack or NSH, or what follows it is no IP packet.
    Malformed = "malformed",
    /// The top label is not one of this element's.
    UnknownLabel = "unknown_label",
    /// The labels that remain are not those of the path that the security association belongs to.
    LabelMismatch = "label_mismatch",
    /// The TTL of the label or of the NSH ran out.
    TtlExpired = "ttl_expired",
    /// What the labels cover is not ESP.
    NotEsp = "not_esp",
    /// No security association has this SPI.
    UnknownSpi = "unknown_spi",
    /// The sequence number was seen before (RFC 4303 section 3.4.3).
    Replayed = "replayed",
    /// The sequence number is older than the replay window (RFC 4303 section 3.4.3).
    TooOld = "too_old",
    /// The integrity check value is wrong (RFC 4303 section 3.4.4).
    BadIcv = "bad_icv",
    /// The padding inside ESP is wrong (RFC 4303 section 2.4).
    BadPadding = "bad_padding",
    /// The packet was a dummy, sent to hide how much traffic there is (RFC 4303 section 2.6).
    Dummy = "dummy",
    /// The next header inside ESP is none that its mode carries, or the packet behind it is of another IP version.
    WrongNextHeader = "wrong_next_header",
    /// The lease of the security association ran out; it fails closed.
    LeaseExpired = "lease_expired",
    /// The outbound security association has no sequence number left.
    SequenceExhausted = "sequence_exhausted",
    /// No outbound security association is installed yet for the path.
    NoAssociation = "no_association",
    /// The packet from the inner side belongs to no flow with a path: no rule means no access.
    NoPath = "no_path",
    /// A multicast packet from the inner side, such as the kernel's own reports of its groups; no path carries multicast.
    Multicast = "multicast",
    /// The path of the packet's flow was taken out by a change of the domain, and its time to drain is over.
    PathRemoved = "path_removed",
    /// The flow table is full; flows that were there keep their place.
    FlowTableFull = "flow_table_full",
    /// The opened packet belongs to no flow that this gateway began on the path's forward side.
    UnknownFlow = "unknown_flow",
    /// The opened packet is for an address that the path's service does not have.
    WrongService = "wrong_service",
    /// The packet is larger than the inner MTU of its path.
    TooBig = "too_big",
    /// The inner packet is no well-formed IP packet.
    MalformedInner = "malformed_inner",
    /// Transport mode cannot carry the packet: it has IPv6 extension headers, or what it carries looks like a dummy.
    NotForTransport = "not_for_transport",
    /// A fragment that cannot be classified.
    Fragment = "fragment",
    /// Another packet is wrapped in the packet, which functions would not see: nothing encapsulated enters a chain or leaves one.
    Wrapped = "wrapped",
    /// A service function said drop.
    Function = "function_drop",
    /// A service function said reset: the packet was dropped and both ends got a TCP reset.
    FunctionReset = "function_reset",
    /// A service function said reject: the packet was dropped and its sender was told by a TCP reset or an ICMP error.
    FunctionReject = "function_reject",
    /// The function needs state that is full; it fails closed.
    FunctionTableFull = "function_table_full",
    /// An attached function sent a packet of no flow that was sent into it, and it is not said to rewrite headers.
    UnmatchedFlow = "unmatched_flow",
    /// An attached function sent an ICMP error about no packet that was sent into it, or that quotes too little.
    UnmatchedError = "unmatched_error",
    /// An attached function sent a packet of a new flow, and more or fewer than one path lead on from there.
    AmbiguousPath = "ambiguous_path",
    /// An attached function sent a packet back along a flow that has no path in that direction here.
    NoPathBack = "no_path_back",
    /// The link could not take the packet (queue full, or an error of the system).
    LinkRefused = "link_refused",
    /// The frame has an NSH on a path without one, or has none on a path with one; profiles never fall back.
    WrongProfile = "wrong_profile",
    /// The NSH names no path that this element stands on, or another than the security association does (RFC 8300).
    UnknownServicePath = "unknown_service_path",
    /// The NSH's service index is not that of this element's place on the path (RFC 8300).
    WrongServiceIndex = "wrong_service_index",
    /// The NSH is not laid out as those of its path are: flags, type, length or context headers.
    WrongNsh = "wrong_nsh",
    /// The NSH's code was made with a key that this element does not share with the one before it.
    UnknownLinkKey = "unknown_link_key",
    /// The code over labels, NSH and headers is wrong: something that steers was changed on the link.
    BadMac = "bad_mac",
    /// The NSH's timestamp (RFC 9145) is too far from this element's clock: the packet is old, or one of the clocks is wrong.
    StaleTimestamp = "stale_timestamp",
    /// The proof of transit is wrong: an element of the path was left out, or the packet is another than it was there.
    ProofWrong = "proof_wrong",
    /// The proof of transit names a key that the end of the path does not share with that element.
    ProofUnknownKey = "proof_unknown_key",
    /// The proof of transit was begun by an element that may not begin packets of the path.
    ProofUnknownOrigin = "proof_unknown_origin",
    /// The proof of transit of this very packet came before.
    ProofRepeated = "proof_repeated",
    /// The proof of transit is so old that nobody knows whether it came before.
    ProofTooOld = "proof_too_old",
    /// Who began the packet owes this element metadata, and said nothing.
    MetadataMissing = "metadata_missing",
    /// The metadata was sealed with a key that this element does not share with who began the packet.
    MetadataUnknownKey = "metadata_unknown_key",
    /// The metadata does not open: it was changed, is of another packet, path or reader, or says what is not granted.
    MetadataWrong = "metadata_wrong",
    /// The packet came to the egress's machine for a chain, and not from a service by the interface that leads there.
    ForeignSource = "foreign_source",
    /// The packet came to the egress's machine from where services are, for the network between elements.
    TowardsLinks = "towards_links",
    /// Congestion was marked on a packet whose inner header cannot carry the mark (RFC 6040 section 4.2).
    CongestionNotEct = "congestion_not_ect",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_and_a_name_of_its_own() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(reason.description().trim().ends_with('.'), "{reason} has no sentence");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
