//! What costs next to nothing before anything that costs much: MACs and cookies of handshakes (WireGuard's paper, section
//! 5.3), so that a flood of them from addresses that do not receive is answered without a single exponentiation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, TunnResult};
use boringtun::x25519::PublicKey;

use crate::limits::WIREGUARD_HANDSHAKES_MOST;

/// Over which handshakes are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Who comes as far as the keys.
pub(super) struct Gate {
    limiter: RateLimiter,
    limit: u32,
    /// Behind the gate nobody is asked for a cookie again.
    behind: Arc<RateLimiter>,
    began: Instant,
    seen: u32,
}

/// What a datagram is.
pub(super) enum Admitted<'a> {
    /// It may begin a session; who sends it is not known yet.
    Initiation(boringtun::noise::HandshakeInit<'a>),
    /// It says by which session it came: the number of its peer.
    Session(u32),
    /// A cookie is to be sent instead of an answer.
    Cookie(&'a [u8]),
    /// Not WireGuard, or for another key.
    Refused,
    /// More handshakes than are even looked at.
    Flooded,
}

impl Gate {
    pub(super) fn new(public: &PublicKey, limit: u32, now: Instant) -> Gate {
        Gate {
            limiter: RateLimiter::new(public, limit.into()),
            limit,
            behind: Arc::new(RateLimiter::new(public, u64::MAX)),
            began: now,
            seen: 0,
        }
    }

    /// How many a second are let in without a cookie.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// For the sessions behind the gate.
    pub(super) fn behind(&self) -> Arc<RateLimiter> {
        Arc::clone(&self.behind)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if now.saturating_duration_since(self.began) >= WINDOW {
            (self.began, self.seen) = (now, 0);
            self.limiter.reset_count();
        }
    }

    /// Looks at a datagram; `room` holds a cookie.
    pub(super) fn admit<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'a [u8],
        room: &'a mut [u8],
    ) -> Admitted<'a> {
        // Types 1 and 2 are the handshake's.
        if matches!(datagram.first(), Some(1 | 2)) {
            self.handle_timeout(now);
            self.seen = self.seen.saturating_add(1);
            if self.seen > WIREGUARD_HANDSHAKES_MOST {
                return Admitted::Flooded;
            }
        }
        match self.limiter.verify_packet(Some(from.ip()), datagram, room) {
            Ok(Packet::HandshakeInit(init)) => Admitted::Initiation(init),
            // The lower byte is the session's, the others are the peer's number.
            Ok(Packet::HandshakeResponse(response)) => {
                Admitted::Session(response.receiver_idx >> 8)
            }
            Ok(Packet::PacketCookieReply(reply)) => Admitted::Session(reply.receiver_idx >> 8),
            Ok(Packet::PacketData(data)) => Admitted::Session(data.receiver_idx >> 8),
            Err(TunnResult::WriteToNetwork(cookie)) => Admitted::Cookie(cookie),
            Err(_) => Admitted::Refused,
        }
    }
}
