//! Keying `psk`: static keys from one secret of the domain, for comparison with the paper and for foreign peers.
//!
//! Every sender has a key of its own, derived from the secret by HKDF-SHA-256 (RFC 5869), so that two senders never meet
//! at one nonce; but whoever holds the secret holds them all, and there is no forward secrecy. Each start says so.
//!
//! Counters begin again with each start, so keys may not: what elements get is the file's secret mixed with random bytes
//! that whoever starts them draws once ([`of_this_start`]), and an element that begins anew in between has other keys with
//! all its neighbours ([`Psk::follow`], ADR 0006).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use ringmail_dataplane::replay::WindowPackets;
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaKey, SegmentIndex, Suite,
};
use ringmail_model::pathset::{Path, PathSet, Segment};
use ringmail_model::{ElementId, PathId, SaSpi};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::command::Command;
use super::relations::suite;
use super::versions::{Version, Versions};
use super::worker::{Core, Handle};
use crate::control::Secret;

/// The lowest SPI of these associations; below are reserved ones (RFC 4303 section 2.1).
const FIRST_SPI: u32 = 0x1000;

/// Segments of one path that SPIs are set aside for.
const SEGMENTS_A_PATH: u32 = 64;

/// Random bytes of one start.
pub(crate) const DRAWN_BYTES: usize = 32;

struct Material(usize);

impl KeyType for Material {
    fn len(&self) -> usize {
        self.0
    }
}

/// The secret that elements get: that of a file for this start alone, which drew these random bytes.
///
/// # Errors
/// When the cryptographic library refuses.
pub(crate) fn of_this_start(
    secret: &[u8],
    drawn: &[u8; DRAWN_BYTES],
) -> Result<Zeroizing<Vec<u8>>> {
    let refused = |_| anyhow!("HKDF refused to mix a secret");
    let mut mixed = Zeroizing::new(vec![0; DRAWN_BYTES]);
    let extracted = Salt::new(HKDF_SHA256, drawn).extract(secret);
    let expanded = extracted.expand(&[b"ringmail-psk-start/1"], Material(mixed.len()));
    expanded.map_err(refused)?.fill(&mut mixed).map_err(refused)?;
    Ok(mixed)
}

/// The secret, and in which life elements are that began anew in this run.
pub(crate) struct Psk {
    pub(crate) secret: Secret,
    /// By the element's number; 0 of one that is not here.
    pub(crate) lives: Lives,
}

/// Lives by the numbers of elements.
type Lives = BTreeMap<u16, u32>;

/// One end of a segment: what it does under one key.
enum Half {
    Inbound(Arc<InboundSa>),
    Outbound(OutboundSa),
}

impl Psk {
    /// Gives every worker of `element` the associations of its segments.
    ///
    /// # Errors
    /// When the path set or the suite is not one that has keys.
    pub(crate) fn install(
        &self,
        set: &PathSet,
        element: ElementId,
        window: WindowPackets,
        cores: &mut [Core],
    ) -> Result<()> {
        for (path, worker, half) in self.halves(set, element, window, |_| true)? {
            match half {
                Half::Inbound(sa) => {
                    for core in cores.iter_mut() {
                        core.inbound().install(Arc::clone(&sa))?;
                    }
                }
                Half::Outbound(sa) => {
                    if let Some(core) = cores.get_mut(usize::from(worker))
                        && let Some(state) = core.paths().get_mut(path)
                    {
                        state.outbound = Some(sa);
                    }
                }
            }
        }
        Ok(())
    }

    /// Others began anew: segments to and from them have other keys from now on. A life that is known already changes
    /// nothing, so that no key is ever installed twice.
    ///
    /// # Errors
    /// When a worker has stopped, or the suite is not one that has keys.
    pub(crate) async fn follow(
        &mut self,
        versions: &Versions,
        workers: &[Handle],
        lives: Lives,
    ) -> Result<()> {
        let before = self.lives.clone();
        let known = |id: u16| before.get(&id).copied().unwrap_or(0);
        let later: Lives = lives.into_iter().filter(|(id, life)| *life > known(*id)).collect();
        self.lives.extend(&later);
        let Version { domain, set, element, .. } = &**versions.active();
        let window = WindowPackets::new(domain.limits.replay_window_packets)?;
        let changed = |segment: &Segment| {
            [segment.sender, segment.receiver].iter().any(|id| later.contains_key(&id.0))
        };
        for (path, worker, half) in self.halves(set, element.id, window, changed)? {
            match half {
                Half::Inbound(sa) => {
                    for worker in workers {
                        // Never beside the one before: both have one SPI.
                        worker.give(Command::RemoveInbound(sa.spi()));
                        let (answer, installed) = oneshot::channel();
                        worker.give(Command::InstallInbound(Arc::clone(&sa), answer));
                        installed.await.context("a worker has stopped")??;
                    }
                }
                Half::Outbound(sa) => {
                    let Some(worker) = workers.get(usize::from(worker)) else { continue };
                    let (answer, installed) = oneshot::channel();
                    worker.give(Command::InstallOutbound(path, Box::new(sa), answer));
                    installed.await.context("a worker has stopped")?;
                }
            }
        }
        Ok(())
    }

    /// What `element` does under the keys of these segments, with the path and the sender's worker.
    fn halves(
        &self,
        set: &PathSet,
        element: ElementId,
        window: WindowPackets,
        of: impl Fn(&Segment) -> bool,
    ) -> Result<Vec<(PathId, u16, Half)>> {
        let suite = suite(set.suite);
        let lease = Lease::unlimited(Instant::now());
        let mut halves = Vec::new();
        for path in &set.paths {
            for (index, segment) in (0u8..).zip(&path.segments) {
                if !of(segment) {
                    continue;
                }
                let senders = set.element(segment.sender).map_or(1, |sender| sender.workers.max(1));
                for worker in 0..senders {
                    let spi = spi(path, index, worker);
                    let key = || self.key(suite, path, index, worker);
                    if segment.receiver == element {
                        let options = InboundOptions { window, ..InboundOptions::default() };
                        let place = SegmentIndex(index);
                        let sa =
                            InboundSa::new(spi, &key()?, path.id, place, lease.clone(), options)?;
                        halves.push((path.id, worker, Half::Inbound(Arc::new(sa))));
                    }
                    if segment.sender == element {
                        let options = OutboundOptions::default();
                        let sa = OutboundSa::new(spi, &key()?, lease.clone(), options)?;
                        halves.push((path.id, worker, Half::Outbound(sa)));
                    }
                }
            }
        }
        Ok(halves)
    }

    /// The key of a sender's worker for one segment, in the lives that its ends are in.
    fn key(&self, suite: Suite, path: &Path, segment: u8, worker: u16) -> Result<SaKey> {
        let ends = path.segments.get(usize::from(segment)).context("a path has no such segment")?;
        let life = |id: ElementId| self.lives.get(&id.0).copied().unwrap_or(0);
        let lives = [life(ends.sender), life(ends.receiver)];
        derive(suite, self.secret.danger_bytes(), path, (segment, worker), lives)
    }
}

fn spi(path: &Path, segment: u8, worker: u16) -> SaSpi {
    let of_path = path.id.0 * SEGMENTS_A_PATH + u32::from(segment);
    SaSpi(FIRST_SPI + (u32::from(worker) << 24) + of_path)
}

/// `lives` are those of the sender, whose counter begins again with each, and of the receiver, whose replay window does. In
/// their first ones a foreign peer has to come to the same key, that knows of no lives.
fn derive(
    suite: Suite,
    secret: &[u8],
    path: &Path,
    (segment, worker): (u8, u16),
    lives: [u32; 2],
) -> Result<SaKey> {
    let refused = |_| anyhow!("HKDF refused to make a key");
    let extracted = Salt::new(HKDF_SHA256, b"ringmail-psk/1").extract(secret);
    let worker = worker.to_be_bytes();
    let [sender, receiver] = lives.map(u32::to_be_bytes);
    let place = [&path.digest.0[..], &[segment], &worker];
    let with_lives = [&path.digest.0[..], &[segment], &worker, &sender, &receiver];
    let info = if lives == [0, 0] { &place[..] } else { &with_lives[..] };
    let mut material = Zeroizing::new(vec![0; suite.material_len_bytes()]);
    let expanded = extracted.expand(info, Material(material.len())).map_err(refused)?;
    expanded.fill(&mut material).map_err(refused)?;
    Ok(SaKey::new(suite, &material)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ringmail_model::check;
    use ringmail_model::ids::PathVersion;
    use ringmail_model::pathset::Issue;

    use super::*;

    /// Every key ‖ salt that a start uses; each sender counts from 1 under its own.
    fn keys(secret: &[u8], drawn: u8, lives: &[(u16, u32)]) -> Vec<Vec<u8>> {
        let text = include_str!("../../../../examples/psk-transport.yaml");
        let domain = check::load(text, "psk-transport.yaml").expect("a good domain").domain;
        let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: 1 };
        let set = PathSet::compile(&domain, issue).expect("a path set");
        let mixed = of_this_start(secret, &[drawn; DRAWN_BYTES]).expect("a secret");
        let lives = lives.iter().copied().collect();
        let psk = Psk { secret: Secret::new(mixed.to_vec()), lives };
        let mut keys = Vec::new();
        for path in &set.paths {
            for index in 0..path.segments.len() as u8 {
                for worker in 0..2 {
                    let key = psk.key(Suite::Aes128Gcm, path, index, worker);
                    keys.push(key.expect("a key").danger_material().to_vec());
                }
            }
        }
        keys
    }

    #[test]
    fn no_two_senders_and_no_two_starts_share_a_key() {
        let secret = [7; 32];
        let all: Vec<_> = (0..5).flat_map(|drawn| keys(&secret, drawn, &[])).collect();
        assert!(all.len() >= 5 * 8, "{}", all.len());
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(keys(&secret, 3, &[]), keys(&secret, 3, &[]), "both ends of a segment agree");
        assert_ne!(keys(&secret, 3, &[]), keys(&[8; 32], 3, &[]), "the file's secret counts");
    }

    #[test]
    fn who_begins_anew_shares_no_key_with_its_earlier_lives() {
        let of = |lives: &[(u16, u32)]| keys(&[7; 32], 3, lives);
        let first = of(&[]);
        // Every element of the file once, and one of them a second time.
        let mut seen: BTreeSet<Vec<u8>> = first.iter().cloned().collect();
        for (element, life) in [(0, 1), (1, 1), (2, 1), (2, 2), (3, 1)] {
            let now = of(&[(element, life)]);
            for (before, now) in first.iter().zip(now) {
                // A segment that it does not end at keeps its key.
                assert!(*before == now || seen.insert(now), "life {life} of {element}");
            }
        }
        assert!(seen.len() > first.len(), "some end there");
        // In a segment either end's life counts, and which of both it is.
        assert_ne!(of(&[(1, 1)]), of(&[(2, 1)]));
        assert_eq!(of(&[(1, 0)]), first);
    }
}
