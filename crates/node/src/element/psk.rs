//! Keying `psk`: static keys from one secret of the domain, for comparison with the paper and for foreign peers.
//!
//! Every sender has a key of its own, derived from the secret by HKDF-SHA-256 (RFC 5869), so that two senders never meet
//! at one nonce; but whoever holds the secret holds them all, and there is no forward secrecy. Each start says so.
//!
//! Counters begin again with each start, so keys may not: what elements get is the file's secret mixed with random bytes
//! that whoever starts them draws once ([`of_this_start`]), and no element gets it twice (ADR 0006).

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use ringmail_dataplane::replay::WindowPackets;
use ringmail_dataplane::sa::{
    InboundOptions, InboundSa, Lease, OutboundOptions, OutboundSa, SaKey, SegmentIndex, Suite,
};
use ringmail_model::pathset::{Path, PathSet};
use ringmail_model::{ElementId, SaSpi};
use zeroize::Zeroizing;

use super::agreement::suite;
use super::worker::Core;

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

/// Gives every worker of `element` the associations of its segments.
///
/// # Errors
/// When the path set or the suite is not one that has keys.
pub(crate) fn install(
    set: &PathSet,
    element: ElementId,
    secret: &[u8],
    window: WindowPackets,
    cores: &mut [Core],
) -> Result<()> {
    let suite = suite(set.suite);
    let lease = Lease::unlimited(Instant::now());
    for path in &set.paths {
        for (index, segment) in (0u8..).zip(&path.segments) {
            let senders = set.element(segment.sender).map_or(1, |sender| sender.workers.max(1));
            for worker in 0..senders {
                let spi = spi(path, index, worker);
                let key = derive(suite, secret, path, index, worker)?;
                if segment.receiver == element {
                    let options = InboundOptions { window, ..InboundOptions::default() };
                    let place = SegmentIndex(index);
                    let sa = InboundSa::new(spi, &key, path.id, place, lease.clone(), options)?;
                    let sa = Arc::new(sa);
                    for core in cores.iter_mut() {
                        core.inbound().install(Arc::clone(&sa))?;
                    }
                }
                if segment.sender == element
                    && let Some(core) = cores.get_mut(usize::from(worker))
                    && let Some(state) = core.paths().get_mut(path.id)
                {
                    let options = OutboundOptions::default();
                    state.outbound = Some(OutboundSa::new(spi, &key, lease.clone(), options)?);
                }
            }
        }
    }
    Ok(())
}

fn spi(path: &Path, segment: u8, worker: u16) -> SaSpi {
    let of_path = path.id.0 * SEGMENTS_A_PATH + u32::from(segment);
    SaSpi(FIRST_SPI + (u32::from(worker) << 24) + of_path)
}

fn derive(suite: Suite, secret: &[u8], path: &Path, segment: u8, worker: u16) -> Result<SaKey> {
    let refused = |_| anyhow!("HKDF refused to make a key");
    let extracted = Salt::new(HKDF_SHA256, b"ringmail-psk/1").extract(secret);
    let worker = worker.to_be_bytes();
    let info = [&path.digest.0[..], &[segment], &worker];
    let mut material = Zeroizing::new(vec![0; suite.material_len_bytes()]);
    let expanded = extracted.expand(&info, Material(material.len())).map_err(refused)?;
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
    fn keys(secret: &[u8], drawn: u8) -> Vec<Vec<u8>> {
        let text = include_str!("../../../../examples/psk-transport.yaml");
        let domain = check::load(text, "psk-transport.yaml").expect("a good domain").domain;
        let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: 1 };
        let set = PathSet::compile(&domain, issue).expect("a path set");
        let mixed = of_this_start(secret, &[drawn; DRAWN_BYTES]).expect("a secret");
        let mut keys = Vec::new();
        for path in &set.paths {
            for index in 0..path.segments.len() as u8 {
                for worker in 0..2 {
                    let key = derive(Suite::Aes128Gcm, &mixed, path, index, worker);
                    keys.push(key.expect("a key").danger_material().to_vec());
                }
            }
        }
        keys
    }

    #[test]
    fn no_two_senders_and_no_two_starts_share_a_key() {
        let secret = [7; 32];
        let all: Vec<_> = (0..5).flat_map(|drawn| keys(&secret, drawn)).collect();
        assert!(all.len() >= 5 * 8, "{}", all.len());
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(keys(&secret, 3), keys(&secret, 3), "both ends of a segment agree");
        assert_ne!(keys(&secret, 3), keys(&[8; 32], 3), "the file's secret counts");
    }
}
