//! Reference values in a directory, and appraisal by them (RFC 9334 section 8.3): what a manager appraises by that is served
//! by the program.
//!
//! ```text
//! DIR/
//!   host.json          of every host (`ringmail.host-reference/1`), but those with a file of their own
//!   hosts/NAME.json    of one host
//!   functions.yaml     of functions
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
use ringmail_trust_core::host::tpm::TpmName;
use ringmail_trust_core::host::{
    self, Challenge, HostEvidence, HostReference, HostReferenceFile, HostState, HostVerdict, Round,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::appraiser::{Appraiser, Enrolment, Found, FunctionAsked, HostAsked, HostFound, Outcome};
use super::error::ManagerError;

/// Reference values, and the roots of who makes hardware.
#[derive(Debug)]
pub struct References {
    any_host: Option<HostReference>,
    hosts: BTreeMap<Name, HostReference>,
    functions: FunctionPolicy,
    anchors: Anchors,
}

/// What a host's evidence is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The name of its attestation key.
    pub ak: TpmName,
    /// The same key, SubjectPublicKeyInfo in DER.
    pub ak_public: Base64,
}

impl References {
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
        Ok(References { any_host, hosts, functions, anchors: Anchors::vendors() })
    }

    fn of(&self, host: &Name) -> Option<&HostReference> {
        self.hosts.get(host).or(self.any_host.as_ref())
    }
}

impl Appraiser for References {
    fn enrol(&self, _: &Name, _: &[u8], _: u64) -> Result<Enrolment, String> {
        Err("no roots of TPM makers are configured".to_owned())
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
