//! Registers: read, extended, quoted.

use ringmail_trust_core::host::tpm::attest::PcrValues;
use ringmail_trust_core::host::tpm::public::alg;
use ringmail_trust_core::host::tpm::{
    Digest, Hash, PcrSelection, Quote, Signature, WireError, Writer,
};

use super::Tpm;
use super::command::{Auth, Command, code};
use super::error::TpmError;
use super::keys::Handle;
use crate::limits;

/// A quote with the values that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeQuote {
    /// `TPMS_ATTEST`.
    pub quote: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
    /// The registers' values.
    pub pcrs: PcrValues,
}

impl Tpm {
    /// The values of registers.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn read_pcrs(&mut self, selection: &PcrSelection) -> Result<PcrValues, TpmError> {
        let mut values = PcrValues::new();
        let wanted: Vec<(Hash, u8)> = selection.iter().collect();
        // A TPM answers with 8 at once, and with fewer where it has fewer.
        for some in wanted.chunks(PCRS_AT_ONCE) {
            for (bank, group) in by_bank(some) {
                let asked = PcrSelection::new([(bank, group.as_slice())]);
                let command = Command::new(code::PCR_READ).parameters(asked.write(Writer::new()));
                let read = self.run(&command)?.read(|reader| {
                    let _updates = reader.u32()?;
                    let answered = PcrSelection::parse(reader)?;
                    let count = reader.u32()? as usize;
                    let pcrs: Vec<(Hash, u8)> = answered.iter().collect();
                    if count != pcrs.len() || pcrs != asked.iter().collect::<Vec<_>>() {
                        let value = count as u64;
                        return Err(WireError::Value { what: "the count of registers", value });
                    }
                    let mut read = Vec::new();
                    for pcr in pcrs {
                        read.push((pcr, Digest::of(reader.sized(limits::TPM_RESPONSE_BYTES)?)));
                    }
                    Ok(read)
                })?;
                for ((bank, pcr), value) in read {
                    values.entry(bank).or_default().insert(pcr, value);
                }
            }
        }
        Ok(values)
    }

    /// Extends a register of some banks, as the kernel does for each entry of its list.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn extend_pcr(&mut self, pcr: u8, digests: &[(Hash, Digest)]) -> Result<(), TpmError> {
        let list = Writer::new().u32(digests.len() as u32);
        let list = digests
            .iter()
            .fold(list, |list, (bank, digest)| list.u16(bank.code()).raw(digest.as_bytes()));
        let command = Command::new(code::PCR_EXTEND)
            .authorized(pcr.into(), Auth::EmptyPassword)
            .parameters(list);
        self.run(&command).map(drop)
    }

    /// Quotes registers over a nonce, with the values that they had.
    ///
    /// # Errors
    /// [`TpmError`]; [`TpmError::Restless`] where registers changed each time before they could be read.
    pub fn quote(
        &mut self,
        ak: Handle,
        nonce: &[u8],
        selection: &PcrSelection,
    ) -> Result<MadeQuote, TpmError> {
        for _ in 0..limits::QUOTE_TRIES {
            let command = Command::new(code::QUOTE)
                .authorized(ak.0, Auth::EmptyPassword)
                .parameters(selection.write(Writer::new().sized(nonce).u16(alg::NULL)));
            let (quote, signature) = self.run(&command)?.read(|reader| {
                let quote = reader.sized(limits::TPM_RESPONSE_BYTES)?.to_vec();
                Ok((quote, reader.clone().rest().to_vec()))
            })?;
            let pcrs = self.read_pcrs(selection)?;
            let malformed = |source| TpmError::Answer { doing: "TPM2_Quote", source };
            let said = Quote::parse(&quote).map_err(malformed)?;
            let hash = Signature::parse(&signature).map_err(malformed)?.hash;
            if said.selection.digest(hash, &pcrs) == Some(said.pcr_digest) {
                return Ok(MadeQuote { quote, signature, pcrs });
            }
        }
        Err(TpmError::Restless { tries: limits::QUOTE_TRIES })
    }
}

/// Digests of one answer (`TPML_DIGEST`).
const PCRS_AT_ONCE: usize = 8;

fn by_bank(pcrs: &[(Hash, u8)]) -> Vec<(Hash, Vec<u8>)> {
    let mut banks: Vec<(Hash, Vec<u8>)> = Vec::new();
    for (bank, pcr) in pcrs {
        match banks.iter_mut().find(|(known, _)| known == bank) {
            Some((_, group)) => group.push(*pcr),
            None => banks.push((*bank, vec![*pcr])),
        }
    }
    banks
}
