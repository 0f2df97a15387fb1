//! Links, keying, workers and limits.

use std::collections::BTreeMap;

use super::Checker;
use crate::domain::{Domain, Keying, LinkDriver, LinkKind};
use crate::integrity::{Integrity, IntegrityKind};
use crate::limits;
use crate::names::Name;
use crate::overhead::{EspMode, LABEL_BYTES, Steering, frame_bytes, inner_mtu_bytes};
use crate::pathset::{Direction, Extent, grants};
use crate::suggest;

impl Checker<'_> {
    pub(super) fn links(&mut self) {
        self.keying();
        self.mtu();
        self.ethernet();
        self.workers();
        let l = &self.domain.limits;
        let window = l.replay_window_packets;
        let (least, most) = (limits::REPLAY_WINDOW_MIN_PACKETS, limits::REPLAY_WINDOW_MAX_PACKETS);
        if !window.is_power_of_two() || window < least || window > most {
            let message = format!("a replay window of {window} packets is not possible");
            let mend = format!("write a power of two from {least} to {most}, such as 4096");
            self.error("limits.replay_window_packets", "replay-window", message, mend);
        }
        self.range("limits.flows", l.flows, 16, 1 << 24);
        self.range("limits.flow_idle_s", l.flow_idle_s, 1, 86_400);
        self.range("limits.lease_s", l.lease_s, 3, 3_600);
        self.range("limits.rekey_after_s", l.rekey_after_s, 1, 86_400);
        let (least, most) = (limits::REKEY_PACKETS_MIN, limits::REKEY_PACKETS_MAX);
        self.range("limits.rekey_after_packets", l.rekey_after_packets, least, most);
        let a = &self.domain.availability;
        self.range("availability.probe_every_ms", a.probe_every_ms, 20, 60_000);
        self.range("availability.probes_missed", a.probes_missed, 1, 100);
        let p = &self.domain.proofs;
        self.range("proofs.summary_every_s", p.summary_every_s, 1, limits::SUMMARY_EVERY_S);
        self.range("proofs.summaries_kept", p.summaries_kept, 1, limits::SUMMARIES_KEPT);
        self.range("links.udp_port", self.domain.links.udp_port, 1, u16::MAX);
        self.range("links.control_port", self.domain.links.control_port, 1, u16::MAX);
    }

    fn keying(&mut self) {
        if self.domain.profile.has_nsh() && self.domain.keying == Keying::Psk {
            let profile = self.domain.profile.name();
            let message = format!(
                "`profile: {profile}` needs keys that neighbours agree on, and `keying: psk` has none"
            );
            let mend = "write `profile: mpls`, or `keying: sap`";
            self.error("profile", "profile-needs-sap", message, mend);
        }
        self.integrity();
        match (self.domain.keying, &self.domain.psk) {
            (Keying::Sap, Some(_)) => {
                let message = "`psk` has no meaning with `keying: sap`".to_owned();
                self.error("psk", "psk-unused", message, "delete it, or write `keying: psk`");
            }
            (Keying::Psk, psk) => {
                let transport = psk.as_ref().is_some_and(|p| p.mode == EspMode::Transport);
                let more =
                    if transport { ", and transport mode shows inner addresses" } else { "" };
                let message = format!(
                    "`keying: psk` uses static keys: no forward secrecy, and one stolen key file opens every segment{more}"
                );
                let mend = "write `keying: sap`; psk is for comparison and interoperation only";
                self.warning("keying", "psk", message, mend);
                if psk.as_ref().is_some_and(|psk| psk.danger_same_keys_every_start) {
                    self.same_keys(psk.as_ref().is_some_and(|psk| psk.keys_file.is_some()));
                }
            }
            (Keying::Sap, None) => {}
        }
    }

    fn integrity(&mut self) {
        let Domain { profile, integrity, rfc9145, .. } = self.domain;
        if *integrity == IntegrityKind::Rfc9145 && !profile.has_nsh() {
            let message = format!(
                "`integrity: rfc9145` covers an NSH, and `profile: {}` has none",
                profile.name()
            );
            let mend = "delete it, or write `profile: mpls-nsh`";
            self.error("integrity", "integrity-unused", message, mend);
        }
        let Some(settings) = rfc9145 else { return };
        if *integrity != IntegrityKind::Rfc9145 {
            let message = "`rfc9145` has no meaning without `integrity: rfc9145`".to_owned();
            let mend = "delete it, or write `integrity: rfc9145`";
            self.error("rfc9145", "rfc9145-unused", message, mend);
        }
        let (least, most) = (limits::TIMESTAMP_WINDOW_MS_MIN, limits::TIMESTAMP_WINDOW_MS_MAX);
        self.range("rfc9145.window_ms", settings.window_ms, least, most);
    }

    fn same_keys(&mut self, has_file: bool) {
        let at = "psk.danger_same_keys_every_start";
        if has_file {
            let message = "every start counts from 1 again under the same keys: nonces repeat, and whoever records both can read and forge".to_owned();
            let mend = "delete it unless a peer that is not ringmail needs the keys, and then take a new file for every start";
            self.warning(at, "psk-same-keys", message, mend);
        } else {
            let message =
                "without `keys_file` keys are made anew at every start all the same".to_owned();
            self.warning(at, "psk-same-keys-unused", message, "delete it, or name a `keys_file`");
        }
    }

    fn esp_mode(&self) -> EspMode {
        match (self.domain.keying, &self.domain.psk) {
            (Keying::Psk, Some(psk)) => psk.mode,
            _ => EspMode::Tunnel,
        }
    }

    /// The inner MTU of the longest path, and what it has to hold.
    fn mtu(&mut self) {
        let links = &self.domain.links;
        let (mtu, plain) = (links.mtu, limits::LINK_MTU_PLAIN_BYTES);
        if mtu > plain && !links.jumbo {
            let message = format!("a link MTU of {mtu} is more than Ethernet's {plain}");
            let mend =
                format!("add `jumbo: true` if every link carries it, or write `mtu: {plain}`");
            self.error("links.mtu", "jumbo", message, mend);
        } else if !(limits::LINK_MTU_MIN_BYTES..=limits::LINK_MTU_JUMBO_BYTES).contains(&mtu) {
            self.range("links.mtu", mtu, limits::LINK_MTU_MIN_BYTES, limits::LINK_MTU_JUMBO_BYTES);
            return;
        } else if links.jumbo && mtu <= plain {
            let message = format!("`jumbo: true` changes nothing at a link MTU of {mtu}");
            self.warning("links.jumbo", "jumbo-unused", message, "delete it, or raise `mtu`");
        }
        let d = self.domain;
        let mode = self.esp_mode();
        let integrity = Integrity::new(d.integrity, d.rfc9145);
        let forward = d.paths.iter().map(|p| (&p.name, p.hops.clone(), Direction::Forward));
        // The way back that the file leaves out has other metadata than the path.
        let implied = d.paths.iter().filter(|p| p.return_path.is_none()).map(|p| {
            (&p.name, p.hops.iter().rev().cloned().collect::<Vec<_>>(), Direction::Return)
        });
        let back = d.return_paths.iter().map(|p| (&p.name, p.hops.clone(), Direction::Return));
        let mut longest: Option<(&Name, Steering)> = None;
        for (path, hops, direction) in forward
            .chain(implied)
            .chain(back)
            .filter(|(_, hops, _)| hops.len() <= limits::HOPS_A_PATH)
        {
            let opens = |hop: &Name| d.functions.iter().any(|f| f.name == *hop && f.intrusive);
            let intrusive = hops.iter().filter(|hop| opens(hop)).count();
            let told = grants(d, direction, &hops).into_iter().map(|grant| grant.reads);
            let told: Vec<_> = told.filter(|kinds| !kinds.is_empty()).collect();
            let grants_any = !told.is_empty();
            match (Extent { hops: hops.len(), intrusive, told })
                .steering(d.profile, integrity, links.kind)
            {
                Ok(steering)
                    if longest.is_none_or(|(_, most)| most.len_bytes() < steering.len_bytes()) =>
                {
                    longest = Some((path, steering));
                }
                Ok(_) => {}
                Err(why) => {
                    let message = format!("path `{path}` is too long for the profile: {why}");
                    let mend = match grants_any {
                        true => "grant less `metadata`, or take functions out of the path",
                        false => "take functions out of the path, or write `profile: mpls`",
                    };
                    self.error("profile", "nsh-too-long", message, mend);
                    return;
                }
            }
        }
        let Some((path, steering)) = longest else { return };
        let inner = inner_mtu_bytes(links.kind, mtu.into(), steering, mode).unwrap_or(0);
        let ipv6 = d.services.iter().flat_map(|s| &s.addresses).any(|a| a.is_ipv6());
        let (least, why) = if ipv6 {
            (limits::INNER_MTU_MIN_IPV6_BYTES, "a service has an IPv6 address")
        } else {
            (limits::INNER_MTU_MIN_BYTES, "every IPv4 host must take that much")
        };
        if inner < usize::from(least) {
            let needed = frame_bytes(d.links.kind, least.into(), steering, mode);
            let labels = steering.labels;
            let nsh = match steering.nsh_bytes {
                0 => String::new(),
                bytes => format!(", {bytes} bytes of NSH"),
            };
            let message = format!(
                "path `{path}` leaves {inner} bytes for inner packets, fewer than {least} ({why}): {labels} labels of {LABEL_BYTES} bytes{nsh} and ESP take the rest"
            );
            let mend = format!("write `mtu: {needed}` or more, or shorten the path");
            self.error("links.mtu", "mtu-too-small", message, mend);
        }
    }

    /// What only links of `kind: ethernet` have.
    fn ethernet(&mut self) {
        let d = self.domain;
        let links = &d.links;
        if links.kind != LinkKind::Ethernet {
            let mend = "delete it, or write `kind: ethernet`";
            for (at, there) in [
                ("links.driver", links.driver != LinkDriver::default()),
                ("links.vlan", links.vlan.is_some()),
                ("links.macs", !links.macs.is_empty()),
            ] {
                if there {
                    let message = "this has no meaning with `kind: udp`".to_owned();
                    self.error(at, "ethernet-only", message, mend);
                }
            }
            return;
        }
        if let Some(vlan) = links.vlan {
            self.range("links.vlan", vlan, 1, limits::VLAN_MAX);
        }
        if links.driver == LinkDriver::Xdp {
            self.xdp();
        }
        let elements = d.element_names();
        let mut owners = BTreeMap::new();
        for (name, mac) in &links.macs {
            let at = format!("links.macs.{name}");
            // Where names are doubled, that is said elsewhere.
            let known = elements.iter().any(|element| element == name.as_str());
            if !known && !elements.is_empty() {
                let message = format!("the domain has no element `{name}`");
                let names = elements.iter().map(String::as_str);
                let mend = suggest::mend(name, "elements here", names);
                self.error(&at, "unknown-element", message, mend);
            }
            if let Some(other) = owners.insert(mac, name) {
                let message = format!("{mac} is the MAC address of `{other}` already");
                self.error(&at, "duplicate-mac", message, "each element has one of its own");
            }
        }
    }

    /// What AF_XDP cannot do.
    fn xdp(&mut self) {
        let links = &self.domain.links;
        let (vlan, mtu, most) = (links.vlan, links.mtu, limits::LINK_MTU_XDP_BYTES);
        if vlan.is_some() {
            let message = "`driver: xdp` has no VLAN: interfaces keep the tag apart from the frame, where its program does not see it".to_owned();
            let mend = "delete it and use an interface of the VLAN (`ip link add link eth1 name eth1.77 type vlan id 77`), or write `driver: packet`";
            self.error("links.vlan", "xdp-vlan", message, mend);
        }
        if mtu > most {
            let message = format!("`driver: xdp` carries at most {most} bytes, not {mtu}");
            let mend = format!("write `mtu: {most}` or less, or `driver: packet`");
            self.error("links.mtu", "xdp-mtu", message, mend);
        }
        for (at, workers) in self.workers_said() {
            if workers > 1 {
                let message = format!("`driver: xdp` serves one worker, not {workers}");
                let mend = "write `workers: 1`, or `driver: packet`";
                self.error(&at, "xdp-workers", message, mend);
            }
        }
    }

    fn workers(&mut self) {
        for (at, workers) in self.workers_said() {
            self.range(&at, workers, 1, limits::WORKERS);
        }
    }

    /// Numbers of workers, and where the file says them.
    fn workers_said(&self) -> Vec<(String, u16)> {
        let d = self.domain;
        let all = ("workers".to_owned(), Some(d.workers));
        let functions = d
            .functions
            .iter()
            .enumerate()
            .map(|(i, f)| (format!("functions[{i}].workers"), f.workers));
        let ends = [
            ("gateway.workers".to_owned(), d.gateway.workers),
            ("egress.workers".to_owned(), d.egress.workers),
            (
                "gateway.standby.workers".to_owned(),
                d.gateway.standby.as_ref().and_then(|standby| standby.workers),
            ),
        ];
        let said = std::iter::once(all).chain(functions).chain(ends);
        said.filter_map(|(at, workers)| Some((at, workers?))).collect()
    }
}
