//! The manual: what its chapters hold.

pub(crate) mod blocks;
