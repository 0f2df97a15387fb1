//! The clients that may come, found by key, by the number in their messages and by their addresses inside.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use boringtun::noise::Tunn;
use boringtun::x25519::{PublicKey, StaticSecret};

use super::gate::Gate;
use super::{Endpoint, Peer};
use crate::limits::WIREGUARD_INITIATIONS_A_PEER;

/// A peer with its sessions.
pub(super) struct Known {
    pub(super) peer: Peer,
    pub(super) tunnel: Tunn,
    /// Where its last authentic message came from.
    pub(super) endpoint: Option<Endpoint>,
    /// Flows that it has now.
    pub(super) flows: usize,
    initiations: (Option<Instant>, u32),
}

/// All peers.
pub(super) struct Peers {
    secret: StaticSecret,
    slots: Vec<Option<Known>>,
    by_key: HashMap<[u8; 32], u32>,
    by_address: HashMap<IpAddr, u32>,
}

impl Peers {
    pub(super) fn new(secret: StaticSecret) -> Peers {
        Peers { secret, slots: Vec::new(), by_key: HashMap::new(), by_address: HashMap::new() }
    }

    pub(super) fn secret(&self) -> &StaticSecret {
        &self.secret
    }

    /// Has exactly these. One whose key and shared key stay keeps its sessions; the numbers of those that went or lost an
    /// address come back.
    pub(super) fn set(&mut self, peers: Vec<Peer>, gate: &Gate) -> Vec<u32> {
        let mut changed = Vec::new();
        let stays = |known: &Known| peers.iter().any(|new| same_keys(&known.peer, new));
        for (slot, number) in self.slots.iter_mut().zip(0..) {
            if slot.as_ref().is_some_and(|known| !stays(known)) {
                *slot = None;
                changed.push(number);
            }
        }
        self.by_key.retain(|_, number| self.slots[*number as usize].is_some());
        self.by_address.clear();
        for peer in peers {
            let number = match self.by_key.get(&peer.key) {
                Some(&number) => {
                    if let Some(known) = &mut self.slots[number as usize] {
                        let kept = |address| peer.addresses.contains(address);
                        if !known.peer.addresses.iter().all(kept)
                            || known.peer.identity != peer.identity
                        {
                            changed.push(number);
                        }
                        known.peer = peer.clone();
                    }
                    number
                }
                None => self.add(peer.clone(), gate),
            };
            for address in peer.addresses {
                self.by_address.insert(address, number);
            }
        }
        changed
    }

    fn add(&mut self, peer: Peer, gate: &Gate) -> u32 {
        let free = self.slots.iter().position(Option::is_none);
        let at = free.unwrap_or(self.slots.len());
        let number = at as u32;
        let tunnel = Tunn::new(
            self.secret.clone(),
            PublicKey::from(peer.key),
            peer.preshared,
            None,
            number,
            Some(gate.behind()),
        );
        self.by_key.insert(peer.key, number);
        let known = Known { peer, tunnel, endpoint: None, flows: 0, initiations: (None, 0) };
        match self.slots.get_mut(at) {
            Some(slot) => *slot = Some(known),
            None => self.slots.push(Some(known)),
        }
        number
    }

    pub(super) fn with_key(&self, key: &[u8; 32]) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(super) fn with_address(&self, address: IpAddr) -> Option<u32> {
        self.by_address.get(&address).copied()
    }

    pub(super) fn get(&self, number: u32) -> Option<&Known> {
        self.slots.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Known> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Known> {
        self.slots.iter_mut().flatten()
    }

    /// Addresses inside of all of them.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.by_address.keys().copied()
    }
}

impl Known {
    /// Whether one more handshake of this peer is answered within this second.
    pub(super) fn may_begin(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.initiations;
        if since.is_none_or(|since| now.saturating_duration_since(since).as_secs() >= 1) {
            (*since, *count) = (Some(now), 0);
        }
        *count += 1;
        *count <= WIREGUARD_INITIATIONS_A_PEER
    }
}

fn same_keys(one: &Peer, other: &Peer) -> bool {
    one.key == other.key && one.preshared == other.preshared
}
