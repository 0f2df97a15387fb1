//! What elements sign of the packets that they passed, kept for auditors, and how an auditor compares it (`docs/nsh.md`,
//! "Roots"; ADR 0011).
//!
//! An element says, by path and origin, how many packets it passed and under which roots ([`Statement`]). A [`Summary`]
//! holds what all elements said at one time. [`audit`] looks whether what the ends of paths say was proved is what the
//! others say that they passed. Signatures are for the caller to check: `ringmail-node` does.

mod audit;
mod bytes;
mod side;
mod statement;
pub mod tree;

pub use audit::{Audit, ElementAudit, PathAudit, PathVerdict, audit};
pub use bytes::Hex;
pub use statement::{
    Counted, FILE_SCHEMA, Node, Signed, Silent, Statement, Summary, SummaryFile, Trail, Unread,
    Verdicts,
};
