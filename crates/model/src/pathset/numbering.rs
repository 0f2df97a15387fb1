//! Numbers that stay: from one path set to the next, an element that is still there keeps its id, label and address, and a
//! path that is still the same keeps its id, and with it its digest and its keys.
//!
//! A path's id stands for one definition of it for good: where it leads, through which elements, what the functions on it
//! look for, where its service listens. A path that changes gets another id, so that what began on the old one can end
//! there while the new one is taken by what begins later.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::CompileError;
use super::encode::write_path;
use super::wire::Writer;
use super::{Element, Path, PathSet};
use crate::domain::{Domain, Function};
use crate::ids::{PathId, PathVersion};
use crate::limits;

/// What elements and paths are called in path sets that are still in use somewhere.
#[derive(Clone, Debug, Default)]
pub struct Numbering {
    held: Vec<Held>,
    /// The number given out last: they go round, so that one that became free rests for long.
    last: u32,
}

#[derive(Clone, Debug)]
struct Held {
    version: PathVersion,
    elements: Vec<Element>,
    paths: BTreeMap<Definition, PathId>,
}

/// SHA-256 over everything that makes a path what it is, its number left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Definition([u8; 32]);

impl Numbering {
    /// This number was given out last, in an earlier life: whoever still uses those before it was not remembered.
    pub fn resume_after(&mut self, last: u32) {
        self.last = last.min(limits::PATH_ID_MAX);
    }

    /// The number that was given out last.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Takes note of a path set, which was compiled from this domain: it is in use now.
    pub fn remember(&mut self, domain: &Domain, set: &PathSet) {
        let mut paths = BTreeMap::new();
        let ahead = |id: PathId| (id.0 + limits::PATH_ID_MAX - self.last) % limits::PATH_ID_MAX;
        let known = |id: &PathId| self.held.iter().any(|held| held.paths.values().any(|k| k == id));
        let new = set.paths.iter().map(|path| path.id).filter(|id| !known(id));
        self.last = new.max_by_key(|id| ahead(*id)).map_or(self.last, |id| id.0);
        for path in &set.paths {
            let back = path.return_path.and_then(|id| set.path(id));
            let back = back.map(|back| Definition::of(domain, set, back, None));
            paths.insert(Definition::of(domain, set, path, back.as_ref()), path.id);
        }
        self.forget(set.version);
        self.held.push(Held { version: set.version, elements: set.elements.clone(), paths });
    }

    /// Nobody uses the path set of this version any more; what only it had may be given out again.
    pub fn forget(&mut self, version: PathVersion) {
        self.held.retain(|held| held.version != version);
    }

    /// The element of this name as it was last.
    pub(super) fn element(&self, name: &str) -> Option<&Element> {
        self.held.iter().rev().flat_map(|held| &held.elements).find(|element| element.name == name)
    }

    /// All elements in use.
    pub(super) fn elements(&self) -> impl Iterator<Item = &Element> {
        self.held.iter().flat_map(|held| &held.elements)
    }

    fn path(&self, definition: &Definition) -> Option<PathId> {
        self.held.iter().rev().find_map(|held| held.paths.get(definition).copied())
    }
}

/// Gives out the numbers of the paths of one path set.
pub(super) struct Numbers<'a> {
    before: &'a Numbering,
    taken: BTreeSet<PathId>,
    last: u32,
}

impl<'a> Numbers<'a> {
    pub(super) fn after(before: &'a Numbering) -> Numbers<'a> {
        let taken = before.held.iter().flat_map(|held| held.paths.values().copied()).collect();
        Numbers { before, taken, last: before.last }
    }

    /// The number that a path of this definition has or gets.
    pub(super) fn take(&mut self, definition: &Definition) -> Result<PathId, CompileError> {
        if let Some(known) = self.before.path(definition) {
            return Ok(known);
        }
        let next = |last: u32| if last >= limits::PATH_ID_MAX { 1 } else { last + 1 };
        for _ in 0..limits::PATH_ID_MAX {
            self.last = next(self.last);
            if self.taken.insert(PathId(self.last)) {
                return Ok(PathId(self.last));
            }
        }
        Err(CompileError::TooMany { what: "paths in use", most: limits::PATH_ID_MAX as usize })
    }
}

impl Definition {
    /// The definition of a path, its numbers and digest left out. `back` is that of its return path.
    pub(super) fn of(
        domain: &Domain,
        set: &PathSet,
        path: &Path,
        back: Option<&Definition>,
    ) -> Definition {
        let mut out = Writer(Vec::with_capacity(512));
        out.text(&set.domain);
        set.write_suite(&mut out);
        write_path(&mut out, &Path { id: PathId(0), return_path: None, ..path.clone() });
        for id in std::iter::once(path.origin).chain(path.visits().map(|hop| hop.element)) {
            let element = set.element(id);
            out.text(element.map_or("", |element| &element.spiffe_id));
            let function = element.and_then(|element| {
                domain.functions.iter().find(|function| *function.name == *element.name)
            });
            out.0.extend(function.map(settings).unwrap_or_default().into_bytes());
            out.0.push(0);
        }
        let service = domain.services.iter().find(|s| Some(&s.name) == path.service.as_ref());
        for address in service.into_iter().flat_map(|service| &service.addresses) {
            out.text(&address.to_string());
        }
        out.0.extend(back.iter().flat_map(|back| back.0));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &out.0);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Definition(bytes)
    }
}

/// What a function does, as text.
fn settings(function: &Function) -> String {
    format!("{:?}", function.lasting())
}
