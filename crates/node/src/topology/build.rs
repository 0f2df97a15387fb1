//! Makes a network from its description, and takes it away again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use ringmail_dataplane_io::tun::make_tap;

use super::error::TopologyError;
use super::growth::Growth;
use super::netlink::{Netlink, VethEnd};
use super::netns::Netns;
use super::plan::{Cable, End, Namespace, Topology};
use super::privilege::Privilege;
use super::sysctl::Sysctl;
use crate::limits::{LINK_POLL_EVERY, LINKS_READY_WITHIN};
use crate::runtime::Claim;

/// The network of a running domain. Dropping it lets go of the namespaces; as root their names go with the [`Claim`].
#[derive(Clone, Debug)]
pub struct Fabric {
    namespaces: BTreeMap<String, Arc<Netns>>,
}

impl Fabric {
    /// Makes everything that the description holds, and returns once every link carries frames.
    ///
    /// Blocks for some ten milliseconds. Each name is in the claim's record before it exists, so that a crash in
    /// between leaves nothing that the next start would not find.
    ///
    /// # Errors
    /// What could not be made. Names that were made already are gone once the claim is released or dropped.
    pub fn build(
        topology: &Topology,
        privilege: Privilege,
        claim: &mut Claim,
    ) -> Result<Fabric, TopologyError> {
        topology.check()?;
        let mut fabric = Fabric { namespaces: BTreeMap::new() };
        for plan in &topology.namespaces {
            let netns = Netns::anonymous(&plan.name)
                .map_err(|source| namespace_error(&plan.name, "it cannot be made", source))?;
            claim.hold_namespace(&netns, privilege)?;
            furnish(plan, &netns)?;
            fabric.namespaces.insert(plan.name.clone(), Arc::new(netns));
        }
        for cable in &topology.cables {
            fabric.lay(cable)?;
        }
        for plan in &topology.namespaces {
            let ends: Vec<_> = (topology.cables.iter().flat_map(|cable| &cable.ends))
                .filter(|end| end.namespace == plan.name)
                .collect();
            fabric.connect(plan, &ends)?;
        }
        let until = Instant::now() + LINKS_READY_WITHIN;
        for plan in &topology.namespaces {
            let ends = topology.cables.iter().flat_map(|cable| &cable.ends);
            fabric.await_links(&plan.name, ends, until)?;
        }
        Ok(fabric)
    }

    /// Makes the namespaces that are to be added, empty as yet. What fails leaves none of them.
    ///
    /// # Errors
    /// What could not be made.
    pub fn found(
        &mut self,
        growth: &Growth,
        privilege: Privilege,
        claim: &mut Claim,
    ) -> Result<(), TopologyError> {
        for plan in &growth.namespaces {
            let netns = Netns::anonymous(&plan.name)
                .map_err(|source| namespace_error(&plan.name, "it cannot be made", source));
            let held = netns.and_then(|netns| {
                claim.hold_namespace(&netns, privilege)?;
                Ok(netns)
            });
            match held {
                Ok(netns) => drop(self.namespaces.insert(plan.name.clone(), Arc::new(netns))),
                Err(error) => {
                    growth.namespaces.iter().for_each(|plan| self.leave(&plan.name, claim));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Furnishes what [`Fabric::found`] made, lays cables and adds routes, and returns once every link carries frames.
    /// Blocks for some ten milliseconds.
    ///
    /// # Errors
    /// What could not be made. What was made until then goes with its namespaces.
    pub fn grow(&self, growth: &Growth) -> Result<(), TopologyError> {
        let Growth { namespaces, cables, routes, addresses } = growth;
        for plan in namespaces {
            furnish(plan, self.get(&plan.name)?)?;
        }
        for cable in cables {
            self.lay(cable)?;
        }
        for end in addresses {
            inside(self.get(&end.namespace)?, async |netlink| add_addresses(&netlink, end).await)?;
        }
        let ends: Vec<&End> = cables.iter().flat_map(|cable| &cable.ends).collect();
        let names = |end: &&End| end.namespace.clone();
        let touched: std::collections::BTreeSet<String> = ends.iter().map(names).collect();
        for name in &touched {
            let here: Vec<&End> =
                ends.iter().copied().filter(|end| end.namespace == *name).collect();
            let new = namespaces.iter().find(|plan| plan.name == *name);
            let more = routes.iter().filter(|(place, _)| place == name).map(|(_, route)| route);
            let plan = Namespace {
                name: name.clone(),
                routes: new.map_or_else(|| more.cloned().collect(), |plan| plan.routes.clone()),
                guards: new.map_or_else(Vec::new, |plan| plan.guards.clone()),
                ..Namespace::default()
            };
            self.connect(&plan, &here)?;
        }
        let until = Instant::now() + LINKS_READY_WITHIN;
        for name in &touched {
            self.await_links(name, ends.iter().copied(), until)?;
        }
        Ok(())
    }

    /// Cuts cables, wherever they lead.
    pub fn cut(&self, cables: &[Cable]) {
        for [end, _] in cables.iter().map(|cable| &cable.ends) {
            let Some(netns) = self.namespaces.get(&end.namespace) else { continue };
            let removed = inside(netns, async |netlink| {
                let removed = netlink.remove(&end.interface).await;
                removed.map_err(|source| interface_error(end, "it cannot be removed", source))
            });
            if let Err(error) = removed {
                tracing::debug!(%error, "a cable had gone before");
            }
        }
    }

    /// Lets go of a namespace and its name.
    pub fn leave(&mut self, name: &str, claim: &mut Claim) {
        self.namespaces.remove(name);
        if let Err(error) = claim.forget_namespace(name) {
            tracing::warn!(%error, "the name of a namespace stays");
        }
    }

    /// The namespace of this name.
    pub fn namespace(&self, name: &str) -> Option<&Arc<Netns>> {
        self.namespaces.get(name)
    }

    /// All namespaces, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Netns>> {
        self.namespaces.values()
    }

    fn get(&self, name: &str) -> Result<&Arc<Netns>, TopologyError> {
        let missing = || namespace_error(name, "it was not made", io::ErrorKind::NotFound.into());
        self.namespaces.get(name).ok_or_else(missing)
    }

    fn lay(&self, cable: &Cable) -> Result<(), TopologyError> {
        let [here, there] = &cable.ends;
        let other = self.get(&there.namespace)?;
        inside(self.get(&here.namespace)?, async |netlink| {
            let ends = [here, there].map(|end| VethEnd { name: &end.interface, mac: end.mac });
            let [first, second] = ends;
            let made = netlink.add_veth(first, second, other.as_fd(), cable.mtu).await;
            made.map_err(|source| interface_error(here, "the veth pair cannot be made", source))
        })
    }

    /// Addresses, bridge ports, interfaces up, routes, and at last the guards.
    fn connect(&self, plan: &Namespace, ends: &[&End]) -> Result<(), TopologyError> {
        inside(self.get(&plan.name)?, async |netlink| {
            for end in ends {
                connect_end(&netlink, end).await?;
            }
            for route in &plan.routes {
                netlink.add_route(route).await.map_err(|source| TopologyError::Route {
                    namespace: plan.name.clone(),
                    to: route.to,
                    source,
                })?;
            }
            plan.guards.iter().try_for_each(|guard| set(&plan.name, guard))
        })
    }

    fn await_links<'a>(
        &self,
        namespace: &str,
        ends: impl Iterator<Item = &'a End> + Send,
        until: Instant,
    ) -> Result<(), TopologyError> {
        inside(self.get(namespace)?, async |netlink| {
            for end in ends.filter(|end| end.namespace == namespace) {
                let carries = async || {
                    let asked = netlink.carries(&end.interface).await;
                    asked.map_err(|source| interface_error(end, "its state is unknown", source))
                };
                while !carries().await? {
                    if Instant::now() > until {
                        return Err(TopologyError::NotUp {
                            namespace: end.namespace.clone(),
                            interface: end.interface.clone(),
                        });
                    }
                    tokio::time::sleep(LINK_POLL_EVERY).await;
                }
            }
            Ok(())
        })
    }
}

/// Settings, the loopback interface, bridges and TAPs of a new namespace.
fn furnish(plan: &Namespace, netns: &Netns) -> Result<(), TopologyError> {
    inside(netns, async |netlink| {
        let settings = Sysctl::basic();
        settings.iter().chain(&plan.sysctls).try_for_each(|sysctl| set(&plan.name, sysctl))?;
        let named = |name: &str| End {
            namespace: plan.name.clone(),
            interface: name.to_owned(),
            ..End::default()
        };
        let lo = async { netlink.set_up(netlink.interface("lo").await?).await };
        lo.await
            .map_err(|source| interface_error(&named("lo"), "it cannot be brought up", source))?;
        for bridge in &plan.bridges {
            netlink.add_bridge(bridge).await.map_err(|source| {
                interface_error(&named(&bridge.name), "the bridge cannot be made", source)
            })?;
        }
        for tap in &plan.taps {
            let made = async {
                make_tap(&tap.name)?;
                let index = netlink.interface(&tap.name).await?;
                netlink.set_mtu(index, tap.mtu).await?;
                netlink.set_bridge(index, netlink.interface(&tap.bridge).await?).await?;
                netlink.set_up(index).await
            };
            made.await.map_err(|source| {
                interface_error(&named(&tap.name), "the TAP cannot be made", source)
            })?;
        }
        Ok(())
    })
}

/// Writes a setting of the namespace that the calling thread is in.
fn set(namespace: &str, sysctl: &Sysctl) -> Result<(), TopologyError> {
    sysctl.write().map_err(|source| TopologyError::Sysctl {
        namespace: namespace.to_owned(),
        key: sysctl.key.clone(),
        value: sysctl.value.clone(),
        source,
    })
}

async fn connect_end(netlink: &Netlink, end: &End) -> Result<(), TopologyError> {
    let failed = |step| move |source| interface_error(end, step, source);
    let index = netlink.interface(&end.interface).await.map_err(failed("it was not made"))?;
    if let Some(bridge) = &end.bridge {
        let bridge = netlink.interface(bridge).await.map_err(failed("its bridge was not made"))?;
        netlink.set_bridge(index, bridge).await.map_err(failed("it cannot join its bridge"))?;
    }
    add_addresses(netlink, end).await?;
    netlink.set_up(index).await.map_err(failed("it cannot be brought up"))
}

async fn add_addresses(netlink: &Netlink, end: &End) -> Result<(), TopologyError> {
    let failed = |step| move |source| interface_error(end, step, source);
    let index = netlink.interface(&end.interface).await.map_err(failed("it was not made"))?;
    for cidr in &end.addresses {
        let added = netlink.add_address(index, *cidr).await;
        added.map_err(failed("an address cannot be added"))?;
    }
    Ok(())
}

/// Runs the work in the namespace, with a netlink socket of it, on a runtime of its own.
fn inside<T: Send>(
    netns: &Netns,
    work: impl AsyncFnOnce(Netlink) -> Result<T, TopologyError> + Send,
) -> Result<T, TopologyError> {
    let step = "work inside it cannot start";
    let ran = netns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| namespace_error(netns.name(), step, source))?;
        runtime.block_on(async {
            let opened = Netlink::open();
            let netlink = opened.map_err(|source| namespace_error(netns.name(), step, source))?;
            work(netlink).await
        })
    });
    ran.map_err(|source| namespace_error(netns.name(), "it cannot be entered", source))?
}

fn namespace_error(namespace: &str, step: &'static str, source: io::Error) -> TopologyError {
    TopologyError::Namespace { namespace: namespace.to_owned(), step, source }
}

fn interface_error(end: &End, step: &'static str, source: io::Error) -> TopologyError {
    TopologyError::Interface {
        namespace: end.namespace.clone(),
        interface: end.interface.clone(),
        step,
        source,
    }
}
