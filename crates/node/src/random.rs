//! Randomness for the cores, which have none of their own.

use anyhow::{Result, anyhow};

/// Bytes from the system's generator.
///
/// # Errors
/// When the system has none.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("the system has no random bytes"))?;
    Ok(bytes)
}

/// Seeds of a hash that nobody can foresee.
///
/// # Errors
/// When the system has no random bytes.
pub(crate) fn seeds() -> Result<[u64; 4]> {
    let bytes: [u8; 32] = bytes()?;
    let mut seeds = [0; 4];
    for (seed, part) in seeds.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *seed = u64::from_ne_bytes(*part);
    }
    Ok(seeds)
}
