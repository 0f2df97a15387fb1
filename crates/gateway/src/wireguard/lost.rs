//! What becomes of flows whose replica is dead (`docs/liveness.md`).

use std::sync::Arc;
use std::time::Instant;

use ringmail_model::PathId;
use ringmail_model::domain::LostConnections;
use ringmail_packet::ip::protocol;

use super::front::{Front, seal};
use super::reset::probe;
use super::{Outside, PacketChain};

impl Front {
    /// Nothing goes by paths for which `dead` holds any more. To move, flows go on by a path that the chain chooses now. To
    /// close, TCP connections are over, and what has no beginning begins anew with its next packet. Clients of TCP are made to
    /// speak. Says how many flows were left.
    pub fn leave(
        &mut self,
        now: Instant,
        dead: impl Fn(PathId) -> bool,
        lost: LostConnections,
        outside: &mut impl Outside,
        chain: &mut impl PacketChain,
    ) -> usize {
        let Front { inside, peers, room, .. } = self;
        let counters = Arc::clone(&inside.counters);
        let mut left = 0;
        let mut over = Vec::new();
        for (key, flow) in inside.flows.iter_mut() {
            let Some(allowed) = flow.allowed.as_mut().filter(|allowed| dead(allowed.taken)) else {
                continue;
            };
            left += 1;
            match lost {
                LostConnections::Move => {
                    allowed.taken = chain.pin(*key, allowed.path);
                    allowed.mtu_bytes = inside.mtus.get(&allowed.taken).copied().unwrap_or(0);
                }
                LostConnections::Close if key.protocol == protocol::TCP => {
                    flow.lose(now);
                    chain.unpin(*key);
                }
                LostConnections::Close => over.push(*key),
            }
            // Its answer is what a reset answers; moved, it shows the other end the way.
            let is_tcp = key.protocol == protocol::TCP;
            let client = peers.get_mut(flow.peer).filter(|_| is_tcp);
            if let Some((known, probe)) = client.zip(probe(key, &mut room.error)) {
                seal(known, probe, &mut room.sealed, outside, &counters);
            }
        }
        for key in over {
            if let Some((key, flow)) = self.inside.flows.take_one(&key) {
                self.end(key, &flow, now, chain);
            }
        }
        left
    }
}
