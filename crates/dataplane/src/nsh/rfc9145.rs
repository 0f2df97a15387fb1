//! "MAC and Encrypted Metadata" of RFC 9145 in the place of ringmail's own code (`docs/nsh.md`, "RFC 9145"): HMAC-SHA-256-128
//! over the header and the packet below it, and a timestamp that every element holds against its clock.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use ringmail_model::integrity::Scope;
use ringmail_model::nsh::{KEY_ID_BYTES, Mac9145Layout, TAG_BYTES};
use ringmail_packet::ip::Ecn;

use super::cmac::{self, Tag};
use super::path::PathNsh;
use crate::ecn;
use crate::outer::OUTER_BYTES;
use crate::verdict::DropReason;

/// Where what MAC#1 covers begins: behind the base header (section 5.1).
const BASE_HEADER_BYTES: usize = 4;

/// A worker's idea of the time of day, which others set: a core reads no clock. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Face>);

#[derive(Debug, Default)]
struct Face {
    since: OnceLock<Instant>,
    /// Nanoseconds from 1970 to `since`.
    epoch_ns: AtomicU64,
}

impl Clock {
    /// It was so long after 1970-01-01T00:00 UTC at `now`. To be said again and again, since clocks are set.
    pub fn set(&self, now: Instant, since_epoch: Duration) {
        let since = *self.0.since.get_or_init(|| now);
        let elapsed = now.saturating_duration_since(since);
        let epoch = since_epoch.saturating_sub(elapsed).as_nanos() as u64;
        self.0.epoch_ns.store(epoch, Ordering::Relaxed);
    }

    /// Seconds since 1970 and behind them 2^-32 parts (section 6); `None` while nobody has set it.
    fn timestamp(&self, now: Instant) -> Option<u64> {
        let since = now.saturating_duration_since(*self.0.since.get()?);
        let epoch = Duration::from_nanos(self.0.epoch_ns.load(Ordering::Relaxed));
        Some(parts(epoch + since))
    }
}

/// In units of 2^-32 s, which come round every 136 years.
fn parts(time: Duration) -> u64 {
    (time.as_secs() << 32) | ((u64::from(time.subsec_nanos()) << 32) / 1_000_000_000)
}

/// Whether two times differ by less than the window (section 7.4).
fn is_recent(timestamp: u64, now: u64, window: Duration) -> bool {
    (now.wrapping_sub(timestamp) as i64).unsigned_abs() < parts(window)
}

/// Checks a packet that came, whose header was found to be laid out as those of its path are: key, then time, then code
/// (section 7.5).
pub(crate) fn check(
    nsh: &[u8],
    inner: &[u8],
    state: &PathNsh,
    now: Instant,
) -> Result<(), DropReason> {
    let place = state.config.layout.mac_9145().ok_or(DropReason::WrongNsh)?;
    let lengths = [place.key_id_len(), place.nonce_len()].map(|at| nsh.get(at).copied());
    if lengths != [Some(KEY_ID_BYTES as u8), Some(0)] {
        return Err(DropReason::WrongNsh);
    }
    let key = state.link_key(nsh, now)?.hmac.as_ref().ok_or(DropReason::UnknownLinkKey)?;
    let timestamp = nsh.get(place.timestamp()).and_then(<[u8]>::first_chunk);
    let timestamp = u64::from_be_bytes(*timestamp.ok_or(DropReason::WrongNsh)?);
    let time = state.clock.timestamp(now).ok_or(DropReason::StaleTimestamp)?;
    if !is_recent(timestamp, time, state.config.timestamp_window) {
        return Err(DropReason::StaleTimestamp);
    }
    let there: &Tag =
        nsh.get(place.mac()).and_then(<[u8]>::first_chunk).ok_or(DropReason::WrongNsh)?;
    let made = code(key, &place, nsh, &[inner]).ok_or(DropReason::WrongNsh)?;
    match cmac::equal(there, &made) || marked(key, &place, nsh, inner, there) {
        true => Ok(()),
        false => Err(DropReason::BadMac),
    }
}

/// Signs a packet that goes on. One that begins here gets its timestamp, which nobody changes behind (section 7.4).
pub(crate) fn sign(
    nsh: &mut [u8],
    inner: &[u8],
    state: &PathNsh,
    now: Instant,
) -> Result<(), DropReason> {
    let place = state.config.layout.mac_9145().ok_or(DropReason::WrongNsh)?;
    let goes = state.goes(now)?;
    let key = goes.hmac.as_ref().ok_or(DropReason::NoAssociation)?;
    if nsh.len() < place.mac().end {
        return Err(DropReason::WrongNsh);
    }
    nsh[place.key_id_len()] = KEY_ID_BYTES as u8;
    nsh[place.key_id()].copy_from_slice(&goes.id.0.to_be_bytes());
    nsh[place.nonce_len()] = 0;
    // What comes from elsewhere has a time that was checked: it is none of 1970.
    if nsh[place.timestamp()] == [0; 8] {
        let time = state.clock.timestamp(now).ok_or(DropReason::StaleTimestamp)?;
        nsh[place.timestamp()].copy_from_slice(&time.to_be_bytes());
    }
    let made = code(key, &place, nsh, &[inner]).ok_or(DropReason::WrongNsh)?;
    nsh[place.mac()].copy_from_slice(&made);
    Ok(())
}

/// HMAC-SHA-256-128 over what the scope says, the code itself as zeros (section 7.2).
fn code(key: &hmac::Key, place: &Mac9145Layout, nsh: &[u8], inner: &[&[u8]]) -> Option<Tag> {
    let from = match place.scope {
        Scope::Mac1 => BASE_HEADER_BYTES,
        Scope::Mac2 => 0,
    };
    let mut context = hmac::Context::with_key(key);
    context.update(nsh.get(from..place.mac().start)?);
    context.update(&[0; TAG_BYTES]);
    context.update(nsh.get(place.mac().end..)?);
    inner.iter().for_each(|part| context.update(part));
    context.sign().as_ref().first_chunk().copied()
}

/// Whether the code is that of the same packet before a router marked it on the way, and the link copied that inside (RFC
/// 6040): it had one of the two fields that can be marked.
fn marked(key: &hmac::Key, place: &Mac9145Layout, nsh: &[u8], inner: &[u8], there: &Tag) -> bool {
    let Some((ip, rest)) = inner.split_first_chunk::<OUTER_BYTES>() else { return false };
    if ecn::of(ip) != Ecn::Ce {
        return false;
    }
    [Ecn::Ect0, Ecn::Ect1].into_iter().any(|before| {
        let mut packet = ringmail_packet::ipv4::Packet::new_unchecked(*ip);
        packet.rewrite_ecn(before);
        let made = code(key, place, nsh, &[&packet.into_inner(), rest]);
        made.is_some_and(|made| cmac::equal(there, &made))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_seconds_and_parts() {
        let (clock, now) = (Clock::default(), Instant::now());
        assert_eq!(clock.timestamp(now), None);
        clock.set(now, Duration::from_millis(1_000_500));
        assert_eq!(clock.timestamp(now), Some((1000 << 32) | (1 << 31)));
        let later = now + Duration::from_millis(250);
        assert_eq!(clock.timestamp(later), Some((1000 << 32) | (3 << 30)));
        // It was set back; all clones go by that.
        clock.clone().set(later, Duration::from_secs(900));
        assert_eq!(clock.timestamp(later), Some(900 << 32));
    }

    #[test]
    fn a_time_is_recent_within_the_window_on_either_side() {
        let window = Duration::from_secs(2);
        let two = parts(window);
        let now = 1000 << 32;
        for (timestamp, recent) in [
            (now, true),
            (now - two + 1, true),
            (now - two, false),
            (now + two - 1, true),
            (now + two, false),
            (0, false),
        ] {
            assert_eq!(is_recent(timestamp, now, window), recent, "{timestamp}");
        }
        // In 2106 it begins again.
        assert!(is_recent(u64::MAX, 1, window));
    }
}
