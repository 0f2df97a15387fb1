//! The messages of the Path Distribution Protocol and their one encoding (`docs/pdp.md`, "Messages").
//!
//! ```text
//!  length 4 ‖ type 1 ‖ fields            length: of type and fields; numbers big-endian
//! ```
//!
//! Bytes and texts are their length (32 bits) and themselves, lists their count (16 bits) and entries.

mod encoding;
mod framer;
mod look;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;

use super::documents::Documents;
use super::look::{Look, Seen};
use super::reason::{CloseReason, Nack};
use crate::ids::{PathDigest, PathVersion};

pub use self::framer::Framer;

/// Which life of an element or of control speaks: random, new with every start.
pub type Life = [u8; 16];

/// What one end says to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The element's first message.
    Hello {
        /// The highest version of the protocol that it speaks.
        protocol: u8,
        /// Its life.
        life: Life,
        /// The version that it runs; 0 for none.
        active: PathVersion,
        /// The highest version that it has seen; 0 for none.
        highest: PathVersion,
    },
    /// The version is staged.
    Ack {
        /// Which.
        version: PathVersion,
    },
    /// The version is refused.
    Nack {
        /// Which.
        version: PathVersion,
        /// Why.
        reason: Nack,
        /// More, for people.
        detail: String,
    },
    /// The version is what the element runs.
    Activated {
        /// Which.
        version: PathVersion,
    },
    /// A lease for a path ends soon, or there is none.
    LeaseRequest {
        /// The path.
        digest: PathDigest,
    },
    /// A certificate is wanted over a key that the element made.
    CertificateRequest {
        /// Comes back in the answer.
        number: u32,
        /// What for.
        usage: Usage,
        /// PKCS #10 in DER.
        request: Vec<u8>,
    },
    /// The only message of an element that has no certificate yet, on a connection of its own.
    Enrol {
        /// Its name.
        element: String,
        /// The secret of its token.
        secret: EnrolSecret,
        /// PKCS #10 in DER.
        request: Vec<u8>,
    },
    /// The answer to a question about packets, or a part of it.
    Seen {
        /// That of the question.
        number: u32,
        /// What was seen.
        seen: Seen,
    },
    /// Control's first message.
    Welcome {
        /// The version of the protocol that the session speaks.
        protocol: u8,
        /// Control's life.
        life: Life,
        /// Control's clock, in milliseconds since 1970.
        now_unix_ms: u64,
        /// The version that counts; 0 for none.
        committed: PathVersion,
    },
    /// A version to stage.
    Offer {
        /// Which.
        version: PathVersion,
        /// How it stands.
        offer: Offer,
        /// Its documents.
        documents: Box<Documents>,
    },
    /// The staged version is to be run.
    Activate {
        /// Which.
        version: PathVersion,
    },
    /// The staged version is not to be run.
    Abandon {
        /// Which.
        version: PathVersion,
    },
    /// A signed lease.
    Lease {
        /// As the Segment Agreement Protocol has it.
        signed: Vec<u8>,
    },
    /// The answer to a request for a certificate.
    Certificate {
        /// That of the request.
        number: u32,
        /// Seconds since 1970 after which it does not hold.
        not_after_unix_s: u64,
        /// X.509 in DER, the wanted one first.
        chain: Vec<Vec<u8>>,
    },
    /// The other answer to it.
    Refused {
        /// That of the request.
        number: u32,
        /// Why, for people.
        detail: String,
    },
    /// Whom to believe from now on.
    Bundle {
        /// Root certificates in DER.
        roots: Vec<Vec<u8>>,
        /// Their revocation lists in DER.
        crls: Vec<Vec<u8>>,
        /// The path-signing key.
        path_key: [u8; 32],
    },
    /// Elements of the version that is being staged that are away: nobody waits for keys with them. It follows the OFFER,
    /// and comes again when it changes.
    Absent {
        /// The version.
        version: PathVersion,
        /// Names of elements.
        elements: Vec<String>,
    },
    /// A question about packets that pass.
    Look {
        /// Comes back in the answer.
        number: u32,
        /// What is asked.
        look: Look,
    },
    /// This end lives.
    Heartbeat,
    /// This end hangs up.
    Close {
        /// Why.
        reason: CloseReason,
    },
}

/// How a version stands that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Offer {
    /// It is proposed: who cannot take it beside what runs refuses.
    Proposed = 0,
    /// It counts already: who cannot take it beside what runs takes it by starting again.
    Counts = 1,
    /// It is proposed, and elements may start again for it.
    MayRestart = 2,
}

impl Offer {
    /// Each, by its code.
    pub const ALL: [Offer; 3] = [Offer::Proposed, Offer::Counts, Offer::MayRestart];
}

/// The secret of a token; not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolSecret(pub [u8; 32]);

impl fmt::Debug for EnrolSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolSecret(…)")
    }
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The element's own towards others of the domain.
    Element,
    /// A listener of the gateway shows it to clients.
    Listener {
        /// The listener's name.
        listener: String,
        /// Which of its certificates, in the file's order.
        index: u16,
    },
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends too early.
    #[error("it ends within {0}")]
    Truncated(&'static str),
    /// Something follows its end.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// A value that the field cannot have.
    #[error("its {0} has a value that does not exist")]
    Value(&'static str),
    /// It is longer than any message of this direction.
    #[error("it has {0} bytes")]
    TooLong(usize),
}
