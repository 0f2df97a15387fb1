//! Reasons of functions to refuse a packet that none of their rules is about.

/// The enum `Refusal` of a function: for each reason its name in counters, and its doc as description.
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

pub(crate) use refusals;
