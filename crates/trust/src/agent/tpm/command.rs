//! Commands and their answers (TPM 2.0 Library, Part 1, section 18):
//!
//! ```text
//! command:  u16 tag | u32 size | u32 code | handles | [u32 size, authorizations] | parameters
//! response: u16 tag | u32 size | u32 code | [handle] | [u32 size of parameters] | parameters | [authorizations]
//! ```

use ringmail_trust_core::host::tpm::{Reader, WireError, Writer};

use super::error::{Code, TpmError};

/// `TPM_ST_NO_SESSIONS`.
const NO_SESSIONS: u16 = 0x8001;
/// `TPM_ST_SESSIONS`.
const SESSIONS: u16 = 0x8002;

/// Numbers of commands (Part 2, section 6.5), with what messages call them.
pub(super) mod code {
    pub(in super::super) type Number = (u32, &'static str);
    pub(in super::super) const CREATE_PRIMARY: Number = (0x131, "TPM2_CreatePrimary");
    pub(in super::super) const STARTUP: Number = (0x144, "TPM2_Startup");
    pub(in super::super) const SHUTDOWN: Number = (0x145, "TPM2_Shutdown");
    pub(in super::super) const ACTIVATE_CREDENTIAL: Number = (0x147, "TPM2_ActivateCredential");
    pub(in super::super) const NV_READ: Number = (0x14e, "TPM2_NV_Read");
    pub(in super::super) const POLICY_SECRET: Number = (0x151, "TPM2_PolicySecret");
    pub(in super::super) const CREATE: Number = (0x153, "TPM2_Create");
    pub(in super::super) const LOAD: Number = (0x157, "TPM2_Load");
    pub(in super::super) const QUOTE: Number = (0x158, "TPM2_Quote");
    pub(in super::super) const FLUSH_CONTEXT: Number = (0x165, "TPM2_FlushContext");
    pub(in super::super) const NV_READ_PUBLIC: Number = (0x169, "TPM2_NV_ReadPublic");
    pub(in super::super) const READ_PUBLIC: Number = (0x173, "TPM2_ReadPublic");
    pub(in super::super) const START_AUTH_SESSION: Number = (0x176, "TPM2_StartAuthSession");
    pub(in super::super) const PCR_READ: Number = (0x17e, "TPM2_PCR_Read");
    pub(in super::super) const PCR_EXTEND: Number = (0x182, "TPM2_PCR_Extend");
}

/// How a handle's use is authorized.
#[derive(Clone, Copy, Debug)]
pub(super) enum Auth {
    /// By its password, which is empty.
    EmptyPassword,
    /// By a policy session, which the TPM forgets afterwards.
    Policy(u32),
}

/// `TPM_RS_PW`.
const PASSWORD_SESSION: u32 = 0x4000_0009;

/// A command.
#[derive(Debug)]
pub(super) struct Command {
    number: code::Number,
    handles: Vec<u32>,
    auths: Vec<Auth>,
    parameters: Vec<u8>,
    answers_handle: bool,
}

impl Command {
    pub(super) fn new(number: code::Number) -> Command {
        Command {
            number,
            handles: Vec::new(),
            auths: Vec::new(),
            parameters: Vec::new(),
            answers_handle: false,
        }
    }

    /// A handle whose use needs no authorization.
    pub(super) fn handle(mut self, handle: u32) -> Command {
        self.handles.push(handle);
        self
    }

    /// A handle whose use needs one. Such come first.
    pub(super) fn authorized(mut self, handle: u32, auth: Auth) -> Command {
        self.handles.push(handle);
        self.auths.push(auth);
        self
    }

    pub(super) fn parameters(mut self, parameters: Writer) -> Command {
        self.parameters = parameters.into_bytes();
        self
    }

    /// The answer begins with a handle.
    pub(super) fn answers_handle(mut self) -> Command {
        self.answers_handle = true;
        self
    }

    pub(super) fn doing(&self) -> &'static str {
        self.number.1
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut body =
            self.handles.iter().fold(Writer::new(), |writer, handle| writer.u32(*handle));
        if !self.auths.is_empty() {
            let auths = self.auths.iter().fold(Writer::new(), |writer, auth| {
                let session = match auth {
                    Auth::EmptyPassword => PASSWORD_SESSION,
                    Auth::Policy(session) => *session,
                };
                // Nonce, attributes, HMAC: a policy without a password needs none, as a password needs none.
                writer.u32(session).sized(&[]).u8(0).sized(&[])
            });
            let auths = auths.into_bytes();
            body = body.u32(auths.len() as u32).raw(&auths);
        }
        let body = body.raw(&self.parameters).into_bytes();
        let tag = if self.auths.is_empty() { NO_SESSIONS } else { SESSIONS };
        Writer::new()
            .u16(tag)
            .u32(10 + body.len() as u32)
            .u32(self.number.0)
            .raw(&body)
            .into_bytes()
    }
}

/// What a TPM answered to a command that it did.
#[derive(Debug)]
pub(super) struct Answer {
    doing: &'static str,
    handle: u32,
    parameters: Vec<u8>,
}

impl Answer {
    pub(super) fn parse(bytes: &[u8], command: &Command) -> Result<Answer, TpmError> {
        let doing = command.doing();
        let read = || -> Result<Result<(u32, Vec<u8>), Code>, WireError> {
            let mut reader = Reader::new("the answer", bytes);
            let tag = reader.u16()?;
            let size = reader.u32()?;
            if size as usize != bytes.len() {
                let value = size.into();
                return Err(WireError::Value { what: "the size of the answer", value });
            }
            let code = reader.u32()?;
            if code != 0 {
                return Ok(Err(Code(code)));
            }
            let handle = if command.answers_handle { reader.u32()? } else { 0 };
            let parameters = match tag {
                SESSIONS => {
                    let length = reader.u32()? as usize;
                    reader.take(length)?
                }
                NO_SESSIONS => reader.rest(),
                _ => {
                    return Err(WireError::Value {
                        what: "the tag of the answer",
                        value: tag.into(),
                    });
                }
            };
            Ok(Ok((handle, parameters.to_vec())))
        };
        match read() {
            Ok(Ok((handle, parameters))) => Ok(Answer { doing, handle, parameters }),
            Ok(Err(code)) => Err(TpmError::Refused { doing, code }),
            Err(source) => Err(TpmError::Answer { doing, source }),
        }
    }

    pub(super) fn handle(&self) -> u32 {
        self.handle
    }

    /// Reads the parameters.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
    ) -> Result<T, TpmError> {
        let mut reader = Reader::new("the answer", &self.parameters);
        read(&mut reader).map_err(|source| TpmError::Answer { doing: self.doing, source })
    }
}
