//! What crosses the manager's HTTP interface: JSON, described by `docs/openapi/trust.v1.json`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringmail_model::Name;
use ringmail_trust_core::manager::{Policy, Word};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes, in JSON as base64 (RFC 4648 section 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Blob).map_err(|_| de::Error::custom("this is no base64"))
    }
}

impl JsonSchema for Blob {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "contentEncoding": "base64",
            "description": "Bytes in base64 (RFC 4648 section 4, with padding).",
        })
    }
}

/// A 32-byte value.
pub(super) fn array(blob: &Blob, what: &str) -> Result<[u8; 32], super::ManagerError> {
    let wrong = || super::ManagerError::BadRequest(format!("{what} has not 32 bytes"));
    blob.0.as_slice().try_into().map_err(|_| wrong())
}

/// A host that comes with its token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginEnrolRequest {
    /// The host's name.
    pub host: Name,
    /// The secret of its token: 32 bytes.
    pub secret: Blob,
    /// What its evidence will be bound to, as its agent writes it (`ringmail.host-enrolment/1`).
    pub enrolment: Blob,
}

/// What it has to answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BeginEnrolAnswer {
    /// As its agent reads it: of a TPM, the credential that only it can open.
    pub challenge: serde_json::Value,
}

/// A host that answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The host's name.
    pub host: Name,
    /// The secret of its token: 32 bytes.
    pub secret: Blob,
    /// The answer to the challenge.
    pub answer: Blob,
    /// A certificate signing request for the agent's own key, in PEM.
    pub csr: String,
}

/// A request for a certificate alone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// A certificate signing request, in PEM.
    pub csr: String,
}

/// A certificate, and what shows that it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateAnswer {
    /// The one name in it.
    pub spiffe_id: String,
    /// Its serial number, 32 hex digits.
    pub serial: String,
    /// It, and the intermediate that signed it, in PEM.
    pub chain: String,
    /// Seconds since 1970 after which it does not hold.
    pub not_after_unix_s: u64,
    /// When to ask for the next one: half of its life, and up to a tenth earlier so that not all ask at once.
    pub renew_at_unix_s: u64,
    /// That it stands in the log, for neighbours.
    pub receipt: Blob,
}

/// A wish for a nonce.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NonceRequest {
    /// The newest head of the log that the agent has seen, so that a database that was rolled back is noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Blob>,
}

/// A nonce.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct NonceAnswer {
    /// 32 bytes, good once and for two minutes.
    pub nonce: Blob,
    /// What else an agent has to know to make evidence.
    pub challenge: serde_json::Value,
    /// How often evidence is due, in seconds.
    pub attest_every_s: u64,
    /// The log's head as it is now.
    pub head: Blob,
    /// That it continues the head of the request: hashes of 32 bytes one behind the other.
    pub consistency: Blob,
}

/// Evidence.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceRequest {
    /// The nonce that it answers.
    pub nonce: Blob,
    /// The evidence, as its appraiser reads it.
    pub evidence: Blob,
    /// A certificate signing request in PEM, for the key that the evidence vouches for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
}

/// What became of evidence.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceAnswer {
    /// `good`, `refused`, or `ask-again` where more of it is needed and nothing has changed.
    pub verdict: String,
    /// Why it was refused, or is asked for again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How the host or function stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
    /// Why it stands so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Every check.
    pub report: serde_json::Value,
    /// The certificate, where one was asked for and given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateAnswer>,
}

/// A wish for a lease of standing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// 32 bytes that whoever will believe the lease made.
    pub nonce: Blob,
    /// The function that it is for; the asker itself where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Name>,
}

/// A lease of standing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeaseAnswer {
    /// The signed lease.
    pub lease: Blob,
}

/// A wish for a token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The host that it is for.
    pub host: Name,
    /// How many minutes it may be used.
    pub minutes: u64,
}

/// A token. It is a secret until it is used.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenAnswer {
    /// The token, as an operator carries it.
    pub token: String,
}

/// An operator's word.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WordRequest {
    /// The word.
    pub word: Word,
    /// Why, for the log.
    #[serde(default)]
    pub why: String,
}

/// How something stands after a word.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WordAnswer {
    /// The standing.
    pub standing: String,
}

/// The manager as a whole.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StatusAnswer {
    /// The domain.
    pub trust_domain: String,
    /// The term in which it leads.
    pub term: u64,
    /// Entries in the log.
    pub log_size: u64,
    /// The root of the log's tree, 64 hex digits.
    pub log_root: String,
    /// Hosts, by standing.
    pub hosts: std::collections::BTreeMap<String, usize>,
    /// Functions, by standing.
    pub functions: std::collections::BTreeMap<String, usize>,
    /// Certificates that hold.
    pub certificates: usize,
    /// Certificates that were revoked and have not run out.
    pub revoked: usize,
    /// The number of the revocation list.
    pub crl_number: u64,
    /// Why nothing is issued any more, where a peer has seen more than the database has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// All hosts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HostsAnswer {
    /// By name.
    pub hosts: Vec<Host>,
}

/// A host.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its name.
    pub name: Name,
    /// `enrolling`, `trusted`, `warned`, `quarantined`, `revoked` or `recovering`.
    pub standing: String,
    /// Why.
    pub cause: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When its last evidence was found good, in milliseconds since 1970; not known after a restart of the manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attested_unix_ms: Option<u64>,
    /// Times in a row that its evidence was refused.
    pub refusals: u32,
    /// Whether an operator put it there.
    pub held: bool,
    /// Certificates that hold.
    pub certificates: usize,
    /// What is on it.
    pub functions: Vec<Name>,
}

/// All functions.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FunctionsAnswer {
    /// By name.
    pub functions: Vec<Function>,
}

/// A function.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Function {
    /// Its name.
    pub name: Name,
    /// Its host.
    pub host: Name,
    /// As of hosts.
    pub standing: String,
    /// Why.
    pub cause: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// When its last evidence was found good, in milliseconds since 1970; not known after a restart of the manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attested_unix_ms: Option<u64>,
    /// Times in a row that its evidence was refused.
    pub refusals: u32,
    /// Whether an operator put it there.
    pub held: bool,
    /// Certificates that hold.
    pub certificates: usize,
    /// Whether it and its host are trusted.
    pub takes_part: bool,
}

/// The rules.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PolicyAnswer {
    /// As they were written, in YAML; none where nobody wrote any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// As they are understood.
    pub policy: Policy,
}

/// Other rules.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRequest {
    /// In YAML.
    pub text: String,
}

/// Entries of the log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditAnswer {
    /// The first one's index.
    pub first: u64,
    /// Encoded: `ringmail-audit/1`.
    pub entries: Vec<Blob>,
    /// The log's signed head, which is as new as the last entry or newer.
    pub head: Blob,
}

/// The log's head.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HeadAnswer {
    /// Signed.
    pub head: Blob,
}

/// A head that a peer kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContinuesRequest {
    /// Signed.
    pub head: Blob,
}

/// The head as it is now, and the proof that it continues the one that was kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContinuesAnswer {
    /// Signed.
    pub head: Blob,
    /// Hashes of 32 bytes one behind the other.
    pub consistency: Blob,
}

/// What shows that a certificate stands in the log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptAnswer {
    /// The receipt.
    pub receipt: Blob,
}

/// Whom to believe.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BundleAnswer {
    /// The domain.
    pub trust_domain: String,
    /// Root certificates, in PEM.
    pub roots: String,
    /// The revocation lists of the roots and of the manager, in PEM.
    pub crls: String,
    /// The key that signs paths, leases and the log's heads (Ed25519): 32 bytes.
    pub path_key: Blob,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorAnswer {
    /// A word for programs: `unknown`, `not-trusted`, `stale`, `bad-nonce`, …
    pub error: String,
    /// A sentence for people.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
