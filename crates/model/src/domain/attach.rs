//! Settings of `kind: attached`: a program that knows nothing of chains (RFC 7665 section 4.6, paper section V.C).

use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A program in a network namespace of its own, between two interfaces: `in0` towards clients, `out0` towards the service.
/// `ringmail up` makes the namespace `NAME.function` with both, and starts and ends the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AttachSettings {
    /// What stands between the interfaces.
    pub shape: Shape,
    /// What `in0` and `out0` are.
    pub interfaces: Interfaces,
    /// Whether it sends packets of flows that it was not given: address translation, proxies. Without this they are
    /// dropped and counted.
    pub rewrites: bool,
    /// How the path of such a packet is known, where several pass the function.
    pub tell_apart: TellApart,
    /// The checksums that it gets to see.
    pub checksums: Checksums,
    /// Addresses of `in0`; 169.254.77.1 if none is given. Not for `shape: bridge`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_addresses: Vec<IpAddr>,
    /// Addresses of `out0`; 169.254.77.2 if none is given. Not for `shape: bridge` and `one-armed`. Where the function
    /// rewrites, the egress sends answers to them back into the chain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub out_addresses: Vec<IpAddr>,
    /// Further addresses that it puts into packets as their source, such as a pool for translation: the egress sends
    /// answers to them back into the chain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<IpAddr>,
    /// For an SFC-aware function: the path of a Unix socket over which it is told of each packet its path and labels, and
    /// answers in kind (`docs/sfc-aware.md`), in place of interfaces. Relative paths begin where `up` was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Commands to run in the namespace, one after the other, before anything passes. Each is a list of words; the first
    /// that fails stops `up`. Relative paths begin where `up` was started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub setup: Vec<Vec<String>>,
    /// The program, as a list of words; it has to stay in the foreground. None: the kernel of the namespace is the
    /// function, as `setup` made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,
}

/// What stands between the interfaces of an attached function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// A router: packets are addressed to its own MAC. Forwarding is on and routes are there.
    #[default]
    Router,
    /// A bridge `br0`, or whatever copies frames from one interface to the other: they are addressed to the far side.
    Bridge,
    /// A router with one interface, `in0`, where everything goes in and comes out.
    OneArmed,
}

/// What the interfaces of an attached function are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Interfaces {
    /// Ends of veth pairs, for the kernel's own stack and for programs with packet sockets.
    #[default]
    Veth,
    /// TAP devices, for programs that open them by name (`/dev/net/tun`): virtual machines, user-space switches. They have
    /// no addresses and no routes: those are whoever's who opens them.
    Tap,
}

/// How the path of a packet is known whose flow is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TellApart {
    /// One path passes the function in each direction, so it is that.
    #[default]
    Flow,
    /// The DSCP of every packet that goes in stands for its path, and the function keeps it. At most 63 paths.
    Dscp,
}

/// The checksums that an attached function gets to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Checksums {
    /// TCP comes in super-packets of up to 64 KiB whose checksum a network card would fill in: the fastest way through
    /// a kernel.
    #[default]
    Partial,
    /// Every packet as it travels, of MTU size and with its full checksum: for programs that read packets raw.
    Full,
}

impl AttachSettings {
    /// The addresses of `in0`.
    pub fn in_addresses(&self) -> Vec<IpAddr> {
        match self.shape {
            _ if self.socket.is_some() => Vec::new(),
            Shape::Bridge => Vec::new(),
            _ => or(&self.in_addresses, [169, 254, 77, 1]),
        }
    }

    /// The addresses of `out0`, where there is one.
    pub fn out_addresses(&self) -> Vec<IpAddr> {
        match self.shape {
            _ if self.socket.is_some() => Vec::new(),
            Shape::Router => or(&self.out_addresses, [169, 254, 77, 2]),
            Shape::Bridge | Shape::OneArmed => Vec::new(),
        }
    }

    /// Where answers to the function's own packets go: the egress sends these addresses back into the chain.
    pub fn answered_at(&self) -> Vec<IpAddr> {
        let own = match (self.rewrites, self.shape) {
            (true, Shape::Router) => self.out_addresses(),
            (true, Shape::OneArmed) => self.in_addresses(),
            _ => Vec::new(),
        };
        own.into_iter().chain(self.sources.iter().copied()).collect()
    }
}

fn or(given: &[IpAddr], otherwise: [u8; 4]) -> Vec<IpAddr> {
    if given.is_empty() { vec![otherwise.into()] } else { given.to_vec() }
}
