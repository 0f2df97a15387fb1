//! Reference values (RFC 9334 section 8.3) of a kind of hosts, `ringmail.host-reference/1`: runtime policies, registers of the
//! boot, and how old a quote may be.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::encoding::Hex;
use super::policy::{KeylimePolicy, PolicyError, PolicySet, RuntimePolicy, ScopedPolicy};
use super::tpm::{Digest, Hash};

/// The name of the document's form.
pub const SCHEMA: &str = "ringmail.host-reference/1";

/// The reference values as a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostReferenceFile {
    /// [`SCHEMA`].
    pub schema: String,
    /// Milliseconds from the nonce's making to the answer.
    pub max_quote_age_ms: u64,
    /// Banks whose register 10 a quote has to cover.
    pub banks: Vec<Hash>,
    /// Values that registers of the boot may have, by bank and register.
    #[serde(default)]
    pub boot: BTreeMap<Hash, BTreeMap<u8, Vec<Hex>>>,
    /// What of files that were written while they were measured.
    #[serde(default)]
    pub violations: Violations,
    /// Runtime policies.
    pub policies: Vec<ScopedPolicyFile>,
}

/// A runtime policy and where it speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopedPolicyFile {
    /// What people call it.
    pub name: String,
    /// Paths that it speaks for; everything where there is none.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Keylime's file.
    pub policy: KeylimePolicy,
}

/// What of violations: files that were written while they were measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Violations {
    /// Each is a failed check.
    #[default]
    Refuse,
    /// They are passed over, as by Keylime's `ignore_tomtou_errors`.
    Allow,
}

/// Reference values, ready for use. Hosts share them.
#[derive(Clone, Debug)]
pub struct HostReference {
    /// Milliseconds from the nonce's making to the answer.
    pub max_quote_age_ms: u64,
    /// Banks whose register 10 a quote has to cover.
    pub banks: Vec<Hash>,
    /// Values that registers of the boot may have.
    pub boot: BTreeMap<Hash, BTreeMap<u8, Vec<Digest>>>,
    /// What of violations.
    pub violations: Violations,
    /// The runtime policies.
    pub policies: PolicySet,
}

/// Milliseconds from the nonce's making to the answer, unless somebody says otherwise.
pub const MAX_QUOTE_AGE_MS: u64 = 60_000;

impl HostReference {
    /// Policies, and defaults for the rest: the bank of SHA-256, no registers of the boot, no violations.
    pub fn of_policies(policies: PolicySet) -> HostReference {
        HostReference {
            max_quote_age_ms: MAX_QUOTE_AGE_MS,
            banks: vec![Hash::Sha256],
            boot: BTreeMap::new(),
            violations: Violations::default(),
            policies,
        }
    }

    /// Compiles a document.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn from_file(file: HostReferenceFile) -> Result<HostReference, ReferenceError> {
        if file.schema != SCHEMA {
            return Err(ReferenceError::Schema(file.schema));
        }
        if file.banks.is_empty() {
            return Err(ReferenceError::NoBank);
        }
        let mut policies = Vec::new();
        for ScopedPolicyFile { name, paths, policy } in file.policies {
            let policy = RuntimePolicy::new(policy)
                .map_err(|source| ReferenceError::Policy { name: name.clone(), source })?;
            policies.push(ScopedPolicy { name, paths, policy: Arc::new(policy) });
        }
        let mut boot: BTreeMap<Hash, BTreeMap<u8, Vec<Digest>>> = BTreeMap::new();
        for (bank, registers) in file.boot {
            for (register, values) in registers {
                if register > 23 || values.iter().any(|value| value.0.len() != bank.len_bytes()) {
                    return Err(ReferenceError::Register { bank, register });
                }
                let values = values.iter().map(|value| Digest::of(&value.0)).collect();
                boot.entry(bank).or_default().insert(register, values);
            }
        }
        Ok(HostReference {
            max_quote_age_ms: file.max_quote_age_ms,
            banks: file.banks,
            boot,
            violations: file.violations,
            policies: PolicySet::unite(policies).map_err(ReferenceError::Policies)?,
        })
    }

    /// What a list was appraised by; where it changes, lists are appraised anew.
    pub fn fingerprint(&self) -> Fingerprint {
        let allowed = matches!(self.violations, Violations::Allow);
        let policies = self.policies.fingerprint();
        Fingerprint(Hex(Hash::Sha256
            .digest(&[policies.as_bytes(), &[u8::from(allowed)]])
            .as_bytes()
            .to_vec()))
    }

    /// Registers that a quote has to cover, by bank: those of the boot, and 10.
    pub fn wanted_registers(&self) -> BTreeMap<Hash, Vec<u8>> {
        let mut wanted: BTreeMap<Hash, Vec<u8>> = BTreeMap::new();
        for (bank, registers) in &self.boot {
            wanted.entry(*bank).or_default().extend(registers.keys());
        }
        for bank in &self.banks {
            wanted.entry(*bank).or_default().push(super::ima::IMA_PCR);
        }
        for registers in wanted.values_mut() {
            registers.sort_unstable();
            registers.dedup();
        }
        wanted
    }
}

/// By which reference values are told from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Hex);

/// Why reference values are refused. Whoever wrote them is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Another form.
    #[error("the schema is `{0}`, and it should be `{SCHEMA}`")]
    Schema(String),
    /// Nothing would bind the list to the TPM.
    #[error("`banks` is empty, so no quote would have to cover the measurement list")]
    NoBank,
    /// A register that there is not, or a value that is none of its bank.
    #[error("`boot.{bank}.{register}`: registers are 0 to 23, and a value has the bank's length")]
    Register {
        /// The bank.
        bank: Hash,
        /// The register.
        register: u8,
    },
    /// One of the policies.
    #[error("the policy `{name}`")]
    Policy {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: PolicyError,
    },
    /// The policies together.
    #[error("the policies together")]
    Policies(#[source] PolicyError),
}
