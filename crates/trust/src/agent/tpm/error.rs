//! What can go wrong with a TPM, and whose fault it is.

use std::fmt;
use std::io;

use ringmail_trust_core::host::tpm::WireError;

/// Why a TPM did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The way to it.
    #[error("cannot {doing}")]
    Io {
        /// What was being done: a verb such as `connect`.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The TPM refused.
    #[error("the TPM refused {doing}: {code}")]
    Refused {
        /// The command.
        doing: &'static str,
        /// Its code.
        code: Code,
    },
    /// The TPM answered something that is no answer to the command.
    #[error("the TPM's answer to {doing} cannot be read")]
    Answer {
        /// The command.
        doing: &'static str,
        /// What is wrong with it.
        source: WireError,
    },
    /// Registers changed between each quote and the reading of their values.
    #[error("registers changed faster than they could be read, {tries} times")]
    Restless {
        /// How often it was tried.
        tries: usize,
    },
    /// The TPM holds something else than the template asks for.
    #[error("the TPM holds {0}")]
    Other(&'static str),
}

impl TpmError {
    /// What to do, where something can be.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            TpmError::Io { .. } => Some(
                "check that the TPM is there and that this user may use it (group tss for /dev/tpmrm0)",
            ),
            TpmError::Refused { code, .. } => code.hint(),
            TpmError::Restless { .. } => Some("try again when the host has started its programs"),
            _ => None,
        }
    }

    /// Whether the TPM refused with this code.
    pub fn is(&self, wanted: Code) -> bool {
        matches!(self, TpmError::Refused { code, .. } if code.plain() == wanted)
    }
}

/// A response code (TPM 2.0 Library, Part 2, section 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// It was not started.
    pub const INITIALIZE: Code = Code(0x100);
    /// It is in failure mode.
    pub const FAILURE: Code = Code(0x101);
    /// The values of a session, handle or parameter do not fit.
    pub const VALUE: Code = Code(0x084);
    /// The handle is none.
    pub const HANDLE: Code = Code(0x08b);
    /// The password or HMAC is wrong.
    pub const AUTH_FAIL: Code = Code(0x08e);
    /// The integrity of what was sent does not hold.
    pub const INTEGRITY: Code = Code(0x09f);
    /// It suspended the command.
    pub const YIELDED: Code = Code(0x908);
    /// It has no room for another object.
    pub const OBJECT_MEMORY: Code = Code(0x902);
    /// Too many wrong passwords.
    pub const LOCKOUT: Code = Code(0x921);
    /// It could not start the command.
    pub const RETRY: Code = Code(0x922);
    /// The handle names nothing.
    pub const REFERENCE_H0: Code = Code(0x910);

    const NAMES: [(Code, &'static str); 11] = [
        (Code::INITIALIZE, "TPM_RC_INITIALIZE"),
        (Code::FAILURE, "TPM_RC_FAILURE"),
        (Code::VALUE, "TPM_RC_VALUE"),
        (Code::HANDLE, "TPM_RC_HANDLE"),
        (Code::AUTH_FAIL, "TPM_RC_AUTH_FAIL"),
        (Code::INTEGRITY, "TPM_RC_INTEGRITY"),
        (Code::YIELDED, "TPM_RC_YIELDED"),
        (Code::OBJECT_MEMORY, "TPM_RC_OBJECT_MEMORY"),
        (Code::LOCKOUT, "TPM_RC_LOCKOUT"),
        (Code::RETRY, "TPM_RC_RETRY"),
        (Code::REFERENCE_H0, "TPM_RC_REFERENCE_H0"),
    ];

    /// Without the number of the parameter, session or handle that it is about.
    #[must_use]
    pub fn plain(self) -> Code {
        match self.0 & FORMAT_ONE {
            0 => self,
            _ => Code(self.0 & !NUMBER_BITS),
        }
    }

    fn hint(self) -> Option<&'static str> {
        match self.plain() {
            Code::INITIALIZE => {
                Some("the TPM was not started: firmware does so, or `swtpm --flags startup-clear`")
            }
            Code::FAILURE => Some("restart the host; if it stays so, the TPM is broken"),
            Code::AUTH_FAIL => Some("the hierarchy has a password; the agent needs an empty one"),
            Code::OBJECT_MEMORY => Some("use /dev/tpmrm0 rather than /dev/tpm0"),
            Code::LOCKOUT => Some("wait until the TPM's lockout ends"),
            _ => None,
        }
    }
}

/// A code of format one, about a parameter, session or handle.
const FORMAT_ONE: u32 = 0x80;
/// Its number.
const NUMBER_BITS: u32 = 0xf40;

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Code::NAMES.iter().find(|(code, _)| *code == self.plain()) {
            Some((_, name)) => write!(f, "{name} ({:#x})", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn a_code_is_known_whatever_it_is_about() {
        assert_eq!(Code(0x1df).plain(), Code::INTEGRITY, "parameter 1");
        assert_eq!(Code(0x98e).plain(), Code::AUTH_FAIL, "session 1");
        assert_eq!(Code(0x18b).plain(), Code::HANDLE, "handle 1");
        assert_eq!(Code::RETRY.plain(), Code::RETRY);
        assert_eq!(Code(0x1df).to_string(), "TPM_RC_INTEGRITY (0x1df)");
    }
}
