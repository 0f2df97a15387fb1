//! A lease: the domain's signed word that an element may stand in a path until a time (`docs/sap.md`, "Leases").
//!
//! It names the wall clock, in seconds since 1970; whoever holds one counts its remaining time on a clock that does not
//! jump.

use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use ringmail_model::{ElementId, PathDigest};

use super::limits::{LEASE_MAX, SIGNED_LEASE_BYTES};
use super::wire::{Reader, Short, Writer};

/// Stands before the fields in what is signed, so that the signature means nothing else.
pub const LEASE_CONTEXT: &[u8; 16] = b"ringmail-lease/1";

/// Bytes of an Ed25519 signature (RFC 8032 section 5.1.6).
pub const SIGNATURE_BYTES: usize = 64;

/// What the domain grants: this element may stand in this path until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The element that may seal or open.
    pub element: ElementId,
    /// The path.
    pub digest: PathDigest,
    /// Seconds since 1970 at which the lease has ended.
    pub not_after_unix_s: u64,
    /// Grows with every lease of the same element and path, over restarts of the signer too; of two leases the one with
    /// the higher serial counts, even when it ends earlier.
    pub serial: u64,
}

impl Lease {
    /// The bytes that are signed: context ‖ element ‖ path digest ‖ end ‖ serial.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let writer = Writer::with_capacity(LEASE_CONTEXT.len() + 50).bytes(LEASE_CONTEXT);
        self.fields(writer).finish()
    }

    /// The lease under the signature that the path-signing key made over [`Lease::signed_bytes`].
    pub fn signed(self, signature: [u8; SIGNATURE_BYTES]) -> SignedLease {
        SignedLease { lease: self, signature }
    }

    fn fields(&self, writer: Writer) -> Writer {
        let writer = writer.u16(self.element.0).digest(&self.digest);
        writer.u64(self.not_after_unix_s).u64(self.serial)
    }
}

/// A lease and the signature over it, checked or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedLease {
    /// What is granted.
    pub lease: Lease,
    /// Ed25519 over [`Lease::signed_bytes`].
    pub signature: [u8; SIGNATURE_BYTES],
}

impl SignedLease {
    /// The 114 bytes that cross the wire.
    pub fn to_bytes(&self) -> [u8; SIGNED_LEASE_BYTES] {
        let mut bytes = [0; SIGNED_LEASE_BYTES];
        bytes.copy_from_slice(&self.write(Writer::with_capacity(SIGNED_LEASE_BYTES)).finish());
        bytes
    }

    /// The signed lease of these bytes, `None` when there are more or fewer than 114; nothing else is checked yet.
    pub fn from_bytes(bytes: &[u8]) -> Option<SignedLease> {
        let mut reader = Reader::new(bytes);
        let signed = SignedLease::read(&mut reader).ok()?;
        (reader.left() == 0).then_some(signed)
    }

    pub(super) fn write(&self, writer: Writer) -> Writer {
        self.lease.fields(writer).bytes(&self.signature)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<SignedLease, Short> {
        let lease = Lease {
            element: ElementId(reader.u16()?),
            digest: reader.digest()?,
            not_after_unix_s: reader.u64()?,
            serial: reader.u64()?,
        };
        Ok(SignedLease { lease, signature: reader.array()? })
    }
}

/// Checks signatures of leases. The embedded CA has one key; a trust plane may have several, or more to ask.
pub trait VerifyLease {
    /// Whether the domain signed this lease.
    fn verify_lease(&self, lease: &SignedLease) -> bool;
}

/// The public half of the domain's path-signing key (Ed25519).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathKey(pub [u8; 32]);

impl VerifyLease for PathKey {
    fn verify_lease(&self, lease: &SignedLease) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&lease.lease.signed_bytes(), &lease.signature).is_ok()
    }
}

/// Why a lease does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Whoever passed the lease on changed it, or another domain signed it.
    #[error("the lease is not signed by the domain's path-signing key")]
    BadSignature,
    /// It was granted to somebody else.
    #[error("the lease is that of element {found}, not of element {expected}")]
    AnotherElement {
        /// Whose lease was needed.
        expected: ElementId,
        /// Whose it is.
        found: ElementId,
    },
    /// It was granted for a path that the two elements do not share.
    #[error("the lease is for path {0}, which is not the one in question")]
    AnotherPath(PathDigest),
    /// It has ended, by the wall clock here.
    #[error("the lease ended {0} s ago; if the signer disagrees, compare the clocks")]
    Expired(u64),
    /// It runs longer than a lease may.
    #[error("the lease runs for another {0} s, and {max} s are the most", max = LEASE_MAX.as_secs())]
    TooLong(u64),
}

/// The moment of a call: a clock that never jumps, and the wall clock that leases name.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For all timers.
    pub instant: Instant,
    /// Seconds since 1970, for leases alone.
    pub unix_s: u64,
}

/// A lease that was checked, and the moment at which it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) signed: SignedLease,
    pub(super) ends: Instant,
    /// When a third of the time that it had left when it came has passed.
    pub(super) renew_at: Instant,
}

impl Held {
    /// Takes a lease of `element` for `digest`, unless `held` is as new. What is returned may have ended: a lease that
    /// ends earlier than its predecessor takes the time back.
    ///
    /// # Errors
    /// [`LeaseError`] when the lease does not count at all.
    pub(super) fn accept(
        held: Option<Held>,
        now: Now,
        signed: &SignedLease,
        element: ElementId,
        digest: PathDigest,
        verifier: &dyn VerifyLease,
    ) -> Result<Held, LeaseError> {
        let lease = &signed.lease;
        if lease.element != element {
            return Err(LeaseError::AnotherElement { expected: element, found: lease.element });
        }
        if lease.digest != digest {
            return Err(LeaseError::AnotherPath(lease.digest));
        }
        // A repeated or overtaken lease changes nothing and costs no signature check.
        if let Some(held) = held
            && (held.signed == *signed || held.signed.lease.serial > lease.serial)
        {
            return Ok(held);
        }
        if !verifier.verify_lease(signed) {
            return Err(LeaseError::BadSignature);
        }
        let left = Duration::from_secs(lease.not_after_unix_s.saturating_sub(now.unix_s));
        if left > LEASE_MAX {
            return Err(LeaseError::TooLong(left.as_secs()));
        }
        let (ends, renew_at) = (now.instant + left, now.instant + left / 3);
        Ok(Held { signed: *signed, ends, renew_at })
    }

    /// The same, where only a lease that still runs will do.
    ///
    /// # Errors
    /// [`LeaseError::Expired`] when it has ended.
    pub(super) fn live(self, now: Now) -> Result<Held, LeaseError> {
        if now.instant < self.ends {
            return Ok(self);
        }
        let ended = now.unix_s.saturating_sub(self.signed.lease.not_after_unix_s);
        Err(LeaseError::Expired(ended))
    }
}
