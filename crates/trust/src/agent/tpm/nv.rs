//! Certificates of endorsement keys, which makers leave in the TPM (EK Credential Profile 2.5, section 2.2.1.4).

use ringmail_trust_core::host::tpm::{Reader, WireError, Writer};

use super::Tpm;
use super::command::{Auth, Command, code};
use super::error::{Code, TpmError};
use crate::limits;

/// Which certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EkCertificate {
    /// Of the RSA 2048 key.
    Rsa,
    /// Of the ECC P-256 key.
    EccP256,
    /// Of the ECC P-384 key.
    EccP384,
}

impl EkCertificate {
    fn index(self) -> u32 {
        match self {
            EkCertificate::Rsa => 0x01c0_0002,
            EkCertificate::EccP256 => 0x01c0_000a,
            EkCertificate::EccP384 => 0x01c0_0016,
        }
    }
}

/// Bytes that every TPM reads at once.
const CHUNK_BYTES: u16 = 512;

impl Tpm {
    /// The certificate, DER; none where the maker left none.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn ek_certificate(&mut self, which: EkCertificate) -> Result<Option<Vec<u8>>, TpmError> {
        let index = which.index();
        let command = Command::new(code::NV_READ_PUBLIC).handle(index);
        let size = match self.run(&command) {
            Ok(answer) => answer.read(nv_size)?,
            Err(error) if error.is(Code::HANDLE) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut certificate = Vec::with_capacity(size.into());
        while certificate.len() < size.into() {
            let offset = certificate.len() as u16;
            let wanted = (size - offset).min(CHUNK_BYTES);
            // The index authorizes its own reading, by an empty password.
            let command = Command::new(code::NV_READ)
                .authorized(index, Auth::EmptyPassword)
                .handle(index)
                .parameters(Writer::new().u16(wanted).u16(offset));
            let read = self.run(&command)?;
            let read = read.read(|reader| reader.sized(wanted.into()).map(<[u8]>::to_vec))?;
            if read.is_empty() {
                return Err(TpmError::Other("a certificate that ends before its end"));
            }
            certificate.extend(read);
        }
        Ok(Some(certificate))
    }
}

/// The size that `TPM2B_NV_PUBLIC` says.
fn nv_size(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    let public = reader.sized(limits::TPM_RESPONSE_BYTES)?;
    let mut public = Reader::new("the description of an index", public);
    let _index_hash_attributes = public.take(4 + 2 + 4)?;
    let _policy = public.sized(limits::TPM_RESPONSE_BYTES)?;
    public.u16()
}
