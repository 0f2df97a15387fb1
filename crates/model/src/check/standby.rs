//! The standby gateway: reaches what the gateway reaches, under names that nobody else has.

use std::collections::BTreeSet;

use super::Checker;
use crate::domain::{Keying, STANDBY, numbered, of_standby};
use crate::limits;
use crate::names::Name;

impl Checker<'_> {
    pub(super) fn standby(&mut self) {
        let d = self.domain;
        let Some(standby) = &d.gateway.standby else { return };
        if d.keying == Keying::Psk {
            let message = "with `keying: psk` there is no standby gateway".to_owned();
            let mend = "write `keying: sap`, or delete `standby`";
            self.error("gateway.standby", "standby-psk", message, mend);
        }
        for version in [true, false] {
            let of =
                |networks: &[crate::net::Cidr]| networks.iter().any(|n| n.is_ipv4() == version);
            if of(&d.gateway.inner) && !of(&standby.inner) {
                let version = if version { "IPv4" } else { "IPv6" };
                let message = format!("the standby gateway has no inner {version} network");
                let mend = format!("add an {version} network, as `gateway.inner` has one");
                self.error("gateway.standby.inner", "no-inner-network", message, mend);
            }
        }
        for (index, function) in d.functions.iter().enumerate() {
            let made = (1..=u64::from(function.replicas()))
                .map(|number| format!("{}-{number}", function.name))
                .any(|name| name == STANDBY);
            if *function.name == *STANDBY || made {
                let message = format!("`{STANDBY}` is the name of the standby gateway");
                let at = format!("functions[{index}].name");
                self.error(&at, "reserved-name", message, "give the function another name");
            }
        }
        self.standby_names();
    }

    /// `NAME-standby` for each path, variants over replicas included.
    fn standby_names(&mut self) {
        let d = self.domain;
        let forward = d.paths.iter().map(|path| (&path.name, d.variants(path)));
        let back = d.return_paths.iter().map(|path| (&path.name, 1));
        let all: Vec<(&Name, u64)> = forward.chain(back).collect();
        let taken: BTreeSet<&Name> = all.iter().map(|(name, _)| *name).collect();
        for (index, (name, variants)) in all.iter().enumerate() {
            let at = match index.checked_sub(d.paths.len()) {
                None => format!("paths[{index}].name"),
                Some(index) => format!("return_paths[{index}].name"),
            };
            let longest = numbered(name, variants.saturating_sub(1).min(limits::VARIANTS));
            let made = of_standby(&longest);
            if made == longest {
                let message =
                    format!("`{longest}-{STANDBY}`, the standby's path, has too long a name");
                self.error(&at, "standby-name", message, "name the path shorter");
            } else if taken.contains(&of_standby(name)) {
                let message = format!("`{name}-{STANDBY}` is the name of another path");
                self.error(&at, "standby-name", message, "rename one of them");
            }
        }
    }
}
