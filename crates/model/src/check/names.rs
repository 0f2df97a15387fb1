//! Names: none twice, none reserved, and every name that is used exists.

use std::collections::BTreeMap;

use super::Checker;
use crate::limits;
use crate::names::Name;
use crate::pathset;
use crate::suggest;

impl Checker<'_> {
    pub(super) fn names(&mut self) {
        let d = self.domain;
        self.unique("client", "clients", d.clients.iter().map(|c| &c.name));
        self.unique("service", "services", d.services.iter().map(|s| &s.name));
        self.unique("function", "functions", d.functions.iter().map(|f| &f.name));
        self.unique("rule", "rules", d.rules.iter().map(|r| &r.name));
        self.unique("listener", "gateway.listeners", d.gateway.listeners.iter().map(|l| &l.name));
        self.unique("path", "paths", d.paths.iter().map(|p| &p.name));
        self.unique("return path", "return_paths", d.return_paths.iter().map(|p| &p.name));
        for (index, path) in d.return_paths.iter().enumerate() {
            if d.paths.iter().any(|p| p.name == path.name) {
                let at = format!("return_paths[{index}].name");
                let message = format!("a path is named `{}` already", path.name);
                let mend = format!("name it `{}-return`, say", path.name);
                self.error(&at, "duplicate-name", message, mend);
            }
        }
        let points = d.decision_points.iter().map(|point| &point.name);
        self.unique("decision point", "decision_points", points);
        self.reserved();
        self.counts();
        self.path_references();
        self.rule_references();
    }

    fn unique<'n>(&mut self, what: &str, list: &str, names: impl Iterator<Item = &'n Name>) {
        let mut seen: BTreeMap<&Name, usize> = BTreeMap::new();
        for (index, name) in names.enumerate() {
            if let Some(first) = seen.get(name) {
                let at = format!("{list}[{index}].name");
                let message = format!("the {what} `{name}` is there already ({list}[{first}])");
                self.error(&at, "duplicate-name", message, "give one of them another name");
            } else {
                seen.insert(name, index);
            }
        }
    }

    /// Functions become elements, and so do gateway and egresses.
    fn reserved(&mut self) {
        for (index, function) in self.domain.functions.iter().enumerate() {
            let name = &function.name;
            let own = self.domain.services.iter().find(|s| {
                self.domain.egress.per_service && pathset::egress_name(&s.name) == **name
            });
            if matches!(name.as_str(), "gateway" | "egress") || own.is_some() {
                let message = format!("`{name}` is the name of an element that every domain has");
                let at = format!("functions[{index}].name");
                self.error(&at, "reserved-name", message, "give the function another name");
            }
        }
    }

    fn counts(&mut self) {
        let d = self.domain;
        let egresses = if d.egress.per_service { d.services.len() } else { 1 };
        let gateways = 1 + usize::from(d.gateway.standby.is_some());
        let paths = 2 * d.paths.len() + d.return_paths.len();
        for (at, what, count, most) in [
            ("functions", "elements", d.functions.len() + gateways + egresses, limits::ELEMENTS),
            ("paths", "paths", gateways * paths, limits::PATHS),
            ("rules", "rules", d.rules.len(), limits::RULES),
            ("clients", "clients", d.clients.len(), limits::LIST_ENTRIES),
            ("services", "services", d.services.len(), limits::LIST_ENTRIES),
            (
                "decision_points",
                "decision points",
                d.decision_points.len(),
                limits::DECISION_POINTS,
            ),
        ] {
            if count > most {
                let message = format!("{count} {what} are more than {most}");
                self.error(at, "too-many", message, "split the domain");
            }
        }
        for (at, what, empty) in
            [("services", "service", d.services.is_empty()), ("paths", "path", d.paths.is_empty())]
        {
            if empty {
                let message = format!("the domain has no {what}");
                self.error(at, "empty", message, format!("add a {what}"));
            }
        }
    }

    fn path_references(&mut self) {
        let d = self.domain;
        let functions = || d.functions.iter().map(|f| f.name.as_str());
        let services = || d.services.iter().map(|s| s.name.as_str());
        let returns = || d.return_paths.iter().map(|p| p.name.as_str());
        let forward = d.paths.iter().enumerate().map(|(i, p)| (format!("paths[{i}]"), &p.hops));
        let back =
            d.return_paths.iter().enumerate().map(|(i, p)| (format!("return_paths[{i}]"), &p.hops));
        for (path, hops) in forward.chain(back) {
            for (index, hop) in hops.iter().enumerate() {
                if !functions().any(|name| *hop == name) {
                    let message = format!("there is no function `{hop}`");
                    let mend = suggest::mend(hop, "functions", functions());
                    self.error(&format!("{path}.hops[{index}]"), "unknown-function", message, mend);
                }
            }
        }
        for (index, path) in d.paths.iter().enumerate() {
            if !services().any(|name| path.service == name) {
                let message = format!("there is no service `{}`", path.service);
                let mend = suggest::mend(&path.service, "services", services());
                self.error(&format!("paths[{index}].service"), "unknown-service", message, mend);
            }
            let Some(back) = &path.return_path else { continue };
            if !returns().any(|name| *back == name) {
                let message = format!("there is no return path `{back}`");
                let mend = if d.paths.iter().any(|p| p.name == *back) {
                    format!(
                        "`{back}` is a forward path: list the way back under `return_paths`, or leave `return` out to take the same functions backwards"
                    )
                } else {
                    suggest::mend(back, "return paths", returns())
                };
                self.error(&format!("paths[{index}].return"), "unknown-return-path", message, mend);
            }
        }
    }

    fn rule_references(&mut self) {
        let d = self.domain;
        let clients = || d.clients.iter().map(|c| c.name.as_str());
        let services = || d.services.iter().map(|s| s.name.as_str());
        let paths = || d.paths.iter().map(|p| p.name.as_str());
        for (index, rule) in d.rules.iter().enumerate() {
            for (n, client) in rule.when.clients.iter().flatten().enumerate() {
                if !clients().any(|name| *client == name) {
                    let at = format!("rules[{index}].when.clients[{n}]");
                    let message = format!("there is no client `{client}`");
                    let mend = suggest::mend(client, "clients", clients());
                    self.error(&at, "unknown-client", message, mend);
                }
            }
            let path = d.paths.iter().find(|p| p.name == rule.path);
            if path.is_none() {
                let message = format!("there is no path `{}`", rule.path);
                let mend = if d.return_paths.iter().any(|p| p.name == rule.path) {
                    "it is a return path: name the forward path, which names its way back".into()
                } else {
                    suggest::mend(&rule.path, "paths", paths())
                };
                self.error(&format!("rules[{index}].path"), "unknown-path", message, mend);
            }
            let points = || d.decision_points.iter().map(|point| point.name.as_str());
            if let Some(asked) = rule.ask.as_ref().filter(|asked| !points().any(|p| **asked == p)) {
                let message = format!("there is no decision point `{asked}`");
                let mend = suggest::mend(asked, "decision points", points());
                self.error(&format!("rules[{index}].ask"), "unknown-decision-point", message, mend);
            }
            let Some(service) = &rule.service else { continue };
            let at = format!("rules[{index}].service");
            if !services().any(|name| *service == name) {
                let message = format!("there is no service `{service}`");
                let mend = suggest::mend(service, "services", services());
                self.error(&at, "unknown-service", message, mend);
            } else if let Some(path) = path.filter(|p| p.service != *service) {
                let message = format!("the path `{}` leads to `{}`", path.name, path.service);
                let mend = format!("write `service: {}`, or leave it out", path.service);
                self.error(&at, "other-service", message, mend);
            }
        }
    }
}
