//! The same client, gateway proxy and service without a chain: what TLS and HTTP alone carry, plain TCP behind the proxy.
//!
//! ```text
//!  client ── outside (bridge) ── gateway ── www
//! ```

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use ringmail_model::pathset::PathSet;
use ringmail_trust::EmbeddedCa;

use super::domain::GATEWAY;
use crate::assemble::{self, DomainFile};
use crate::conductor::DomainConductor;
use crate::issuer;
use crate::layout::{self, Layout};
use crate::topology::Topology;
use crate::up::{Plan, PlannedElement};

/// Bytes of the largest packet on the cable to the service.
pub(super) const MTU_BYTES: u16 = 1500;

const EGRESS: &str = "egress";

/// The gateway and the built-in sites of `file` as processes, with a cable instead of the chain.
///
/// # Errors
/// As [`assemble::plan`].
pub(super) fn plan(file: &DomainFile, authority: Arc<EmbeddedCa>, program: &Path) -> Result<Plan> {
    let domain = &file.domain;
    let set = PathSet::compile(domain, issuer::issue()?)?;
    let topology = without_chain(layout::network(domain, &set)?);
    let mut elements = Vec::new();
    for service in domain.services.iter().filter(|service| service.site.is_some()) {
        elements.push(assemble::origin(service, Layout::Processes, program)?);
    }
    let body = assemble::process(program, &["element", "--direct", GATEWAY]);
    elements.push(PlannedElement { name: GATEWAY.to_owned(), namespace: GATEWAY.to_owned(), body });
    let text = file.text.clone();
    let conductor = DomainConductor::new(authority, domain, text, set, &file.folder)?;
    Ok(Plan {
        topology,
        elements,
        changer: None,
        issuer: None,
        conductor: Box::new(conductor),
        layout: "processes",
    })
}

/// Gives the gateway the egress's cables and routes, and leaves out the fabric with all that only it reaches.
fn without_chain(mut network: Topology) -> Topology {
    let of_egress = |name: &str| network.namespaces.iter().find(|n| n.name == name);
    let routes = of_egress(EGRESS).map(|egress| egress.routes.clone()).unwrap_or_default();
    network.cables.retain(|cable| cable.ends.iter().all(|end| end.namespace != layout::FABRIC));
    for end in network.cables.iter_mut().flat_map(|cable| &mut cable.ends) {
        if end.namespace == EGRESS {
            GATEWAY.clone_into(&mut end.namespace);
        }
    }
    let cables = &network.cables;
    let reached =
        |name: &str| cables.iter().any(|cable| cable.ends.iter().any(|end| end.namespace == name));
    network.namespaces.retain(|namespace| reached(&namespace.name));
    if let Some(gateway) = network.namespaces.iter_mut().find(|n| n.name == GATEWAY) {
        gateway.routes.extend(routes);
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmail_model::domain::{LinkDriver, LinkKind, Profile};

    use crate::bench::domain::{self, Links};
    use crate::bench::plan::Kind;

    #[test]
    fn only_clients_gateway_and_service_are_left() {
        let file = domain::of(
            Kind::Forward,
            2,
            Links {
                kind: LinkKind::Udp,
                driver: LinkDriver::Packet,
                mtu: 1500,
                profile: Profile::Mpls,
            },
        )
        .expect("a domain");
        let set = PathSet::compile(&file.domain, issuer::issue().expect("a time")).expect("paths");
        let network = without_chain(layout::network(&file.domain, &set).expect("a network"));
        let mut names: Vec<&str> = network.namespaces.iter().map(|n| n.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["client", "gateway", "outside", "www"]);
        assert!(network.check().is_ok());
    }
}
