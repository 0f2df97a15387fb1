//! The seam to appraisal: what the manager asks of evidence, and what it is told (RFC 9334's verifier).
//!
//! Calls may take milliseconds and run beside each other; the manager holds no lock meanwhile.

use std::fmt;

use ringmail_model::Name;

/// Judges evidence by reference values.
pub trait Appraiser: Send + Sync + fmt::Debug {
    /// Looks at what a host wants to enrol with, and asks for what shows that it is its own.
    ///
    /// # Errors
    /// Why it may not enrol with that.
    fn enrol(&self, host: &Name, enrolment: &[u8], now_unix_s: u64) -> Result<Enrolment, String>;

    /// What an agent has to know besides the nonce to make a host's evidence: JSON.
    fn challenge(&self, host: &Name, state: &[u8]) -> serde_json::Value {
        let _ = (host, state);
        serde_json::Value::Null
    }

    /// Judges a host's evidence.
    fn appraise_host(&self, asked: &HostAsked<'_>) -> HostFound;

    /// Judges the evidence of a function.
    fn appraise_function(&self, asked: &FunctionAsked<'_>) -> Found;
}

/// An enrolment that waits for its answer.
#[derive(Debug)]
pub struct Enrolment {
    /// What the host's agent has to answer: JSON.
    pub challenge: serde_json::Value,
    /// What the answer has to be.
    pub pending: Box<dyn Pending>,
}

/// Knows what the answer has to be.
pub trait Pending: Send + fmt::Debug {
    /// What the host's evidence will be bound to from now on, such as the public part of its attestation key.
    ///
    /// # Errors
    /// Why the answer is none.
    fn finish(self: Box<Self>, answer: &[u8]) -> Result<Vec<u8>, String>;
}

/// Evidence of a host, and what it has to answer.
#[derive(Clone, Copy, Debug)]
pub struct HostAsked<'a> {
    /// The host.
    pub host: &'a Name,
    /// What [`Pending::finish`] returned.
    pub anchor: &'a [u8],
    /// What the evidence has to contain: the nonce, or what [`bound`] makes of it and a key.
    pub nonce: [u8; 32],
    /// When the nonce was given out.
    pub asked_unix_ms: u64,
    /// When the evidence came.
    pub received_unix_ms: u64,
    /// What the last appraisal of this host left behind; empty at first.
    pub state: &'a [u8],
    /// The evidence.
    pub evidence: &'a [u8],
}

/// Evidence of a function, and what it has to answer.
#[derive(Clone, Copy, Debug)]
pub struct FunctionAsked<'a> {
    /// The function.
    pub function: &'a Name,
    /// The name that it wants.
    pub spiffe_id: &'a str,
    /// The key that it wants a certificate for: SubjectPublicKeyInfo in DER.
    pub public_key: &'a [u8],
    /// Its host.
    pub host: &'a Name,
    /// What the host's evidence is bound to.
    pub host_anchor: &'a [u8],
    /// What the last appraisal of the host left behind.
    pub host_state: &'a [u8],
    /// What the evidence has to contain.
    pub nonce: [u8; 32],
    /// When the evidence came.
    pub received_unix_ms: u64,
    /// The evidence.
    pub evidence: &'a [u8],
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How it ended.
    pub outcome: Outcome,
    /// Every check, for whoever made the evidence: JSON.
    pub report: serde_json::Value,
}

/// What was found of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFound {
    /// What was found.
    pub found: Found,
    /// For the next appraisal of this host.
    pub state: Vec<u8>,
}

/// How an appraisal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing speaks against it.
    Good,
    /// Nothing speaks against it but that it is not all that is needed: it is asked for again, and changes nothing.
    AskAgain(String),
    /// Refused, and why.
    Refused(String),
}

/// What a host's evidence contains in the place of the nonce, where it vouches for a key as well: SHA-256 over
/// `"ringmail host key/1\0"`, the nonce and the key's SubjectPublicKeyInfo in DER.
pub fn bound(nonce: &[u8; 32], public_key: &[u8]) -> [u8; 32] {
    let bytes = [b"ringmail host key/1\0".as_slice(), nonce, public_key].concat();
    super::sha256(&bytes)
}
