//! What a TPM 2.0 says, read without one (TCG, TPM 2.0 Library): keys, quotes, signatures, and the challenge that only the
//! owner of an endorsement key can answer.

pub mod attest;
pub mod credential;
pub mod ek;
pub mod hash;
pub mod public;
pub mod signature;
pub mod wire;

pub use attest::{ClockInfo, PcrSelection, Quote};
pub use credential::{Credential, CredentialError, make_credential};
pub use ek::{EkError, EkFingerprint, EkRoots};
pub use hash::{Digest, Hash};
pub use public::{Attributes, Public, PublicKey, TpmName};
pub use signature::{Signature, SignatureError};
pub use wire::{Reader, WireError, Writer};
