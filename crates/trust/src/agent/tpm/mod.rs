//! A TPM 2.0, spoken to by its own commands (TPM 2.0 Library, Part 3): over the kernel's `/dev/tpmrm0`, or over the data socket of
//! `swtpm`.

mod address;
mod command;
mod error;
mod keys;
mod nv;
mod pcr;
mod sessions;

pub use address::{TpmAddress, TpmAddressError};
pub use error::{Code, TpmError};
pub use keys::{Handle, Key, PERSISTENT_ECC_P384_EK, PERSISTENT_RSA_EK, Template};
pub use nv::EkCertificate;
pub use pcr::MadeQuote;

use address::Connection;
use command::{Answer, Command};

/// A TPM that is spoken to. One at a time: commands are answered in order.
#[derive(Debug)]
pub struct Tpm {
    connection: Connection,
}

impl Tpm {
    /// Connects.
    ///
    /// # Errors
    /// [`TpmError::Io`].
    pub fn open(address: &TpmAddress) -> Result<Tpm, TpmError> {
        Ok(Tpm { connection: Connection::open(address)? })
    }

    /// Sends a command and waits for its answer; once more where the TPM says that it was busy.
    fn run(&mut self, command: &Command) -> Result<Answer, TpmError> {
        let bytes = command.to_bytes();
        for _ in 0..crate::limits::TPM_RETRIES {
            match Answer::parse(&self.connection.exchange(&bytes)?, command) {
                Err(TpmError::Refused { code: Code::RETRY | Code::YIELDED, .. }) => {}
                other => return other,
            }
        }
        Err(TpmError::Refused { doing: command.doing(), code: Code::RETRY })
    }
}
