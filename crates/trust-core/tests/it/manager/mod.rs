//! States, deadlines, revocation.
