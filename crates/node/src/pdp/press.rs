//! Control's versions of the domain: compiled, signed, and the one that counts kept on disk.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use ringmail_dataplane::sap::SignedLease;
use ringmail_model::domain::{Domain, Keying, Listener};
use ringmail_model::pathset::{Expected, Issue, Numbering, PathSet, PublicKey, Role};
use ringmail_model::pdp::{Documents, Published};
use ringmail_model::{PathDigest, PathVersion};
use ringmail_trust::{Authority, EmbeddedCa, Locked, Store};

use super::limits::{AHEAD_MOST, FILES_REMEMBERED, PAST_FOR};
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
    /// Those before, with the time until which their paths get leases.
    past: Vec<(Arc<Pressed>, Instant)>,
    last: u64,
    /// The numbers of paths that are in use: one that changes gets another, and runs beside the one before.
    numbers: Numbering,
}

/// A version of the domain.
#[derive(Debug)]
pub(super) struct Pressed {
    pub(super) domain: Domain,
    pub(super) set: PathSet,
    documents: Documents,
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
        self.keep(&pressed)?;
        state.count(Arc::clone(&pressed));
        Ok(pressed)
    }

    fn make(
        &self,
        state: &mut State,
        domain: Domain,
        text: &str,
        above: PathVersion,
    ) -> Result<Pressed> {
        state.expire(Instant::now());
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
        self.keep(&proposed)?;
        state.proposed = None;
        state.count(proposed);
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
        state.expire(Instant::now());
        let past = state.past.iter().map(|(pressed, _)| pressed);
        let mut all = state.proposed.iter().chain(&state.committed).chain(past);
        let found = all.find_map(|pressed| {
            let id = pressed.set.element_named(element)?.id;
            let path = pressed.set.paths.iter().find(|path| path.digest == digest)?;
            let mut on_it =
                std::iter::once(path.origin).chain(path.visits().map(|hop| hop.element));
            on_it.any(|other| other == id).then_some((id, pressed.domain.limits.lease_s))
        });
        let (id, lease_s) =
            found.with_context(|| format!("`{element}` is on no path of the digest {digest}"))?;
        drop(state);
        Ok(self.authority.sign_lease(id, digest, Duration::from_secs(lease_s.into()))?)
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
    fn count(&mut self, pressed: Arc<Pressed>) {
        let drain = Duration::from_millis(pressed.domain.limits.drain_ms.into());
        if let Some(before) = self.committed.replace(pressed) {
            let until = Instant::now() + drain + RETIRE_AFTER_GATEWAY + PAST_FOR;
            self.past.push((before, until));
        }
    }

    fn drop_proposed(&mut self) {
        if let Some(dropped) = self.proposed.take() {
            self.numbers.forget(dropped.set.version);
        }
    }

    fn expire(&mut self, now: Instant) {
        for (pressed, _) in self.past.extract_if(.., |(_, until)| *until <= now) {
            self.numbers.forget(pressed.set.version);
        }
    }
}

impl Pressed {
    /// As it is read again; its time may be over.
    fn read(documents: Documents, authority: &EmbeddedCa) -> Result<Pressed> {
        let bundle = authority.trust_bundle()?;
        let set = PathSet::decode(&documents.paths.bytes)?;
        let expected = Expected {
            domain: authority.trust_domain(),
            highest_version: PathVersion(0),
            now_unix_s: set.not_before_unix_s,
        };
        let set = documents.verify(&PublicKey(bundle.path_key), &expected)?;
        let domain = ringmail_model::check::load(&documents.domain_file, "domain file")?.domain;
        Ok(Pressed { domain, set, documents })
    }

    /// As the protocol distributes it: the gateway activates it when all others have.
    ///
    /// # Errors
    /// It is longer than a message may be.
    pub(super) fn published(&self) -> Result<Published> {
        let names = |only: Option<Role>| {
            let elements = self.set.elements.iter();
            let chosen = elements.filter(move |e| only.is_none_or(|role| e.role == role));
            chosen.map(|element| element.name.clone()).collect::<Vec<_>>()
        };
        let (members, last) = (names(None), names(Some(Role::Gateway)));
        let published = Published::new(self.set.version, self.documents.clone(), members, last);
        published.context("path set and domain file are longer than a message may be")
    }
}

fn digest(text: &str) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

fn now() -> Result<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::assemble;

    /// A folder that goes with its owner.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("ringmail-press-{}-{count}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).expect("a new folder");
            Folder(path)
        }

        fn press(&self) -> Press {
            let dir = self.0.join("ca");
            let authority = match dir.exists() {
                true => EmbeddedCa::open(&dir),
                false => EmbeddedCa::init(&dir, &file().domain.domain),
            };
            let authority = Arc::new(authority.expect("an authority"));
            Press::open(authority, &self.0.join("control")).expect("a press")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn file() -> assemble::DomainFile {
        crate::demo::campus().expect("the built-in file")
    }

    /// Makes the file's version count.
    fn commit(press: &Press, text: &str) -> Arc<Pressed> {
        let pressed = press.press(text).expect("a version");
        press.commit(pressed.set.version).expect("it counts");
        pressed
    }

    #[test]
    fn what_counts_is_there_after_a_restart_and_paths_that_stay_keep_their_digests() {
        let (folder, text) = (Folder::new(), file().text);
        let first = commit(&folder.press(), &text);
        let press = folder.press();
        let again = press.committed().expect("it counts");
        assert_eq!((&again.set, &again.documents), (&first.set, &first.documents));
        assert!(press.is_current(&text) && !press.is_current("another"));
        let next = commit(&press, &format!("{text}\n# nothing new\n"));
        assert!(next.set.version > first.set.version);
        assert_eq!(next.set.paths, first.set.paths);
    }

    #[test]
    fn a_path_that_changes_gets_a_number_that_no_element_knows_even_after_a_restart() {
        let (folder, text) = (Folder::new(), file().text);
        let numbers = |pressed: &Pressed| {
            let ids = pressed.set.paths.iter().map(|path| path.id);
            ids.collect::<std::collections::BTreeSet<_>>()
        };
        let changed = |word: &str| text.replace("bytes: test", &format!("bytes: {word}"));
        assert_ne!(changed("x"), text, "the file has such a pattern");
        let press = folder.press();
        let first = numbers(&commit(&press, &text));
        let second = numbers(&commit(&press, &changed("one")));
        assert!(second.difference(&first).next().is_some());
        assert_eq!(numbers(&commit(&press, &text)), first, "back again");
        drop(press);
        // An element may still run the second one.
        let third = numbers(&commit(&folder.press(), &changed("two")));
        let new: Vec<_> = third.difference(&first).collect();
        assert!(!new.is_empty() && new.iter().all(|id| !second.contains(id)), "{new:?}");
    }

    #[test]
    fn what_was_reloaded_from_another_file_outlives_a_restart() {
        let (folder, text) = (Folder::new(), file().text);
        let press = folder.press();
        assert!(press.is_new(&text).expect("the disk"));
        commit(&press, &text);
        commit(&press, &format!("{text}\n# from another file\n"));
        drop(press);
        let press = folder.press();
        assert!(!press.is_new(&text).expect("the disk"), "it was replaced");
        assert!(press.is_new(&format!("{text}\n# edited\n")).expect("the disk"));
    }

    #[test]
    fn what_was_only_proposed_does_not_count() {
        let (folder, text) = (Folder::new(), file().text);
        let first = commit(&folder.press(), &text);
        let press = folder.press();
        let proposed = press.press(&format!("{text}\n")).expect("a version").set.version;
        press.abandon();
        assert!(press.commit(proposed).is_err());
        drop(press);
        assert_eq!(folder.press().committed().expect("it counts").set.version, first.set.version);
    }

    #[test]
    fn a_lease_is_for_those_on_the_path() {
        let (folder, text) = (Folder::new(), file().text);
        let press = folder.press();
        let set = &commit(&press, &text).set;
        for path in &set.paths {
            for element in &set.elements {
                let on_it =
                    path.origin == element.id || path.visits().any(|hop| hop.element == element.id);
                let lease = press.lease(&element.name, path.digest);
                assert_eq!(lease.is_ok(), on_it, "{} on {}", element.name, path.name);
            }
        }
        assert!(press.lease("sf1", PathDigest([0; 32])).is_err());
    }

    #[test]
    fn a_version_is_signed_anew_above_what_was_seen_but_not_in_the_far_future() {
        let (folder, text) = (Folder::new(), file().text);
        let press = folder.press();
        let first = commit(&press, &text).set.version;
        let seen = PathVersion(first.0 + 1_000_000);
        let again = press.reissue(seen).expect("a version");
        assert!(again.set.version > seen);
        assert_eq!(folder_version(&folder, press), again.set.version);
        let press = folder.press();
        assert!(press.reissue(PathVersion(u64::MAX - 1)).is_err());
    }

    fn folder_version(folder: &Folder, press: Press) -> PathVersion {
        drop(press);
        folder.press().committed().expect("it counts").set.version
    }

    #[test]
    fn another_domain_and_keying_psk_are_refused() {
        let (folder, text) = (Folder::new(), file().text);
        let press = folder.press();
        let other = text.replace("campus.example", "other.example");
        assert!(press.press(&other).is_err());
        let psk = format!("keying: psk\n{}", text.replace("keying: sap\n", ""));
        let error = press.press(&psk).expect_err("psk");
        assert!(format!("{error:#}").contains("one machine"), "{error:#}");
    }
}
