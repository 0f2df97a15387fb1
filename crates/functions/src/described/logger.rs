//! A logger's settings as the domain file describes them, as far as the function is concerned: its files are the node's.

use ringmail_model::domain::{self, AddressEntry, LogSelector, PortEntry};

use crate::logger::{LoggerSettings, Selector};

pub(super) fn settings(described: &domain::LoggerSettings) -> LoggerSettings {
    LoggerSettings {
        snap_len_bytes: described.snap_len as usize,
        only: described.only.iter().map(selector).collect(),
    }
}

/// Sets, which a domain that was checked does not name here, mean nothing.
fn selector(described: &LogSelector) -> Selector {
    let network = |entry: &AddressEntry| match entry {
        AddressEntry::Network(network) => Some(*network),
        AddressEntry::Set(_) => None,
    };
    let range = |entry: &PortEntry| match entry {
        PortEntry::Range(first, last) => Some((*first, *last)),
        PortEntry::Set(_) => None,
    };
    Selector {
        addresses: described.addresses.iter().filter_map(network).collect(),
        ports: described.ports.iter().filter_map(range).collect(),
        protocols: described.protocols.iter().map(|protocol| protocol.0).collect(),
    }
}
