//! What of a domain cannot change while it runs, each with its place in the new file and what to do instead.
//!
//! Everything else changes in place: clients, rules, paths, functions with their settings and patterns, services, times.

use super::Checker;
use crate::diagnostic::Diagnostics;
use crate::domain::{Domain, Function, Keying, Positions, parse_with_positions};

/// What to do where nothing else helps.
const ANEW: &str = "`ringmail down`, then `ringmail up` with this file";

/// What to do with a function whose kind of place would change.
const BESIDE: &str = "add a function of another name beside it, and move the paths there";

/// Whether a domain that runs by the text `before` can take the text `after` in place.
///
/// # Errors
/// All that would have to change and cannot; or what keeps one of both from being read.
pub fn in_place(before: &str, after: &str, file_name: &str) -> Result<(), Diagnostics> {
    let (before, _) = parse_with_positions(before, "domain file that runs")?;
    let (after, positions) = parse_with_positions(after, file_name)?;
    let refused = differences(&before, &after, &positions, file_name);
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

fn differences(before: &Domain, after: &Domain, positions: &Positions, file: &str) -> Diagnostics {
    let diagnostics = Diagnostics::default();
    let mut change =
        Change { before, checker: Checker { domain: after, positions, file, diagnostics } };
    change.keys();
    change.links();
    change.gateway();
    change.egress();
    change.functions();
    change.others();
    change.checker.diagnostics.sort();
    change.checker.diagnostics
}

struct Change<'a> {
    before: &'a Domain,
    checker: Checker<'a>,
}

impl<'a> Change<'a> {
    /// Refuses what differs.
    fn fixed(&mut self, at: &str, differs: bool, why: &str) {
        self.fixed_but(at, differs, why, ANEW);
    }

    fn fixed_but(&mut self, at: &str, differs: bool, why: &str, mend: &str) {
        if differs {
            let message = format!("this cannot change while the domain runs: {why}");
            self.checker.error(at, "not-in-place", message, mend);
        }
    }

    fn both(&self) -> (&'a Domain, &'a Domain) {
        (self.before, self.checker.domain)
    }

    fn keys(&mut self) {
        let (b, a) = self.both();
        let why = "what is on its way and what comes next have to be of one kind";
        self.fixed("profile", b.profile != a.profile, why);
        self.fixed("integrity", b.integrity != a.integrity, why);
        self.fixed("rfc9145", b.rfc9145 != a.rfc9145, why);
        self.fixed("suite", b.suite != a.suite, why);
        self.fixed("keying", b.keying != a.keying, why);
        self.fixed("psk", b.psk != a.psk, why);
        if a.keying == Keying::Psk && b.keying == Keying::Psk {
            let why = "with `keying: psk` associations are those of the start";
            let window = |d: &Domain| d.limits.replay_window_packets;
            self.fixed("limits.replay_window_packets", window(b) != window(a), why);
            let paths = b.paths != a.paths || b.return_paths != a.return_paths;
            self.fixed("paths", paths, why);
        }
    }

    fn links(&mut self) {
        let (b, a) = (&self.before.links, &self.checker.domain.links);
        let why = "the links between elements stand";
        self.fixed("links.network", b.network != a.network, why);
        self.fixed("links.kind", b.kind != a.kind, why);
        self.fixed("links.driver", b.driver != a.driver, why);
        self.fixed("links.vlan", b.vlan != a.vlan, why);
        self.fixed("links.mtu", b.mtu != a.mtu, why);
        self.fixed("links.udp_port", b.udp_port != a.udp_port, why);
        self.fixed("links.control_port", b.control_port != a.control_port, why);
        let moved = b.macs.iter().find(|(name, mac)| a.macs.get(*name).is_some_and(|m| m != *mac));
        self.fixed("links.macs", moved.is_some(), why);
    }

    fn gateway(&mut self) {
        let (b, a) = (&self.before.gateway, &self.checker.domain.gateway);
        self.fixed("gateway.outside", b.outside != a.outside, "the networks of clients stand");
        let why = "connections have their addresses there";
        self.fixed("gateway.inner", b.inner != a.inner, why);
        let why = "it is opened when the gateway starts";
        self.fixed("gateway.access_log", b.access_log != a.access_log, why);
        let why = "its network stands";
        self.fixed("gateway.standby", b.standby != a.standby, why);
        self.ends("gateway", &(b.workers, b.address, b.label), &(a.workers, a.address, a.label));
    }

    fn egress(&mut self) {
        let (b, a) = (&self.before.egress, &self.checker.domain.egress);
        self.fixed("egress.networks", b.networks != a.networks, "the networks of services stand");
        let why = "services stay with the egress that they have";
        self.fixed("egress.per_service", b.per_service != a.per_service, why);
        self.ends("egress", &(b.workers, b.address, b.label), &(a.workers, a.address, a.label));
    }

    fn ends<A: PartialEq, L: PartialEq>(
        &mut self,
        of: &str,
        before: &(Option<u16>, A, L),
        after: &(Option<u16>, A, L),
    ) {
        let (b, a) = self.both();
        let workers = before.0.unwrap_or(b.workers) != after.0.unwrap_or(a.workers);
        self.workers(&format!("{of}.workers"), workers);
        self.fixed(&format!("{of}.address"), before.1 != after.1, "its link stands");
        self.fixed(&format!("{of}.label"), before.2 != after.2, "its label is on every path");
    }

    fn workers(&mut self, at: &str, differs: bool) {
        self.fixed(at, differs, "an element has its workers from its start");
    }

    fn functions(&mut self) {
        let (b, a) = self.both();
        for (index, is) in a.functions.iter().enumerate() {
            let Some(was) = b.functions.iter().find(|was| was.name == is.name) else { continue };
            let at = |key: &str| format!("functions[{index}].{key}");
            let of =
                |function: &Function, domain: &Domain| function.workers.unwrap_or(domain.workers);
            self.workers(&at("workers"), of(was, b) != of(is, a));
            let why = "its hop opens what it is handed, or does not";
            self.fixed_but(&at("intrusive"), was.intrusive != is.intrusive, why, BESIDE);
            let why = "an attached function has its place from its start";
            self.fixed_but(&at("attached"), was.attached != is.attached, why, BESIDE);
            self.fixed_but(&at("address"), was.address != is.address, "its link stands", BESIDE);
            let why = "its label is on every path";
            self.fixed_but(&at("label"), was.label != is.label, why, BESIDE);
        }
    }

    fn others(&mut self) {
        let (b, a) = self.both();
        for (index, is) in a.services.iter().enumerate() {
            let Some(was) = b.services.iter().find(|was| was.name == is.name) else { continue };
            let mend = "add a service of another name beside it, and move the paths there";
            let at = format!("services[{index}].addresses");
            let why = "connections to it are under way";
            self.fixed_but(&at, was.addresses != is.addresses, why, mend);
            let at = format!("services[{index}].site");
            self.fixed_but(&at, was.site != is.site, "the built-in site runs", mend);
        }
        for (index, is) in a.clients.iter().enumerate() {
            let Some(was) = b.clients.iter().find(|was| was.name == is.name) else { continue };
            let at = format!("clients[{index}].address");
            self.fixed(&at, was.address != is.address, "its place on this machine stands");
        }
        let why = "tables of flows have their size from the start of their element";
        self.fixed("limits.flows", b.limits.flows != a.limits.flows, why);
        let why = "it is opened when its element begins";
        self.fixed("flow_exports", b.flow_exports != a.flow_exports, why);
        let why = "it is opened when the domain comes up";
        self.fixed("metrics", b.metrics != a.metrics, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMPUS: &str = include_str!("../../../../examples/campus.yaml");

    fn refused(old: &str, new: &str) -> Vec<(String, u32)> {
        assert!(CAMPUS.contains(old), "`{old}` is not in the file");
        let after = CAMPUS.replacen(old, new, 1);
        match in_place(CAMPUS, &after, "campus.yaml") {
            Ok(()) => Vec::new(),
            Err(all) => {
                assert!(all.iter().all(|d| !d.mend.is_empty() && d.line > 0), "{all}");
                all.iter().map(|d| (d.at.clone(), d.line)).collect()
            }
        }
    }

    #[test]
    fn each_refusal_names_its_line_and_what_to_do() {
        for (old, new, at, line) in [
            ("suite: aes-128-gcm", "suite: aes-256-gcm", "suite", 14),
            ("  mtu: 1500", "  mtu: 1400", "links.mtu", 19),
            ("10.78.0.0/24", "10.78.1.0/24", "gateway.inner", 23),
            ("    intrusive: false", "    intrusive: true", "functions[0].intrusive", 52),
        ] {
            let refused = refused(old, new);
            assert_eq!(refused.first(), Some(&(at.to_owned(), line)), "{refused:?}");
        }
        let flows = refused("\nlinks:\n", "\nlimits:\n  flows: 1000\n\nlinks:\n");
        assert_eq!(flows.len(), 1);
        assert_eq!(flows[0].0, "limits.flows");
    }

    #[test]
    fn what_operators_change_is_not_refused() {
        let more = "\nfunctions:\n  - name: sf9\n    kind: forward\n    intrusive: false\n";
        for (old, new) in [
            (
                "\nlinks:\n",
                "\nlimits: {drain_ms: 1, flow_idle_s: 9, rekey_after_s: 9, lease_s: 9}\n\nlinks:\n",
            ),
            ("\nlinks:\n", "\nlimits: {replay_window_packets: 1024, taps: 2}\n\nlinks:\n"),
            ("\nfunctions:\n", more),
            ("address: 192.0.2.1:443", "address: 192.0.2.1:444"),
            ("  inner: [10.78.0.0/24]\n", "  inner: [10.78.0.0/24]\n  limits: {connections: 7}\n"),
        ] {
            assert_eq!(refused(old, new), [], "{new}");
        }
    }
}
