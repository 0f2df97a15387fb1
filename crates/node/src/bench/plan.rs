//! What is to be measured of chains.

use std::path::PathBuf;
use std::time::Duration;

use ringmail_model::domain::{LinkDriver, LinkKind, Profile};
use schemars::JsonSchema;
use serde::Serialize;

use super::domain::Links;
use crate::layout::Layout;
use crate::runtime::Place;
use crate::topology::Privilege;

/// The kind of the functions of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// No chain: the gateway's proxy connects to the service over a cable.
    Baseline,
    /// Forwarding functions that are not intrusive.
    Forward,
    /// Inspections: every hop opens, searches and seals every packet.
    Intrusive,
    /// Attached functions: Linux as a router in a namespace of its own, in the place of each function.
    Attached,
}

impl Kind {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Baseline => "baseline",
            Kind::Forward => "forward",
            Kind::Intrusive => "intrusive",
            Kind::Attached => "attached",
        }
    }
}

/// What is sent through a chain.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// Page loads and downloads over HTTPS.
    #[default]
    Http,
    /// Datagrams from the gateway's inner side, as many as hardly any is lost of.
    Udp,
    /// Downloads over HTTPS beside a stream of datagrams at a fixed rate.
    Mixed,
}

impl Traffic {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Traffic::Http => "http",
            Traffic::Udp => "udp",
            Traffic::Mixed => "mixed",
        }
    }
}

impl Plan {
    pub(super) fn links(&self) -> Links {
        Links { kind: self.link, driver: self.driver, mtu: self.mtu, profile: self.profile }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers of functions.
    pub functions: Vec<usize>,
    /// Kinds of functions.
    pub kinds: Vec<Kind>,
    /// Layouts.
    pub layouts: Vec<Layout>,
    /// What is sent.
    pub traffic: Traffic,
    /// Whether the same client and server are measured without a chain, too.
    pub baseline: bool,
    /// Whether the processor time of every process is taken, too.
    pub profile_parts: bool,
    /// Runs of every figure.
    pub runs: usize,
    /// How frames travel between elements.
    pub link: LinkKind,
    /// How elements reach their interfaces with links of Ethernet.
    pub driver: LinkDriver,
    /// What stands in front of ESP.
    pub profile: Profile,
    /// Bytes of the link MTU.
    pub mtu: u16,
    /// How long one download should take.
    pub download: Duration,
    /// The executable of ringmail.
    pub program: PathBuf,
    /// Where runtime directories lie.
    pub place: Place,
    /// With which right.
    pub privilege: Privilege,
}
