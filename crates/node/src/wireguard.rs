//! Keys of WireGuard, and what a client is told to come by it: a file in the form of `wg-quick(8)`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use ringmail_gateway::wireguard::public_key;
use ringmail_model::Cidr;
use ringmail_model::domain::{Client, Domain, Listener, ListenerKind, encode_key};
use ringmail_model::pathset::PathSet;
use zeroize::Zeroizing;

use crate::listeners::wireguard_key;
use crate::random;

/// What WireGuard over UDP and IPv6 adds to a packet, its padding to 16 bytes not counted.
const OVERHEAD_BYTES: u16 = 40 + 8 + 32;

/// The MTU of networks outside, unless somebody knows better.
const OUTSIDE_MTU_BYTES: u16 = 1500;

/// How often a client sends something, so that routers which translate addresses keep its place.
const KEEPALIVE_S: u16 = 25;

/// A pair of keys, as `wg` prints them.
#[derive(Debug)]
pub struct KeyPair {
    /// The private key, with a newline, as a file holds it.
    pub danger_private: Zeroizing<String>,
    /// The public key.
    pub public: String,
}

/// Makes a pair of keys.
///
/// # Errors
/// When the system has no random bytes.
pub fn generate() -> Result<KeyPair> {
    let mut key = Zeroizing::new(random::bytes::<32>()?);
    // RFC 7748 section 5: as every implementation writes them.
    key[0] &= 248;
    key[31] = key[31] & 127 | 64;
    let danger_private = Zeroizing::new(format!("{}\n", encode_key(&key)));
    Ok(KeyPair { danger_private, public: encode_key(&public_key(*key)) })
}

/// The public key that belongs to the private key of a file.
///
/// # Errors
/// When the file holds none.
pub fn public_key_of(file: &Path) -> Result<String> {
    let key = wireguard_key(file)?;
    let key = Zeroizing::new(<[u8; 32]>::try_from(key.danger_bytes())?);
    Ok(encode_key(&public_key(*key)))
}

/// What a client is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its addresses inside.
    pub addresses: Vec<IpAddr>,
    /// The largest packet that it may send.
    pub mtu_bytes: u16,
    /// Where the gateway is.
    pub endpoint: SocketAddr,
    /// The gateway's public key.
    pub gateway_key: String,
    /// What it reaches by the gateway.
    pub reaches: Vec<Cidr>,
}

/// What a client of the domain is told. Files of the domain begin at `folder`; the listener of this name, or the first.
///
/// # Errors
/// The domain has no such client or listener, or a key cannot be read.
pub fn told(
    domain: &Domain,
    set: &PathSet,
    folder: &Path,
    client: &str,
    listener: Option<&str>,
) -> Result<Told> {
    let client = domain.clients.iter().find(|known| known.name.as_str() == client);
    let client = client.context("the domain has no such client")?;
    let peer = client.wireguard.as_ref();
    let peer = peer.with_context(|| {
        format!("the client `{}` has no `wireguard` in the domain file", client.name)
    })?;
    let wanted = |known: &&Listener| {
        known.kind == ListenerKind::Wireguard
            && listener.is_none_or(|name| known.name.as_str() == name)
    };
    let found = domain.gateway.listeners.iter().find(wanted);
    let found = found.context("the domain has no such listener of kind `wireguard`")?;
    let file = found.key_file.as_ref().context("the listener has no `key_file`")?;
    let inner = set.inner_mtu().context("the domain has no path")?;
    Ok(Told {
        addresses: peer.addresses.clone(),
        mtu_bytes: inner.min(OUTSIDE_MTU_BYTES - OVERHEAD_BYTES),
        endpoint: found.address,
        gateway_key: public_key_of(&folder.join(file))?,
        reaches: reaches(domain, client),
    })
}

/// What the services are at to which some rule on packets lets the client.
fn reaches(domain: &Domain, client: &Client) -> Vec<Cidr> {
    let mut networks = BTreeSet::new();
    for rule in domain.rules.iter().filter(|rule| rule.when.packets.is_some()) {
        if rule.when.clients.as_ref().is_some_and(|names| !names.contains(&client.name)) {
            continue;
        }
        let path = domain.paths.iter().find(|path| path.name == rule.path);
        let service = path.and_then(|p| domain.services.iter().find(|s| s.name == p.service));
        let Some(service) = service else { continue };
        let host = |ip: IpAddr| Cidr::around(ip, if ip.is_ipv4() { 32 } else { 128 });
        networks.extend(service.addresses.iter().filter_map(|at| host(at.ip())));
        networks.extend(&service.networks);
    }
    // Errors of the chain come from the gateway's own address.
    let own = domain.gateway.inner.iter().filter_map(|network| network.host(1));
    networks.extend(own.filter_map(|ip| Cidr::around(ip, if ip.is_ipv4() { 32 } else { 128 })));
    let all = networks.clone();
    // One that lies in another says nothing.
    networks.retain(|network| !all.iter().any(|other| other != network && other.covers(*network)));
    networks.into_iter().collect()
}

impl Told {
    /// The file, with the client's private key and what both ends share besides, where they are given.
    pub fn danger_file(&self, private: Option<&str>, shared: Option<&str>) -> Zeroizing<String> {
        let list = |all: Vec<String>| all.join(", ");
        let mut text = Zeroizing::new(String::from("[Interface]\n"));
        let host = |ip: &IpAddr| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
        // Writing to a text does not fail.
        let _ = match private {
            Some(key) => writeln!(text, "PrivateKey = {key}"),
            None => {
                writeln!(text, "# PrivateKey = what `wg genkey` printed, kept where it was made")
            }
        };
        let _ = writeln!(text, "Address = {}", list(self.addresses.iter().map(host).collect()));
        let _ = writeln!(text, "MTU = {}", self.mtu_bytes);
        let _ = writeln!(text, "\n[Peer]\nPublicKey = {}", self.gateway_key);
        if let Some(key) = shared {
            let _ = writeln!(text, "PresharedKey = {key}");
        }
        let reaches = self.reaches.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "AllowedIPs = {}", list(reaches));
        let _ = writeln!(text, "Endpoint = {}", self.endpoint);
        let _ = writeln!(text, "PersistentKeepalive = {KEEPALIVE_S}");
        text
    }
}
