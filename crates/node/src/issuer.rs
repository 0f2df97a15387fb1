//! The versions of a domain as they are issued: compiled with numbers that stay, signed, and with the certificates that
//! the gateway's listeners show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use ringmail_gateway::tls::Site;
use ringmail_model::domain::{Certificate, Domain, Keying, Listener};
use ringmail_model::pathset::{Issue, Numbering, PathSet, SignedPathSet};
use ringmail_model::{PathDigest, PathVersion};
use ringmail_trust::{Authority, EmbeddedCa, Kind, Request};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::control::{ListenerTls, Secret, ServiceTls, ToElement};
use crate::element::psk;
use crate::identities::Identities;
use crate::limits::{LEASES_AFTER_DRAIN, RETIRE_AFTER_GATEWAY};
use crate::listeners::{described, peers, read, shows_others, wireguard_keys};
use crate::random;

/// How long a server certificate holds that the embedded authority issues for a listener.
const SERVER_LASTS: Duration = Duration::from_secs(90 * 86_400);

/// Bytes of the secret of keying `psk`, at least.
const PSK_BYTES: usize = 32;

/// How long a path set holds; whoever runs the domain signs a new one before.
const PATH_SET_LASTS_S: u64 = 30 * 86_400;

/// How far back a path set begins to hold, for clocks that differ.
const BACKDATED_S: u64 = 300;

/// Issues the versions of one domain, and remembers those that are in use.
#[derive(Debug)]
pub struct Issuer {
    pub(crate) authority: Arc<EmbeddedCa>,
    pub(crate) psk: Option<Secret>,
    state: Mutex<State>,
    identities: Mutex<Identities>,
}

#[derive(Debug)]
struct State {
    active: Arc<Issued>,
    staged: Option<Arc<Issued>>,
    /// Those that drain, with the time until which their paths get leases.
    past: Vec<(Arc<Issued>, Instant)>,
    numbers: Numbering,
    last: PathVersion,
}

/// A version of the domain as the elements are told.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What the file says.
    pub domain: Domain,
    /// The file.
    pub text: String,
    /// What it comes to.
    pub set: PathSet,
    /// The same, signed.
    pub signed: SignedPathSet,
    /// What the gateway's listeners show, and whom they believe.
    pub listeners: Vec<ListenerTls>,
    /// When the authority made certificates for each listener.
    made: BTreeMap<String, SystemTime>,
    /// The root that signed them.
    root: Option<CertificateDer<'static>>,
    /// Where relative paths of the file begin.
    folder: PathBuf,
    /// How the gateway speaks TLS with services and decision points.
    pub services: Vec<ServiceTls>,
}

impl Issuer {
    /// An issuer whose first version is this one.
    ///
    /// # Errors
    /// When the authority refuses to sign, or a certificate file cannot be read.
    pub fn new(
        authority: Arc<EmbeddedCa>,
        domain: &Domain,
        text: String,
        set: PathSet,
        folder: &Path,
    ) -> Result<Issuer> {
        ensure!(
            authority.trust_domain() == &domain.domain,
            "the authority in {} is that of {}, not of {}",
            authority.dir().display(),
            authority.trust_domain(),
            domain.domain
        );
        let mut numbers = Numbering::default();
        numbers.remember(domain, &set);
        let last = set.version;
        let psk = psk_secret(domain, folder)?;
        let first = Issued::sign(&authority, domain.clone(), text, set, folder, None)?;
        let (active, staged, past) = (Arc::new(first), None, Vec::new());
        let state = Mutex::new(State { active, staged, past, numbers, last });
        Ok(Issuer { authority, psk, state, identities: Mutex::default() })
    }

    /// Who signs.
    pub(crate) fn authority(&self) -> &EmbeddedCa {
        &self.authority
    }

    /// The authority's directory.
    pub(crate) fn authority_dir(&self) -> &Path {
        self.authority.dir()
    }

    /// The version that elements begin with.
    pub fn active(&self) -> Arc<Issued> {
        Arc::clone(&self.state().active)
    }

    /// Issues another version; its paths get leases from now on.
    ///
    /// # Errors
    /// When one is staged already, or as for [`Issuer::new`].
    pub fn stage(&self, domain: &Domain, text: String, folder: &Path) -> Result<Arc<Issued>> {
        let mut state = self.state();
        state.expire(Instant::now());
        ensure!(state.staged.is_none(), "another change of the domain is under way");
        let (was, is) = (&state.active.domain.domain, &domain.domain);
        ensure!(was == is, "this is the domain file of {is}, and {was} runs");
        let now = issue()?;
        let version = now.version.max(PathVersion(state.last.0 + 1));
        let set = PathSet::compile_after(domain, Issue { version, ..now }, &state.numbers)?;
        let before = Arc::clone(&state.active);
        let issued =
            Issued::sign(&self.authority, domain.clone(), text, set, folder, Some(&before))?;
        let issued = Arc::new(issued);
        state.numbers.remember(domain, &issued.set);
        state.last = version;
        state.staged = Some(Arc::clone(&issued));
        Ok(issued)
    }

    /// What is staged is active from now on; what was active gets leases as long as it drains.
    pub fn activate(&self) {
        let mut state = self.state();
        let Some(staged) = state.staged.take() else { return };
        let drain = Duration::from_millis(staged.domain.limits.drain_ms.into());
        let until = Instant::now() + drain + RETIRE_AFTER_GATEWAY + LEASES_AFTER_DRAIN;
        let before = std::mem::replace(&mut state.active, staged);
        state.past.push((before, until));
    }

    /// Forgets what is staged.
    pub fn abandon(&self) {
        let mut state = self.state();
        if let Some(staged) = state.staged.take() {
            state.numbers.forget(staged.set.version);
        }
    }

    /// The version that an element begins with that has this name: the active one, or else one that is staged or drains.
    pub(crate) fn with_element(&self, name: &str) -> Option<Arc<Issued>> {
        let state = self.state();
        let past = state.past.iter().rev().map(|(issued, _)| issued);
        let mut all = std::iter::once(&state.active).chain(&state.staged).chain(past);
        all.find(|issued| issued.set.element_named(name).is_some()).cloned()
    }

    /// What listeners show from now on, where that is not what they showed: certificates of the authority that run out are
    /// made anew, and files are read again.
    ///
    /// # Errors
    /// A file cannot be used, or the authority refuses; then nothing changed.
    pub fn renew_listeners(&self, now: SystemTime) -> Result<Vec<ListenerTls>> {
        let active = self.active();
        let (mut listeners, mut made, mut others) =
            (active.listeners.clone(), active.made.clone(), Vec::new());
        let root = self.authority.trust_bundle()?.roots.first().cloned();
        if root != active.root {
            // What another root signed goes with it.
            made.clear();
        }
        for (listener, told) in active.domain.gateway.listeners.iter().zip(&mut listeners) {
            let before = made.get(told.name.as_str()).copied().filter(|made| !runs_out(*made, now));
            let known = before.is_some().then(|| told.clone());
            let is = active.describe(&self.authority, listener, known.as_ref())?;
            if before.is_none() {
                made.insert(told.name.clone(), now);
            }
            if shows_others(told, &is) {
                *told = is.clone();
                others.push(is);
            }
        }
        let mut state = self.state();
        // Another version may have become active meanwhile; it is looked at next time.
        if !others.is_empty() && state.active.set.version == active.set.version {
            state.active = Arc::new(Issued { listeners, made, root, ..(*active).clone() });
            return Ok(others);
        }
        Ok(Vec::new())
    }

    /// Who the elements are from now on and whom they believe, where that is not what they were told last.
    ///
    /// # Errors
    /// The authority refuses; then nothing changed.
    pub fn renew_identities(&self, now: SystemTime) -> Result<Vec<(String, ToElement)>> {
        let mut identities = self.identities();
        identities.retain(|name| self.with_element(name).is_some());
        identities.renew(&self.authority, now)
    }

    pub(crate) fn identities(&self) -> MutexGuard<'_, Identities> {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A version in use that has this path.
    pub(crate) fn with_path(&self, digest: PathDigest) -> Option<Arc<Issued>> {
        let state = self.state();
        let past = state.past.iter().map(|(issued, _)| issued);
        let mut all = std::iter::once(&state.active).chain(&state.staged).chain(past);
        all.find(|issued| issued.set.paths.iter().any(|path| path.digest == digest)).cloned()
    }

    /// What this lock guards is whole after every statement.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expire(&mut self, now: Instant) {
        for (issued, _) in self.past.extract_if(.., |(_, until)| *until <= now) {
            self.numbers.forget(issued.set.version);
        }
    }
}

impl Issued {
    /// Where relative paths of the file begin.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// `before` lends its certificates to listeners that are the same.
    fn sign(
        authority: &EmbeddedCa,
        domain: Domain,
        text: String,
        set: PathSet,
        folder: &Path,
        before: Option<&Issued>,
    ) -> Result<Issued> {
        let signed = authority.sign_path_set(&set)?;
        let services = peers(&domain, folder)?;
        let (listeners, made, folder) = (Vec::new(), BTreeMap::new(), folder.to_owned());
        let root = match before {
            Some(before) => before.root.clone(),
            None => authority.trust_bundle()?.roots.first().cloned(),
        };
        let mut issued =
            Issued { domain, text, set, signed, listeners, made, root, folder, services };
        for listener in issued.domain.gateway.listeners.clone() {
            let name = listener.name.as_str();
            let known = before.filter(|before| before.domain.gateway.listeners.contains(&listener));
            let known = known.and_then(|before| {
                let told = before.listeners.iter().find(|told| told.name == name)?;
                Some((told, *before.made.get(name)?))
            });
            let made = known.map_or_else(SystemTime::now, |(_, made)| made);
            let mut told = match known {
                Some((told, _)) => told.clone(),
                None => issued.describe(authority, &listener, None)?,
            };
            // They are of clients, too, who may be others.
            told.wireguard = wireguard_keys(&issued.domain, &listener, &issued.folder)?;
            issued.made.insert(name.to_owned(), made);
            issued.listeners.push(told);
        }
        Ok(issued)
    }

    /// What the gateway is told of a listener; the authority's certificates are those that are `known`, or new.
    fn describe(
        &self,
        authority: &EmbeddedCa,
        listener: &Listener,
        known: Option<&ListenerTls>,
    ) -> Result<ListenerTls> {
        let made = |index: usize, wanted: &Certificate| match known {
            Some(known) => {
                let shown =
                    known.certificates.get(index).context("it shows less than it should")?;
                let key = PrivateKeyDer::try_from(shown.key.danger_bytes().to_vec());
                let chain = shown.chain.iter().map(|der| der.0.clone().into()).collect();
                let key = key.map_err(anyhow::Error::msg)?;
                Ok(Site { names: shown.server_names.clone(), chain, key })
            }
            None => issued(authority, listener, index, wanted),
        };
        let (bundle, roots, crl) =
            (authority.trust_bundle()?, authority.roots_file(), authority.crl_file());
        let files = (&*roots, &*crl);
        described(&self.domain.gateway, listener, &bundle, &self.folder, files, &made)
            .with_context(|| format!("listener `{}`", listener.name))
    }
}

/// Whether certificates that were made then are to be renewed: a third of their time is left.
fn runs_out(made: SystemTime, now: SystemTime) -> bool {
    now.duration_since(made).is_ok_and(|age| age >= SERVER_LASTS * 2 / 3)
}

/// The version of a path set is the time of its signing, so that it grows over restarts.
pub(crate) fn issue() -> Result<Issue> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let millis = u64::try_from(now.as_millis()).context("the clock is too far ahead")?;
    Ok(Issue {
        version: PathVersion(millis),
        not_before_unix_s: now.as_secs().saturating_sub(BACKDATED_S),
        not_after_unix_s: now.as_secs() + PATH_SET_LASTS_S,
    })
}

/// The secret of keying `psk` for this run: made for it, or from a file and mixed with what is drawn for it.
fn psk_secret(domain: &Domain, folder: &Path) -> Result<Option<Secret>> {
    if domain.keying != Keying::Psk {
        return Ok(None);
    }
    let drawn = random::bytes::<{ psk::DRAWN_BYTES }>()?;
    let settings = domain.psk.clone().unwrap_or_default();
    let Some(file) = &settings.keys_file else { return Ok(Some(Secret::new(drawn.to_vec()))) };
    let secret = Zeroizing::new(read(&folder.join(file))?);
    ensure!(secret.len() >= PSK_BYTES, "the file of `psk` holds fewer than {PSK_BYTES} bytes");
    let used = match settings.danger_same_keys_every_start {
        true => secret,
        false => psk::of_this_start(&secret, &drawn)?,
    };
    Ok(Some(Secret::new(used.to_vec())))
}

/// A certificate of the embedded authority, with a key that lasts as long as this run.
fn issued(
    authority: &EmbeddedCa,
    listener: &Listener,
    index: usize,
    wanted: &Certificate,
) -> Result<Site> {
    let mut names = BTreeSet::new();
    for name in &wanted.server_names {
        names.insert(name.to_string());
    }
    let request = Request {
        kind: Kind::Server,
        name: format!("{}-{index}", listener.name).parse()?,
        names: names
            .iter()
            .map(|n| n.parse().map_err(anyhow::Error::msg))
            .collect::<Result<_>>()?,
        lasts: SERVER_LASTS,
        replace: true,
    };
    let (chain, key) = authority.issue(&request)?.identity.for_tls();
    Ok(Site { names: names.into_iter().collect(), chain, key })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn secret(settings: &str) -> Vec<u8> {
        let folder = std::env::temp_dir().join(format!("ringmail-psk-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("keys"), [7; 40]).expect("a file");
        let text = include_str!("../../../examples/psk-transport.yaml");
        let text = text.replace("\npsk:\n", &format!("\npsk:\n{settings}"));
        let domain = ringmail_model::check::load(&text, "psk.yaml").expect("a good domain").domain;
        let secret = psk_secret(&domain, &folder).expect("a secret").expect("keying psk");
        secret.danger_bytes().to_vec()
    }

    #[test]
    fn what_listeners_show_is_renewed_when_two_thirds_of_its_time_are_over() {
        let folder = std::env::temp_dir().join(format!("ringmail-renew-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = crate::demo::campus().expect("the built-in file");
        let authority = EmbeddedCa::init(&folder.join("ca"), &file.domain.domain);
        let authority = Arc::new(authority.expect("an authority"));
        let set = PathSet::compile(&file.domain, issue().expect("a time")).expect("a path set");
        let issuer = Issuer::new(authority, &file.domain, file.text, set, &folder);
        let issuer = issuer.expect("an issuer");
        let (now, first) = (SystemTime::now(), issuer.active());
        let renewed = |at| issuer.renew_listeners(at).expect("it is looked at");
        let day = Duration::from_secs(86_400);
        assert!(renewed(now + 59 * day).is_empty());
        let others = renewed(now + 61 * day);
        assert_eq!(others.len(), file.domain.gateway.listeners.len());
        assert!(others.iter().zip(&first.listeners).all(|(is, was)| shows_others(was, is)));
        // Who starts again is told the same, and so is another version.
        let active = issuer.active();
        assert!(active.listeners.iter().zip(&others).all(|(one, other)| !shows_others(one, other)));
        assert!(renewed(now + 62 * day).is_empty(), "until their time comes");
        fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn two_starts_never_share_the_secret_unless_a_danger_is_asked_for() {
        for settings in ["", "  keys_file: keys\n"] {
            assert_ne!(secret(settings), secret(settings), "{settings:?}");
        }
        let danger = "  keys_file: keys\n  danger_same_keys_every_start: true\n";
        assert_eq!(secret(danger), [7; 40]);
    }
}
