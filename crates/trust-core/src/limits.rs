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
/// Bytes of the public area of a TPM's key.
pub const TPM_PUBLIC_BYTES: usize = 4096;
/// Bytes of a TPM's name of a key.
pub const TPM_NAME_BYTES: usize = 66;
/// Bytes of a digest of a TPM.
pub const TPM_DIGEST_BYTES: usize = 64;
/// Bytes of an RSA modulus or signature: 4096 bits.
pub const RSA_BYTES: usize = 512;
/// Bytes of an RSA modulus, at least: 2048 bits.
pub const RSA_BYTES_MIN: usize = 256;
/// Bytes of a coordinate of a point, or of half a signature of ECDSA: P-521's.
pub const ECC_BYTES: usize = 66;
/// Bytes of one certificate of an endorsement key's chain.
pub const EK_CERTIFICATE_BYTES: usize = 16 << 10;
/// Certificates between an endorsement key's and its maker's root.
pub const EK_CHAIN: usize = 6;
/// Banks of registers in one quote.
pub const PCR_BANKS: usize = 4;
/// Bytes of a measurement list in one round.
pub const IMA_LIST_BYTES: usize = 64 << 20;
/// Entries of a measurement list in one round.
pub const IMA_LIST_ENTRIES: usize = 1 << 20;
/// Bytes of the name of an entry's template.
pub const IMA_TEMPLATE_NAME_BYTES: usize = 32;
/// Bytes of the fields of one entry: the kernel allows a page a field, and buffers that are longer.
pub const IMA_ENTRY_BYTES: usize = 1 << 20;
/// Failed checks that a verdict names; more are counted.
pub const FAILED_CHECKS: usize = 64;
/// Bytes of a path or other text of a host that a verdict repeats.
pub const DETAIL_BYTES: usize = 512;
/// Bytes of a Keylime runtime policy.
pub const RUNTIME_POLICY_BYTES: usize = 256 << 20;
/// Digests of all paths of a runtime policy.
pub const RUNTIME_POLICY_DIGESTS: usize = 8 << 20;
/// Regular expressions of the excludes of a runtime policy.
pub const RUNTIME_POLICY_EXCLUDES: usize = 65_536;
/// Bytes of the program that the excludes of a runtime policy compile to.
pub const RUNTIME_POLICY_REGEX_BYTES: usize = 64 << 20;
/// Keys that sign files, of a runtime policy.
pub const VERIFICATION_KEYS: usize = 1024;
/// Keys that a host's measurement list has brought, at most.
pub const LEARNED_KEYS: usize = 256;
/// Runtime policies that are united for one host.
pub const POLICIES_A_HOST: usize = 64;
/// Models of Intel's platforms whose collateral is kept: about 40 KB each.
pub const COLLATERALS: usize = 256;
/// An attestation result: the claims of a TDX machine have about 3 KB.
pub const EAR_BYTES: usize = 64 << 10;
