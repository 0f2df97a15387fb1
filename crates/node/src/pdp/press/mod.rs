//! Control's versions of the domain: compiled, signed, and the one that counts kept on disk.

mod past;
mod pressed;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use ringmail_dataplane::sap::SignedLease;
use ringmail_model::domain::{Domain, Keying, Listener};
use ringmail_model::pathset::{Issue, Numbering, PathSet, Role};
use ringmail_model::pdp::Documents;
use ringmail_model::{PathDigest, PathVersion};
use ringmail_trust::{Authority, EmbeddedCa, Locked, Store};

use self::past::Past;
pub(super) use self::pressed::Pressed;
use super::limits::{AHEAD_MOST, FILES_REMEMBERED, PAST_FOR, PAST_PATHS};
use super::store::DocumentsFile;
use crate::control::Blob;
use crate::issuer;
use crate::limits::RETIRE_AFTER_GATEWAY;

/// The file of the version that counts, in control's state directory.
const PUBLISHED: &str = "published.json";

/// The digests of the domain files that counted before, the last one at the end: none of them comes back by a restart.
const COUNTED: &str = "counted.json";

/// The file of the number that was given to a path last, so that one that some element still knows is not given again.
const NUMBERS: &str = "numbers.json";

/// The file of the paths that were taken out and get leases while they drain.
const DRAINING: &str = "draining.json";

/// Makes and keeps the versions of one domain.
#[derive(Debug)]
pub struct Press {
    pub(super) authority: Arc<EmbeddedCa>,
    store: Store,
    _locked: Locked,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    committed: Option<Arc<Pressed>>,
    proposed: Option<Arc<Pressed>>,
    /// What only versions before had, for as long as their paths get leases.
    past: Vec<Past>,
    last: u64,
    /// The numbers of paths that are in use: one that changes gets another, and runs beside the one before.
    numbers: Numbering,
}

impl Press {
    /// The versions that are kept in this directory; it is made if need be.
    ///
    /// # Errors
    /// The directory is another control's, damaged, or another authority's.
    pub fn open(authority: Arc<EmbeddedCa>, dir: &Path) -> Result<Press> {
        let store = match dir.exists() {
            true => Store::open(dir),
            false => Store::create(dir)?,
        };
        store.check_private("")?;
        let locked = store.lock().context("the state directory is in use")?;
        let mut state = State::default();
        if store.has(PUBLISHED) {
            let damaged = || format!("{} is damaged", store.path(PUBLISHED).display());
            let file: DocumentsFile =
                serde_json::from_str(&store.read(PUBLISHED)?).with_context(damaged)?;
            let documents = Documents::from(file);
            let pressed = Pressed::read(documents, &authority).with_context(damaged)?;
            state.last = pressed.set.version.0;
            state.numbers.remember(&pressed.domain, &pressed.set);
            state.committed = Some(Arc::new(pressed));
        }
        if store.has(DRAINING) {
            state.past = serde_json::from_str(&store.read(DRAINING)?)
                .with_context(|| format!("{} is damaged", store.path(DRAINING).display()))?;
        }
        if store.has(NUMBERS) {
            let last = serde_json::from_str(&store.read(NUMBERS)?)
                .with_context(|| format!("{} is damaged", store.path(NUMBERS).display()))?;
            state.numbers.resume_after(last);
        }
        Ok(Press { authority, store, _locked: locked, state: Mutex::new(state) })
    }

    /// Control's state directory.
    pub(super) fn dir(&self) -> &Path {
        self.store.dir()
    }

    /// The version that counts.
    pub(super) fn committed(&self) -> Option<Arc<Pressed>> {
        self.state().committed.clone()
    }

    /// Whether this file is what counts already, and does for a while.
    pub fn is_current(&self, text: &str) -> bool {
        let state = self.state();
        let committed = state.committed.as_ref();
        committed.is_some_and(|pressed| pressed.documents.domain_file == text)
    }

    /// Whether the file that control is started with is to be distributed: it does not count, and never did. One that did
    /// may be what an operator has replaced.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn is_new(&self, text: &str) -> Result<bool> {
        let before = self.counted()?.contains(&Blob(digest(text)));
        if before && !self.is_current(text) {
            tracing::warn!(
                "another file took the place of this one, and stays; SIGHUP distributes this one again"
            );
        }
        Ok(!before && !self.is_current(text))
    }

    fn counted(&self) -> Result<Vec<Blob>> {
        match self.store.has(COUNTED) {
            true => Ok(serde_json::from_str(&self.store.read(COUNTED)?)?),
            false => Ok(Vec::new()),
        }
    }

    /// Makes a version of this file, to be proposed.
    ///
    /// # Errors
    /// What is wrong with the file, or the authority's error.
    pub(super) fn press(&self, text: &str) -> Result<Arc<Pressed>> {
        let domain = ringmail_model::check::load(text, "domain file")?.domain;
        let (ours, named) = (self.authority.trust_domain(), &domain.domain);
        ensure!(
            ours == named,
            "the authority in {} is that of {ours}, not of {named}",
            self.authority.dir().display()
        );
        ensure!(
            domain.keying == Keying::Sap,
            "`keying: psk` is for one machine: no secret of all segments travels between machines"
        );
        let mut state = self.state();
        state.drop_proposed();
        let pressed = Arc::new(self.make(&mut state, domain, text, PathVersion(0))?);
        state.proposed = Some(Arc::clone(&pressed));
        Ok(pressed)
    }

    /// Makes what counts anew under a version above `seen`. It counts at once.
    ///
    /// # Errors
    /// `seen` is too far ahead to be true, or as for [`Press::press`].
    pub(super) fn reissue(&self, seen: PathVersion) -> Result<Arc<Pressed>> {
        let most = now()? + AHEAD_MOST;
        let far = u128::from(seen.0) > most.as_millis();
        ensure!(!far, "version {seen} is more than a day ahead of this machine's clock");
        let mut state = self.state();
        let before = state.committed.clone().context("no version counts yet")?;
        let text = &before.documents.domain_file;
        let pressed = Arc::new(self.make(&mut state, before.domain.clone(), text, seen)?);
        self.count(&mut state, &pressed)?;
        Ok(pressed)
    }

    fn make(
        &self,
        state: &mut State,
        domain: Domain,
        text: &str,
        above: PathVersion,
    ) -> Result<Pressed> {
        state.expire();
        let issue = issuer::issue()?;
        let version = PathVersion(issue.version.0.max(state.last + 1).max(above.0 + 1));
        let set = PathSet::compile_after(&domain, Issue { version, ..issue }, &state.numbers)?;
        let message = Documents::domain_message(version, text);
        let documents = Documents {
            paths: self.authority.sign_path_set(&set)?,
            domain_file: text.to_owned(),
            domain_signature: self.authority.sign_with_path_key(&message)?.to_vec(),
        };
        state.last = version.0;
        state.numbers.remember(&domain, &set);
        // Before any element hears of it.
        self.store.write(NUMBERS, &serde_json::to_string(&state.numbers.last())?)?;
        Ok(Pressed { domain, set, documents })
    }

    /// The version that was proposed counts from now on; on disk when this returns.
    ///
    /// # Errors
    /// It is not the one that was proposed, or the disk's.
    pub(super) fn commit(&self, version: PathVersion) -> Result<()> {
        let mut state = self.state();
        let proposed = state.proposed.clone().filter(|pressed| pressed.set.version == version);
        let proposed = proposed.context("it is not what was proposed")?;
        let mut counted = self.counted()?;
        counted.push(Blob(digest(&proposed.documents.domain_file)));
        counted.drain(..counted.len().saturating_sub(FILES_REMEMBERED));
        self.store.write(COUNTED, &serde_json::to_string(&counted)?)?;
        state.proposed = None;
        self.count(&mut state, &proposed)
    }

    /// What counts from now on, on disk first; what it does not have any more drains.
    fn count(&self, state: &mut State, pressed: &Arc<Pressed>) -> Result<()> {
        state.expire();
        let mut past = state.past.clone();
        let drain = Duration::from_millis(pressed.domain.limits.drain_ms.into());
        let until = now()? + drain + RETIRE_AFTER_GATEWAY + PAST_FOR;
        let before = state.committed.as_ref();
        past.extend(before.and_then(|before| Past::of(before, pressed, until.as_secs())));
        while past.iter().map(Past::paths).sum::<usize>() > PAST_PATHS {
            past.remove(0);
        }
        self.store.write(DRAINING, &serde_json::to_string(&past)?)?;
        self.keep(pressed)?;
        if let Some(before) = state.committed.replace(Arc::clone(pressed))
            && !past.iter().any(|past| past.version() == before.set.version)
        {
            state.numbers.forget(before.set.version);
        }
        state.past = past;
        Ok(())
    }

    /// Forgets what was proposed.
    pub(super) fn abandon(&self) {
        self.state().drop_proposed();
    }

    fn keep(&self, pressed: &Pressed) -> Result<()> {
        let text = serde_json::to_string(&DocumentsFile::from(&pressed.documents))?;
        Ok(self.store.write(PUBLISHED, &text)?)
    }

    /// Whether what counts runs out within this time.
    pub(super) fn runs_out_within(&self, time: Duration) -> bool {
        let Ok(now) = now() else { return false };
        self.committed()
            .is_some_and(|pressed| pressed.set.not_after_unix_s < (now + time).as_secs())
    }

    /// Every version whose elements may take part, the proposed one first.
    pub(super) fn live(&self) -> Vec<Arc<Pressed>> {
        let state = self.state();
        state.proposed.iter().chain(&state.committed).cloned().collect()
    }

    /// Leave for an element to stand in a path, if some version that is in use has both.
    ///
    /// # Errors
    /// No version in use has them, or the authority's.
    pub(super) fn lease(&self, element: &str, digest: PathDigest) -> Result<SignedLease> {
        let mut state = self.state();
        state.expire();
        let mut all = state.proposed.iter().chain(&state.committed);
        let found = all.find_map(|pressed| {
            let id = pressed.set.element_named(element)?.id;
            let path = pressed.set.paths.iter().find(|path| path.digest == digest)?;
            let is_on_it = past::on_it(path).any(|other| other == id);
            is_on_it.then_some((id, pressed.domain.limits.lease_s))
        });
        let drains = || state.past.iter().find_map(|past| past.lease(element, digest));
        let (id, lease_s) = found
            .or_else(drains)
            .with_context(|| format!("`{element}` is on no path of the digest {digest}"))?;
        drop(state);
        Ok(self.authority.sign_lease(id, digest, Duration::from_secs(lease_s.into()))?)
    }

    /// The name of the element of this SPIFFE id: of a version in use, or of paths that drain.
    pub(super) fn element(&self, spiffe_id: &str) -> Option<String> {
        let live = self.live();
        let mut elements = live.iter().flat_map(|pressed| &pressed.set.elements);
        if let Some(element) = elements.find(|element| element.spiffe_id == spiffe_id) {
            return Some(element.name.clone());
        }
        let mut state = self.state();
        state.expire();
        state.past.iter().find_map(|past| past.element(spiffe_id)).map(str::to_owned)
    }

    /// The ids of all elements that may have a session: of versions in use, and of paths that drain.
    pub(super) fn spiffe_ids(&self) -> BTreeSet<String> {
        let live = self.live();
        let elements = live.iter().flat_map(|pressed| &pressed.set.elements);
        let mut ids: BTreeSet<String> = elements.map(|element| element.spiffe_id.clone()).collect();
        let mut state = self.state();
        state.expire();
        ids.extend(state.past.iter().flat_map(Past::spiffe_ids).map(str::to_owned));
        ids
    }

    /// The listener of this name, if the element is the gateway of a version in use.
    pub(super) fn listener(&self, element: &str, listener: &str) -> Option<Listener> {
        self.live().into_iter().find_map(|pressed| {
            let role = pressed.set.element_named(element)?.role;
            let listeners = &pressed.domain.gateway.listeners;
            let found = listeners.iter().find(|found| found.name.as_str() == listener)?;
            (role == Role::Gateway).then(|| found.clone())
        })
    }

    /// What this lock guards is whole after every statement.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_proposed(&mut self) {
        if let Some(dropped) = self.proposed.take() {
            self.numbers.forget(dropped.set.version);
        }
    }

    fn expire(&mut self) {
        // A clock that is wrong ends nothing.
        let now = now().map_or(0, |now| now.as_secs());
        for past in self.past.extract_if(.., |past| past.is_over(now)) {
            self.numbers.forget(past.version());
        }
    }
}

fn digest(text: &str) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

fn now() -> Result<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")
}
