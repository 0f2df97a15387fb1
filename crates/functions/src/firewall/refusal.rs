//! Why a packet is refused that no rule was asked about.

use crate::refusals::refusals;

refusals! {
    /// The inner packet is a fragment; hop or gateway reassemble, this function does not.
    Fragment = "refused_fragment",
    /// The packet or its transport header is not well-formed.
    Malformed = "refused_malformed",
    /// The packet belongs to no connection and begins none.
    NoConnection = "refused_no_connection",
    /// An ICMP error about a packet that no connection sent.
    Unrelated = "refused_unrelated",
    /// The packet belongs to a connection, but comes from the other side of the chain.
    WrongSide = "refused_wrong_side",
    /// The segment does not fit the state of its TCP handshake.
    Handshake = "refused_handshake",
    /// A TCP reset outside of what its receiver expects.
    ResetOutside = "refused_reset_outside",
    /// No room for another connection.
    NoRoom = "refused_no_room",
}
