//! Replicas: as many as there is room for, under names that nobody else has.

use std::collections::BTreeSet;

use super::Checker;
use crate::domain::TellApart;
use crate::limits;
use crate::names::Name;

impl Checker<'_> {
    pub(super) fn replicas(&mut self) {
        let d = self.domain;
        for (index, function) in d.functions.iter().enumerate() {
            let at = format!("functions[{index}].replicas");
            let Some(replicas) = function.replicas else { continue };
            self.range(&at, replicas, 1, limits::REPLICAS);
            if replicas < 2 {
                continue;
            }
            if function.address.is_some() || function.label.is_some() {
                let message = "replicas cannot share an address or a label".to_owned();
                let mend = "delete `address` and `label`: each replica is given its own";
                self.error(&at, "replica-pinned", message, mend);
            }
            let taken: BTreeSet<&Name> = d.functions.iter().map(|f| &f.name).collect();
            self.numbered(&at, &function.name, 1..=u64::from(replicas), &taken);
            if function.attached.as_ref().is_some_and(|attached| attached.socket.is_some()) {
                let message = "replicas cannot share a socket".to_owned();
                let mend = "attach several functions, each with a socket of its own";
                self.error(&at, "replica-socket", message, mend);
            }
            let Some(attached) = function.attached.as_ref().filter(|a| a.rewrites) else {
                continue;
            };
            if attached.out_addresses.len() < usize::from(replicas) {
                let message = format!(
                    "{replicas} replicas of `{}` rewrite to {} addresses: two flows could become one",
                    function.name,
                    attached.out_addresses.len()
                );
                let mend = format!("write {replicas} `out_addresses`, one a replica");
                self.error(&at, "replica-addresses", message, mend);
            }
            let through = d.paths.iter().filter(|path| path.hops.contains(&function.name));
            let several = through.map(|path| d.variants(path)).any(|v| v > u64::from(replicas));
            if attached.tell_apart == TellApart::Flow && several {
                let message = format!(
                    "`{}` rewrites, and several paths over replicas of other functions pass each of its replicas",
                    function.name
                );
                let mend = "write `tell_apart: dscp`, or give all functions of the path equally many replicas";
                self.error(&at, "ambiguous-paths", message, mend);
            }
        }
        for (index, path) in d.paths.iter().enumerate() {
            let variants = d.variants(path);
            let at = format!("paths[{index}].name");
            if variants > limits::VARIANTS {
                let message =
                    format!("the replicas on `{}` make {variants} paths of it", path.name);
                let mend = format!(
                    "at most {}: give functions of one path replicas of which one is a multiple of the other",
                    limits::VARIANTS
                );
                self.error(&at, "too-many", message, mend);
                continue;
            }
            let backs = d.return_paths.iter().map(|p| &p.name);
            let taken: BTreeSet<&Name> = d.paths.iter().map(|p| &p.name).chain(backs).collect();
            self.numbered(&at, &path.name, 2..=variants, &taken);
        }
    }

    fn numbered(
        &mut self,
        at: &str,
        name: &Name,
        mut numbers: std::ops::RangeInclusive<u64>,
        taken: &BTreeSet<&Name>,
    ) {
        let wrong = numbers.find_map(|number| {
            let wanted = format!("{name}-{number}");
            match wanted.parse::<Name>() {
                Ok(parsed) if !taken.contains(&parsed) => None,
                Ok(_) => Some(format!("`{wanted}` is the name of another, and of a replica")),
                Err(_) => Some(format!("`{wanted}`, the name of a replica, is too long")),
            }
        });
        if let Some(message) = wrong {
            self.error(at, "replica-name", message, "rename one of them");
        }
    }
}
