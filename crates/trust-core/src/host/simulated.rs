//! A host without a TPM, for tests and for load: keys, registers, lists and quotes of the same forms.
//!
//! Its key is in memory, so nothing that it says is worth anything: no enrolment ends with it, since no maker certified it.

use std::collections::BTreeMap;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use super::encoding::{Base64, Hex};
use super::evidence::{HostEvidence, ImaEntries, ImaList, SCHEMA};
use super::ima::{self, IMA_PCR};
use super::tpm::attest::PcrValues;
use super::tpm::public::{alg, curve};
use super::tpm::{
    Attributes, ClockInfo, Digest, Hash, PcrSelection, Public, Quote, Signature, WireError, Writer,
};

/// The host.
#[derive(Debug)]
pub struct SimulatedHost {
    key: EcdsaKeyPair,
    ak: Public,
    /// Its registers.
    pub pcrs: PcrValues,
    /// Its clock.
    pub clock: ClockInfo,
    /// Lines of its measurement list.
    pub lines: Vec<String>,
}

/// What the attestation key of a simulated host is, unless a test wants another.
pub const AK_ATTRIBUTES: u32 = Attributes::FIXED_TPM
    | Attributes::FIXED_PARENT
    | Attributes::SENSITIVE_DATA_ORIGIN
    | Attributes::USER_WITH_AUTH
    | Attributes::RESTRICTED
    | Attributes::SIGN;

/// Why a simulated host could not do something.
#[derive(Debug, thiserror::Error)]
pub enum SimulatedError {
    /// The cryptographic library did not.
    #[error("the cryptographic library refused")]
    Crypto(#[from] Unspecified),
    /// What it made is not of its form.
    #[error("it made something malformed")]
    Form(#[from] WireError),
}

impl SimulatedHost {
    /// One that has booted: registers of the banks of SHA-1 and SHA-256 hold zeros, and the list is empty.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn new() -> Result<SimulatedHost, SimulatedError> {
        SimulatedHost::with_attributes(AK_ATTRIBUTES)
    }

    /// The same with a key of other attributes.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn with_attributes(attributes: u32) -> Result<SimulatedHost, SimulatedError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let point = key.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).ok_or(Unspecified)?;
        let public = Writer::new()
            .u16(alg::ECC)
            .u16(Hash::Sha256.code())
            .u32(attributes)
            .sized(&[])
            .u16(alg::NULL)
            .u16(alg::ECDSA)
            .u16(Hash::Sha256.code())
            .u16(curve::P256)
            .u16(alg::NULL)
            .sized(x)
            .sized(y);
        let registers = |bank: Hash| (0..24).map(|pcr| (pcr, bank.zeros())).collect();
        let mut host = SimulatedHost {
            key,
            ak: Public::parse(&public.into_bytes())?,
            pcrs: [Hash::Sha1, Hash::Sha256].map(|bank| (bank, registers(bank))).into(),
            clock: ClockInfo { clock_ms: 0, reset_count: 0, restart_count: 0, safe: true },
            lines: Vec::new(),
        };
        host.reboot();
        Ok(host)
    }

    /// Its attestation key.
    pub fn ak(&self) -> &Public {
        &self.ak
    }

    /// Registers and list are empty again.
    pub fn reboot(&mut self) {
        self.clock.reset_count += 1;
        self.clock.restart_count = 0;
        self.lines.clear();
        for (bank, registers) in &mut self.pcrs {
            registers.values_mut().for_each(|value| *value = bank.zeros());
        }
    }

    /// Extends a register of all banks with digests of an event, as firmware does.
    pub fn extend(&mut self, pcr: u8, event: &[u8]) {
        for (bank, registers) in &mut self.pcrs {
            if let Some(value) = registers.get_mut(&pcr) {
                let event = bank.digest(&[event]);
                *value = bank.digest(&[value.as_bytes(), event.as_bytes()]);
            }
        }
    }

    /// Puts the boot's aggregate of the bank of SHA-256 on the list.
    pub fn measure_boot_aggregate(&mut self) {
        let bank = self.pcrs.get(&Hash::Sha256);
        let values = (0..=9).filter_map(|pcr| bank.and_then(|bank| bank.get(&pcr)));
        let values: Vec<&[u8]> = values.map(Digest::as_bytes).collect();
        let digest = Hash::Sha256.digest(&values);
        self.measure("ima-ng", &format!("sha256:{digest} boot_aggregate"));
    }

    /// Puts a file on the list.
    pub fn measure_file(&mut self, path: &str, contents: &[u8]) {
        let digest = Hash::Sha256.digest(&[contents]);
        self.measure("ima-ng", &format!("sha256:{digest} {path}"));
    }

    /// Puts an entry of any template on the list, by the text of its fields, and extends register 10.
    pub fn measure(&mut self, template: &str, fields: &str) {
        let zeros = Hash::Sha1.zeros();
        // Any hash but a violation's, to read the fields; then the right one.
        let line = format!("10 {} {template} {fields}", Hash::Sha1.ones());
        let list = ImaEntries::Text(line);
        let hash = match ima::entries(&list, Hash::Sha1).next() {
            Some(Ok(entry)) => entry.template_digest(Hash::Sha1),
            _ => zeros,
        };
        self.append(&format!("10 {hash} {template} {fields}"));
    }

    /// Puts a violation on the list.
    pub fn measure_violation(&mut self, path: &str) {
        let zeros = Hash::Sha1.zeros();
        self.append(&format!("10 {zeros} ima-ng sha256:{} {path}", Hash::Sha256.zeros()));
    }

    fn append(&mut self, line: &str) {
        let list = ImaEntries::Text(line.to_owned());
        for entry in ima::entries(&list, Hash::Sha1).flatten() {
            for (bank, registers) in &mut self.pcrs {
                if let Some(value) = registers.get_mut(&IMA_PCR) {
                    let extended = entry.extended(Hash::Sha1, *bank);
                    *value = bank.digest(&[value.as_bytes(), extended.as_bytes()]);
                }
            }
        }
        self.lines.push(line.to_owned());
    }

    /// What it answers to a nonce: a quote of these registers, and its list from an entry on.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn evidence(
        &mut self,
        nonce: &[u8],
        registers: &BTreeMap<Hash, Vec<u8>>,
        first_entry: u64,
    ) -> Result<HostEvidence, SimulatedError> {
        self.clock.clock_ms += 1;
        let banks = registers.iter().map(|(bank, registers)| (*bank, registers.as_slice()));
        let selection = PcrSelection::new(banks);
        let quote = Quote {
            extra_data: nonce.to_vec(),
            clock: self.clock,
            firmware: 1,
            pcr_digest: selection.digest(Hash::Sha256, &self.pcrs).ok_or(Unspecified)?,
            selection,
        };
        let mut evidence = HostEvidence {
            schema: SCHEMA.to_owned(),
            ak_public: Base64(self.ak.as_bytes().to_vec()),
            quote: Base64::default(),
            signature: Base64::default(),
            pcrs: self.values(&quote.selection),
            ima: ImaList { first_entry, entries: self.list(first_entry) },
        };
        self.sign(&mut evidence, &quote)?;
        Ok(evidence)
    }

    /// Puts another quote in evidence, signed by this host.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub fn sign(&self, evidence: &mut HostEvidence, quote: &Quote) -> Result<(), SimulatedError> {
        let bytes = quote.to_bytes(self.ak.name().as_bytes());
        let signature = self.key.sign(&SystemRandom::new(), &bytes)?;
        let halves = signature.as_ref().try_into().map_err(|_| Unspecified)?;
        evidence.signature = Base64(Signature::ecdsa_p256_to_bytes(halves));
        evidence.quote = Base64(bytes);
        Ok(())
    }

    fn values(&self, selection: &PcrSelection) -> BTreeMap<Hash, BTreeMap<u8, Hex>> {
        let mut values: BTreeMap<Hash, BTreeMap<u8, Hex>> = BTreeMap::new();
        for (bank, pcr) in selection.iter() {
            if let Some(value) = self.pcrs.get(&bank).and_then(|bank| bank.get(&pcr)) {
                values.entry(bank).or_default().insert(pcr, Hex(value.as_bytes().to_vec()));
            }
        }
        values
    }

    fn list(&self, first_entry: u64) -> ImaEntries {
        let first = usize::try_from(first_entry).unwrap_or(usize::MAX);
        let mut text = self.lines.get(first..).unwrap_or_default().join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        ImaEntries::Text(text)
    }
}
