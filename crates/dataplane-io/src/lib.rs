//! Links and taps: UDP with GSO and GRO, Ethernet, TUN, memory, pcapng, injected faults.
//!
//! A [`Link`] fills a [`ringmail_dataplane::Batch`] and sends the packets whose verdict is its own. What decides about
//! packets is in `ringmail-dataplane`; here is what talks to the kernel, and the only unsafe code of the data plane. It
//! is confined to [`udp`]'s, [`packet`]'s and [`tun`]'s `sys` modules, to [`xdp`]'s modules below the link itself, and to
//! `checksum`, which picks instructions at run time.

pub mod attach;
pub mod capture;
pub mod counters;
pub mod ethernet;
pub mod fan;
pub mod fault;
pub mod limits;
pub mod link;
pub mod memory;
pub mod packet;
pub mod pcapng;
pub mod poll;
pub mod troubled;
pub mod tun;
pub mod udp;
pub mod xdp;

mod checksum;

pub use counters::{LinkCounter, LinkCounters};
pub use link::{Link, Sent};
