//! What a verifier keeps of a host between rounds, so that each round is only about what is new.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::encoding::{Base64, Hex};
use super::reference::Fingerprint;
use super::tpm::{ClockInfo, Hash};

/// What is known of a host from rounds before. The default is that of a host never seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostState {
    /// The TPM's clock and counters in the last quote that held.
    pub clock: Option<ClockInfo>,
    /// How far the measurement list was appraised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListState>,
}

/// How far a measurement list was appraised, and nothing spoke against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListState {
    /// Entries that the last quote covered: the next list begins with this one.
    pub next_entry: u64,
    /// Entries that the last list held.
    pub listed: u64,
    /// Register 10 after the entries that were covered, by bank.
    pub pcr10: BTreeMap<Hash, Hex>,
    /// The reference values that they were appraised by: under others they count for nothing.
    pub reference: Fingerprint,
    /// Keys that the list brought to keyrings, and a policy allowed.
    pub keys: Vec<LearnedKey>,
}

/// A key that a host's measurement list brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedKey {
    /// The keyring.
    pub keyring: String,
    /// The number of the policy that allowed it; it vouches for files of that policy's scope.
    pub policy: u32,
    /// As it was measured: a certificate or a public key.
    pub key: Base64,
}

impl HostState {
    /// From which entry on the verifier wants the list, if the host has not rebooted: 0 where reference values changed.
    pub fn next_entry(&self, reference: &Fingerprint) -> u64 {
        let list = self.list.as_ref().filter(|list| list.reference == *reference);
        list.map_or(0, |list| list.next_entry)
    }
}
