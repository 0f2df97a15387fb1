//! A host's answers to its verifier: enrolment, and evidence round after round.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use ringmail_trust_core::host::encoding::{Base64, Hex};
use ringmail_trust_core::host::enrolment::{self, EnrolmentRequest};
use ringmail_trust_core::host::tpm::{Credential, Hash, PcrSelection, Public};
use ringmail_trust_core::host::{HostEvidence, evidence};

use super::ima::ImaFile;
use super::tpm::{EkCertificate, Key, Template, Tpm, TpmError};

/// Why a host has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Its TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// Its measurement list.
    #[error("cannot read the measurement list {}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The TPM's maker left no certificate.
    #[error("the TPM has no certificate for its RSA endorsement key")]
    NoCertificate,
}

impl AgentError {
    /// What to do, where something can be.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            AgentError::Tpm(error) => error.hint(),
            AgentError::List { .. } => Some(
                "mount securityfs, start the kernel with a policy that measures, and read the list as root",
            ),
            AgentError::NoCertificate => {
                Some("get the certificate from the TPM's maker and give it to the agent")
            }
        }
    }
}

/// A host with its TPM, its attestation key and its list.
#[derive(Debug)]
pub struct HostAgent {
    tpm: Tpm,
    ak: Key,
    list: ImaFile,
    ek_certificate: Option<Vec<u8>>,
    ek_intermediates: Vec<Vec<u8>>,
}

impl HostAgent {
    /// With the attestation key of this template, which is the same whenever it is made.
    ///
    /// # Errors
    /// [`AgentError::Tpm`].
    pub fn new(mut tpm: Tpm, template: Template, list: ImaFile) -> Result<HostAgent, AgentError> {
        let ak = tpm.create_primary(template)?;
        let (ek_certificate, ek_intermediates) = (None, Vec::new());
        Ok(HostAgent { tpm, ak, list, ek_certificate, ek_intermediates })
    }

    /// With certificates, DER, that did not come with the TPM: the endorsement key's, and those up to its maker's root.
    #[must_use]
    pub fn with_certificates(
        mut self,
        ek_certificate: Option<Vec<u8>>,
        ek_intermediates: Vec<Vec<u8>>,
    ) -> HostAgent {
        self.ek_certificate = ek_certificate;
        self.ek_intermediates = ek_intermediates;
        self
    }

    /// The attestation key.
    pub fn ak(&self) -> &Public {
        &self.ak.public
    }

    /// The TPM.
    pub fn tpm(&mut self) -> &mut Tpm {
        &mut self.tpm
    }

    /// What it sends to be enrolled.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn enrolment_request(&mut self) -> Result<EnrolmentRequest, AgentError> {
        let certificate = match &self.ek_certificate {
            Some(certificate) => certificate.clone(),
            None => {
                self.tpm.ek_certificate(EkCertificate::Rsa)?.ok_or(AgentError::NoCertificate)?
            }
        };
        let ek = self.tpm.rsa_ek()?;
        self.tpm.flush(ek.handle)?;
        Ok(EnrolmentRequest {
            schema: enrolment::SCHEMA.to_owned(),
            ek_public: Base64(ek.public.as_bytes().to_vec()),
            ek_certificate: Base64(certificate),
            ek_intermediates: self.ek_intermediates.iter().cloned().map(Base64).collect(),
            ak_public: Base64(self.ak.public.as_bytes().to_vec()),
        })
    }

    /// Opens the secret of an enrolment.
    ///
    /// # Errors
    /// [`AgentError::Tpm`]; refused where it was enclosed for another TPM or another attestation key.
    pub fn open_secret(&mut self, credential: &Credential) -> Result<Vec<u8>, AgentError> {
        let ek = self.tpm.rsa_ek()?;
        let opened = self.tpm.activate_credential(ek.handle, self.ak.handle, credential);
        self.tpm.flush(ek.handle)?;
        Ok(opened?)
    }

    /// Evidence over a nonce: a quote of these registers, and then the list from an entry on.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn evidence(
        &mut self,
        nonce: &[u8],
        registers: &BTreeMap<Hash, Vec<u8>>,
        first_entry: u64,
    ) -> Result<HostEvidence, AgentError> {
        let banks = registers.iter().map(|(bank, registers)| (*bank, registers.as_slice()));
        let made = self.tpm.quote(self.ak.handle, nonce, &PcrSelection::new(banks))?;
        // Afterwards, so that it holds all that the quote covers.
        let ima = self
            .list
            .read_from(first_entry)
            .map_err(|source| AgentError::List { path: self.list.path().to_owned(), source })?;
        let hex = |values: BTreeMap<u8, _>| -> BTreeMap<u8, Hex> {
            let hex =
                |value: ringmail_trust_core::host::tpm::Digest| Hex(value.as_bytes().to_vec());
            values.into_iter().map(|(pcr, value)| (pcr, hex(value))).collect()
        };
        Ok(HostEvidence {
            schema: evidence::SCHEMA.to_owned(),
            ak_public: Base64(self.ak.public.as_bytes().to_vec()),
            quote: Base64(made.quote),
            signature: Base64(made.signature),
            pcrs: made.pcrs.into_iter().map(|(bank, values)| (bank, hex(values))).collect(),
            ima,
        })
    }
}
