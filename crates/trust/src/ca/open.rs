//! How an authority comes to be, and how it is found again: whole, private and of a format that is known.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use rcgen::PublicKeyData;
use ringmail_model::names::TrustDomain;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::roots::{self, Root};
use super::state::{STATE, Serial, State};
use super::store::Store;
use super::{CRL, Clock, EmbeddedCa, PATH_KEY, PATH_PUBLIC, ROOT, certificate, unix_s};
use crate::error::AuthorityError;
use crate::secret::SigningKey;

impl EmbeddedCa {
    /// Makes a new authority in `dir`, which is not there yet or is empty.
    ///
    /// # Errors
    /// [`AuthorityError`]; nothing is left behind.
    pub fn init(dir: &Path, trust_domain: &TrustDomain) -> Result<EmbeddedCa, AuthorityError> {
        EmbeddedCa::init_at(dir, trust_domain, Arc::new(SystemTime::now))
    }

    /// As [`EmbeddedCa::init`], with another clock.
    ///
    /// # Errors
    /// As [`EmbeddedCa::init`].
    pub fn init_at(
        dir: &Path,
        trust_domain: &TrustDomain,
        clock: Clock,
    ) -> Result<EmbeddedCa, AuthorityError> {
        let serial = Serial::random()?;
        put_in_place(dir, |beside| build(beside, trust_domain, serial, unix_s(&clock)))?;
        EmbeddedCa::open_at(dir, clock)
    }

    /// The authority in `dir`.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(dir: &Path) -> Result<EmbeddedCa, AuthorityError> {
        EmbeddedCa::open_at(dir, Arc::new(SystemTime::now))
    }

    /// As [`EmbeddedCa::open`], with another clock.
    ///
    /// # Errors
    /// As [`EmbeddedCa::open`].
    pub fn open_at(dir: &Path, clock: Clock) -> Result<EmbeddedCa, AuthorityError> {
        let store = Store::open(dir);
        if !store.has(STATE) {
            return Err(AuthorityError::NotFound { dir: dir.to_owned() });
        }
        store.check_private("")?;
        for secret in [PATH_KEY, STATE] {
            store.check_private(secret)?;
        }
        let damaged =
            |name: &str, reason: String| AuthorityError::Damaged { path: store.path(name), reason };
        let key = |name: &str| {
            SigningKey::from_pem(&store.read(name)?)
                .map_err(|_| damaged(name, "it holds no private key".to_owned()))
        };
        let path_key = key(PATH_KEY)?;
        if !is_ed25519(&path_key) {
            return Err(damaged(PATH_KEY, "it is no Ed25519 key".to_owned()));
        }
        let locked = store.lock()?;
        let state = State::load(&store)?;
        let (trust_domain, lease_serials) = (state.trust_domain.clone(), Mutex::new(0..0));
        let ca = EmbeddedCa { trust_domain, store, path_key, lease_serials, clock };
        ca.roots(&state)?;
        ca.copy_roots(&state)?;
        drop(locked);
        Ok(ca)
    }
}

/// Makes an authority beside `dir` and renames it: there is a whole one or none, and no other is overwritten.
pub(super) fn put_in_place(
    dir: &Path,
    make: impl FnOnce(&Path) -> Result<(), AuthorityError>,
) -> Result<(), AuthorityError> {
    let exists = || AuthorityError::AuthorityExists { dir: dir.to_owned() };
    if dir.join(STATE).exists() || dir.join(roots::key_file(1)).exists() {
        return Err(exists());
    }
    let mut beside = dir.as_os_str().to_owned();
    beside.push(format!(".unfinished-{}", Serial::random()?));
    let beside = PathBuf::from(beside);
    let renamed = make(&beside).and_then(|()| {
        fs::rename(&beside, dir).map_err(|source| match source.kind() {
            io::ErrorKind::DirectoryNotEmpty => exists(),
            _ => AuthorityError::File { doing: "make", path: dir.to_owned(), source },
        })
    });
    // What cannot be removed is a directory of keys that nobody uses.
    renamed.inspect_err(|_| drop(fs::remove_dir_all(&beside)))
}

/// Fills a directory with a new authority.
fn build(
    dir: &Path,
    trust_domain: &TrustDomain,
    serial: Serial,
    now_unix_s: u64,
) -> Result<(), AuthorityError> {
    let store = Store::create(dir)?;
    let root_key = SigningKey::generate()?;
    let path_key = SigningKey::generate_ed25519()?;
    let params = certificate::root(trust_domain, 1, serial, now_unix_s)?;
    let certificate = params.self_signed(root_key.pair())?;
    let mut state = State::new(trust_domain.clone(), certificate.pem());
    let root = Root { number: 1, certificate: certificate.into(), key: root_key };
    state.renew_crl(std::slice::from_ref(&root), now_unix_s)?;
    store.write(ROOT, &state.root_pem)?;
    store.write(&roots::key_file(1), &root.key.pem())?;
    store.write(PATH_PUBLIC, &path_key.pair().public_key_pem())?;
    store.write(PATH_KEY, &path_key.pem())?;
    store.write(CRL, &state.crl_pem)?;
    state.save(&store)
}

impl EmbeddedCa {
    /// Whether the keys are those of the certificate and of the public key beside them: what a backup is good for.
    pub(super) fn check(&self) -> Result<(), AuthorityError> {
        let damaged = |name: &str, reason: &str| AuthorityError::Damaged {
            path: self.store.path(name),
            reason: reason.to_owned(),
        };
        let locked = self.store.lock()?;
        let roots = self.roots(&State::load(&self.store)?)?;
        drop(locked);
        for Root { number, certificate, key } in &roots {
            let (_, certificate) = X509Certificate::from_der(certificate)
                .map_err(|_| damaged(ROOT, "it holds no certificate"))?;
            if certificate.public_key().raw != key.pair().subject_public_key_info() {
                let file = roots::key_file(*number);
                return Err(damaged(&file, "it is the key of another certificate"));
            }
        }
        match *self.store.read(PATH_PUBLIC)? == self.path_key.pair().public_key_pem() {
            true => Ok(()),
            false => Err(damaged(PATH_PUBLIC, "it is the public half of another key")),
        }
    }
}

fn is_ed25519(key: &SigningKey) -> bool {
    *PublicKeyData::algorithm(key.pair()) == rcgen::PKCS_ED25519
}
