//! Benches of whole chains, in namespaces on this machine: what a user gets, with every link watched.

mod baseline;
pub mod chain;
mod counts;
mod domain;
mod figure;
pub mod gateway;
pub mod hop;
mod http;
mod latency;
mod machine;
mod measure;
mod parts;
mod plan;
mod plot;
pub mod rekey;
mod stream;
mod udp;
mod watch;

pub use figure::Figure;
pub use machine::Machine;
pub use plot::plot;
