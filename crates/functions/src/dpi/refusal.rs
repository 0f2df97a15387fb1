//! Why a packet is refused that matched no rule: it could make the receiver see what was not searched.

use super::history::NoBlock;
use super::ranges::NoRange;
use crate::refusals::refusals;

refusals! {
    /// The inner packet is a fragment; hop or gateway reassemble, this function does not.
    Fragment = "refused_fragment",
    /// The inner packet or its TCP or UDP header is not well-formed.
    Malformed = "refused_malformed",
    /// Content marked urgent, which some receivers take out of the stream (RFC 6093 section 3).
    Urgent = "refused_urgent",
    /// Content that differs from what was forwarded under the same sequence number.
    Inconsistent = "refused_inconsistent",
    /// A retransmission of content that is no longer kept, so that it cannot be compared.
    TooOld = "refused_too_old",
    /// Content beyond the window ahead.
    TooFarAhead = "refused_too_far_ahead",
    /// More ranges out of order than are remembered.
    TooManyGaps = "refused_too_many_gaps",
    /// A SYN that would move a stream.
    SynInUse = "refused_syn_in_use",
    /// No room for the connection or for its content.
    NoRoom = "refused_no_room",
}

impl From<NoBlock> for Refusal {
    fn from(_: NoBlock) -> Refusal {
        Refusal::NoRoom
    }
}

impl From<NoRange> for Refusal {
    fn from(_: NoRange) -> Refusal {
        Refusal::TooManyGaps
    }
}
