//! Who on a path is told what of its flows (`docs/nsh.md`, "Metadata").
//!
//! Each reader has one writer: the element where the path begins, or the last function before it that may add metadata.
//! What begins anew under way, as all does that comes out of an attached function, carries nothing of what was there
//! before.

use super::{Direction, Path};
use crate::domain::{Domain, Function};
use crate::metadata::{Kind, Kinds};
use crate::names::Name;

/// What one element of a path is told, and what it may tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) reads: Kinds,
    pub(crate) adds: Kinds,
}

/// What each of these functions is told on a path over them, and last the end of the path: what the file grants it, as far as
/// anybody before it can say it.
pub(crate) fn grants(domain: &Domain, direction: Direction, functions: &[Name]) -> Vec<Grant> {
    let of_egress: Kinds = domain.egress.metadata.iter().copied().collect();
    let mut known = match direction {
        Direction::Forward => Kinds::ALL,
        Direction::Return => of_egress.or(Kinds::only(Kind::Ports)),
    };
    let mut grants = Vec::with_capacity(functions.len() + 1);
    for name in functions {
        let function = domain.functions.iter().find(|function| function.name == *name);
        let Some(function) = function.filter(|_| domain.profile.has_nsh()) else {
            grants.push(Grant::default());
            continue;
        };
        let reads = function.reads().and(known);
        let adds = if function.is_aware() { function.adds() } else { Kinds::NONE };
        if function.begins_anew() {
            known = adds;
        }
        grants.push(Grant { reads, adds });
    }
    let reads = match direction {
        Direction::Forward if domain.profile.has_nsh() => {
            of_egress.without(Kinds::only(Kind::Ports)).and(known)
        }
        _ => Kinds::NONE,
    };
    grants.push(Grant { reads, adds: Kinds::NONE });
    grants
}

impl Function {
    /// What the file grants it to be told.
    pub(crate) fn reads(&self) -> Kinds {
        self.metadata.iter().copied().collect()
    }

    /// What the file grants it to tell.
    pub(crate) fn adds(&self) -> Kinds {
        self.may_add.iter().copied().collect()
    }
}

/// An element of a path that is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Its position: 1 is the first hop.
    pub position: u8,
    /// The position of who tells it: 0 is where the path begins.
    pub writer: u8,
    /// What it is told.
    pub kinds: Kinds,
}

impl Path {
    /// Those who are told something, by position: there is a header for each of them.
    pub fn readers(&self) -> Vec<Reader> {
        let mut writer = 0;
        let mut readers = Vec::new();
        for (position, hop) in (1u8..).zip(self.visits()) {
            if !hop.reads.is_empty() {
                readers.push(Reader { position, writer, kinds: hop.reads });
            }
            if !hop.adds.is_empty() {
                writer = position;
            }
        }
        readers
    }
}
