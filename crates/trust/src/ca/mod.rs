//! The embedded authority: an X.509 CA and a path-signing key in one directory, for domains without a trust plane.
//!
//! ```text
//! DIR/                    0700; every file 0600
//!   state.json            what was issued and revoked, and the revocation list; the one source of truth
//!   root.pem root.key     the CA (ECDSA P-256)
//!   path.pub path.key     the path-signing key (Ed25519)
//!   crl.pem               the revocation list again, for other programs
//!   server/NAME/          cert.pem key.pem
//!   client/NAME/          cert.pem key.pem
//!   lock                  held while a process reads or changes the rest
//! ```
//!
//! Any number of processes may use it at a time; each call takes the lock, reads the state, and puts a new one in place
//! before anything that it records is handed out. So a crash loses at most what nobody got.

mod certificate;
mod names;
mod state;
mod store;

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateSigningRequestParams, Issuer, PublicKeyData, SanType};
use ringmail_dataplane::sap::{Lease, SignedLease};
use ringmail_model::names::{Name, TrustDomain};
use ringmail_model::pathset::{PathSet, SignedPathSet};
use ringmail_model::{ElementId, PathDigest};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer,
};

pub use self::names::SubjectName;
pub use self::state::{Kind, Record, Serial};
use self::state::{STATE, State};
use self::store::Store;
use crate::authority::Authority;
use crate::error::AuthorityError;
use crate::identity::{Certificates, Identity, TrustBundle};
use crate::limits;
use crate::secret::SigningKey;

const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const PATH_KEY: &str = "path.key";
const PATH_PUBLIC: &str = "path.pub";
const CRL: &str = "crl.pem";

/// An authority over a directory.
pub struct EmbeddedCa {
    store: Store,
    trust_domain: TrustDomain,
    root: CertificateDer<'static>,
    root_pem: String,
    root_key: SigningKey,
    path_key: SigningKey,
    /// Serial numbers set aside for leases.
    lease_serials: Mutex<Range<u64>>,
    clock: Clock,
}

/// Where the time comes from; tests bring their own.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A server or client certificate to be issued, with a key made here.
#[derive(Clone, Debug)]
pub struct Request {
    /// [`Kind::Server`] or [`Kind::Client`]; an element's key is its own to make.
    pub kind: Kind,
    /// The name that it is filed under; a client's SPIFFE id is `spiffe://DOMAIN/client/NAME`.
    pub name: Name,
    /// Names besides the SPIFFE id. A server needs one, since clients compare it.
    pub names: Vec<SubjectName>,
    /// How long it holds from now.
    pub lasts: Duration,
    /// Whether a key that is there under this name may be replaced.
    pub replace: bool,
}

/// What was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The serial number.
    pub serial: Serial,
    /// What is remembered of it.
    pub record: Record,
    /// Where `cert.pem` (certificate and root) and `key.pem` are.
    pub dir: PathBuf,
    /// The same, for use in this process.
    pub identity: Identity,
}

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
        let exists = || AuthorityError::AuthorityExists { dir: dir.to_owned() };
        if dir.join(STATE).exists() || dir.join(ROOT_KEY).exists() {
            return Err(exists());
        }
        // Made beside and renamed: there is a whole authority or none.
        let serial = Serial::random()?;
        let mut beside = dir.as_os_str().to_owned();
        beside.push(format!(".unfinished-{serial}"));
        let beside = PathBuf::from(beside);
        let made = build(&beside, trust_domain, serial, unix_s(&clock));
        let renamed = made.and_then(|()| {
            fs::rename(&beside, dir).map_err(|source| match source.kind() {
                std::io::ErrorKind::DirectoryNotEmpty => exists(),
                _ => AuthorityError::File { doing: "make", path: dir.to_owned(), source },
            })
        });
        if let Err(error) = renamed {
            // What cannot be removed is a directory of keys that nobody uses.
            drop(fs::remove_dir_all(&beside));
            return Err(error);
        }
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
        for secret in [ROOT_KEY, PATH_KEY, STATE] {
            store.check_private(secret)?;
        }
        let damaged =
            |name: &str, reason: String| AuthorityError::Damaged { path: store.path(name), reason };
        let root_pem = store.read(ROOT)?.to_string();
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes())
            .map_err(|error| damaged(ROOT, error.to_string()))?;
        let key = |name: &str| {
            SigningKey::from_pem(&store.read(name)?)
                .map_err(|_| damaged(name, "it holds no private key".to_owned()))
        };
        let (root_key, path_key) = (key(ROOT_KEY)?, key(PATH_KEY)?);
        if !is_ed25519(&path_key) {
            return Err(damaged(PATH_KEY, "it is no Ed25519 key".to_owned()));
        }
        let locked = store.lock()?;
        let state = State::load(&store)?;
        drop(locked);
        Ok(EmbeddedCa {
            trust_domain: state.trust_domain,
            store,
            root,
            root_pem,
            root_key,
            path_key,
            lease_serials: Mutex::new(0..0),
            clock,
        })
    }

    /// Issues a certificate with a new key, and files both.
    ///
    /// # Errors
    /// [`AuthorityError::KeyExists`] unless the request allows to replace it; whatever else is wrong with the request,
    /// the files or the state.
    pub fn issue(&self, request: &Request) -> Result<Issued, AuthorityError> {
        let names = self.names_of(request)?;
        if request.lasts.is_zero() || request.lasts > limits::CERTIFICATE_LASTS_MAX {
            let days = limits::CERTIFICATE_LASTS_MAX.as_secs() / 86_400;
            return Err(bad(format!("a certificate lasts from one second to {days} days")));
        }
        let key = SigningKey::generate()?;
        let kind = request.kind.name();
        let _locked = self.store.lock()?;
        let path = self.store.path(kind).join(request.name.as_str());
        if path.exists() && !request.replace {
            return Err(AuthorityError::KeyExists { path });
        }
        let (serial, record, certificate) =
            self.certify(request.kind, &request.name, &names, request.lasts, key.pair())?;
        let chain_pem = certificate.pem() + &self.root_pem;
        let files = [("cert.pem", chain_pem.as_str()), ("key.pem", key.pem().as_str())]
            .map(|(name, content)| (name, content.to_owned()));
        let files = files.each_ref().map(|(name, content)| (*name, content.as_str()));
        let dir = self.store.write_dir(kind, request.name.as_str(), &files, request.replace)?;
        let certificates = Certificates {
            chain: vec![certificate.der().clone()],
            not_after_unix_s: record.not_after_unix_s,
        };
        let identity = Identity::new(certificates, key.private_key());
        Ok(Issued { serial, record, dir, identity })
    }

    /// Every certificate that is remembered, in the order of kind, name and age.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn list(&self) -> Result<Vec<(Serial, Record)>, AuthorityError> {
        let _locked = self.store.lock()?;
        let mut all: Vec<_> = State::load(&self.store)?.certificates.into_iter().collect();
        all.sort_by(|(_, a), (_, b)| {
            let key =
                |record: &Record| (record.kind, record.name.clone(), record.not_before_unix_s);
            key(a).cmp(&key(b))
        });
        Ok(all)
    }

    /// The certificates meant by `which`: a serial number, `KIND/NAME`, or a NAME that only one kind has.
    ///
    /// # Errors
    /// [`AuthorityError::NoSuchCertificate`], or [`AuthorityError::BadRequest`] where it could be several kinds.
    pub fn find(&self, which: &str) -> Result<Vec<(Serial, Record)>, AuthorityError> {
        select(self.list()?, which)
    }

    /// Revokes the certificates meant by `which` (see [`EmbeddedCa::find`]) that hold and were not revoked before, and
    /// makes a new revocation list.
    ///
    /// # Errors
    /// [`AuthorityError::AlreadyRevoked`] when there is none left to revoke.
    pub fn revoke(&self, which: &str) -> Result<Vec<(Serial, Record)>, AuthorityError> {
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        let now_unix_s = self.now_unix_s();
        let all: Vec<_> = state.certificates.iter().map(|(s, r)| (*s, r.clone())).collect();
        let mut revoked = select(all, which)?;
        revoked.retain(|(_, record)| {
            record.revoked_unix_s.is_none() && record.not_after_unix_s >= now_unix_s
        });
        if revoked.is_empty() {
            return Err(AuthorityError::AlreadyRevoked(which.to_owned()));
        }
        for (serial, record) in &mut revoked {
            record.revoked_unix_s = Some(now_unix_s);
            state.certificates.insert(*serial, record.clone());
        }
        self.renew_crl(&mut state)?;
        Ok(revoked)
    }

    /// The revocation list in PEM, and its number; made anew if it runs out soon, or if `anew` says so.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn crl_pem(&self, anew: bool) -> Result<(String, u64), AuthorityError> {
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        let renew_at =
            state.crl_not_after_unix_s.saturating_sub(limits::CRL_RENEWED_BEFORE.as_secs());
        if anew || self.now_unix_s() >= renew_at {
            self.renew_crl(&mut state)?;
        } else if self.store.read(CRL).ok().is_none_or(|text| *text != state.crl_pem) {
            // A crash came between the state and the copy for other programs.
            self.store.write(CRL, &state.crl_pem)?;
        }
        Ok((state.crl_pem, state.crl_number))
    }

    /// The root certificate in PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.store.dir()
    }

    /// The certificate's names, the SPIFFE id first.
    fn names_of(&self, request: &Request) -> Result<Vec<(String, SanType)>, AuthorityError> {
        let mut names = Vec::new();
        match request.kind {
            Kind::Client => names.push(spiffe(&self.trust_domain.client_id(&request.name))?),
            Kind::Server if request.names.is_empty() => {
                return Err(
                    bad("a server's certificate needs a DNS name or IP address".to_owned()),
                );
            }
            Kind::Server => {}
            Kind::Element => {
                return Err(bad("an element makes its own key and sends a request".to_owned()));
            }
        }
        if request.names.len() > limits::NAMES {
            return Err(bad(format!("a certificate has at most {} names", limits::NAMES)));
        }
        for name in &request.names {
            if request.kind == Kind::Server && matches!(name, SubjectName::Email(_)) {
                return Err(bad(format!("a server has no mailbox: {name}")));
            }
            names.push((name.to_string(), name.san()?));
        }
        Ok(names)
    }

    /// Signs a certificate and remembers it. The caller holds the lock.
    fn certify(
        &self,
        kind: Kind,
        name: &Name,
        names: &[(String, SanType)],
        lasts: Duration,
        public_key: &impl PublicKeyData,
    ) -> Result<(Serial, Record, rcgen::Certificate), AuthorityError> {
        let mut state = State::load(&self.store)?;
        let now_unix_s = self.now_unix_s();
        state.prune(now_unix_s);
        if state.certificates.len() >= limits::CERTIFICATES {
            return Err(AuthorityError::Full(limits::CERTIFICATES));
        }
        let serial = Serial::random()?;
        let sans = names.iter().map(|(_, san)| san.clone()).collect();
        let params = certificate::end(kind, name, sans, serial, now_unix_s, lasts);
        let certificate = params.signed_by(public_key, &self.issuer()?)?;
        let record = Record {
            kind,
            name: name.clone(),
            names: names.iter().map(|(text, _)| text.clone()).collect(),
            not_before_unix_s: certificate::backdated(now_unix_s),
            not_after_unix_s: now_unix_s.saturating_add(lasts.as_secs()),
            revoked_unix_s: None,
        };
        state.certificates.insert(serial, record.clone());
        state.save(&self.store)?;
        Ok((serial, record, certificate))
    }

    /// Makes the next revocation list, and saves the state with it. The caller holds the lock.
    fn renew_crl(&self, state: &mut State) -> Result<(), AuthorityError> {
        state.renew_crl(&self.issuer()?, self.now_unix_s())?;
        state.save(&self.store)?;
        self.store.write(CRL, &state.crl_pem)
    }

    fn issuer(&self) -> Result<Issuer<'static, &rcgen::KeyPair>, AuthorityError> {
        Ok(Issuer::from_ca_cert_der(&self.root, self.root_key.pair())?)
    }

    fn now_unix_s(&self) -> u64 {
        unix_s(&self.clock)
    }

    /// The next serial number of a lease: greater than any before, over restarts too.
    fn next_lease_serial(&self) -> Result<u64, AuthorityError> {
        let mut serials = self.lease_serials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(serial) = serials.next() {
            return Ok(serial);
        }
        let _locked = self.store.lock()?;
        let mut state = State::load(&self.store)?;
        let first = state.lease_serials;
        state.lease_serials = first.saturating_add(limits::LEASE_SERIALS_AT_ONCE);
        state.save(&self.store)?;
        *serials = first..state.lease_serials;
        serials.next().ok_or(AuthorityError::Signature)
    }

    fn sign_path(&self, message: &[u8]) -> Result<[u8; 64], AuthorityError> {
        let signature = rcgen::SigningKey::sign(self.path_key.pair(), message)?;
        signature.try_into().map_err(|_| AuthorityError::Signature)
    }
}

impl Authority for EmbeddedCa {
    fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    fn trust_bundle(&self) -> Result<TrustBundle, AuthorityError> {
        let (crl_pem, _) = self.crl_pem(false)?;
        let crl =
            CertificateRevocationListDer::from_pem_slice(crl_pem.as_bytes()).map_err(|error| {
                AuthorityError::Damaged { path: self.store.path(STATE), reason: error.to_string() }
            })?;
        let path_key = self.path_key.pair().public_key_raw();
        Ok(TrustBundle {
            trust_domain: self.trust_domain.clone(),
            roots: vec![self.root.clone()],
            crls: vec![crl],
            path_key: path_key.try_into().map_err(|_| AuthorityError::Signature)?,
        })
    }

    fn sign_element(
        &self,
        element: &Name,
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Certificates, AuthorityError> {
        let refused = |reason: String| AuthorityError::BadSigningRequest {
            element: element.to_string(),
            reason,
        };
        if request.len() > limits::REQUEST_BYTES {
            return Err(refused(format!("it is larger than {} bytes", limits::REQUEST_BYTES)));
        }
        let parsed = CertificateSigningRequestParams::from_der(request)
            .map_err(|error| refused(error.to_string()))?;
        let algorithm = PublicKeyData::algorithm(&parsed.public_key);
        if *algorithm != rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(refused("its key is not ECDSA P-256".to_owned()));
        }
        let names = [spiffe(&self.trust_domain.element_id(element))?];
        let _locked = self.store.lock()?;
        let lasts = limits::ELEMENT_LASTS;
        let (_, record, certificate) =
            self.certify(Kind::Element, element, &names, lasts, &parsed.public_key)?;
        Ok(Certificates {
            chain: vec![certificate.der().clone()],
            not_after_unix_s: record.not_after_unix_s,
        })
    }

    fn sign_path_set(&self, set: &PathSet) -> Result<SignedPathSet, AuthorityError> {
        SignedPathSet::sign(set, |message| self.sign_path(message).map(|bytes| bytes.to_vec()))
    }

    fn sign_lease(
        &self,
        element: ElementId,
        path: PathDigest,
        lasts: Duration,
    ) -> Result<SignedLease, AuthorityError> {
        let lease = Lease {
            element,
            digest: path,
            not_after_unix_s: self.now_unix_s().saturating_add(lasts.as_secs()),
            serial: self.next_lease_serial()?,
        };
        Ok(lease.signed(self.sign_path(&lease.signed_bytes())?))
    }
}

impl fmt::Debug for EmbeddedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedCa")
            .field("dir", &self.store.dir())
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
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
    let params = certificate::root(trust_domain, serial, now_unix_s)?;
    let root = params.self_signed(root_key.pair())?;
    let issuer = Issuer::from_params(&params, root_key.pair());
    let mut state = State::new(trust_domain.clone());
    state.renew_crl(&issuer, now_unix_s)?;
    store.write(ROOT, &root.pem())?;
    store.write(ROOT_KEY, &root_key.pem())?;
    store.write(PATH_PUBLIC, &path_key.pair().public_key_pem())?;
    store.write(PATH_KEY, &path_key.pem())?;
    store.write(CRL, &state.crl_pem)?;
    state.save(&store)
}

/// Those meant by `which`.
fn select(
    all: Vec<(Serial, Record)>,
    which: &str,
) -> Result<Vec<(Serial, Record)>, AuthorityError> {
    let serial = which.parse::<Serial>().ok();
    let meant = |(serial_here, record): &(Serial, Record)| match which.split_once('/') {
        Some((kind, name)) => record.kind.name() == kind && record.name == *name,
        None => serial == Some(*serial_here) || record.name == *which,
    };
    let found: Vec<_> = all.into_iter().filter(meant).collect();
    match found.first() {
        None => Err(AuthorityError::NoSuchCertificate(which.to_owned())),
        Some((_, first)) if found.iter().any(|(_, record)| record.kind != first.kind) => {
            Err(bad(format!(
                "`{which}` is the name of several: write server/{which}, client/{which} or element/{which}"
            )))
        }
        Some(_) => Ok(found),
    }
}

fn spiffe(id: &str) -> Result<(String, SanType), AuthorityError> {
    let san = SanType::URI(id.try_into()?);
    Ok((format!("uri:{id}"), san))
}

fn bad(reason: String) -> AuthorityError {
    AuthorityError::BadRequest(reason)
}

fn is_ed25519(key: &SigningKey) -> bool {
    *PublicKeyData::algorithm(key.pair()) == rcgen::PKCS_ED25519
}

/// A clock before 1970 reads as 1970: certificates made then hold for nobody.
fn unix_s(clock: &Clock) -> u64 {
    clock().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
