//! Evidence of hosts.

mod rounds;
mod tampering;
mod world;
