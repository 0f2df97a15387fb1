//! The links against the kernel, in network namespaces of their own:
//!
//! ```text
//!   udp:  link ── lo ── link            tun:  TcpStream ── tunA ── this test ── tunB ── TcpListener
//!   packet: socket ── veth pair ── socket   ethernet: link ── bridge ── links
//! ```
//!
//! They need root; without it each test runs again inside `unshare -Urn`.

mod allocations;
mod capture;
mod ethernet;
mod netns;
mod packet;
mod packets;
mod split;
mod tun;
mod udp;
