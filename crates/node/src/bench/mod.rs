//! Benches of whole chains, in namespaces on this machine: what a user gets, with every link watched.

mod baseline;
pub mod chain;
mod counts;
mod domain;
mod figure;
mod http;
mod machine;
mod plan;
mod plot;
mod watch;

pub use figure::Figure;
pub use machine::Machine;
pub use plot::plot;
