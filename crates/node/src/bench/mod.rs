//! Benches of whole chains, in namespaces on this machine: what a user gets, with every link watched.

pub mod chain;
mod domain;
mod figure;
mod machine;
mod plot;
mod watch;

pub use figure::Figure;
pub use machine::Machine;
pub use plot::plot;
