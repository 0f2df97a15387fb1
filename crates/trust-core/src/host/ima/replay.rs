//! What register 10 holds after the entries of a list: each extends each bank, `new = H(old ‖ digest of the entry)`.

use std::collections::BTreeMap;

use super::entry::Entry;
use crate::host::tpm::{Digest, Hash};

/// Register 10 of some banks, as a list drives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    banks: BTreeMap<Hash, Digest>,
    log_hash: Hash,
}

impl Replay {
    /// Of a boot's start.
    pub fn of_boot(banks: impl IntoIterator<Item = Hash>, log_hash: Hash) -> Replay {
        Replay { banks: banks.into_iter().map(|bank| (bank, bank.zeros())).collect(), log_hash }
    }

    /// From where a former round stopped.
    pub fn from(banks: BTreeMap<Hash, Digest>, log_hash: Hash) -> Replay {
        Replay { banks, log_hash }
    }

    /// The next entry.
    pub fn extend(&mut self, entry: &Entry<'_>) {
        for (bank, value) in &mut self.banks {
            let extended = entry.extended(self.log_hash, *bank);
            *value = bank.digest(&[value.as_bytes(), extended.as_bytes()]);
        }
    }

    /// The values now.
    pub fn values(&self) -> &BTreeMap<Hash, Digest> {
        &self.banks
    }
}
