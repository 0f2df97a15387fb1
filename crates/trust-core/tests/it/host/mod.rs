//! Evidence of hosts.

mod lists;
mod policies;
mod rounds;
mod tampering;
mod world;
