//! Keying `psk`: static keys from one secret of the domain, for comparison with the paper and for foreign peers.
//!
//! Every sender has a key of its own, derived from the secret by HKDF-SHA-256 (RFC 5869), so that two senders never meet
//! at one nonce; but whoever holds the secret holds them all, there is no forward secrecy, and a restart under a secret
//! from a file begins to count again. Each start says so.

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

struct Material(usize);

impl KeyType for Material {
    fn len(&self) -> usize {
        self.0
    }
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
