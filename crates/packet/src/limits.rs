//! Every bound that this crate sets on what it walks through.

/// Extension headers of one IPv6 packet that are walked before it is refused. RFC 8200 section 4.1 recommends an order
/// in which at most seven appear.
pub const IPV6_EXTENSION_HEADERS: usize = 8;

/// Entries of one MPLS label stack that are walked before it is refused: eight hops and an egress, with room.
pub const MPLS_STACK_ENTRIES: usize = 16;
