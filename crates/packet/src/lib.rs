//! Views and builders for the headers that ringmail puts on, takes off or looks at.
//!
//! Each module is one header and reads the same way: the header's diagram, `Packet` (a view over bytes that copies
//! nothing), `Repr` (the header as values, with `parse`, `buffer_len` and `emit`). `Packet::new_checked` checks every
//! length once; no getter of a packet that it returned can panic. `Packet::new_unchecked` checks nothing and its
//! getters panic on bytes that are too short: it is for a buffer about to be filled, and for bytes checked already.
//!
//! ```
//! use ringmail_packet::{ip::protocol, ipv4, udp};
//!
//! # fn main() -> Result<(), ringmail_packet::Error> {
//! # let bytes = [
//! #     0x45, 0, 0, 0x1d, 0, 1, 0, 0, 64, 17, 0x66, 0xcd, 10, 0, 0, 1, 10, 0, 0, 2,
//! #     0x30, 0x39, 0x19, 0xeb, 0, 9, 0, 0, 0x2a,
//! # ];
//! let ip = ipv4::Packet::new_checked(&bytes[..])?;
//! assert_eq!(ip.protocol(), protocol::UDP);
//! let udp = udp::Packet::new_checked(ip.payload())?;
//! assert_eq!((udp.dst_port(), udp.payload()), (6635, &[0x2a][..]));
//! # Ok(())
//! # }
//! ```

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod bytes;
pub mod checksum;
mod error;
pub mod esp;
pub mod ethernet;
pub mod flow;
pub mod icmp;
pub mod ip;
pub mod ipfix;
pub mod ipv4;
pub mod ipv6;
pub mod limits;
pub mod mpls;
pub mod nsh;
pub mod tcp;
pub mod udp;
pub mod vlan;
pub mod wrapped;

pub use error::{Error, Layer, Result};
