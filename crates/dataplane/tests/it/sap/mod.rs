//! The Segment Agreement Protocol: its encoding, a test for each transition of `docs/sap.md`, and a simulated world.

mod codec;
mod epochs;
mod leases;
mod receiver;
mod sender;
mod sessions;
mod simulation;
mod support;
mod uses;
mod wire;
