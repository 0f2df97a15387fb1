//! Everything that an element consists of is made and set to work.

use std::io;

use anyhow::{Context, Result};
use ringmail_dataplane::replay::WindowPackets;
use ringmail_model::domain::Domain;
use ringmail_model::pathset::Role;
use tokio::sync::mpsc;

use super::agreement::Agreement;
use super::chain::Chains;
use super::change::Serving;
use super::command::Command;
use super::flows::Flows;
use super::guard::Guard;
use super::keys::Keys;
use super::knowledge::Knowledge;
use super::proxy::{self, ListenerTls, Proxy};
use super::told::{Legs, Told};
use super::versions::{Ability, Version, Versions};
use super::wireguard::{self, Joints};
use super::worker::{Core, Handle};
use super::{Workshop, build, inner};
use crate::random;

/// Everything that the element consists of, at work.
pub(super) async fn begin(
    told: Told,
    workshop: &Workshop,
    ended: &mpsc::UnboundedSender<io::Result<()>>,
) -> Result<Serving> {
    let Told { version, identity, bundle, listeners, legs, psk } = told;
    let Version { domain, set, element, .. } = &version;
    let window = WindowPackets::new(domain.limits.replay_window_packets)?;
    let (mut cores, joints) = cores(&version)?;
    if let Some(psk) = &psk {
        tracing::warn!("keying `psk`: static keys, no forward secrecy; for comparison only");
        if domain.psk.as_ref().is_some_and(|psk| psk.danger_same_keys_every_start) {
            tracing::warn!(
                "`danger_same_keys_every_start`: sequence numbers begin again under the same keys"
            );
        }
        psk.install(set, element.id, window, &mut cores)?;
    }
    let workers = workshop.start(domain.links.driver, set, element, cores, ended)?;
    if element.role != Role::Hop {
        inner::configure(domain, element.role).await.context("the inner side")?;
    }
    let guard = match element.role {
        Role::Egress => guard(domain).await,
        _ => None,
    };
    let flows = Flows::start(domain, set, element)?;
    if let Some(flows) = &flows {
        for worker in &workers {
            worker.give(Command::Meter(Some(flows.metering()?)));
        }
    }
    let proxy = start_proxy(&version, listeners, legs, &workers, joints, flows.as_ref())?;
    let agreement = match &psk {
        Some(_) => None,
        None => {
            let keys = Keys::new(workers.clone(), window, domain.limits.rekey_after_packets);
            Some(Agreement::start(domain, set, element, &identity, &bundle, keys).await?)
        }
    };
    let ability = Ability { links_are_fixed: matches!(workshop, Workshop::Mill(_)) };
    let (versions, trust) = (Versions::new(version), (identity, bundle));
    let mut serving = Serving::new(versions, workers, agreement, psk, proxy, ability, trust);
    (serving.flows, serving.guard) = (flows, guard);
    Ok(serving)
}

/// A kernel without rules of routing is no reason to serve nobody.
async fn guard(domain: &Domain) -> Option<Guard> {
    let guard = Guard::begin(domain).await;
    let unguarded = |error: &anyhow::Error| {
        tracing::warn!(
            error = format!("{error:#}"),
            "services are not kept from answering in another's name: `ringmail doctor` says more"
        );
    };
    guard.inspect_err(unguarded).ok()
}

/// At the gateway with the other end of what joins its workers to WireGuard.
fn cores(version: &Version) -> Result<(Vec<Core>, Option<Joints>)> {
    let Version { domain, set, element, .. } = version;
    match element.role {
        Role::Hop => Ok((build::hops(domain, set, element)?, None)),
        Role::Egress => {
            let inner = inner::create(domain, set, element)?;
            Ok((build::edges(domain, set, element, inner)?, None))
        }
        Role::Gateway => {
            let (inner, joints) = wireguard::wrap(inner::create(domain, set, element)?)?;
            Ok((build::edges(domain, set, element, inner)?, Some(joints)))
        }
    }
}

fn start_proxy(
    version: &Version,
    listeners: Vec<ListenerTls>,
    legs: Legs,
    workers: &[Handle],
    joints: Option<Joints>,
    flows: Option<&Flows>,
) -> Result<Option<(Proxy, Chains)>> {
    let Version { domain, set, element, .. } = version;
    if element.role != Role::Gateway {
        return Ok(None);
    }
    let sources = inner::gateway_addresses(domain);
    let (services, variants) = (proxy::services(domain, set), proxy::variants(domain, set));
    let first_port = u16::from_ne_bytes(random::bytes()?);
    let mut chains = Chains::new(workers.to_vec(), sources, services, variants, first_port);
    chains.set_knowledge(Knowledge::of(std::iter::once((domain, set))));
    if let Some(flows) = flows {
        chains.tell(flows.telling());
    }
    let keys = listeners.iter().find_map(|listener| listener.wireguard.clone());
    let mut proxy = Proxy::start(domain, set, &chains, listeners, legs)?;
    if let Some(joints) = joints {
        proxy.with_wireguard(joints, chains.clone());
        let wanted = proxy.prepare_wireguard(domain, set, keys.as_ref())?;
        proxy.take_wireguard(wanted);
    }
    Ok(Some((proxy, chains)))
}
