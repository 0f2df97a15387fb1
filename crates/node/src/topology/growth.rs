//! What has to be made beside a network that stands, so that another one stands too; and what then is no part of the other.
//!
//! A cable is known by its second end, which lies in the namespace that it is laid for. Its first end, a port of a bridge
//! or of a router, keeps the name that it has, or gets one that is free: numbers in a description shift when something
//! before them goes.

use std::collections::{BTreeMap, BTreeSet};

use super::error::GrowthError;
use super::plan::{Cable, End, Namespace, Route, Topology};

/// What to add to a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// In the order in which they are made.
    pub namespaces: Vec<Namespace>,
    /// The veth pairs that are to be laid.
    pub cables: Vec<Cable>,
    /// Routes in namespaces that are there, by their names.
    pub routes: Vec<(String, Route)>,
    /// Interfaces that are there, with the addresses that they are to have as well.
    pub addresses: Vec<End>,
}

impl Growth {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Growth::default()
    }
}

impl Topology {
    /// What has to be added so that `next` stands, too.
    ///
    /// # Errors
    /// What would have to change of what stands already.
    pub fn growth(&self, next: &Topology) -> Result<Growth, GrowthError> {
        let mut growth = Growth::default();
        let mut taken = self.interfaces();
        // The names that first ends have here, by those that they have in `next`.
        let mut renamed: BTreeMap<(&str, &str), String> = BTreeMap::new();
        for cable in &next.cables {
            let [first, second] = &cable.ends;
            let known = self.cables.iter().find(|known| {
                let end = &known.ends[1];
                (&end.namespace, &end.interface) == (&second.namespace, &second.interface)
            });
            let mut cable = cable.clone();
            match known {
                Some(known) => {
                    cable.ends[0].interface.clone_from(&known.ends[0].interface);
                    // An address that nobody names any more stays: connections to it may be under way.
                    let had = known.ends[1].addresses.clone();
                    let named = std::mem::replace(&mut cable.ends[1].addresses, had);
                    let new =
                        named.into_iter().filter(|one| !known.ends[1].addresses.contains(one));
                    let new: Vec<_> = new.collect();
                    if !new.is_empty() {
                        growth.addresses.push(End { addresses: new, ..known.ends[1].clone() });
                    }
                    if cable != *known {
                        return Err(GrowthError::Cable {
                            namespace: second.namespace.clone(),
                            interface: second.interface.clone(),
                        });
                    }
                }
                None => {
                    let name = free(&taken, &first.namespace, &first.interface);
                    taken.insert((first.namespace.clone(), name.clone()));
                    cable.ends[0].interface = name;
                    growth.cables.push(cable.clone());
                }
            }
            let [here, _] = cable.ends;
            renamed.insert((&first.namespace, &first.interface), here.interface);
        }
        for namespace in &next.namespaces {
            let mut namespace = namespace.clone();
            for route in &mut namespace.routes {
                let Some(interface) = &mut route.interface else { continue };
                let name = renamed.get(&(namespace.name.as_str(), interface.as_str()));
                if let Some(name) = name.cloned() {
                    *interface = name;
                }
            }
            match self.namespaces.iter().find(|known| known.name == namespace.name) {
                None => growth.namespaces.push(namespace),
                Some(known) => growth.routes.extend(more_routes(known, namespace)?),
            }
        }
        Ok(growth)
    }

    /// The same network with what was added to it.
    #[must_use]
    pub fn with(mut self, growth: &Growth) -> Topology {
        self.namespaces.extend(growth.namespaces.iter().cloned());
        self.cables.extend(growth.cables.iter().cloned());
        for (name, route) in &growth.routes {
            let known = self.namespaces.iter_mut().find(|known| known.name == *name);
            known.into_iter().for_each(|known| known.routes.push(route.clone()));
        }
        for end in &growth.addresses {
            let same = |known: &&mut End| {
                (&known.namespace, &known.interface) == (&end.namespace, &end.interface)
            };
            let known = self.cables.iter_mut().map(|cable| &mut cable.ends[1]).find(same);
            known.into_iter().for_each(|known| known.addresses.extend(end.addresses.clone()));
        }
        self
    }

    /// Takes a namespace out, with the cables into it and the routes over them. Returns the cables.
    pub fn without(&mut self, name: &str) -> Vec<Cable> {
        self.namespaces.retain(|namespace| namespace.name != name);
        let inside = |cable: &mut Cable| cable.ends.iter().any(|end| end.namespace == name);
        let gone: Vec<Cable> = self.cables.extract_if(.., inside).collect();
        for end in gone.iter().flat_map(|cable| &cable.ends) {
            let known = self.namespaces.iter_mut().find(|known| known.name == end.namespace);
            if let Some(known) = known {
                known.routes.retain(|route| route.interface.as_ref() != Some(&end.interface));
            }
        }
        gone
    }

    fn interfaces(&self) -> BTreeSet<(String, String)> {
        let ends = self.cables.iter().flat_map(|cable| &cable.ends);
        ends.map(|end| (end.namespace.clone(), end.interface.clone())).collect()
    }
}

/// The routes of `next` that a namespace does not have, if nothing else is different.
fn more_routes(known: &Namespace, next: Namespace) -> Result<Vec<(String, Route)>, GrowthError> {
    let Namespace { name, bridges, taps, routes, sysctls, guards } = next;
    let same = known.bridges == bridges && known.taps == taps;
    if !same || known.sysctls != sysctls || known.guards != guards {
        return Err(GrowthError::Namespace { namespace: name });
    }
    let new: Vec<Route> =
        routes.into_iter().filter(|route| !known.routes.contains(route)).collect();
    if let Some(other) = new.iter().find(|new| known.routes.iter().any(|old| old.to == new.to)) {
        return Err(GrowthError::Route { namespace: name, to: other.to });
    }
    Ok(new.into_iter().map(|route| (name.clone(), route)).collect())
}

/// The name itself, or with the first number that nobody has.
fn free(taken: &BTreeSet<(String, String)>, namespace: &str, wanted: &str) -> String {
    let stem = wanted.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = (0..=taken.len()).map(|number| format!("{stem}{number}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    let unused = |name: &String| !taken.contains(&(namespace.to_owned(), name.clone()));
    // One of them is free: there are more than are taken.
    names.find(unused).unwrap_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Cidr, End};

    /// A router with a room for each of these.
    fn rooms(names: &[&str]) -> Topology {
        let mut plan = Topology::new("d");
        plan.namespaces.push(Namespace { name: "router".into(), ..Namespace::default() });
        for (index, name) in names.iter().enumerate() {
            let end = |namespace: &str, interface: String| End {
                namespace: namespace.to_owned(),
                interface,
                ..End::default()
            };
            let port = format!("svc{index}");
            // Its own number is the letter's: it does not shift.
            let to: Cidr = format!("10.0.0.{}/32", name.as_bytes()[0]).parse().unwrap();
            plan.namespaces[0].routes.push(Route { to, via: None, interface: Some(port.clone()) });
            plan.namespaces.push(Namespace { name: (*name).into(), ..Namespace::default() });
            let ends = [end("router", port), end(name, "eth0".into())];
            plan.cables.push(Cable { mtu: 1500, ends });
        }
        plan
    }

    fn ports(cables: &[Cable]) -> Vec<(&str, &str)> {
        cables
            .iter()
            .map(|cable| (cable.ends[1].namespace.as_str(), cable.ends[0].interface.as_str()))
            .collect()
    }

    #[test]
    fn what_comes_in_front_of_others_gets_a_name_that_is_free_and_its_route_leads_there() {
        let before = rooms(&["b", "c"]);
        let growth = before.growth(&rooms(&["a", "b", "c"])).unwrap();
        assert_eq!(ports(&growth.cables), [("a", "svc2")]);
        assert_eq!(growth.namespaces.len(), 1);
        let to = "10.0.0.97/32".parse().unwrap();
        let route = Route { to, via: None, interface: Some("svc2".into()) };
        assert_eq!(growth.routes, [("router".to_owned(), route)]);
        let both = before.with(&growth);
        assert_eq!(both.check(), Ok(()));
        assert!(both.growth(&rooms(&["a", "b", "c"])).unwrap().is_empty(), "it stands now");
        assert!(both.growth(&rooms(&["c"])).unwrap().is_empty(), "what goes asks for nothing");
    }

    #[test]
    fn what_went_leaves_room_for_what_comes() {
        let mut plan = rooms(&["a", "b"]);
        let gone = plan.without("a");
        assert_eq!(ports(&gone), [("a", "svc0")]);
        assert_eq!(plan.namespaces[0].routes.len(), 1);
        let growth = plan.growth(&rooms(&["b", "d"])).unwrap();
        assert_eq!(ports(&growth.cables), [("d", "svc0")], "`svc1` is still that of b");
    }

    #[test]
    fn an_interface_gets_more_addresses_and_keeps_those_that_it_has() {
        let with = |addresses: &[&str]| {
            let mut plan = rooms(&["a"]);
            let parsed = addresses.iter().map(|address| address.parse().unwrap());
            plan.cables[0].ends[1].addresses = parsed.collect();
            plan
        };
        let before = with(&["192.0.2.1/24", "192.0.2.2/24"]);
        let next = with(&["192.0.2.2/24", "192.0.2.3/24"]);
        let growth = before.growth(&next).unwrap();
        let new = End {
            addresses: vec!["192.0.2.3/24".parse().unwrap()],
            ..next.cables[0].ends[1].clone()
        };
        assert_eq!(growth, Growth { addresses: vec![new], ..Growth::default() });
        let both = before.with(&growth);
        assert_eq!(both.cables[0].ends[1].addresses.len(), 3);
        assert!(both.growth(&next).unwrap().is_empty(), "it stands now");
        assert!(both.growth(&with(&["192.0.2.1/24"])).unwrap().is_empty(), "and what was");
    }

    #[test]
    fn what_stands_does_not_change() {
        let before = rooms(&["a", "b"]);
        let mut next = rooms(&["a", "b"]);
        next.cables[1].mtu = 9000;
        assert!(
            matches!(before.growth(&next), Err(GrowthError::Cable { namespace, .. }) if namespace == "b")
        );
        let mut next = rooms(&["a", "b"]);
        next.namespaces[0].sysctls.push(crate::topology::Sysctl::wished("net.ipv4.x", "1"));
        assert!(matches!(before.growth(&next), Err(GrowthError::Namespace { .. })));
        // An address that is reached by another way than before.
        let mut next = rooms(&["a", "b"]);
        next.namespaces[0].routes[0].interface = Some("svc1".into());
        assert!(matches!(before.growth(&next), Err(GrowthError::Route { .. })));
    }
}
