//! Every limit of this crate, in one place.

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
