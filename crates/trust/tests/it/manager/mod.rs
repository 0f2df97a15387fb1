//! The Verification Manager: in a process, over TLS, killed, rolled back.

mod end_to_end;
mod harness;
mod openapi;
mod roles;
mod rollback;
