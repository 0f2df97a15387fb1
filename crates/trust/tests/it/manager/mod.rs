//! The Verification Manager: in a process, over TLS, killed, rolled back.

mod end_to_end;
pub(crate) mod harness;
mod issuing;
mod kill;
mod openapi;
mod roles;
mod rollback;
