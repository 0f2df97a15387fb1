//! Attached functions: what cannot be told apart from outside is refused here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Checker;
use crate::domain::{AttachSettings, Function, Shape, TellApart};
use crate::limits;
use crate::names::Name;

impl Checker<'_> {
    pub(super) fn attached(&mut self, at: &str, function: &Function, settings: &AttachSettings) {
        let name = &function.name;
        if !function.intrusive {
            let message = format!("`{name}` is attached and would see ciphertext only");
            let mend = format!("write `intrusive: true` for `{name}`");
            self.error(&format!("{at}.intrusive"), "attached-without-plaintext", message, mend);
        }
        if function.workers.is_some_and(|workers| workers != 1) {
            let message = format!("`{name}` is attached, and has one worker");
            let mend = "delete `workers`; several functions side by side share the load";
            self.error(&format!("{at}.workers"), "attached-workers", message, mend);
        }
        self.arms(at, settings);
        self.commands(at, settings);
        self.told_apart(at, function, settings);
        self.answered(at, settings);
    }

    fn arms(&mut self, at: &str, settings: &AttachSettings) {
        let plain = AttachSettings {
            socket: settings.socket.clone(),
            setup: settings.setup.clone(),
            run: settings.run.clone(),
            ..AttachSettings::default()
        };
        if settings.socket.is_some() && *settings != plain {
            let message =
                "with `socket` the function is SFC-aware, and only `setup` and `run` say more of it"
                    .to_owned();
            let mend = "delete the other keys, or `socket`";
            self.error(&format!("{at}.attached.socket"), "aware-settings", message, mend);
        }
        let bridge = settings.shape == Shape::Bridge;
        for (key, addresses, meaningless) in [
            ("in_addresses", &settings.in_addresses, bridge),
            ("out_addresses", &settings.out_addresses, settings.shape != Shape::Router),
        ] {
            if meaningless && !addresses.is_empty() {
                let message = format!("`{key}` has no meaning with this `shape`");
                self.error(&format!("{at}.attached.{key}"), "no-such-arm", message, "delete it");
            }
        }
        if settings.shape == Shape::OneArmed
            && settings.rewrites
            && settings.tell_apart == TellApart::Flow
        {
            let message = "with one arm a rewritten packet does not say in which direction it goes"
                .to_owned();
            let mend = "write `shape: router`, or `tell_apart: dscp`";
            self.error(&format!("{at}.attached.shape"), "one-arm-rewrites", message, mend);
        }
    }

    fn commands(&mut self, at: &str, settings: &AttachSettings) {
        if settings.setup.len() > limits::LIST_ENTRIES {
            let message = format!("{} commands are too many", settings.setup.len());
            self.error(&format!("{at}.attached.setup"), "too-many", message, "write a script");
        }
        for (index, command) in settings.setup.iter().enumerate() {
            if command.first().is_none_or(String::is_empty) {
                let message = "a command needs at least a program".to_owned();
                let mend = "write it as a list, such as `[nft, -f, rules.nft]`";
                let at = format!("{at}.attached.setup[{index}]");
                self.error(&at, "empty-command", message, mend);
            }
        }
    }

    /// A rewritten packet has to find the one path that it can be of, and its answer has to meet the same function.
    fn told_apart(&mut self, at: &str, function: &Function, settings: &AttachSettings) {
        let d = self.domain;
        let forward: Vec<_> =
            d.paths.iter().filter(|path| path.hops.contains(&function.name)).collect();
        let mut returns: BTreeSet<String> = BTreeSet::new();
        let mut missed = None;
        for path in &forward {
            match &path.return_path {
                None => drop(returns.insert(format!("{}.return", path.name))),
                Some(name) => match d.return_paths.iter().find(|back| back.name == *name) {
                    Some(back) if back.hops.contains(&function.name) => {
                        returns.insert(name.to_string());
                    }
                    Some(_) => missed = Some((path.name.clone(), name.clone())),
                    None => {}
                },
            }
        }
        if !settings.rewrites {
            return;
        }
        if let Some((path, back)) = missed {
            let message = format!(
                "`{}` rewrites what goes along `{path}`, and the return path `{back}` does not pass it: answers could not be restored",
                function.name
            );
            let mend = format!("add `{}` to the hops of `{back}`", function.name);
            self.error(&format!("{at}.attached.rewrites"), "return-misses-function", message, mend);
        }
        match settings.tell_apart {
            TellApart::Flow if forward.len() > 1 || returns.len() > 1 => {
                let message = format!(
                    "`{}` rewrites, and {} forward paths pass it: nothing says of which a rewritten packet is",
                    function.name,
                    forward.len()
                );
                let mend = "write `tell_apart: dscp`, or attach one function for each path";
                let at = format!("{at}.attached.tell_apart");
                self.error(&at, "ambiguous-paths", message, mend);
            }
            TellApart::Dscp if forward.len() + returns.len() > limits::DSCP_PATHS => {
                let count = forward.len() + returns.len();
                let message = format!(
                    "{count} paths pass `{}`, both directions counted, and DSCP names {}",
                    function.name,
                    limits::DSCP_PATHS
                );
                let mend = "attach several functions, each for some of the paths";
                self.error(&format!("{at}.attached.tell_apart"), "too-many", message, mend);
            }
            TellApart::Flow | TellApart::Dscp => {}
        }
    }

    /// An address that is answered by two functions would be restored by one of them.
    fn answered(&mut self, at: &str, settings: &AttachSettings) {
        let d = self.domain;
        let mut owners: BTreeMap<IpAddr, &Name> = BTreeMap::new();
        for function in &d.functions {
            let Some(other) = &function.attached else { continue };
            if std::ptr::eq(other, settings) {
                break;
            }
            owners.extend(other.answered_at().into_iter().map(|address| (address, &function.name)));
        }
        let services: BTreeSet<IpAddr> =
            d.services.iter().flat_map(|service| &service.addresses).map(|a| a.ip()).collect();
        for address in settings.answered_at() {
            if let Some(owner) = owners.get(&address) {
                let message = format!("`{owner}` sends packets from {address}, too");
                let mend = "give each function that rewrites `out_addresses` of its own";
                self.error(&format!("{at}.attached"), "shared-source", message, mend);
            }
            if services.contains(&address) {
                let message = format!("{address} is the address of a service");
                let mend = "use an address that nobody else has";
                self.error(&format!("{at}.attached"), "shared-source", message, mend);
            }
        }
    }
}
