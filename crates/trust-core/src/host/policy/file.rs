//! One runtime policy: the file's form, and what it means.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

use super::excludes::Excludes;
use super::keys::KeyRing;
use crate::host::tpm::{Digest, Hash};
use crate::limits;

/// Why a runtime policy is refused. Whoever wrote it is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It is longer than any may be.
    #[error("the runtime policy is longer than {} bytes", limits::RUNTIME_POLICY_BYTES)]
    TooLong,
    /// It is no JSON, or not of the form that Keylime has.
    #[error("the runtime policy is not of Keylime's form")]
    Form(#[source] serde_json::Error),
    /// Something that Keylime needs lacks.
    #[error("the runtime policy has no `{0}`, which Keylime's form needs")]
    Lacks(&'static str),
    /// It is a signed envelope, which has to be opened with its key first.
    #[error("the runtime policy is in a signed envelope (DSSE); give the policy itself")]
    Signed,
    /// There is more of something than there may be.
    #[error("the runtime policy has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A hash that is not known.
    #[error("`ima.log_hash_alg` is `{0}`; sha1, sha256, sha384 and sha512 are known")]
    LogHash(String),
    /// Checks of the device mapper.
    #[error("`ima.dm_policy` is not null; checks of the device mapper are not known here")]
    DeviceMapper,
    /// One of the excludes.
    #[error("`excludes[{number}]` is no regular expression that is known here: {reason}")]
    Exclude {
        /// Counted from 0.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The keys.
    #[error("`verification-keys` {0}")]
    Keys(String),
    /// Policies of one host that contradict each other.
    #[error("policies of one host say different things of `ima.log_hash_alg`: {0} and {1}")]
    LogHashes(Hash, Hash),
    /// A host with very many policies.
    #[error("a host has more than {} policies", limits::POLICIES_A_HOST)]
    Policies,
}

/// A runtime policy as the file has it. What Keylime does not know is passed over, as it does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeylimePolicy {
    /// `meta`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// `release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// `digests`: digests of files by path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digests: Option<BTreeMap<String, Vec<HexDigest>>>,
    /// `excludes`: regular expressions of paths that may hold anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excludes: Option<Vec<String>>,
    /// `keyrings`: digests of keys by keyring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyrings: Option<BTreeMap<String, Vec<HexDigest>>>,
    /// `ima`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ima: Option<ImaSection>,
    /// `ima-buf`: digests of other buffers by name.
    #[serde(default, rename = "ima-buf", skip_serializing_if = "Option::is_none")]
    pub ima_buf: Option<BTreeMap<String, Vec<HexDigest>>>,
    /// `verification-keys`: keys that sign files, as JSON within the string.
    #[serde(default, rename = "verification-keys", skip_serializing_if = "Option::is_none")]
    pub verification_keys: Option<String>,
    /// Of a signed envelope.
    #[serde(default, skip_serializing)]
    payload: Option<serde::de::IgnoredAny>,
}

/// `meta`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// `version`.
    pub version: u64,
    /// `generator`: which program made it, by a number.
    pub generator: u64,
    /// `timestamp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

/// `ima`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImaSection {
    /// `ignored_keyrings`: keyrings that may hold any key; `*` for all.
    pub ignored_keyrings: Vec<String>,
    /// `log_hash_alg`: the hash of the list's column of template hashes.
    pub log_hash_alg: String,
    /// `dm_policy`.
    pub dm_policy: Option<serde_json::Value>,
}

/// A digest as Keylime writes it: 40 to 128 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HexDigest(pub Digest);

/// Why a text is no digest.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{}` is no digest; write 40 to 128 hexadecimal digits in lower case", self.0.get(..64).unwrap_or(&self.0))]
pub struct HexDigestError(String);

impl TryFrom<String> for HexDigest {
    type Error = HexDigestError;

    fn try_from(text: String) -> Result<HexDigest, HexDigestError> {
        match HEXLOWER.decode(text.as_bytes()) {
            Ok(bytes) if (20..=64).contains(&bytes.len()) => Ok(HexDigest(Digest::of(&bytes))),
            _ => Err(HexDigestError(text)),
        }
    }
}

impl From<HexDigest> for String {
    fn from(digest: HexDigest) -> String {
        digest.0.to_string()
    }
}

/// What a runtime policy means.
#[derive(Debug)]
pub struct RuntimePolicy {
    pub(super) digests: Listed,
    pub(super) excludes: Excludes,
    pub(super) keyrings: Listed,
    pub(super) buffers: Listed,
    pub(super) ignored_keyrings: Vec<String>,
    pub(super) log_hash: Hash,
    pub(super) keys: KeyRing,
    fingerprint: Digest,
}

/// Digests by name.
pub(super) type Listed = BTreeMap<String, Vec<Digest>>;

impl RuntimePolicy {
    /// Reads a policy's file.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn from_json(text: &[u8]) -> Result<RuntimePolicy, PolicyError> {
        if text.len() > limits::RUNTIME_POLICY_BYTES {
            return Err(PolicyError::TooLong);
        }
        RuntimePolicy::new(serde_json::from_slice(text).map_err(PolicyError::Form)?)
    }

    /// Compiles a policy.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn new(policy: KeylimePolicy) -> Result<RuntimePolicy, PolicyError> {
        if policy.payload.is_some() {
            return Err(PolicyError::Signed);
        }
        let form = serde_json::to_vec(&policy).map_err(PolicyError::Form)?;
        let fingerprint = Hash::Sha256.digest(&[&form]);
        policy.meta.ok_or(PolicyError::Lacks("meta"))?;
        policy.release.ok_or(PolicyError::Lacks("release"))?;
        let ima = policy.ima.ok_or(PolicyError::Lacks("ima"))?;
        if ima.dm_policy.is_some_and(|dm_policy| !dm_policy.is_null()) {
            return Err(PolicyError::DeviceMapper);
        }
        let log_hash =
            Hash::named(&ima.log_hash_alg).ok_or(PolicyError::LogHash(ima.log_hash_alg))?;
        let keys = policy.verification_keys.ok_or(PolicyError::Lacks("verification-keys"))?;
        Ok(RuntimePolicy {
            digests: listed(policy.digests, "digests")?,
            excludes: Excludes::new(&policy.excludes.ok_or(PolicyError::Lacks("excludes"))?)?,
            keyrings: listed(policy.keyrings, "keyrings")?,
            buffers: listed(policy.ima_buf, "ima-buf")?,
            ignored_keyrings: ima.ignored_keyrings,
            log_hash,
            keys: KeyRing::from_keylime(&keys)?,
            fingerprint,
        })
    }

    /// SHA-256 over the policy, by which a change is noticed.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }
}

fn listed(
    digests: Option<BTreeMap<String, Vec<HexDigest>>>,
    what: &'static str,
) -> Result<Listed, PolicyError> {
    let digests = digests.ok_or(PolicyError::Lacks(what))?;
    if digests.values().map(Vec::len).sum::<usize>() > limits::RUNTIME_POLICY_DIGESTS {
        let limit = limits::RUNTIME_POLICY_DIGESTS;
        return Err(PolicyError::TooMany { what: "digests", limit });
    }
    let plain = |digests: Vec<HexDigest>| digests.into_iter().map(|digest| digest.0).collect();
    Ok(digests.into_iter().map(|(name, digests)| (name, plain(digests))).collect())
}

/// Base64 as Keylime reads it.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).ok()
}
