//! The runtime policies of one host, united: what one of them allows within its scope is allowed.
//!
//! A scope keeps a policy to its own files: one for `/opt/firewall` cannot, by an exclude of `.*`, allow a changed `/usr/bin/sshd`.

use std::sync::Arc;

use super::file::{PolicyError, RuntimePolicy};
use super::keys::{KeyRing, MaybeKey, SigningKey};
use crate::host::ima::{Entry, Event, FileDigest};
use crate::host::tpm::{Digest, Hash};
use crate::host::verdict::{Check, shown};
use crate::limits;

/// A policy and where it speaks.
#[derive(Clone, Debug)]
pub struct ScopedPolicy {
    /// What people call it.
    pub name: String,
    /// It speaks for these paths and what lies below them; for everything, keyrings and buffers included, where there is none.
    pub paths: Vec<String>,
    /// The policy, which hosts share.
    pub policy: Arc<RuntimePolicy>,
}

impl ScopedPolicy {
    /// One that speaks for everything.
    pub fn everywhere(name: &str, policy: Arc<RuntimePolicy>) -> ScopedPolicy {
        ScopedPolicy { name: name.to_owned(), paths: Vec::new(), policy }
    }

    fn covers(&self, name: &str) -> bool {
        let below = |path: &String| match name.strip_prefix(path.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || path.ends_with('/'),
            None => false,
        };
        self.paths.is_empty() || self.paths.iter().any(below)
    }
}

/// The policies of a host.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<ScopedPolicy>,
    log_hash: Option<Hash>,
}

/// A key that an entry brought and a policy allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Brought {
    pub(crate) policy: u32,
    pub(crate) key: SigningKey,
}

/// Keys that lists brought, by the number of the policy that allowed them.
pub(crate) type Learned = Vec<(u32, KeyRing)>;

/// What speaks against an entry.
pub(crate) type Objection = (Check, String);

impl PolicySet {
    /// These policies, united.
    ///
    /// # Errors
    /// [`PolicyError::LogHashes`] and [`PolicyError::Policies`].
    pub fn unite(policies: Vec<ScopedPolicy>) -> Result<PolicySet, PolicyError> {
        if policies.len() > limits::POLICIES_A_HOST {
            return Err(PolicyError::Policies);
        }
        let mut hashes = policies.iter().map(|scoped| scoped.policy.log_hash);
        let log_hash = hashes.next();
        if let (Some(first), Some(other)) = (log_hash, hashes.find(|hash| Some(*hash) != log_hash))
        {
            return Err(PolicyError::LogHashes(first, other));
        }
        Ok(PolicySet { policies, log_hash })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The hash of the list's column of template hashes.
    pub fn log_hash(&self) -> Hash {
        self.log_hash.unwrap_or(Hash::Sha1)
    }

    /// SHA-256 over all, by which a change is noticed.
    pub fn fingerprint(&self) -> Digest {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for scoped in &self.policies {
            parts.push(scoped.policy.fingerprint().as_bytes().to_vec());
            let paths = scoped.paths.iter().map(|path| Hash::Sha256.digest(&[path.as_bytes()]));
            parts.extend(paths.map(|path| path.as_bytes().to_vec()));
            parts.push(vec![0]);
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        Hash::Sha256.digest(&parts)
    }

    /// Whether the policies allow an entry; a key that it brings, if it does and they do.
    pub(crate) fn judge(
        &self,
        entry: &Entry<'_>,
        learned: &Learned,
    ) -> Result<Option<Brought>, Objection> {
        match &entry.event {
            Event::File { digest, path, signature } => {
                self.judge_file(digest, path, signature.as_deref(), learned).map(|()| None)
            }
            Event::Buffer { digest, name, data } => self.judge_buffer(digest, name, data),
        }
    }

    fn judge_file(
        &self,
        file: &FileDigest<'_>,
        path: &[u8],
        signature: Option<&[u8]>,
        learned: &Learned,
    ) -> Result<(), Objection> {
        let name = str::from_utf8(path).map_err(|_| unknown_file(path, signature))?;
        let mut listed = false;
        for (number, scoped) in self.speaking_for(name) {
            let policy = &scoped.policy;
            let signed = |signature: &&[u8]| {
                let brought = learned.iter().filter(|(policy, _)| *policy == number);
                !signature.is_empty()
                    && (policy.keys.vouches(signature, file)
                        || brought.into_iter().any(|(_, ring)| ring.vouches(signature, file)))
            };
            if policy.excludes.matches(name) || signature.as_ref().is_some_and(signed) {
                return Ok(());
            }
            if let Some(digests) = policy.digests.get(name) {
                if digests.contains(&file.digest) {
                    return Ok(());
                }
                listed = true;
            }
        }
        match listed {
            true => Err((
                Check::ImaFileDigest,
                format!("{} has the digest {}, which no policy lists", shown(path), file.digest),
            )),
            false => Err(unknown_file(path, signature)),
        }
    }

    fn judge_buffer(
        &self,
        digest: &FileDigest<'_>,
        name: &[u8],
        data: &[u8],
    ) -> Result<Option<Brought>, Objection> {
        let what = shown(name);
        let found = digest.digest;
        let (check, kind, key) = match SigningKey::parse(data) {
            MaybeKey::Key(key) => (Check::ImaKeyring, "key", Some(key)),
            MaybeKey::Unsupported => {
                let detail = format!("a key of a kind that is not known was loaded to {what}");
                return Err((Check::ImaKeyring, detail));
            }
            MaybeKey::Other => (Check::ImaBuffer, "buffer", None),
        };
        let refused = || {
            (check, format!("{what} got a {kind} with the digest {found}, which no policy lists"))
        };
        let name = str::from_utf8(name).map_err(|_| refused())?;
        for (number, scoped) in self.speaking_for(name) {
            let policy = &scoped.policy;
            if key.is_some()
                && policy.ignored_keyrings.iter().any(|known| known == "*" || known == name)
            {
                return Ok(None);
            }
            let listed = if key.is_some() { &policy.keyrings } else { &policy.buffers };
            let allowed = listed.get(name).is_some_and(|digests| digests.contains(&found));
            if allowed || policy.excludes.matches(name) {
                return Ok(key.map(|key| Brought { policy: number, key }));
            }
        }
        Err(refused())
    }

    fn speaking_for(&self, name: &str) -> impl Iterator<Item = (u32, &ScopedPolicy)> {
        let numbered = (0u32..).zip(&self.policies);
        numbered.filter(move |(_, scoped)| scoped.covers(name))
    }
}

fn unknown_file(path: &[u8], signature: Option<&[u8]>) -> Objection {
    let signed = match signature {
        Some(signature) if !signature.is_empty() => {
            ", and its signature is of no key that is known"
        }
        _ => "",
    };
    (Check::ImaUnknownFile, format!("{} is in no policy{signed}", shown(path)))
}
