//! Replicas: a function that stands several times side by side, each flow at one and the same of them (RFC 7665 section
//! 5.5).
//!
//! A domain with replicas is another way to write one without: each replica is a function of its own, and each path over
//! replicas comes as several, which differ in nothing else. The classifier takes one of them for each new flow; its labels
//! name the replicas, and its return path leads back through the same ones.

use super::{Domain, Function, Path, ReturnPath};
use crate::names::Name;

impl Domain {
    /// The same domain with every replica, every path over replicas and every path of the standby gateway written out. The
    /// first of the paths that a path becomes keeps its name.
    ///
    /// A name that would be too long is left as it is; `check` refuses that before.
    #[must_use]
    pub fn expanded(self) -> Domain {
        self.with_replicas().with_standby()
    }

    fn with_replicas(mut self) -> Domain {
        if self.functions.iter().all(|function| function.replicas() == 1) {
            return self;
        }
        let before = self.clone();
        self.functions = before.functions.iter().flat_map(Function::written_out).collect();
        self.paths = before.paths.iter().flat_map(|path| before.variants_of(path)).collect();
        let backs = &before.return_paths;
        self.return_paths = backs.iter().flat_map(|back| before.variants_of_return(back)).collect();
        self
    }

    /// How many paths a path becomes: the fewest with which each replica of each function on it, and on its way back, gets
    /// equally many.
    pub fn variants(&self, path: &Path) -> u64 {
        let back = path.return_path.as_ref();
        let back = back.and_then(|name| self.return_paths.iter().find(|back| back.name == *name));
        let hops = path.hops.iter().chain(back.into_iter().flat_map(|back| &back.hops));
        hops.map(|hop| self.replicas_of(hop)).fold(1, least_common_multiple)
    }

    /// The replicas of the function of this name.
    pub fn replicas_of(&self, function: &Name) -> u64 {
        let found = self.functions.iter().find(|known| known.name == *function);
        found.map_or(1, |function| u64::from(function.replicas()))
    }

    fn variants_of(&self, path: &Path) -> Vec<Path> {
        let variants = self.variants(path);
        let variant = |index: u64| Path {
            name: numbered(&path.name, index),
            hops: self.through(&path.hops, index),
            service: path.service.clone(),
            return_path: path.return_path.as_ref().map(|name| {
                let back = self.return_paths.iter().find(|back| back.name == *name);
                numbered(name, index % back.map_or(1, |back| self.variants_back(back)))
            }),
            replica_of: (index > 0).then(|| path.name.clone()),
            standby: path.standby,
        };
        (0..variants).map(variant).collect()
    }

    fn variants_of_return(&self, back: &ReturnPath) -> Vec<ReturnPath> {
        let variant = |index| ReturnPath {
            name: numbered(&back.name, index),
            hops: self.through(&back.hops, index),
            standby: back.standby,
        };
        (0..self.variants_back(back)).map(variant).collect()
    }

    fn variants_back(&self, back: &ReturnPath) -> u64 {
        back.hops.iter().map(|hop| self.replicas_of(hop)).fold(1, least_common_multiple)
    }

    /// The replicas that variant `index` of a path takes.
    fn through(&self, hops: &[Name], index: u64) -> Vec<Name> {
        let replica = |hop: &Name| match self.replicas_of(hop) {
            1 => hop.clone(),
            replicas => suffixed(hop, index % replicas + 1),
        };
        hops.iter().map(replica).collect()
    }
}

impl Function {
    /// How many of it there are.
    pub fn replicas(&self) -> u16 {
        self.replicas.unwrap_or(1).max(1)
    }

    /// One function for each replica. Addresses of an attached function are dealt out in turn.
    fn written_out(&self) -> Vec<Function> {
        let replicas = self.replicas();
        if replicas == 1 {
            return vec![Function { replicas: None, ..self.clone() }];
        }
        let one = |index: u16| {
            let mut function = self.clone();
            function.name = suffixed(&self.name, u64::from(index) + 1);
            function.replicas = None;
            if let Some(attached) = &mut function.attached {
                for addresses in [&mut attached.in_addresses, &mut attached.out_addresses] {
                    let mut at = 0;
                    addresses.retain(|_| {
                        at += 1;
                        (at - 1) % usize::from(replicas) == usize::from(index)
                    });
                }
            }
            function
        };
        (0..replicas).map(one).collect()
    }
}

/// The name of variant `index` of a path: the first has the path's own.
pub(crate) fn numbered(name: &Name, index: u64) -> Name {
    if index == 0 { name.clone() } else { suffixed(name, index + 1) }
}

/// `NAME-NUMBER`.
pub(crate) fn suffixed(name: &Name, number: u64) -> Name {
    format!("{name}-{number}").parse().unwrap_or_else(|_| name.clone())
}

fn least_common_multiple(one: u64, other: u64) -> u64 {
    let (mut divisor, mut rest) = (one, other);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (one / divisor.max(1)).saturating_mul(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_common_multiple() {
        assert_eq!(
            [(1, 1), (2, 3), (4, 6), (3, 3)].map(|(a, b)| least_common_multiple(a, b)),
            [1, 6, 12, 3]
        );
    }
}
