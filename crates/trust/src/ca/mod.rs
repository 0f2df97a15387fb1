//! The embedded authority: an X.509 CA and a path-signing key in one directory, for domains without a trust plane.
//!
//! ```text
//! DIR/                    0700; every file 0600
//!   state.json            what was issued and revoked, and the revocation list; the one source of truth
//!   root.pem              the CA's certificates, the one first that signs (ECDSA P-256)
//!   root.key root-N.key   their keys
//!   path.pub path.key     the path-signing key (Ed25519)
//!   crl.pem               the revocation list again, for other programs
//!   server/NAME/          cert.pem key.pem
//!   client/NAME/          cert.pem key.pem
//!   tokens.json           hashes of the tokens that elements may still enrol with
//!   lock                  held while a process reads or changes the rest
//! ```
//!
//! Any number of processes may use it at a time; each call takes the lock, reads the state, and puts a new one in place
//! before anything that it records is handed out. So a crash loses at most what nobody got.

mod backup;
pub(crate) mod certificate;
mod control;
mod intermediate;
mod names;
mod open;
mod roots;
mod rotation;
mod state;
mod store;
mod token;
pub(crate) mod vouch;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{PublicKeyData, SanType};
use ringmail_model::names::{Name, TrustDomain};

pub use self::backup::Backup;
pub use self::names::SubjectName;
pub use self::rotation::{Anchor, Rotation};
use self::state::State;
pub use self::state::{Kind, Record, Serial, Stage};
pub use self::store::{Locked, Store};
pub use self::token::Token;
use crate::error::AuthorityError;
use crate::identity::{Certificates, Identity};
use crate::limits;
use crate::p12;
use crate::password::Password;
use crate::secret::SigningKey;

const ROOT: &str = "root.pem";
const PATH_KEY: &str = "path.key";
const PATH_PUBLIC: &str = "path.pub";
const CRL: &str = "crl.pem";

/// An authority over a directory.
pub struct EmbeddedCa {
    store: Store,
    trust_domain: TrustDomain,
    path_key: SigningKey,
    /// Serial numbers set aside for leases.
    lease_serials: Mutex<Range<u64>>,
    clock: Clock,
}

/// Where the time comes from; tests bring their own.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

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
        let chain_pem = certificate.pem() + &State::load(&self.store)?.root_pem;
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

    /// Puts what was issued into one file for browsers (PKCS #12), under a password: at `to`, which is not there yet, or
    /// else beside the key as `NAME.p12`.
    ///
    /// # Errors
    /// [`AuthorityError::FileExists`]; [`AuthorityError::File`].
    pub fn write_p12(
        &self,
        issued: &Issued,
        password: &Password,
        to: Option<&Path>,
    ) -> Result<PathBuf, AuthorityError> {
        let name = &issued.record.name;
        let mut chain = issued.identity.certificates().chain.clone();
        chain.extend(self.roots_der()?.into_iter().take(1));
        let shown = format!("{name} ({})", self.trust_domain);
        let bytes = p12::file(&chain, issued.identity.key(), &shown, password)?;
        let beside = issued.dir.join(format!("{name}.p12"));
        let path = to.unwrap_or(&beside);
        store::write_new(path, &bytes)?;
        Ok(path.to_owned())
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

    /// The file that holds the revocation list in PEM, for other programs.
    pub fn crl_file(&self) -> PathBuf {
        self.store.dir().join(CRL)
    }

    /// The file that holds the certificates of all roots in PEM, for other programs.
    pub fn roots_file(&self) -> PathBuf {
        self.store.dir().join(ROOT)
    }

    /// The certificates of all roots in PEM, the one first that signs.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn roots_pem(&self) -> Result<String, AuthorityError> {
        let _locked = self.store.lock()?;
        Ok(State::load(&self.store)?.roots_pem())
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
            Kind::Element | Kind::Control | Kind::Intermediate => {
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
        let root = self.issuing(&state)?;
        let certificate = params.signed_by(public_key, &root.issuer()?)?;
        let record = Record {
            kind,
            root: root.number,
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
        state.renew_crl(&self.roots(state)?, self.now_unix_s())?;
        state.save(&self.store)?;
        self.store.write(CRL, &state.crl_pem)
    }

    fn now_unix_s(&self) -> u64 {
        unix_s(&self.clock)
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

/// A clock before 1970 reads as 1970: certificates made then hold for nobody.
pub(crate) fn unix_s(clock: &Clock) -> u64 {
    clock().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
