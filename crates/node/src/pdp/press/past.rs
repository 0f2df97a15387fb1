//! Paths that were taken out and still drain: their elements get leases until that is over, over a restart of control too,
//! so that a manager that begins anew ends no connection (`docs/pdp.md`, "While control is away").

use ringmail_model::pathset::{Element, Path};
use ringmail_model::{ElementId, PathDigest, PathVersion};
use serde::{Deserialize, Serialize};

use super::Pressed;
use crate::control::Blob;

/// What only versions before had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Past {
    version: u64,
    until_unix_s: u64,
    lease_s: u32,
    elements: Vec<Member>,
    paths: Vec<Draining>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    id: u32,
    name: String,
    spiffe_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Draining {
    digest: Blob,
    /// The elements on it.
    elements: Vec<u32>,
}

impl Past {
    /// What `before` had and `counts` has not; `None` where that is nothing.
    pub(super) fn of(before: &Pressed, counts: &Pressed, until_unix_s: u64) -> Option<Past> {
        let stays = |path: &Path| counts.set.paths.iter().any(|other| other.digest == path.digest);
        let draining = |path: &Path| Draining {
            digest: Blob(path.digest.0.to_vec()),
            elements: on_it(path).map(|id| id.0.into()).collect(),
        };
        let gone = before.set.paths.iter().filter(|path| !stays(path));
        let paths: Vec<Draining> = gone.map(draining).collect();
        let drains = |element: &&Element| {
            paths.iter().any(|path| path.elements.contains(&element.id.0.into()))
        };
        let member = |element: &Element| Member {
            id: element.id.0.into(),
            name: element.name.clone(),
            spiffe_id: element.spiffe_id.clone(),
        };
        let elements = before.set.elements.iter().filter(drains).map(member).collect();
        let (version, lease_s) = (before.set.version.0, before.domain.limits.lease_s);
        (!paths.is_empty()).then_some(Past { version, until_unix_s, lease_s, elements, paths })
    }

    pub(super) fn version(&self) -> PathVersion {
        PathVersion(self.version)
    }

    pub(super) fn paths(&self) -> usize {
        self.paths.len()
    }

    pub(super) fn is_over(&self, now_unix_s: u64) -> bool {
        self.until_unix_s <= now_unix_s
    }

    /// The number of this element and how long its leases are, if it is on the path.
    pub(super) fn lease(&self, element: &str, digest: PathDigest) -> Option<(ElementId, u32)> {
        let member = self.elements.iter().find(|member| member.name == element)?;
        let path = self.paths.iter().find(|path| path.digest.0 == digest.0)?;
        let id = ElementId(member.id.try_into().ok()?);
        path.elements.contains(&member.id).then_some((id, self.lease_s))
    }

    pub(super) fn spiffe_ids(&self) -> impl Iterator<Item = &str> {
        self.elements.iter().map(|member| member.spiffe_id.as_str())
    }

    /// The name of the element that is known by this id.
    pub(super) fn element(&self, spiffe_id: &str) -> Option<&str> {
        let found = self.elements.iter().find(|member| member.spiffe_id == spiffe_id);
        found.map(|member| member.name.as_str())
    }
}

/// The elements on a path.
pub(super) fn on_it(path: &Path) -> impl Iterator<Item = ElementId> {
    std::iter::once(path.origin).chain(path.visits().map(|hop| hop.element))
}
