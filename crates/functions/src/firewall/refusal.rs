//! Why a packet is refused that no rule was asked about.

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet is refused. Each has a counter, in packets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Refusal { $($(#[doc = $doc])+ $variant,)+ }

        impl Refusal {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$variant,)+];

            /// The name in counters.
            pub const fn name(self) -> &'static str {
                match self { $(Refusal::$variant => $name,)+ }
            }

            /// One sentence for people.
            pub const fn description(self) -> &'static str {
                match self { $(Refusal::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

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
