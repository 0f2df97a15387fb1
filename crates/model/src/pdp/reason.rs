//! Why a version is refused, and why a session ends: the codes of `docs/pdp.md`.

/// Why an element refuses a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[repr(u8)]
pub enum Nack {
    /// The signature is not that of the domain's path-signing key.
    #[error("it is not signed by the domain's path-signing key")]
    Signature = 1,
    /// The signed bytes are no path set or no domain file, or not of one version.
    #[error("it cannot be read")]
    Malformed = 2,
    /// It is another domain's.
    #[error("it is for another domain")]
    Domain = 3,
    /// A higher version was seen before.
    #[error("a higher version was seen before")]
    Older = 4,
    /// The version was seen before with other contents.
    #[error("the version was seen before with other contents")]
    Conflict = 5,
    /// It does not hold yet, by the element's clock.
    #[error("it does not hold yet by the element's clock")]
    NotYet = 6,
    /// It does not hold any more, by the element's clock.
    #[error("it does not hold any more by the element's clock")]
    Expired = 7,
    /// Its profile is not one that the element speaks.
    #[error("its profile is not one that the element speaks")]
    Profile = 8,
    /// The element is not in it.
    #[error("the element is not in it")]
    NotThere = 9,
    /// The element cannot build what it asks for.
    #[error("the element cannot build it")]
    Unbuildable = 10,
    /// It was to be activated without having been staged.
    #[error("it is not staged")]
    NotStaged = 11,
    /// It was staged and could not be activated; what was active stays.
    #[error("it could not be activated")]
    NotActivated = 12,
    /// A neighbour has not agreed with the element on keys for it.
    #[error("a neighbour has not agreed on keys for it")]
    NoKeys = 13,
}

/// Why a session is ended by one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[repr(u8)]
pub enum CloseReason {
    /// The element has opened another one.
    #[error("another session took its place")]
    Superseded = 1,
    /// The other end broke the protocol.
    #[error("the other end broke the protocol")]
    Violation = 2,
    /// Nothing came for too long.
    #[error("nothing came for too long")]
    Silent = 3,
    /// The element's certificate was revoked.
    #[error("the certificate was revoked")]
    Revoked = 4,
    /// This end is about to stop.
    #[error("this end is about to stop")]
    Stopping = 5,
    /// The ends share no version of the protocol.
    #[error("the ends share no version of the protocol")]
    Protocol = 6,
}

impl Nack {
    /// Every reason, by its code.
    pub const ALL: [Nack; 13] = [
        Nack::Signature,
        Nack::Malformed,
        Nack::Domain,
        Nack::Older,
        Nack::Conflict,
        Nack::NotYet,
        Nack::Expired,
        Nack::Profile,
        Nack::NotThere,
        Nack::Unbuildable,
        Nack::NotStaged,
        Nack::NotActivated,
        Nack::NoKeys,
    ];

    /// The reason of this code.
    pub fn from_code(code: u8) -> Option<Nack> {
        Nack::ALL.into_iter().find(|reason| *reason as u8 == code)
    }
}

impl CloseReason {
    /// Every reason, by its code.
    pub const ALL: [CloseReason; 6] = [
        CloseReason::Superseded,
        CloseReason::Violation,
        CloseReason::Silent,
        CloseReason::Revoked,
        CloseReason::Stopping,
        CloseReason::Protocol,
    ];

    /// The reason of this code.
    pub fn from_code(code: u8) -> Option<CloseReason> {
        CloseReason::ALL.into_iter().find(|reason| *reason as u8 == code)
    }
}
