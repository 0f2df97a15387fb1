//! What a verifier tells others of an appraisal: an EAR, signed as a JWT (draft-ietf-rats-ear-04; the trustworthiness vector
//! of draft-ietf-rats-ar4si).
//!
//! The signature is made where the key is: [`Unsigned::message`] goes there, [`Unsigned::signed`] takes what comes back.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::evidence::{EvidenceKind, FunctionEvidence};
use super::verdict::{CheckName, FunctionVerdict, Whose};
use crate::limits::EAR_BYTES;

/// The profile of draft-ietf-rats-ear-04.
pub const EAR_PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

/// The one part of every token here.
pub const SUBMODULE: &str = "function";

/// The claims of a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ear {
    /// [`EAR_PROFILE`].
    pub eat_profile: String,
    /// When it was made: seconds since 1970.
    pub iat: u64,
    /// Until when it counts: seconds since 1970.
    pub exp: u64,
    /// Who made it.
    pub ear_verifier_id: VerifierId,
    /// The worst tier of its parts.
    pub ear_status: Tier,
    /// What was appraised: here one, [`SUBMODULE`].
    pub submods: BTreeMap<String, Appraisal>,
}

/// Who appraised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierId {
    /// Who is responsible.
    pub developer: String,
    /// With which program.
    pub build: String,
}

/// What came of the appraisal of one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Appraisal {
    /// The tier.
    pub ear_status: Tier,
    /// Aspect by aspect.
    pub ear_trustworthiness_vector: Vector,
    /// The policies, by digest.
    pub ear_appraisal_policy_ids: Vec<String>,
    /// The nonce of the evidence, base64url.
    pub eat_nonce: String,
    /// What the evidence says.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub ear_attester_claims: Value,
    /// What the verifier says.
    pub ear_verifier_claims: VerifierClaims,
    /// The key that the evidence is for.
    pub ear_veraison_key_attestation: KeyAttestation,
}

/// What the verifier says besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierClaims {
    /// Who the function is, if it was accepted, or wanted to be.
    #[serde(rename = "ringmail.spiffe-id")]
    pub spiffe_id: String,
    /// Whether it was accepted.
    #[serde(rename = "ringmail.accepted")]
    pub accepted: bool,
    /// The kind of its evidence.
    #[serde(rename = "ringmail.kind")]
    pub kind: EvidenceKind,
    /// The checks that failed, by name.
    #[serde(rename = "ringmail.failed")]
    pub failed: Vec<String>,
    /// What everybody who looks at this function has to be told.
    #[serde(rename = "ringmail.warning", default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A key that an appraisal is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAttestation {
    /// A DER SubjectPublicKeyInfo, base64url.
    pub akpub: String,
}

/// The tiers of AR4SI section 3.2, from the best to the worst.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Nothing is claimed.
    None,
    /// Good.
    Affirming,
    /// Known weaknesses.
    Warning,
    /// Not to be trusted.
    Contraindicated,
}

/// The trustworthiness vector of AR4SI section 3.1; 0 claims nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Vector {
    /// Who it is.
    #[serde(skip_serializing_if = "nothing")]
    pub instance_identity: i8,
    /// Its settings.
    #[serde(skip_serializing_if = "nothing")]
    pub configuration: i8,
    /// Its code.
    #[serde(skip_serializing_if = "nothing")]
    pub executables: i8,
    /// What it runs on.
    #[serde(skip_serializing_if = "nothing")]
    pub hardware: i8,
    /// Who can look into its memory.
    #[serde(skip_serializing_if = "nothing")]
    pub runtime_opaque: i8,
}

/// What a token needs besides the verdict.
#[derive(Clone, Copy, Debug)]
pub struct EarContext<'a> {
    /// Who appraises: a name of its owner, such as a domain.
    pub developer: &'a str,
    /// With which program and version.
    pub build: &'a str,
    /// The policy: a digest or name that auditors can find it by.
    pub policy: &'a str,
    /// Now: seconds since 1970.
    pub now_unix_s: u64,
    /// How long the token counts, at most.
    pub lasts_s: u64,
}

/// How a token is signed (RFC 7518 section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarAlgorithm {
    /// ECDSA P-256 with SHA-256: r ‖ s, 64 bytes.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// A token before its signature.
#[derive(Clone, Debug)]
pub struct Unsigned {
    message: String,
}

/// Why a token does not count.
#[derive(Debug, thiserror::Error)]
pub enum EarError {
    /// Not a JWT of the form that is made here; the fault of who sent it.
    #[error("it is no signed EAR")]
    Form,
    /// Of another algorithm than the key's.
    #[error("it is signed by another algorithm than the verifier's key")]
    Algorithm,
    /// Another key's, or changed.
    #[error("the verifier's key did not sign it")]
    Signature,
    /// Not the claims of an EAR.
    #[error("its claims are not those of {EAR_PROFILE}")]
    Claims(#[source] Option<serde_json::Error>),
    /// Out of date, or not yet made.
    #[error("it counts from {from} to {until}, and it is {now}")]
    Time {
        /// From when.
        from: u64,
        /// Until when.
        until: u64,
        /// The time of the caller.
        now: u64,
    },
}

impl Ear {
    /// What is told of a verdict. It counts no longer than what the vendor says of the platform.
    pub fn of(
        evidence: &FunctionEvidence,
        verdict: &FunctionVerdict,
        context: &EarContext<'_>,
    ) -> Ear {
        let vector = Vector::of(verdict);
        let tier = if verdict.accepted { vector.tier() } else { Tier::Contraindicated };
        let until = context.now_unix_s.saturating_add(context.lasts_s);
        let until = verdict.collateral_until().map_or(until, |end| end.min(until));
        let failed = verdict.failed().map(|check| check.check.name().to_owned());
        let appraisal = Appraisal {
            ear_status: tier,
            ear_trustworthiness_vector: vector,
            ear_appraisal_policy_ids: vec![context.policy.to_owned()],
            eat_nonce: URL_SAFE_NO_PAD.encode(&evidence.nonce.0),
            ear_attester_claims: verdict
                .claims
                .as_ref()
                .and_then(|claims| serde_json::to_value(claims).ok())
                .unwrap_or_default(),
            ear_verifier_claims: VerifierClaims {
                spiffe_id: verdict.spiffe_id.clone(),
                accepted: verdict.accepted,
                kind: verdict.kind,
                failed: failed.collect(),
                warning: verdict.warning.map(str::to_owned),
            },
            ear_veraison_key_attestation: KeyAttestation {
                akpub: URL_SAFE_NO_PAD.encode(&evidence.public_key.0),
            },
        };
        Ear {
            eat_profile: EAR_PROFILE.to_owned(),
            iat: context.now_unix_s,
            exp: until,
            ear_verifier_id: VerifierId {
                developer: context.developer.to_owned(),
                build: context.build.to_owned(),
            },
            ear_status: tier,
            submods: BTreeMap::from([(SUBMODULE.to_owned(), appraisal)]),
        }
    }

    /// The token, to be signed by the key that `key_id` names.
    pub fn unsigned(&self, algorithm: EarAlgorithm, key_id: &str) -> Unsigned {
        let header = serde_json::json!({
            "alg": algorithm.name(), "typ": "eat+jwt", "kid": key_id,
        });
        // Neither can fail: no maps but of text, no floats.
        let claims = serde_json::to_vec(self).unwrap_or_default();
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        Unsigned { message: format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims)) }
    }

    /// The claims of a token that this key signed and that counts now. `key` is the point of P-256, or Ed25519's 32 bytes.
    ///
    /// # Errors
    /// Whatever is wrong with it; the fault of who sent it.
    pub fn verify(
        token: &str,
        algorithm: EarAlgorithm,
        key: &[u8],
        now_unix_s: u64,
    ) -> Result<Ear, EarError> {
        if token.len() > EAR_BYTES {
            return Err(EarError::Form);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(EarError::Form)?;
        let (header, claims) = message.split_once('.').ok_or(EarError::Form)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| EarError::Form);
        let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
        let header: Value = serde_json::from_slice(&header).map_err(|_| EarError::Form)?;
        if header.get("alg").and_then(Value::as_str) != Some(algorithm.name()) {
            return Err(EarError::Algorithm);
        }
        // No extension is understood here (RFC 7515 section 4.1.11).
        if header.get("crit").is_some() {
            return Err(EarError::Form);
        }
        let key = UnparsedPublicKey::new(algorithm.verification(), key);
        key.verify(message.as_bytes(), &signature).map_err(|_| EarError::Signature)?;
        let ear: Ear =
            serde_json::from_slice(&claims).map_err(|error| EarError::Claims(Some(error)))?;
        let worst = ear.submods.values().map(|part| part.ear_status).max();
        if ear.eat_profile != EAR_PROFILE || worst.is_none_or(|worst| ear.ear_status < worst) {
            return Err(EarError::Claims(None));
        }
        match (ear.iat..ear.exp).contains(&now_unix_s) {
            true => Ok(ear),
            false => Err(EarError::Time { from: ear.iat, until: ear.exp, now: now_unix_s }),
        }
    }
}

impl Unsigned {
    /// What is signed.
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// The token.
    pub fn signed(self, signature: &[u8]) -> String {
        format!("{}.{}", self.message, URL_SAFE_NO_PAD.encode(signature))
    }
}

impl EarAlgorithm {
    fn name(self) -> &'static str {
        match self {
            EarAlgorithm::Es256 => "ES256",
            EarAlgorithm::EdDsa => "EdDSA",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            EarAlgorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            EarAlgorithm::EdDsa => &ED25519,
        }
    }
}

impl Vector {
    /// What a verdict says of each aspect, in AR4SI's numbers.
    fn of(verdict: &FunctionVerdict) -> Vector {
        let (Some(_), false) = (&verdict.claims, verdict.is_failed(CheckName::Authentic)) else {
            let known = verdict.failed().find(|check| {
                matches!(check.check, CheckName::Authentic | CheckName::Tcb)
                    && check.fault == Some(Whose::Host)
            });
            let identity = if known.is_some() { UNTRUSTWORTHY } else { CRYPTO_FAILED };
            return Vector { instance_identity: identity, ..Vector::default() };
        };
        let failed = |names: &[CheckName]| names.iter().any(|name| verdict.is_failed(*name));
        let hardware = verdict.kind.keeps_the_host_out();
        let mut vector = Vector { instance_identity: AFFIRMED, ..Vector::default() };
        if failed(&IDENTITY) {
            vector.instance_identity = UNRECOGNIZED_INSTANCE;
        }
        vector.configuration = if failed(&[CheckName::Debug, CheckName::Configuration]) {
            UNSUPPORTABLE
        } else {
            AFFIRMED
        };
        vector.executables = match () {
            () if failed(&[CheckName::Measurement, CheckName::Signer, CheckName::Reference]) => {
                UNRECOGNIZED_CODE
            }
            () if failed(&[CheckName::MeasuredByHost]) => UNRECOGNIZED_CODE,
            () if failed(&[CheckName::Version]) => KNOWN_WEAKNESSES,
            // Only its host says what it is.
            () if verdict.kind == EvidenceKind::Software => 0,
            () => AFFIRMED,
        };
        if hardware {
            vector.hardware = match () {
                () if failed(&[CheckName::Tcb, CheckName::Advisories]) => KNOWN_WEAKNESSES,
                () if verdict.lives_with_weaknesses() => KNOWN_WEAKNESSES,
                () => AFFIRMED,
            };
        }
        vector.runtime_opaque = match verdict.kind {
            _ if verdict.is_failed(CheckName::Kind) => VISIBLE_MEMORY,
            _ if hardware && !verdict.is_failed(CheckName::Debug) => AFFIRMED,
            _ if hardware => VISIBLE_MEMORY,
            _ => ISOLATED_MEMORY,
        };
        vector
    }

    /// The worst of its aspects (AR4SI section 2.3.4: 2 to 31 affirming, 32 to 95 warning, from 96 contraindicated).
    pub fn tier(&self) -> Tier {
        let all = [
            self.instance_identity,
            self.configuration,
            self.executables,
            self.hardware,
            self.runtime_opaque,
        ];
        let tier = |value: i8| match value.unsigned_abs() {
            0 | 1 => Tier::None,
            2..=31 => Tier::Affirming,
            32..=95 => Tier::Warning,
            96.. => Tier::Contraindicated,
        };
        all.into_iter().map(tier).max().unwrap_or(Tier::None)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn nothing(value: &i8) -> bool {
    *value == 0
}

/// The checks that say who it is.
const IDENTITY: [CheckName; 6] = [
    CheckName::Nonce,
    CheckName::SpiffeId,
    CheckName::PublicKey,
    CheckName::HostAk,
    CheckName::Binding,
    CheckName::Platform,
];

const AFFIRMED: i8 = 2;
const KNOWN_WEAKNESSES: i8 = 32;
const ISOLATED_MEMORY: i8 = 32;
const UNRECOGNIZED_CODE: i8 = 33;
const VISIBLE_MEMORY: i8 = 96;
const UNSUPPORTABLE: i8 = 96;
const UNTRUSTWORTHY: i8 = 96;
const UNRECOGNIZED_INSTANCE: i8 = 97;
const CRYPTO_FAILED: i8 = 99;
