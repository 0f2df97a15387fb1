//! Faults on the links of an element, where its environment asks for them: for `cargo xtask soak`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use ringmail_dataplane_io::fault::Faults;

/// The variable that asks for them: `seed=1,loss=2000,delay_us=300`, frequencies in packets of a million.
const VARIABLE: &str = "RINGMAIL_DANGER_FAULTS";

/// Which faults, and the seed that they are drawn by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) seed: u64,
    pub(super) faults: Faults,
}

impl Trouble {
    /// What the environment asks for; nothing as a rule.
    ///
    /// # Errors
    /// When it cannot be understood: then faults were meant, and others would be had.
    pub(super) fn wanted() -> Result<Option<Trouble>> {
        let Ok(wanted) = std::env::var(VARIABLE) else { return Ok(None) };
        let trouble = Trouble::of(&wanted).with_context(|| VARIABLE.to_owned())?;
        tracing::warn!(
            ?trouble,
            "`{VARIABLE}`: packets are lost, changed and held back on purpose"
        );
        Ok(Some(trouble))
    }

    fn of(text: &str) -> Result<Trouble> {
        let mut values: BTreeMap<&str, u64> = BTreeMap::new();
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').context("KEY=NUMBER,…")?;
            let value = value.parse().with_context(|| format!("`{key}`"))?;
            values.insert(key, value);
        }
        let mut take = |key: &str| values.remove(key).unwrap_or(0);
        let seed = take("seed");
        let mut ppm = |key: &str| u32::try_from(take(key)).unwrap_or(u32::MAX);
        let [loss_ppm, duplicate_ppm, reorder_ppm, corrupt_ppm] =
            ["loss", "duplicate", "reorder", "corrupt"].map(&mut ppm);
        let [reorder_us, delay_us, jitter_us] =
            ["reorder_us", "delay_us", "jitter_us"].map(&mut take);
        if let Some(unknown) = values.keys().next() {
            bail!("unknown key `{unknown}`");
        }
        let faults = Faults {
            loss_ppm,
            duplicate_ppm,
            reorder_ppm,
            corrupt_ppm,
            reorder_us,
            delay_us,
            jitter_us,
        };
        Ok(Trouble { seed, faults })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_had_and_a_misspelt_key_is_an_error() {
        let text =
            "seed=7,loss=1,duplicate=2,reorder=3,corrupt=4,reorder_us=5,delay_us=6,jitter_us=8";
        let trouble = Trouble::of(text).expect("good");
        assert_eq!(trouble.seed, 7);
        let Faults { loss_ppm, duplicate_ppm, reorder_ppm, corrupt_ppm, .. } = trouble.faults;
        assert_eq!([loss_ppm, duplicate_ppm, reorder_ppm, corrupt_ppm], [1, 2, 3, 4]);
        let Faults { reorder_us, delay_us, jitter_us, .. } = trouble.faults;
        assert_eq!([reorder_us, delay_us, jitter_us], [5, 6, 8]);
        for wrong in ["los=1", "loss", "loss=x", ""] {
            assert!(Trouble::of(wrong).is_err(), "{wrong:?}");
        }
    }
}
