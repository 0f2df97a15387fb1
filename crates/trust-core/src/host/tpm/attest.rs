//! A quote, `TPMS_ATTEST` with `TPMS_QUOTE_INFO` (TPM 2.0 Library, Part 2, section 10.12): what the TPM signs about its
//! registers, its clock and the verifier's nonce.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hash::{Digest, Hash};
use super::wire::{Reader, WireError, Writer};
use crate::limits;

/// `TPM_GENERATED_VALUE`: a restricted key signs nothing from outside that begins like this, so the TPM made it.
const GENERATED: u32 = 0xff54_4347;

/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;

/// `TPMS_CLOCK_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockInfo {
    /// Milliseconds that the TPM had power, over all boots.
    pub clock_ms: u64,
    /// How often it was reset: a reboot adds one.
    pub reset_count: u32,
    /// How often it was restarted or resumed since.
    pub restart_count: u32,
    /// Whether the clock is known not to have gone back.
    pub safe: bool,
}

/// Which registers of which banks, in the quote's order: their digest is made in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcrSelection {
    banks: Vec<(Hash, u32)>,
}

impl PcrSelection {
    /// These registers of these banks.
    pub fn new<'a>(banks: impl IntoIterator<Item = (Hash, &'a [u8])>) -> PcrSelection {
        let mask = |pcrs: &[u8]| {
            pcrs.iter()
                .filter(|pcr| u32::from(**pcr) < PCRS)
                .fold(0, |mask, pcr| mask | 1u32 << pcr)
        };
        PcrSelection { banks: banks.into_iter().map(|(bank, pcrs)| (bank, mask(pcrs))).collect() }
    }

    /// Reads `TPML_PCR_SELECTION`.
    ///
    /// # Errors
    /// [`WireError`]; a bank that stands there twice is one.
    pub fn parse(reader: &mut Reader<'_>) -> Result<PcrSelection, WireError> {
        let count = reader.u32()?;
        if count as usize > limits::PCR_BANKS {
            return Err(WireError::Long {
                what: "a selection of registers",
                limit: limits::PCR_BANKS,
            });
        }
        let mut banks: Vec<(Hash, u32)> = Vec::new();
        for _ in 0..count {
            let bank = Hash::from_code(reader.u16()?)?;
            let length = reader.u8()?;
            let bitmap = reader.take(usize::from(length))?;
            if bitmap.len() > size_of::<u32>() || banks.iter().any(|(known, _)| *known == bank) {
                let value = length.into();
                return Err(WireError::Value { what: "a selection of registers", value });
            }
            let mask = bitmap.iter().rev().fold(0, |mask, byte| mask << 8 | u32::from(*byte));
            banks.push((bank, mask));
        }
        Ok(PcrSelection { banks })
    }

    /// As `TPML_PCR_SELECTION`.
    #[must_use]
    pub fn write(&self, writer: Writer) -> Writer {
        self.banks.iter().fold(writer.u32(self.banks.len() as u32), |writer, (bank, mask)| {
            let [first, second, third, _] = mask.to_le_bytes();
            writer.u16(bank.code()).u8(3).raw(&[first, second, third])
        })
    }

    /// Whether a register of a bank is among them.
    pub fn has(&self, bank: Hash, pcr: u8) -> bool {
        u32::from(pcr) < u32::BITS
            && self.banks.iter().any(|(known, mask)| *known == bank && mask >> pcr & 1 == 1)
    }

    /// Each, in the order of the digest.
    pub fn iter(&self) -> impl Iterator<Item = (Hash, u8)> {
        self.banks.iter().flat_map(|(bank, mask)| {
            (0..u32::BITS as u8)
                .filter(move |pcr| mask >> pcr & 1 == 1)
                .map(move |pcr| (*bank, pcr))
        })
    }

    /// The digest of these registers' values, as the TPM makes it; none where a value is missing.
    pub fn digest(&self, hash: Hash, values: &PcrValues) -> Option<Digest> {
        let values: Option<Vec<&[u8]>> = self
            .iter()
            .map(|(bank, pcr)| values.get(&bank)?.get(&pcr).map(|value| value.as_bytes()))
            .collect();
        Some(hash.digest(&values?))
    }
}

/// Registers of a TPM.
pub const PCRS: u32 = 24;

/// Values of registers, by bank.
pub type PcrValues = BTreeMap<Hash, BTreeMap<u8, Digest>>;

/// What the TPM says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// What the verifier gave: its nonce.
    pub extra_data: Vec<u8>,
    /// The clock and its counters.
    pub clock: ClockInfo,
    /// The version of the TPM's firmware.
    pub firmware: u64,
    /// Which registers.
    pub selection: PcrSelection,
    /// The digest of their values.
    pub pcr_digest: Digest,
}

impl Quote {
    /// Reads `TPMS_ATTEST`.
    ///
    /// # Errors
    /// [`WireError`] where it is no quote, or none that a TPM made.
    pub fn parse(bytes: &[u8]) -> Result<Quote, WireError> {
        let mut reader = Reader::new("a quote", bytes);
        let magic = reader.u32()?;
        if magic != GENERATED {
            return Err(WireError::Value { what: "the magic of a quote", value: magic.into() });
        }
        let kind = reader.u16()?;
        if kind != QUOTE {
            return Err(WireError::Value { what: "the type of a quote", value: kind.into() });
        }
        let _qualified_signer = reader.sized(limits::TPM_NAME_BYTES)?;
        let extra_data = reader.sized(limits::NONCE_MAX_BYTES)?.to_vec();
        let clock_ms = reader.u64()?;
        let (reset_count, restart_count) = (reader.u32()?, reader.u32()?);
        let safe = match reader.u8()? {
            0 => false,
            1 => true,
            value => return Err(WireError::Value { what: "a yes or no", value: value.into() }),
        };
        let clock = ClockInfo { clock_ms, reset_count, restart_count, safe };
        let firmware = reader.u64()?;
        let selection = PcrSelection::parse(&mut reader)?;
        let pcr_digest = Digest::of(reader.sized(limits::TPM_DIGEST_BYTES)?);
        reader.end()?;
        Ok(Quote { extra_data, clock, firmware, selection, pcr_digest })
    }

    /// As a TPM would write it. For tests and simulated hosts: only a TPM's signature makes it worth anything.
    pub fn to_bytes(&self, qualified_signer: &[u8]) -> Vec<u8> {
        let writer = Writer::new()
            .u32(GENERATED)
            .u16(QUOTE)
            .sized(qualified_signer)
            .sized(&self.extra_data)
            .u64(self.clock.clock_ms)
            .u32(self.clock.reset_count)
            .u32(self.clock.restart_count)
            .u8(self.clock.safe.into())
            .u64(self.firmware);
        self.selection.write(writer).sized(self.pcr_digest.as_bytes()).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::{ClockInfo, PcrSelection, Quote};
    use crate::host::tpm::hash::Hash;
    use crate::host::tpm::wire::WireError;

    fn quote() -> Quote {
        Quote {
            extra_data: b"nonce".to_vec(),
            clock: ClockInfo { clock_ms: 7, reset_count: 2, restart_count: 1, safe: true },
            firmware: 0x2019_1023,
            selection: PcrSelection::new([
                (Hash::Sha1, &[10][..]),
                (Hash::Sha256, &[0, 7, 23, 10]),
            ]),
            pcr_digest: Hash::Sha256.digest(&[b"values"]),
        }
    }

    #[test]
    fn a_quote_is_read_as_it_was_written() {
        let bytes = quote().to_bytes(&[0, 0x0b]);
        assert_eq!(Quote::parse(&bytes), Ok(quote()));
        let order: Vec<_> = quote().selection.iter().collect();
        let sha256 = [0, 7, 10, 23].map(|pcr| (Hash::Sha256, pcr));
        assert_eq!(order, [&[(Hash::Sha1, 10)][..], &sha256].concat());
        for length in 0..bytes.len() {
            assert!(Quote::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn what_a_tpm_did_not_make_is_no_quote() {
        let mut bytes = quote().to_bytes(&[]);
        bytes[0] ^= 1;
        let magic = WireError::Value { what: "the magic of a quote", value: 0xfe54_4347 };
        assert_eq!(Quote::parse(&bytes), Err(magic));
        let mut certify = quote().to_bytes(&[]);
        certify[5] = 0x17;
        let kind = WireError::Value { what: "the type of a quote", value: 0x8017 };
        assert_eq!(Quote::parse(&certify), Err(kind));
    }
}
