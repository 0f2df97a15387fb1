//! The behaviour of the data plane, one module a subject.

mod esp;
