//! The behaviour of the data plane, one module a subject.

mod chain;
mod esp;
mod packets;
mod replay;
mod sap;
mod sa;
mod testbed;
mod tshark;
mod vectors;
