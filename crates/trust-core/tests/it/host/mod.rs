//! Evidence of hosts.

mod keylime;
mod lists;
mod policies;
mod references;
mod rounds;
mod tampering;
mod world;
