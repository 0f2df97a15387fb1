//! The behaviour of the data plane, one module a subject.

mod esp;
mod replay;
mod sa;
mod tshark;
mod vectors;
