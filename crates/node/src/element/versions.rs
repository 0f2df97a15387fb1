//! The versions of the domain at one element: the one that is active, one that is staged beside it, and those that drain.
//!
//! ```text
//!             stage                   activate                 drain_ms later
//!  (nothing) ───────► staged ───────────────────► active ─ ─ ─ ► draining ───────► (nothing)
//!                       └── abandon ► (nothing)     the next one is activated
//! ```
//!
//! A path's number stands for one definition of it (`ringmail_model::pathset::Numbering`), so a version that is staged only adds
//! to what there is: its new paths get tables and keys beside the old ones, and nothing of the traffic changes. What is
//! switched by activation is what begins afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ringmail_dataplane::Slot;
use ringmail_model::domain::{Domain, Function, Keying};
use ringmail_model::pathset::{
    Element, Expected, Path, PathSet, PublicKey, Role, SignedPathSet, VerifyError,
};
use ringmail_model::{ElementId, PathId, PathVersion};

use crate::attach::network;
use crate::control::{Fault, Nack};
use crate::limits::{CUT_TRAVELS, RETIRE_AFTER_GATEWAY};

/// A domain at one version, as one element sees it.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) domain: Domain,
    pub(crate) set: PathSet,
    pub(crate) element: Element,
    /// Which of the hop's functions serves the paths that are new with this version.
    pub(crate) function: Slot,
}

impl Version {
    /// The names of the domain's elements.
    pub(crate) fn names(&self) -> BTreeMap<ElementId, String> {
        let all = self.set.elements.iter();
        all.map(|element| (element.id, element.name.to_string())).collect()
    }
}

/// All versions that an element knows.
#[derive(Debug)]
pub(crate) struct Versions {
    /// No version at or below this one is taken any more.
    highest: PathVersion,
    active: Arc<Version>,
    staged: Option<Arc<Version>>,
    draining: Vec<Draining>,
}

#[derive(Debug)]
struct Draining {
    version: Arc<Version>,
    /// Until when its connections may go on.
    until: Instant,
    /// They were ended; what is left is on its last way.
    cut: bool,
    /// Until when there is a way for it.
    gone: Instant,
}

/// What goes with versions that nobody needs any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) paths: Vec<PathId>,
    pub(crate) functions: Vec<Slot>,
}

/// What an element can run beside what it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ability {
    /// Its links are in memory: they lead where they led at the start.
    pub(crate) links_are_fixed: bool,
}

impl Version {
    /// The version that an element begins with, or takes.
    pub(crate) fn new(domain: Domain, set: PathSet, name: &str) -> Result<Version> {
        let element = set.element_named(name).cloned();
        let element = element.with_context(|| format!("no element is named `{name}`"))?;
        let domain = domain.seen_by(name);
        Ok(Version { domain, set, element, function: Slot(0) })
    }

    /// The description of the function that a hop serves.
    pub(crate) fn served(&self) -> Option<&Function> {
        self.domain.functions.iter().find(|function| *function.name == self.element.name)
    }

    /// The paths that the element stands on.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.set.paths.iter().filter(|path| path.origin == self.element.id || self.visits(path))
    }

    fn visits(&self, path: &Path) -> bool {
        path.visits().any(|hop| hop.element == self.element.id)
    }

    /// The elements before and behind this one on some path.
    fn adjacent(&self) -> BTreeSet<ElementId> {
        let mut found = BTreeSet::new();
        for path in &self.set.paths {
            let all: Vec<_> =
                (0..=path.hops.len() + 1).filter_map(|at| path.element_at(at)).collect();
            for pair in all.windows(2) {
                if let [one, other] = *pair
                    && (one == self.element.id || other == self.element.id)
                {
                    found.extend([one, other]);
                }
            }
        }
        found
    }
}

impl Versions {
    /// An element that begins with this version.
    pub(crate) fn new(first: Version) -> Versions {
        let highest = first.set.version;
        Versions { highest, active: Arc::new(first), staged: None, draining: Vec::new() }
    }

    pub(crate) fn active(&self) -> &Arc<Version> {
        &self.active
    }

    pub(crate) fn staged(&self) -> Option<&Arc<Version>> {
        self.staged.as_ref()
    }

    /// Every version with traffic or keys, the active one first, then the one that is staged.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<Version>> + Clone {
        let draining = self.draining.iter().map(|draining| &draining.version);
        std::iter::once(&self.active).chain(&self.staged).chain(draining)
    }

    /// The path of this number, in whichever version it is.
    pub(crate) fn path(&self, id: PathId) -> Option<(&Path, &PathSet)> {
        self.live().find_map(|version| Some((version.set.path(id)?, &version.set)))
    }

    /// A path that runs already and has the name and direction of this one of `set`.
    pub(crate) fn like(&self, set: &PathSet, id: PathId) -> Option<PathId> {
        let path = set.path(id)?;
        let others = self.live().flat_map(|version| &version.set.paths);
        let same = |other: &&Path| {
            other.id != id && other.name == path.name && other.direction == path.direction
        };
        others.into_iter().find(same).map(|other| other.id)
    }

    /// How a path stands, for `status`.
    pub(crate) fn state(&self, id: PathId) -> &'static str {
        if self.active.set.path(id).is_some() {
            return "ready";
        }
        match self.staged.as_ref().is_some_and(|staged| staged.set.path(id).is_some()) {
            true => "staged",
            false => "draining",
        }
    }

    /// Whether a version can run here, beside what runs; nothing is changed but that no lower one is taken afterwards.
    ///
    /// # Errors
    /// [`Nack`]: why it cannot, whose fault that is, and what to do.
    pub(crate) fn judge(
        &mut self,
        text: &str,
        signed: &SignedPathSet,
        key: &PublicKey,
        ability: Ability,
    ) -> Result<Version, Nack> {
        if let Some(staged) = &self.staged {
            let reason = format!("version {} is being staged", staged.set.version);
            return Err(Nack::new(Fault::Signer, reason).hint("activate or abandon it first"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // One that was abandoned may come again; who signs says the same of a version each time.
        let running = self.active.set.version;
        let expected = Expected {
            domain: &self.active.domain.domain,
            highest_version: self.highest.max(PathVersion(running.0.saturating_add(1))),
            now_unix_s: now.as_secs(),
        };
        let set = signed.verify(key, &expected).map_err(|error| {
            let error = match error {
                VerifyError::Older { offered, .. } => {
                    VerifyError::Older { offered, seen: self.highest }
                }
                other => other,
            };
            Nack::new(Fault::Signer, error.to_string())
        })?;
        self.highest = set.version;
        let loaded = ringmail_model::check::load(text, "domain file");
        let domain = loaded.map_err(|wrong| Nack::new(Fault::Domain, wrong.to_string()))?.domain;
        let name = &self.active.element.name;
        let version = Version::new(domain, set, name).map_err(|_| {
            Nack::new(Fault::Domain, format!("element `{name}` is no part of this version"))
        })?;
        self.in_place(&version, ability)?;
        Ok(Version { function: self.slot(&version), ..version })
    }

    /// Whether everything that differs can change while the element runs.
    fn in_place(&self, next: &Version, ability: Ability) -> Result<(), Nack> {
        let (was, is) = (&self.active, next);
        let fixed = |what: &str, differs: bool| match differs {
            false => Ok(()),
            true => Err(Nack::new(Fault::Domain, format!("{what} cannot change while it runs"))
                .hint("`ringmail down`, then `ringmail up` with the new file")),
        };
        fixed("`profile`", was.set.profile != is.set.profile)?;
        fixed("`integrity`", was.set.integrity != is.set.integrity)?;
        fixed("`suite`", was.set.suite != is.set.suite)?;
        fixed("`keying`", was.set.keying != is.set.keying)?;
        fixed("the mode of `psk`", was.set.esp_mode != is.set.esp_mode)?;
        fixed("`links.mtu`", was.set.link_mtu != is.set.link_mtu)?;
        fixed("`links.kind`", was.set.link != is.set.link)?;
        fixed("`links.driver`", was.domain.links.driver != is.domain.links.driver)?;
        fixed("`links.network`", was.domain.links.network != is.domain.links.network)?;
        let (before, after) = (&was.element, &is.element);
        let own = |what: &str| format!("{what} of element `{}`", before.name);
        fixed(&own("the role"), before.role != after.role)?;
        fixed(&own("the link address"), before.link != after.link)?;
        fixed(&own("the MAC address"), before.mac != after.mac)?;
        fixed(&own("the control address"), before.control != after.control)?;
        fixed(&own("the label"), before.label != after.label)?;
        fixed(&own("the number of workers"), before.workers != after.workers)?;
        let intrusive = |version: &Version| version.served().map(|function| function.intrusive);
        if intrusive(was) != intrusive(is) {
            let reason =
                format!("function `{}` cannot change `intrusive` while it runs", before.name);
            return Err(Nack::new(Fault::Domain, reason)
                .hint("add a function of another name beside it, and move the paths there"));
        }
        let attached = |version: &'_ Arc<Version>| {
            network::settings(&version.domain, &version.element).cloned()
        };
        if attached(was) != network::settings(&is.domain, &is.element).cloned() {
            let reason = format!("attached function `{}` cannot change while it runs", before.name);
            return Err(Nack::new(Fault::Domain, reason)
                .hint("add a function of another name beside it, and move the paths there"));
        }
        fixed("`limits.flows`", was.domain.limits.flows != is.domain.limits.flows)?;
        if was.set.keying == Keying::Psk {
            let window = |version: &Version| version.domain.limits.replay_window_packets;
            fixed("with `keying: psk`, `limits.replay_window_packets`", window(was) != window(is))?;
        }
        if before.role != Role::Hop {
            fixed("`gateway.inner`", was.domain.gateway.inner != is.domain.gateway.inner)?;
        }
        if let Some(path) = self.other_path(next) {
            let reason =
                format!("the number of path `{}` is still that of another one here", path.name);
            return Err(Nack::new(Fault::Element, reason)
                .hint("try again when connections on paths that changed have ended"));
        }
        if let Some(path) = self.served_otherwise(next) {
            let reason = format!(
                "path `{}` stays as it is, although function `{}` does something else in this version: control is of an \
                 older build",
                path.name, before.name
            );
            return Err(Nack::new(Fault::Element, reason).hint("upgrade control first"));
        }
        let ids = |version: &Version| version.paths().map(|path| path.id).collect::<Vec<_>>();
        if was.set.keying == Keying::Psk && ids(was) != ids(is) {
            return fixed("with `keying: psk`, paths", true);
        }
        if ability.links_are_fixed && !is.adjacent().is_subset(&was.adjacent()) {
            let reason = "in layout `single` no element gets a new neighbour while it runs";
            return Err(Nack::new(Fault::Element, reason.to_owned())
                .hint("`ringmail down`, then `ringmail up --layout processes`"));
        }
        Ok(())
    }

    /// A path of `next` whose number stands for another one here, as it may after a version was missed.
    fn other_path<'a>(&self, next: &'a Version) -> Option<&'a Path> {
        let other =
            |path: &&Path| self.path(path.id).is_some_and(|(known, _)| known.digest != path.digest);
        next.paths().find(other)
    }

    /// A path of `next` that runs here already over a function that does something else. Control gives a path another number
    /// with another function; one of an older build did not, and what runs would go on as it was.
    fn served_otherwise<'a>(&self, next: &'a Version) -> Option<&'a Path> {
        let wanted = next.served().map(Function::lasting);
        let otherwise = |path: &&Path| {
            let known = self.live().find(|version| version.set.path(path.id).is_some());
            known.is_some_and(|version| version.served().map(Function::lasting) != wanted)
        };
        next.paths().find(otherwise)
    }

    /// The slot of a function that does what this version wants, or else one that is free.
    fn slot(&self, next: &Version) -> Slot {
        let settings = |version: &Version| version.served().map(Function::lasting);
        let wanted = settings(next);
        if let Some(same) = self.live().find(|version| settings(version) == wanted) {
            return same.function;
        }
        let taken: BTreeSet<Slot> = self.live().map(|version| version.function).collect();
        (0..=u16::MAX).map(Slot).find(|slot| !taken.contains(slot)).unwrap_or_default()
    }

    /// Whether the hop has no function in the slot of this version yet.
    pub(crate) fn needs_function(&self, next: &Version) -> bool {
        next.element.role == Role::Hop
            && !self.live().any(|version| version.function == next.function)
    }

    /// The paths of `next` that the element stands on and has no table of.
    pub(crate) fn new_paths(&self, next: &Version) -> BTreeSet<PathId> {
        let known = |id| self.live().any(|version| version.set.path(id).is_some());
        next.paths().map(|path| path.id).filter(|id| !known(*id)).collect()
    }

    /// Whether the function that serves `next` is there with other settings, which it takes in place.
    pub(crate) fn retunes(&self, next: &Version) -> bool {
        let same = self.active.function == next.function && self.active.served() == next.served();
        next.element.role == Role::Hop && !same && !self.needs_function(next)
    }

    pub(crate) fn stage(&mut self, version: Version) -> &Arc<Version> {
        self.staged.insert(Arc::new(version))
    }

    /// What is staged becomes active; what was active drains.
    pub(crate) fn activate(&mut self, version: PathVersion, now: Instant) -> Result<(), Nack> {
        if self.staged.as_ref().is_none_or(|staged| staged.set.version != version) {
            let reason = format!("version {version} is not staged here");
            return Err(Nack::new(Fault::Signer, reason));
        }
        if let Some(staged) = self.staged.take() {
            let drain = Duration::from_millis(staged.domain.limits.drain_ms.into());
            // What the gateway still lets in has to get through behind it.
            let behind = match staged.element.role {
                Role::Gateway => CUT_TRAVELS,
                Role::Hop | Role::Egress => RETIRE_AFTER_GATEWAY,
            };
            let version = std::mem::replace(&mut self.active, staged);
            let until = now + drain;
            self.draining.push(Draining { version, until, cut: false, gone: until + behind });
        }
        Ok(())
    }

    /// Forgets what is staged, if it is this version.
    pub(crate) fn abandon(&mut self, version: PathVersion) -> Retired {
        match self.staged.take_if(|staged| staged.set.version == version) {
            Some(staged) => self.unneeded(&[staged]),
            None => Retired::default(),
        }
    }

    /// The paths whose connections have had their time to end by themselves.
    pub(crate) fn cut(&mut self, now: Instant) -> Vec<PathId> {
        let due = |draining: &&mut Draining| draining.until <= now && !draining.cut;
        let mut over = Vec::new();
        for draining in self.draining.iter_mut().filter(due) {
            draining.cut = true;
            over.push(Arc::clone(&draining.version));
        }
        let staying = self.draining.iter().filter(|draining| !draining.cut);
        let staying: Vec<_> = staying.map(|draining| Arc::clone(&draining.version)).collect();
        let kept = |id| {
            let others = std::iter::once(&self.active).chain(&self.staged).chain(&staying);
            others.into_iter().any(|version| version.set.path(id).is_some())
        };
        let paths: BTreeSet<_> =
            over.iter().flat_map(|version| version.paths().map(|path| path.id)).collect();
        paths.into_iter().filter(|id| !kept(*id)).collect()
    }

    /// Lets go of versions whose time to drain is over.
    pub(crate) fn retire(&mut self, now: Instant) -> Retired {
        let over: Vec<_> = self.draining.extract_if(.., |draining| draining.gone <= now).collect();
        let over: Vec<_> = over.into_iter().map(|draining| draining.version).collect();
        self.unneeded(&over)
    }

    /// When to call [`Versions::cut`] or [`Versions::retire`] next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let next = |draining: &Draining| if draining.cut { draining.gone } else { draining.until };
        self.draining.iter().map(next).min()
    }

    /// What only these versions had.
    fn unneeded(&self, gone: &[Arc<Version>]) -> Retired {
        let kept = |id| self.live().any(|version| version.set.path(id).is_some());
        let paths: BTreeSet<_> =
            gone.iter().flat_map(|version| version.paths().map(|path| path.id)).collect();
        let slots: BTreeSet<_> = gone.iter().map(|version| version.function).collect();
        let used = |slot| self.live().any(|version| version.function == slot);
        Retired {
            paths: paths.into_iter().filter(|id| !kept(*id)).collect(),
            functions: slots.into_iter().filter(|slot| !used(*slot)).collect(),
        }
    }
}
