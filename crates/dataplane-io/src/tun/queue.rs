//! The queue of packets that wait for the reader of a TUN, set through rtnetlink(7).
//!
//! The older call, SIOCSIFTXQLEN of netdevice(7), wants root of the machine even for an interface of a user namespace;
//! rtnetlink wants root of the namespace only.

use std::io;

use rustix::net::netdevice::name_to_index;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// struct nlmsghdr (16 bytes), struct ifinfomsg (16), struct rtattr (4), the length (4).
const REQUEST_BYTES: usize = 40;

/// struct nlmsghdr, and behind it the error of struct nlmsgerr.
const ANSWER_BYTES: usize = 20;

/// Sets how many packets the interface queues, in the network namespace of the calling thread.
pub(super) fn set_packets(name: &str, packets: u32) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let ip = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let index = name_to_index(&ip, name)?;
    send(&socket, &request(index, packets), SendFlags::empty())?;
    let mut answer = [0; 256];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    verdict(&answer[..length])
}

fn request(index: u32, packets: u32) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0; REQUEST_BYTES];
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    bytes[0..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&libc::RTM_SETLINK.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
    // Sequence number and sender stay 0: one question, one answer, one socket. So do family and type of the interface.
    bytes[20..24].copy_from_slice(&index.to_ne_bytes());
    bytes[32..34].copy_from_slice(&8_u16.to_ne_bytes());
    bytes[34..36].copy_from_slice(&libc::IFLA_TXQLEN.to_ne_bytes());
    bytes[36..40].copy_from_slice(&packets.to_ne_bytes());
    bytes
}

fn verdict(answer: &[u8]) -> io::Result<()> {
    let answer: &[u8; ANSWER_BYTES] = answer.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    if answer[4..6] != (libc::NLMSG_ERROR as u16).to_ne_bytes() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
