//! Evidence of hosts.

mod keylime;
mod lists;
mod policies;
mod rounds;
mod tampering;
mod world;
