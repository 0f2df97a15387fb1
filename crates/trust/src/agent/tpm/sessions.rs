//! Power, and sessions that satisfy the policy of endorsement keys.

use ringmail_trust_core::host::tpm::public::alg;
use ringmail_trust_core::host::tpm::{Hash, Writer};

use super::Tpm;
use super::command::{Auth, Command, code};
use super::error::TpmError;
use super::keys::{ENDORSEMENT, Handle};

/// `TPM_RH_NULL`.
const NULL: u32 = 0x4000_0007;
/// `TPM_SE_POLICY`.
const POLICY: u8 = 1;
/// `TPM_SU_CLEAR`.
const CLEAR: u16 = 0;

impl Tpm {
    /// A policy session for which the endorsement hierarchy's password was given, as the templates' `PolicyA` wants; its hash is
    /// that of the key.
    pub(super) fn endorsement_session(&mut self, hash: Hash) -> Result<Handle, TpmError> {
        // Nobody else is on the line, so the nonce protects nothing; the TPM wants 16 bytes.
        let command = Command::new(code::START_AUTH_SESSION).handle(NULL).handle(NULL).parameters(
            Writer::new().sized(&[0; 16]).sized(&[]).u8(POLICY).u16(alg::NULL).u16(hash.code()),
        );
        let session = Handle(self.run(&command.answers_handle())?.handle());
        let policy = Command::new(code::POLICY_SECRET)
            .authorized(ENDORSEMENT, Auth::EmptyPassword)
            .handle(session.0)
            .parameters(Writer::new().sized(&[]).sized(&[]).sized(&[]).u32(0));
        match self.run(&policy) {
            Ok(_) => Ok(session),
            Err(error) => {
                drop(self.flush(session));
                Err(error)
            }
        }
    }

    /// What firmware does at power-on. A TPM that was started already is left as it is.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn startup(&mut self) -> Result<(), TpmError> {
        match self.run(&Command::new(code::STARTUP).parameters(Writer::new().u16(CLEAR))) {
            Ok(_) => Ok(()),
            Err(error) if error.is(super::Code::INITIALIZE) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What an operating system does before power-off: the clock is known not to go back then.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn shutdown(&mut self) -> Result<(), TpmError> {
        let command = Command::new(code::SHUTDOWN).parameters(Writer::new().u16(CLEAR));
        self.run(&command).map(drop)
    }
}
