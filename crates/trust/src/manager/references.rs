//! Reference values in a directory, and appraisal by them (RFC 9334 section 8.3): what a manager appraises by that is served
//! by the program.
//!
//! ```text
//! DIR/
//!   host.json          of every host (`ringmail.host-reference/1`), but those with a file of their own
//!   hosts/NAME.json    of one host
//!   functions.yaml     of functions
//!   ek-roots/*.pem     roots of makers of TPMs: whose TPMs may enrol
//! ```
//!
//! What there is no file for is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use ringmail_model::Name;
use ringmail_trust_core::function::{
    self, Anchors, Expected, FunctionEvidence, FunctionPolicy, FunctionVerdict, MeasuredPrograms,
    Pairing, Program,
};
use ringmail_trust_core::host::encoding::Base64;
use ringmail_trust_core::host::enrolment::{self, EnrolmentError, EnrolmentRequest};
use ringmail_trust_core::host::tpm::{EkFingerprint, EkRoots, Public, PublicKey, TpmName};
use ringmail_trust_core::host::{
    self, Challenge, HostEvidence, HostReference, HostReferenceFile, HostState, HostVerdict, Round,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use yasna::models::ObjectIdentifier;

use super::appraiser::{
    Appraiser, Enrolment, Found, FunctionAsked, HostAsked, HostFound, Outcome, Pending,
};
use super::error::ManagerError;

/// Reference values, and the roots of who makes hardware.
#[derive(Debug)]
pub struct References {
    any_host: Option<HostReference>,
    hosts: BTreeMap<Name, HostReference>,
    functions: FunctionPolicy,
    anchors: Anchors,
    ek_roots: EkRoots,
}

/// What a host's evidence is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The name of its attestation key.
    pub ak: TpmName,
    /// The same key, SubjectPublicKeyInfo in DER.
    pub ak_public: Base64,
    /// By which its TPM is known again.
    pub ek: EkFingerprint,
}

/// A TPM that has to open a secret.
#[derive(Debug)]
struct Opening {
    pending: enrolment::Pending,
    ak_public: Vec<u8>,
}

impl References {
    /// These reference values, for a manager in a process of somebody else's: of all hosts, of functions, and of who makes
    /// TPMs.
    pub fn new(
        any_host: Option<HostReference>,
        functions: FunctionPolicy,
        ek_roots: EkRoots,
    ) -> References {
        let (hosts, anchors) = (BTreeMap::new(), Anchors::vendors());
        References { any_host, hosts, functions, anchors, ek_roots }
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// [`ManagerError::References`].
    pub fn load(dir: &Path) -> Result<References, ManagerError> {
        let mut hosts = BTreeMap::new();
        let folder = dir.join("hosts");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries.collect::<Result<Vec<_>, _>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        for entry in entries.map_err(|error| wrong(&folder, error))? {
            let path = entry.path();
            let Some(stem) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json"))
            else {
                continue;
            };
            let name: Name = stem.parse().map_err(|error| wrong(&path, error))?;
            hosts.extend(host_reference(&path)?.map(|reference| (name, reference)));
        }
        let path = dir.join("functions.yaml");
        let functions = match read(&path)? {
            None => FunctionPolicy::default(),
            Some(text) => FunctionPolicy::from_yaml(&text, &path.display().to_string())
                .map_err(|diagnostics| wrong(&path, diagnostics))?,
        };
        let any_host = host_reference(&dir.join("host.json"))?;
        let anchors = Anchors::vendors();
        Ok(References { any_host, hosts, functions, anchors, ek_roots: ek_roots(dir)? })
    }

    fn of(&self, host: &Name) -> Option<&HostReference> {
        self.hosts.get(host).or(self.any_host.as_ref())
    }
}

impl Appraiser for References {
    fn enrol(&self, _: &Name, asked: &[u8], now_unix_s: u64) -> Result<Enrolment, String> {
        let said = |error: EnrolmentError| {
            let source = std::error::Error::source(&error);
            let cause = source.map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{}: {error}{cause}; {}", error.name(), error.hint())
        };
        let request: EnrolmentRequest = serde_json::from_slice(asked)
            .map_err(|error| format!("it is no enrolment: {error}"))?;
        let (credential, pending) =
            enrolment::challenge(&request, &self.ek_roots, now_unix_s).map_err(said)?;
        let ak = Public::parse(&request.ak_public.0).map_err(|error| error.to_string())?;
        let ak_public = public_key(&ak.key).ok_or("the attestation key is of no known kind")?;
        let challenge = serde_json::to_value(credential).map_err(|error| error.to_string())?;
        Ok(Enrolment { challenge, pending: Box::new(Opening { pending, ak_public }) })
    }

    fn challenge(&self, host: &Name, state: &[u8]) -> Value {
        let Some(reference) = self.of(host) else { return Value::Null };
        let next = host_state(state).next_entry(&reference.fingerprint());
        json!({ "next_entry": next, "registers": reference.wanted_registers() })
    }

    fn appraise_host(&self, asked: &HostAsked<'_>) -> HostFound {
        let keep = |found| HostFound { found, state: asked.state.to_vec() };
        let Some(reference) = self.of(asked.host) else {
            return keep(refused("there are no reference values for this host"));
        };
        let Ok(anchor) = serde_json::from_slice::<Anchor>(asked.anchor) else {
            return keep(refused("the host enrolled without an attestation key"));
        };
        let evidence = match HostEvidence::from_json(asked.evidence) {
            Ok(evidence) => evidence,
            Err(error) => return keep(refused(&format!("it is no host evidence: {error}"))),
        };
        let challenge =
            Challenge { nonce: Base64(asked.nonce.to_vec()), issued_unix_ms: asked.asked_unix_ms };
        let received_unix_ms = asked.received_unix_ms;
        let round = Round { enrolled: &anchor.ak, challenge: &challenge, received_unix_ms };
        let appraisal = host::appraise(&evidence, &round, reference, &host_state(asked.state));
        HostFound {
            found: host_found(&appraisal.verdict),
            state: serde_json::to_vec(&appraisal.state).unwrap_or_default(),
        }
    }

    fn appraise_function(&self, asked: &FunctionAsked<'_>) -> Found {
        let Ok(anchor) = serde_json::from_slice::<Anchor>(asked.host_anchor) else {
            return refused("the host enrolled without an attestation key");
        };
        let evidence = match FunctionEvidence::from_json(asked.evidence) {
            Ok(evidence) => evidence,
            Err(error) => return refused(&format!("it is no function evidence: {error}")),
        };
        let expected = Expected {
            nonce: Some(&asked.nonce),
            spiffe_id: Some(asked.spiffe_id),
            public_key: Some(asked.public_key),
            host_ak: Some(&anchor.ak_public.0),
            pairing: Pairing::Nothing,
            measured: Some(&NothingKnown),
        };
        let now_unix_s = asked.received_unix_ms / 1000;
        let verdict =
            function::appraise(&evidence, &expected, &self.functions, &self.anchors, now_unix_s);
        function_found(&verdict)
    }
}

impl Pending for Opening {
    fn finish(self: Box<Self>, answer: &[u8]) -> Result<Vec<u8>, String> {
        let Opening { pending, ak_public } = *self;
        let enrolled = pending.finish(answer).map_err(|error| error.to_string())?;
        let anchor = Anchor { ak: enrolled.ak, ak_public: Base64(ak_public), ek: enrolled.ek };
        serde_json::to_vec(&anchor).map_err(|error| error.to_string())
    }
}

/// A TPM's key as SubjectPublicKeyInfo in DER (RFC 3279, RFC 5480); `None` for a kind that nobody attests with.
fn public_key(key: &PublicKey) -> Option<Vec<u8>> {
    let oid = ObjectIdentifier::from_slice;
    let (algorithm, parameters, bits) = match key {
        PublicKey::Rsa { exponent, modulus, .. } => {
            let bits = yasna::construct_der(|writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_bigint_bytes(modulus, true);
                    writer.next().write_u32(*exponent);
                });
            });
            (oid(&[1, 2, 840, 113_549, 1, 1, 1]), None, bits)
        }
        PublicKey::Ecc { curve, x, y } => {
            // TPM_ECC_NIST_P256 and TPM_ECC_NIST_P384 (TPM 2.0 part 2, section 6.4).
            let (named, len) = match curve {
                3 => (oid(&[1, 2, 840, 10_045, 3, 1, 7]), 32),
                4 => (oid(&[1, 3, 132, 0, 34]), 48),
                _ => return None,
            };
            let mut point = vec![4];
            for half in [x, y] {
                point.extend(std::iter::repeat_n(0, usize::checked_sub(len, half.len())?));
                point.extend(half);
            }
            (oid(&[1, 2, 840, 10_045, 2, 1]), Some(named), point)
        }
    };
    Some(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&algorithm);
                match &parameters {
                    Some(named) => writer.next().write_oid(named),
                    None => writer.next().write_null(),
                }
            });
            writer.next().write_bitvec_bytes(&bits, bits.len() * 8);
        });
    }))
}

/// The lists of hosts are not kept, so that no program is known to be measured.
struct NothingKnown;

impl MeasuredPrograms for NothingKnown {
    fn holds(&self, _: &Program) -> bool {
        false
    }
}

fn host_found(verdict: &HostVerdict) -> Found {
    let report = serde_json::to_value(verdict).unwrap_or_default();
    let outcome = match verdict.failed.first() {
        _ if verdict.trusted => Outcome::Good,
        Some(first) if verdict.ask_again => Outcome::AskAgain(first.detail.clone()),
        Some(first) => Outcome::Refused(format!("{}: {}", first.check.name(), first.detail)),
        None => Outcome::Refused("refused".to_owned()),
    };
    Found { outcome, report }
}

fn function_found(verdict: &FunctionVerdict) -> Found {
    let report = serde_json::to_value(verdict).unwrap_or_default();
    let outcome = match verdict.accepted {
        true => Outcome::Good,
        false => Outcome::Refused(verdict.summary()),
    };
    Found { outcome, report }
}

fn refused(why: &str) -> Found {
    Found { outcome: Outcome::Refused(why.to_owned()), report: json!({ "refused": why }) }
}

fn host_state(bytes: &[u8]) -> HostState {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// The roots of makers of TPMs.
fn ek_roots(dir: &Path) -> Result<EkRoots, ManagerError> {
    let folder = dir.join("ek-roots");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(EkRoots::default()),
        Err(error) => return Err(wrong(&folder, error)),
    };
    let mut roots = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| wrong(&folder, error))?.path();
        let text = fs::read(&path).map_err(|error| wrong(&path, error))?;
        for root in CertificateDer::pem_slice_iter(&text) {
            roots.push(root.map_err(|error| wrong(&path, error))?);
        }
    }
    EkRoots::new(roots).map_err(|error| wrong(&folder, error))
}

fn host_reference(path: &Path) -> Result<Option<HostReference>, ManagerError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let file: HostReferenceFile =
        serde_json::from_str(&text).map_err(|error| wrong(path, error))?;
    HostReference::from_file(file).map(Some).map_err(|error| wrong(path, error))
}

fn read(path: &Path) -> Result<Option<String>, ManagerError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(path, error)),
    }
}

fn wrong(path: &Path, reason: impl std::fmt::Display) -> ManagerError {
    ManagerError::References { path: path.to_owned(), reason: reason.to_string() }
}
