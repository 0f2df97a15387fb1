//! The behaviour of the data plane, one module a subject.

mod batches;
mod capture;
mod chain;
mod dependencies;
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
