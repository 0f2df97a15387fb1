//! The description of a network: plain data, checked before anything is made.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::error::PlanError;
use super::sysctl::Sysctl;
use crate::limits::{INTERFACE_NAME_BYTES, NAME_BYTES, NAMESPACES};

/// The network of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The domain's name; a part of file names.
    pub domain: String,
    /// In the order in which they are made.
    pub namespaces: Vec<Namespace>,
    /// The veth pairs between them.
    pub cables: Vec<Cable>,
}

/// One network namespace. Its loopback interface is always up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Unique in the topology; a part of file names.
    pub name: String,
    /// Bridges to make, before any cable is laid.
    pub bridges: Vec<Bridge>,
    /// TAP devices to make behind the bridges.
    pub taps: Vec<Tap>,
    /// Routes, added once all interfaces are up.
    pub routes: Vec<Route>,
    /// Written behind [`Sysctl::basic`] and before any interface is made, so that defaults hold for all of them.
    pub sysctls: Vec<Sysctl>,
    /// Written once all interfaces are up: what holds for some of them alone.
    pub guards: Vec<Sysctl>,
}

/// A bridge without spanning tree and multicast snooping: a port forwards as soon as it is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The interface's name.
    pub name: String,
    /// In bytes.
    pub mtu: u32,
}

/// A TAP device, a port of a bridge of its namespace, that a program is to open by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// The interface's name.
    pub name: String,
    /// In bytes.
    pub mtu: u32,
    /// The bridge.
    pub bridge: String,
}

/// A veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cable {
    /// In bytes, of both ends.
    pub mtu: u32,
    /// Both ends, equal in rights.
    pub ends: [End; 2],
}

/// One end of a veth pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The namespace it lies in.
    pub namespace: String,
    /// The interface's name there.
    pub interface: String,
    /// IPv6 addresses are usable at once: there is no duplicate address detection.
    pub addresses: Vec<Cidr>,
    /// The bridge of its namespace that it is a port of.
    pub bridge: Option<String>,
    /// The MAC address, where it must be known beforehand.
    pub mac: Option<[u8; 6]>,
}

/// A route. At least one of `via` and `interface` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: Cidr,
    /// The next hop's address, of the same family.
    pub via: Option<IpAddr>,
    /// The interface it leaves by.
    pub interface: Option<String>,
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The address, host bits included.
    pub address: IpAddr,
    /// In bits, at most 32 or 128.
    pub prefix_len: u8,
}

impl Topology {
    /// An empty network.
    pub fn new(domain: impl Into<String>) -> Topology {
        Topology { domain: domain.into(), ..Topology::default() }
    }

    /// Checks what can be checked without making anything.
    ///
    /// # Errors
    /// The first thing that cannot work, with the names of what is wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        if !valid_name(&self.domain) {
            return Err(PlanError::Name { what: "domain", name: self.domain.clone() });
        }
        if self.namespaces.len() > NAMESPACES {
            return Err(PlanError::TooManyNamespaces { count: self.namespaces.len() });
        }
        let mut interfaces = BTreeSet::new();
        let mut names = BTreeSet::new();
        for namespace in &self.namespaces {
            if !valid_name(&namespace.name) {
                return Err(PlanError::Name { what: "namespace", name: namespace.name.clone() });
            }
            if !names.insert(namespace.name.as_str()) {
                return Err(PlanError::TwoNamespaces { name: namespace.name.clone() });
            }
            for bridge in &namespace.bridges {
                interface(&mut interfaces, &namespace.name, &bridge.name)?;
            }
            for tap in &namespace.taps {
                interface(&mut interfaces, &namespace.name, &tap.name)?;
                if !namespace.bridges.iter().any(|known| known.name == tap.bridge) {
                    return Err(PlanError::NoBridge {
                        bridge: tap.bridge.clone(),
                        namespace: namespace.name.clone(),
                    });
                }
            }
            for route in &namespace.routes {
                route.check(&namespace.name)?;
            }
        }
        for end in self.cables.iter().flat_map(|cable| &cable.ends) {
            let Some(namespace) = self.namespaces.iter().find(|known| known.name == end.namespace)
            else {
                return Err(PlanError::NoNamespace {
                    interface: end.interface.clone(),
                    namespace: end.namespace.clone(),
                });
            };
            interface(&mut interfaces, &end.namespace, &end.interface)?;
            if let Some(bridge) = &end.bridge
                && !namespace.bridges.iter().any(|known| &known.name == bridge)
            {
                return Err(PlanError::NoBridge {
                    bridge: bridge.clone(),
                    namespace: end.namespace.clone(),
                });
            }
        }
        Ok(())
    }
}

fn interface<'a>(
    known: &mut BTreeSet<(&'a str, &'a str)>,
    namespace: &'a str,
    name: &'a str,
) -> Result<(), PlanError> {
    let usable = !name.is_empty()
        && name.len() <= INTERFACE_NAME_BYTES
        && name != "lo"
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b'%')
        && name != "."
        && name != "..";
    if !usable {
        return Err(PlanError::InterfaceName { name: name.to_owned() });
    }
    if !known.insert((namespace, name)) {
        return Err(PlanError::TwoInterfaces {
            namespace: namespace.to_owned(),
            interface: name.to_owned(),
        });
    }
    Ok(())
}

impl Route {
    /// A route through a next hop.
    pub fn via(to: Cidr, via: IpAddr) -> Route {
        Route { to, via: Some(via), interface: None }
    }

    fn check(&self, namespace: &str) -> Result<(), PlanError> {
        let family = self.via.is_none_or(|via| via.is_ipv4() == self.to.address.is_ipv4());
        if family && (self.via.is_some() || self.interface.is_some()) {
            return Ok(());
        }
        Err(PlanError::Route { namespace: namespace.to_owned(), to: self.to })
    }
}

/// Whether a domain or namespace may be called so: letters, digits, `.`, `_` and `-`, no dot or dash in front.
pub fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES
        && !name.starts_with(['.', '-'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

impl Cidr {
    /// An address alone: a prefix of 32 or 128 bits.
    pub fn host(address: IpAddr) -> Cidr {
        Cidr { address, prefix_len: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// An address in a network.
    ///
    /// # Errors
    /// The prefix is longer than the address.
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<Cidr, PlanError> {
        if prefix_len > Cidr::host(address).prefix_len {
            return Err(PlanError::Address { text: format!("{address}/{prefix_len}") });
        }
        Ok(Cidr { address, prefix_len })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for Cidr {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Cidr, PlanError> {
        let wrong = || PlanError::Address { text: text.to_owned() };
        let (address, prefix_len) = text.split_once('/').ok_or_else(wrong)?;
        Cidr::new(address.parse().map_err(|_| wrong())?, prefix_len.parse().map_err(|_| wrong())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_rooms() -> Topology {
        let end = |namespace: &str| End {
            namespace: namespace.into(),
            interface: "e0".into(),
            ..End::default()
        };
        Topology {
            domain: "d".into(),
            namespaces: vec![
                Namespace { name: "a".into(), ..Namespace::default() },
                Namespace { name: "b".into(), ..Namespace::default() },
            ],
            cables: vec![Cable { mtu: 1500, ends: [end("a"), end("b")] }],
        }
    }

    #[test]
    fn a_sound_plan_passes() {
        assert_eq!(two_rooms().check(), Ok(()));
    }

    #[test]
    fn a_name_that_would_leave_its_directory_is_refused() {
        for name in ["", "..", "../etc", "a/b", "-rf", "a b", &"x".repeat(64)] {
            let mut plan = two_rooms();
            plan.domain = name.to_owned();
            assert!(matches!(plan.check(), Err(PlanError::Name { .. })), "{name:?}");
        }
    }

    #[test]
    fn an_interface_name_of_sixteen_bytes_is_refused() {
        let mut plan = two_rooms();
        plan.cables[0].ends[0].interface = "fifteen-bytes-x".into();
        assert_eq!(plan.check(), Ok(()));
        plan.cables[0].ends[0].interface = "sixteen-bytes-xx".into();
        assert!(matches!(plan.check(), Err(PlanError::InterfaceName { .. })));
    }

    #[test]
    fn a_cable_to_nowhere_is_refused() {
        let mut plan = two_rooms();
        plan.cables[0].ends[1].namespace = "c".into();
        assert!(matches!(plan.check(), Err(PlanError::NoNamespace { .. })));
        plan = two_rooms();
        plan.cables[0].ends[1].bridge = Some("br0".into());
        assert!(matches!(plan.check(), Err(PlanError::NoBridge { .. })));
        plan = two_rooms();
        plan.cables[0].ends[1].namespace = "a".into();
        assert!(matches!(plan.check(), Err(PlanError::TwoInterfaces { .. })));
    }

    #[test]
    fn a_route_of_two_families_is_refused() {
        let mut plan = two_rooms();
        let to = "10.0.0.0/8".parse().unwrap();
        plan.namespaces[0].routes.push(Route::via(to, "fd00::1".parse().unwrap()));
        assert!(matches!(plan.check(), Err(PlanError::Route { .. })));
    }

    #[test]
    fn an_address_is_read_with_its_prefix() {
        let cidr: Cidr = "fd00::2/64".parse().unwrap();
        assert_eq!(cidr.to_string(), "fd00::2/64");
        for wrong in ["10.0.0.1", "10.0.0.1/33", "x/8", "::1/129", "10.0.0.1/"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
