//! Paths: each function at most once, a way back, and nothing that is never used.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use crate::limits;
use crate::names::Name;

impl Checker<'_> {
    pub(super) fn paths(&mut self) {
        let d = self.domain;
        for (index, path) in d.paths.iter().enumerate() {
            self.hops(&format!("paths[{index}].hops"), &path.hops);
        }
        for (index, path) in d.return_paths.iter().enumerate() {
            self.hops(&format!("return_paths[{index}].hops"), &path.hops);
        }
        self.return_egresses();
        self.unused();
    }

    fn hops(&mut self, at: &str, hops: &[Name]) {
        if hops.len() > limits::HOPS_A_PATH {
            let message = format!("{} functions are more than {}", hops.len(), limits::HOPS_A_PATH);
            self.error(at, "too-many", message, "shorten the path");
        }
        let mut seen = BTreeSet::new();
        for (index, hop) in hops.iter().enumerate() {
            if !seen.insert(hop) {
                let message = format!(
                    "the path passes `{hop}` twice: it would take the second pass of each packet for a retransmission"
                );
                let mend = "add a second function with the same settings and pass that";
                self.error(&format!("{at}[{index}]"), "function-twice", message, mend);
            }
        }
    }

    /// A return path begins at one egress.
    fn return_egresses(&mut self) {
        let d = self.domain;
        if !d.egress.per_service {
            return;
        }
        let mut begins: BTreeMap<&Name, &Name> = BTreeMap::new();
        for (index, path) in d.paths.iter().enumerate() {
            let Some(back) = &path.return_path else { continue };
            let first = *begins.entry(back).or_insert(&path.service);
            if *first != path.service {
                let message = format!(
                    "the return path `{back}` begins at the egress of `{first}` already, and with `per_service: true` this is another"
                );
                let mend = format!("add a return path for `{}`", path.service);
                self.error(
                    &format!("paths[{index}].return"),
                    "return-of-two-egresses",
                    message,
                    mend,
                );
            }
        }
    }

    fn unused(&mut self) {
        let d = self.domain;
        let hops = d.paths.iter().flat_map(|p| &p.hops);
        let passed: BTreeSet<&Name> =
            hops.chain(d.return_paths.iter().flat_map(|p| &p.hops)).collect();
        for (index, function) in d.functions.iter().enumerate() {
            if !passed.contains(&function.name) {
                let message = format!("no path passes the function `{}`", function.name);
                let mend = "add it to the `hops` of a path, or delete it";
                self.warning(&format!("functions[{index}]"), "unused-function", message, mend);
            }
        }
        for (index, service) in d.services.iter().enumerate() {
            if !d.paths.iter().any(|p| p.service == service.name) {
                let message = format!("no path leads to the service `{}`", service.name);
                let at = format!("services[{index}]");
                self.warning(&at, "unused-service", message, "add a path, or delete it");
            }
        }
        for (index, path) in d.paths.iter().enumerate() {
            if !d.rules.is_empty() && !d.rules.iter().any(|r| r.path == path.name) {
                let message = format!("no rule uses the path `{}`", path.name);
                let at = format!("paths[{index}]");
                self.warning(&at, "unused-path", message, "add a rule, or delete it");
            }
        }
        for (index, path) in d.return_paths.iter().enumerate() {
            if !d.paths.iter().any(|p| p.return_path.as_ref() == Some(&path.name)) {
                let message = format!("no path returns by `{}`", path.name);
                let mend = format!("write `return: {}` in a path, or delete it", path.name);
                self.warning(&format!("return_paths[{index}]"), "unused-path", message, mend);
            }
        }
        let everyone = d.rules.iter().any(|r| r.when.clients.is_none());
        for (index, client) in d.clients.iter().enumerate() {
            let mut named = d.rules.iter().flat_map(|r| r.when.clients.iter().flatten());
            if !d.rules.is_empty() && !everyone && !named.any(|name| *name == client.name) {
                let message = format!("no rule lets the client `{}` do anything", client.name);
                let at = format!("clients[{index}]");
                self.warning(&at, "unused-client", message, "add it to a rule, or delete it");
            }
        }
    }
}
