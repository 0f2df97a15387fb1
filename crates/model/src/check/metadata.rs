//! Metadata: grants that nobody can keep, and those that do nothing.

use std::collections::BTreeSet;

use super::Checker;
use crate::domain::{Function, FunctionKind};
use crate::metadata::{Kind, Kinds};
use crate::names::Name;
use crate::pathset::{Direction, Grant, grants};

/// The functions of a path, and what each of them is granted there, the end last.
struct Way {
    direction: Direction,
    hops: Vec<Name>,
    grants: Vec<Grant>,
}

impl Checker<'_> {
    pub(super) fn metadata(&mut self) {
        let d = self.domain;
        for (index, client) in d.clients.iter().enumerate() {
            let long = |name: &&Name| name.len() > Kind::Tenant.most_bytes();
            if let Some(tenant) = client.tenant.as_ref().filter(long) {
                let most = Kind::Tenant.most_bytes();
                let message = format!("the tenant `{tenant}` is too long for a packet's metadata");
                let mend = format!("write at most {most} characters");
                let at = format!("clients[{index}].tenant");
                self.error(&at, "long-tenant", message, mend);
            }
        }
        let mut granted = Kinds::NONE;
        for (index, function) in d.functions.iter().enumerate() {
            let at = format!("functions[{index}]");
            granted = granted.or(function.reads());
            self.listed(&format!("{at}.metadata"), &function.metadata);
            self.listed(&format!("{at}.may_add"), &function.may_add);
            self.grants_of(&at, function);
        }
        self.listed("egress.metadata", &d.egress.metadata);
        self.tenants(granted);
        self.egress_metadata();
    }

    /// A list of kinds, whose it may be.
    fn listed(&mut self, at: &str, kinds: &[Kind]) {
        if !kinds.is_empty() && !self.domain.profile.has_nsh() {
            let message = "packets of profile `mpls` carry no metadata".to_owned();
            let mend = "write `profile: mpls-nsh`, or delete it";
            self.error(at, "metadata-without-nsh", message, mend);
        }
        let mut seen = BTreeSet::new();
        for (index, kind) in kinds.iter().enumerate() {
            if !seen.insert(kind) {
                let message = format!("`{kind}` is there already");
                self.warning(&format!("{at}[{index}]"), "duplicate", message, "delete it");
            }
        }
    }

    fn grants_of(&mut self, at: &str, function: &Function) {
        let name = &function.name;
        if !function.may_add.is_empty() && !function.is_aware() {
            let message = format!("`{name}` is not SFC-aware and has no way to say anything");
            let mend = "delete it, or attach the function by `socket`";
            self.error(&format!("{at}.may_add"), "not-aware", message, mend);
        }
        if !function.metadata.is_empty()
            && function.kind == FunctionKind::Attached
            && !function.is_aware()
        {
            let message = format!("`{name}` is not SFC-aware and takes plain packets only");
            let mend = "delete it, or attach the function by `socket`";
            self.error(&format!("{at}.metadata"), "not-aware", message, mend);
        }
        let ways = self.ways();
        let of: Vec<(Grant, &[Grant])> = ways
            .iter()
            .filter_map(|way| {
                let position = way.hops.iter().position(|hop| hop == name)?;
                Some((way.grants[position], &way.grants[position + 1..]))
            })
            .collect();
        if of.is_empty() || !self.domain.profile.has_nsh() {
            return;
        }
        let told = of.iter().fold(Kinds::NONE, |all, (grant, _)| all.or(grant.reads));
        let never = function.reads().without(told);
        if !never.is_empty() && (function.kind != FunctionKind::Attached || function.is_aware()) {
            let message = format!("nobody before `{name}` can tell it {never}");
            let mend = "on the way back grant it to the egress as well (`egress.metadata`); behind an attached function let that one say it (`may_add`), or delete it";
            self.warning(&format!("{at}.metadata"), "metadata-never-there", message, mend);
        }
        let heard = of.iter().flat_map(|(_, behind)| behind.iter().map(|grant| grant.reads));
        let unheard = function.adds().without(heard.fold(Kinds::NONE, Kinds::or));
        if !unheard.is_empty() && function.is_aware() {
            let message = format!("nobody behind `{name}` is told {unheard}");
            let mend = "grant it to a function behind it (`metadata`), or delete it";
            self.warning(&format!("{at}.may_add"), "metadata-unread", message, mend);
        }
        if matches!(function.kind, FunctionKind::Forward | FunctionKind::Dpi) && !told.is_empty() {
            let message = format!("a function of `kind: {}` does nothing with it", function.kind);
            self.note(&format!("{at}.metadata"), "metadata-unused", message, "delete it");
        }
    }

    fn tenants(&mut self, granted: Kinds) {
        let d = self.domain;
        let any = d.clients.iter().any(|client| client.tenant.is_some());
        let granted = granted.has(Kind::Tenant);
        let added = d.functions.iter().any(|function| function.adds().has(Kind::Tenant));
        if granted && !any && !added {
            let at = d.functions.iter().position(|function| function.reads().has(Kind::Tenant));
            let at = format!("functions[{}].metadata", at.unwrap_or(0));
            let message = "`tenant` is granted, and no client has one".to_owned();
            self.warning(&at, "no-tenant", message, "write `tenant: NAME` where clients are");
        }
        if any && !granted {
            let index = d.clients.iter().position(|client| client.tenant.is_some()).unwrap_or(0);
            let message = "no function is told of tenants".to_owned();
            let mend = "grant one of them `metadata: [tenant]`, or delete it";
            self.note(&format!("clients[{index}].tenant"), "unread-tenant", message, mend);
        }
    }

    /// What the egress learns is for those on the way back.
    fn egress_metadata(&mut self) {
        let d = self.domain;
        let of: Kinds = d.egress.metadata.iter().copied().collect();
        let ways = self.ways();
        let back = ways.iter().filter(|way| way.direction == Direction::Return);
        let read = back
            .flat_map(|way| way.grants.iter().map(|grant| grant.reads))
            .fold(Kinds::NONE, Kinds::or);
        let ports = of.and(Kinds::only(Kind::Ports));
        if !ports.is_empty() && d.profile.has_nsh() {
            let message = "the egress knows the ports of every packet".to_owned();
            self.warning("egress.metadata", "metadata-known", message, "delete `ports`");
        }
        let unread = of.without(read).without(ports);
        if !unread.is_empty() && d.profile.has_nsh() {
            let message = format!("nobody on a way back is told {unread}");
            let mend = "grant it to a function there (`metadata`), or delete it";
            self.warning("egress.metadata", "metadata-unread", message, mend);
        }
    }

    /// Every path, either direction.
    fn ways(&self) -> Vec<Way> {
        let d = self.domain;
        let forward = d.paths.iter().map(|path| (path.hops.clone(), Direction::Forward));
        let implied = d.paths.iter().filter(|path| path.return_path.is_none());
        let implied = implied
            .map(|path| (path.hops.iter().rev().cloned().collect::<Vec<_>>(), Direction::Return));
        let back = d.return_paths.iter().map(|path| (path.hops.clone(), Direction::Return));
        let all = forward.chain(implied).chain(back);
        all.map(|(hops, direction)| {
            let grants = grants(d, direction, &hops);
            Way { direction, hops, grants }
        })
        .collect()
    }
}
