//! An element's state directory: who it is, the version that it runs, what it has seen, its leases. Owner-only; every file
//! is the old or the new one after a crash, and one process at a time uses it.
//!
//! ```text
//! DIR/                 0700; every file 0600
//!   identity.json      name, key, certificate, roots, revocation lists, the path-signing key
//!   version.json       the version that runs, the highest that was seen
//!   paths.json         the signed documents of the version that runs
//!   leases.json        the last lease of each path, for a restart while control is away
//!   crl.pem            the revocation lists again, for the gateway's listeners, which look at the file
//!   listeners.json     certificates and keys of the gateway's listeners
//!   lock               held while the element runs
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ringmail_dataplane::sap::SignedLease;
use ringmail_model::pathset::SignedPathSet;
use ringmail_model::pdp::{Documents, Held};
use ringmail_model::{Name, PathDigest, PathVersion, TrustDomain};
use ringmail_trust::{Certificates, Identity, Locked, PrivateKey, Store, TrustBundle};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::limits::LEASES;
use crate::conductor::blobs;
use crate::control::{Blob, Secret};

const IDENTITY: &str = "identity.json";
const VERSION: &str = "version.json";
const PATHS: &str = "paths.json";
const LEASE_FILE: &str = "leases.json";
const LISTENERS: &str = "listeners.json";
const CRL: &str = "crl.pem";
const ROOTS: &str = "roots.pem";

/// A state directory in use.
#[derive(Debug)]
pub(super) struct StateDir {
    store: Store,
    _locked: Locked,
}

/// Who an element is, and whom it believes.
#[derive(Clone, Debug)]
pub(super) struct Enrolled {
    pub(super) element: Name,
    pub(super) key: PrivateKey,
    pub(super) certificates: Certificates,
    pub(super) bundle: TrustBundle,
}

impl Enrolled {
    pub(super) fn identity(&self) -> Identity {
        Identity::new(self.certificates.clone(), self.key.clone())
    }
}

/// A certificate of a listener, with its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerCertificate {
    /// The names that it was asked for.
    pub(super) server_names: Vec<String>,
    /// X.509 in DER.
    pub(super) chain: Vec<Blob>,
    /// PKCS #8 in DER.
    pub(super) key: Secret,
    pub(super) not_after_unix_s: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    element: Name,
    trust_domain: TrustDomain,
    key: Secret,
    chain: Vec<Blob>,
    not_after_unix_s: u64,
    roots: Vec<Blob>,
    crls: Vec<Blob>,
    path_key: Blob,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionFile {
    active: u64,
    highest: u64,
    fingerprint: Blob,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentsFile {
    path_set: Blob,
    path_signature: Blob,
    domain_file: String,
    domain_signature: Blob,
}

impl StateDir {
    /// Opens a state directory, made if need be, and keeps others out of it.
    ///
    /// # Errors
    /// It cannot be made, others can read it, or another element uses it.
    pub(super) fn open(dir: &Path) -> Result<StateDir> {
        let store = match dir.exists() {
            true => Store::open(dir),
            false => Store::create(dir)?,
        };
        store.check_private("")?;
        let locked = store.lock().context("the state directory is in use")?;
        Ok(StateDir { store, _locked: locked })
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        if !self.store.has(name) {
            return Ok(None);
        }
        self.store.check_private(name)?;
        let text = self.store.read(name)?;
        let parsed = serde_json::from_str(&text);
        Ok(Some(parsed.with_context(|| format!("{} is damaged", self.store.path(name).display()))?))
    }

    fn save<T: Serialize>(&self, name: &str, content: &T) -> Result<()> {
        let text = zeroize::Zeroizing::new(serde_json::to_string(content)?);
        Ok(self.store.write(name, &text)?)
    }

    /// Who the element is, once it has enrolled.
    pub(super) fn enrolled(&self) -> Result<Option<Enrolled>> {
        let Some(file) = self.load::<IdentityFile>(IDENTITY)? else { return Ok(None) };
        let path_key = file.path_key.0.as_slice().try_into();
        if !self.store.has(ROOTS) {
            // The release before kept no copy.
            let roots: Vec<rustls_pki_types::CertificateDer<'_>> =
                file.roots.iter().map(|blob| blob.0.as_slice().into()).collect();
            self.store.write(ROOTS, &ringmail_trust::pem::chain(&roots))?;
        }
        Ok(Some(Enrolled {
            element: file.element,
            key: PrivateKey::from_pkcs8(file.key.danger_bytes().to_vec()),
            certificates: Certificates {
                chain: file.chain.into_iter().map(|blob| blob.0.into()).collect(),
                not_after_unix_s: file.not_after_unix_s,
            },
            bundle: TrustBundle {
                trust_domain: file.trust_domain,
                roots: file.roots.into_iter().map(|blob| blob.0.into()).collect(),
                crls: file.crls.into_iter().map(|blob| blob.0.into()).collect(),
                path_key: path_key.context("a path-signing key has 32 bytes")?,
            },
        }))
    }

    /// Where the revocation lists are, in PEM.
    pub(super) fn crl_file(&self) -> PathBuf {
        self.store.path(CRL)
    }

    /// Where the roots are, in PEM.
    pub(super) fn roots_file(&self) -> PathBuf {
        self.store.path(ROOTS)
    }

    pub(super) fn save_enrolled(&self, enrolled: &Enrolled) -> Result<()> {
        let Enrolled { element, key, certificates, bundle } = enrolled;
        self.store.write(CRL, &ringmail_trust::pem::lists(&bundle.crls))?;
        self.store.write(ROOTS, &ringmail_trust::pem::chain(&bundle.roots))?;
        self.save(
            IDENTITY,
            &IdentityFile {
                element: element.clone(),
                trust_domain: bundle.trust_domain.clone(),
                key: Secret::new(key.danger_pkcs8().to_vec()),
                chain: blobs(&certificates.chain),
                not_after_unix_s: certificates.not_after_unix_s,
                roots: blobs(&bundle.roots),
                crls: blobs(&bundle.crls),
                path_key: bundle.path_key.to_vec().into(),
            },
        )
    }

    /// What was seen and what runs.
    pub(super) fn held(&self) -> Result<Held> {
        let Some(file) = self.load::<VersionFile>(VERSION)? else { return Ok(Held::default()) };
        let fingerprint = file.fingerprint.0.as_slice().try_into();
        Ok(Held {
            active: PathVersion(file.active),
            highest: PathVersion(file.highest),
            fingerprint: fingerprint.context("a fingerprint has 32 bytes")?,
        })
    }

    pub(super) fn save_held(&self, held: Held) -> Result<()> {
        self.save(
            VERSION,
            &VersionFile {
                active: held.active.0,
                highest: held.highest.0,
                fingerprint: held.fingerprint.to_vec().into(),
            },
        )
    }

    /// The documents of the version that runs.
    pub(super) fn documents(&self) -> Result<Option<Documents>> {
        Ok(self.load::<DocumentsFile>(PATHS)?.map(Into::into))
    }

    /// The version that runs from now on. Its documents are there before it is named.
    pub(super) fn save_active(&self, documents: &Documents, held: Held) -> Result<()> {
        self.save(PATHS, &DocumentsFile::from(documents))?;
        self.save_held(held)
    }

    /// The last leases, by path.
    pub(super) fn leases(&self) -> Result<BTreeMap<PathDigest, SignedLease>> {
        let blobs = self.load::<Vec<Blob>>(LEASE_FILE)?.unwrap_or_default();
        let leases = blobs.iter().filter_map(|blob| SignedLease::from_bytes(&blob.0));
        Ok(leases.map(|lease| (lease.lease.digest, lease)).collect())
    }

    pub(super) fn save_leases(&self, leases: &BTreeMap<PathDigest, SignedLease>) -> Result<()> {
        let blobs: Vec<Blob> =
            leases.values().take(LEASES).map(|lease| lease.to_bytes().to_vec().into()).collect();
        self.save(LEASE_FILE, &blobs)
    }

    /// Certificates of listeners, by `LISTENER/INDEX`.
    pub(super) fn listeners(&self) -> Result<BTreeMap<String, ListenerCertificate>> {
        Ok(self.load(LISTENERS)?.unwrap_or_default())
    }

    pub(super) fn save_listeners(
        &self,
        listeners: &BTreeMap<String, ListenerCertificate>,
    ) -> Result<()> {
        self.save(LISTENERS, listeners)
    }
}

impl From<&Documents> for DocumentsFile {
    fn from(documents: &Documents) -> DocumentsFile {
        DocumentsFile {
            path_set: documents.paths.bytes.clone().into(),
            path_signature: documents.paths.signature.clone().into(),
            domain_file: documents.domain_file.clone(),
            domain_signature: documents.domain_signature.clone().into(),
        }
    }
}

impl From<DocumentsFile> for Documents {
    fn from(file: DocumentsFile) -> Documents {
        Documents {
            paths: SignedPathSet { bytes: file.path_set.0, signature: file.path_signature.0 },
            domain_file: file.domain_file,
            domain_signature: file.domain_signature.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use ringmail_dataplane::sap::Lease;
    use ringmail_model::ElementId;

    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_only_by_its_owner() {
        let dir = std::env::temp_dir().join(format!("ringmail-store-{}", std::process::id()));
        let state = StateDir::open(&dir).expect("a new directory");
        assert_eq!(state.held().expect("nothing yet"), Held::default());
        assert!(state.enrolled().expect("nothing yet").is_none());
        let held = Held { active: PathVersion(1), highest: PathVersion(2), fingerprint: [3; 32] };
        let documents = Documents {
            paths: SignedPathSet { bytes: vec![1], signature: vec![2] },
            domain_file: "é".to_owned(),
            domain_signature: vec![3],
        };
        state.save_active(&documents, held).expect("it is kept");
        let lease = Lease {
            element: ElementId(1),
            digest: PathDigest([4; 32]),
            not_after_unix_s: 5,
            serial: 6,
        };
        let leases = BTreeMap::from([(lease.digest, lease.signed([7; 64]))]);
        state.save_leases(&leases).expect("they are kept");
        drop(state);
        let state = StateDir::open(&dir).expect("the directory");
        assert_eq!(state.held().expect("it was kept"), held);
        assert_eq!(state.documents().expect("they were kept"), Some(documents));
        assert_eq!(state.leases().expect("they were kept"), leases);
        drop(state);
        for entry in fs::read_dir(&dir).expect("the directory") {
            let mode = entry.expect("an entry").metadata().expect("a file").permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).expect("it is ours");
        assert!(StateDir::open(&dir).is_err(), "others can read it");
        fs::remove_dir_all(dir).expect("it is ours");
    }
}
