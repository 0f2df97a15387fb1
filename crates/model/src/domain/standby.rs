//! A standby gateway: the listeners of the first, with an identity, inner addresses and paths of its own.
//!
//! Both gateways run all the time and listen at the same addresses; which of them has these addresses says VRRP (RFC 5798),
//! which is not ours. Each path comes twice, once from each gateway, so that both have keys before anybody needs them, and
//! replies find the gateway that they belong to.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Domain, Path, ReturnPath};
use crate::ids::Label;
use crate::names::Name;
use crate::net::Cidr;

/// The standby gateway's name as an element, and what its paths end in.
pub const STANDBY: &str = "standby";

/// A second gateway, which has the listeners of the first and whatever is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standby {
    /// Its inner networks, of the same IP versions as `gateway.inner` and apart from those.
    pub inner: Vec<Cidr>,
    /// Workers, where not the domain's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u16>,
    /// The link address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The label that ends its return paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u32>", range(min = 16, max = 1_048_575))]
    pub label: Option<Label>,
}

impl Domain {
    /// The same domain with the standby's paths written out beside the gateway's: `NAME-standby` for each.
    pub(super) fn with_standby(mut self) -> Domain {
        if self.gateway.standby.is_none() || self.paths.iter().any(|path| path.standby) {
            return self;
        }
        let twin = |path: &Path| Path {
            name: of_standby(&path.name),
            return_path: path.return_path.as_ref().map(of_standby),
            replica_of: path.replica_of.as_ref().map(of_standby),
            standby: true,
            ..path.clone()
        };
        let back = |back: &ReturnPath| ReturnPath {
            name: of_standby(&back.name),
            standby: true,
            ..back.clone()
        };
        let twins: Vec<Path> = self.paths.iter().map(twin).collect();
        let backs: Vec<ReturnPath> = self.return_paths.iter().map(back).collect();
        self.paths.extend(twins);
        self.return_paths.extend(backs);
        self
    }

    /// The domain as the element of this name sees it: a gateway has its own inner networks and paths, and rules lead to
    /// those. To everybody else it is as it stands.
    #[must_use]
    pub fn seen_by(mut self, element: &str) -> Domain {
        let Some(standby) = &mut self.gateway.standby else { return self };
        let own = match element {
            STANDBY => true,
            "gateway" => false,
            _ => return self,
        };
        if own && self.paths.iter().any(|path| !path.standby) {
            std::mem::swap(&mut self.gateway.inner, &mut standby.inner);
            self.gateway.workers = standby.workers;
            for rule in &mut self.rules {
                rule.path = of_standby(&rule.path);
            }
        }
        self.paths.retain(|path| path.standby == own);
        self.return_paths.retain(|path| path.standby == own);
        self
    }

    /// The inner networks of all gateways.
    pub fn inner_networks(&self) -> impl Iterator<Item = &Cidr> {
        let standby = self.gateway.standby.iter().flat_map(|standby| &standby.inner);
        self.gateway.inner.iter().chain(standby)
    }
}

/// What a path is called that begins or ends at the standby.
pub(crate) fn of_standby(name: &Name) -> Name {
    format!("{name}-{STANDBY}").parse().unwrap_or_else(|_| name.clone())
}
