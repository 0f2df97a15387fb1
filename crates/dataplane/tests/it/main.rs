//! The behaviour of the data plane, one module a subject.

mod chain;
mod esp;
mod forged;
mod memory;
mod packets;
mod replay;
mod sa;
mod sap;
mod testbed;
mod transport;
mod tshark;
mod vectors;
