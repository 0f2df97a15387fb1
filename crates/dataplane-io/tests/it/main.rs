//! The links against the kernel, in network namespaces of their own:
//!
//! ```text
//!   udp:  link ── lo ── link            tun:  TcpStream ── tunA ── this test ── tunB ── TcpListener
//!   packet: socket ── veth pair ── socket   ethernet: link ── bridge ── links
//! ```
//!
//! They need root; without it each test runs again inside `unshare -Urn`, but those of AF_XDP, which is root's alone.

mod allocations;
mod capture;
mod corpus;
mod ethernet;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where they are public")]
#[path = "../../../../fuzz/src/io.rs"]
mod fuzz_bodies;
#[allow(unreachable_pub, reason = "the fuzz workspace's, where it is shared")]
#[path = "../../../../fuzz/src/replay.rs"]
mod fuzz_replay;
mod guards;
mod netns;
mod packet;
mod packets;
mod split;
mod tun;
mod udp;
mod xdp;
