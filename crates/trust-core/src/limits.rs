//! Every limit of this crate, in one place.

use std::time::Duration;

/// Evidence of a function: a quote has about 5 KB, its collateral 20 to 40 KB, base64 a third more.
pub const EVIDENCE_BYTES: usize = 1 << 20;
/// One field of it.
pub const EVIDENCE_FIELD_BYTES: usize = 256 << 10;
/// Fewer could be guessed, or met again by chance (RFC 9711 section 4.1).
pub const NONCE_MIN_BYTES: usize = 16;
/// EAR carries no longer one (RFC 9711 section 4.1).
pub const NONCE_MAX_BYTES: usize = 64;
/// SPIFFE-ID section 2.3.
pub const SPIFFE_ID_BYTES: usize = 2048;
/// References of a policy.
pub const REFERENCES: usize = 4096;
/// Checks of an enclave's certificate chain: leaf, issuer, root.
pub const CHAIN_CERTIFICATES: usize = 3;
/// Zero bytes that some platforms put behind a quote.
pub const QUOTE_PADDING_BYTES: usize = 8 << 10;

/// Hosts of one manager.
pub const HOSTS: usize = 100_000;

/// Functions of one manager.
pub const FUNCTIONS: usize = 1_000_000;

/// Certificates of one subject that hold at a time: one that renews at half-life has two.
pub const LIVE_CERTIFICATES: usize = 64;

/// Nonces that wait for their evidence.
pub const NONCES: usize = 400_000;

/// Nonces of one host that wait; a further one takes the place of the oldest.
pub const NONCES_A_HOST: usize = 64;

/// How long a nonce may wait for its evidence.
pub const NONCE_LASTS: Duration = Duration::from_secs(120);

/// Bytes of a cause that the audit log keeps.
pub const CAUSE_BYTES: usize = 1024;

/// Bytes of an entry of the audit log.
pub const ENTRY_BYTES: usize = 16 << 10;

/// Functions and operators that a policy names.
pub const POLICY_NAMES: usize = 100_000;

/// The shortest and the longest that a policy may let a certificate last.
pub const SVID_LASTS_S: std::ops::RangeInclusive<u64> = 10..=86_400;

/// The shortest and the longest that a policy may let a lease last.
pub const LEASE_LASTS_S: std::ops::RangeInclusive<u64> = 1..=3_600;

/// How long the certificate of an agent holds. It is good for talking to the manager only.
pub const AGENT_LASTS_S: u64 = 86_400;
