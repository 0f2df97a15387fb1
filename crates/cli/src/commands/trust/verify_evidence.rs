//! `ringmail trust verify-evidence FILE`: evidence that was saved, appraised again, with nothing but files.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmail_trust_core::function::{
    self, Anchors, Check, CheckOutcome, Expected, FunctionEvidence, FunctionPolicy,
    FunctionVerdict, Protection,
};
use ringmail_trust_core::host::encoding::{Base64, Hex};
use ringmail_trust_core::host::policy::{PolicySet, RuntimePolicy, ScopedPolicy};
use ringmail_trust_core::host::tpm::{Public, Quote, TpmName};
use ringmail_trust_core::host::{
    self, Challenge, HostEvidence, HostReference, HostReferenceFile, HostState, Round,
};
use ringmail_trust_core::limits::EVIDENCE_BYTES;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;
use crate::paint::red;

/// Appraise saved evidence of a function or host, offline
///
/// Takes `ringmail.function-evidence/1` and `ringmail.host-evidence/1`. Says every check by name: what failed, whose fault
/// that is, what helps. Nothing is fetched. What only the verifier knew when it asked (nonce, enrolled keys) is taken as the
/// evidence has it, and shown as not asked, unless it is named here.
///
/// Exit code 0 if the evidence is accepted, 3 if it is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The evidence; - for standard input
    file: PathBuf,
    /// What is accepted: a function policy in YAML; of a host reference values, or a runtime policy of Keylime, in JSON.
    /// Nothing is, without it
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// As of which time, such as 2026-11-22T08:00:00Z or seconds since 1970; now, without it
    #[arg(long, value_name = "TIME", value_parser = moment)]
    now: Option<u64>,
    /// The nonce that was sent, in hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = hex)]
    nonce: Option<Hex>,
    /// The TPM's name of the host's enrolled attestation key, in hexadecimal digits; of a host's evidence only
    #[arg(long, value_name = "HEX", value_parser = name)]
    ak: Option<TpmName>,
}

/// What came of an appraisal.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Appraised {
    /// The evidence, as it was named.
    file: String,
    /// Whether it is accepted.
    accepted: bool,
    /// As of which time: seconds since 1970.
    now_unix_s: u64,
    /// Of a function's evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<FunctionVerdict>,
    /// Of a host's evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<HostAppraised>,
}

/// What came of the appraisal of a host.
#[derive(Debug, Serialize, JsonSchema)]
struct HostAppraised {
    /// The TPM's name of its attestation key, as far as that can be read.
    ak: Option<String>,
    /// Whether nobody said which key was enrolled, so that its own was taken.
    ak_not_asked: bool,
    /// Whether nobody said which nonce was sent, so that the quote's own was taken.
    nonce_not_asked: bool,
    /// Entries of the measurement list that were appraised.
    entries_appraised: u64,
    /// Those that the quote does not cover.
    entries_pending: u64,
    /// The checks that failed.
    failed: Vec<HostCheck>,
    /// How many more failed.
    failed_more: u64,
}

/// A check of a host that failed.
#[derive(Debug, Serialize, JsonSchema)]
struct HostCheck {
    /// Which.
    check: &'static str,
    /// Whose fault it is: `host`, `agent` or `reference`.
    fault: &'static str,
    /// What was found.
    found: String,
    /// What helps.
    hint: String,
    /// The entry of the measurement list, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<u64>,
}

impl Report for Appraised {
    const NAME: &'static str = "verify-evidence";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = if self.accepted { "accepted".to_owned() } else { red("REFUSED") };
        let file = &self.file;
        if let Some(function) = &self.function {
            writeln!(out, "{file}: {verdict}: {}", function.spiffe_id)?;
            of_function(function, out)?;
        }
        if let Some(host) = &self.host {
            writeln!(out, "{file}: {verdict}: a host")?;
            of_host(host, out)?;
        }
        Ok(())
    }
}

fn of_function(verdict: &FunctionVerdict, out: &mut dyn Write) -> io::Result<()> {
    let protected = match verdict.protection {
        Protection::Hardware => "hardware keeps its host out",
        Protection::Measured => "its host can read it, and is measured under a TPM",
        Protection::None => "nothing protects it",
    };
    writeln!(out, "  {}: {protected}", verdict.kind.name())?;
    if let Some(warning) = verdict.warning {
        writeln!(out, "  {}", red(&format!("WARNING: {warning}")))?;
    }
    for Check { check, outcome, found, fault, hint } in &verdict.checks {
        let name = check.name();
        match outcome {
            CheckOutcome::Passed => writeln!(out, "  ok        {name:<16}  {found}")?,
            CheckOutcome::NotAsked => writeln!(out, "  not asked {name:<16}  {found}")?,
            CheckOutcome::Failed => {
                writeln!(out, "  {}    {name:<16}  {found}", red("FAILED"))?;
                if let Some(fault) = fault {
                    writeln!(out, "            {:<16}  fault: {}", "", fault.name())?;
                }
                if let Some(hint) = hint {
                    writeln!(out, "            {:<16}  hint: {hint}", "")?;
                }
            }
        }
    }
    Ok(())
}

fn of_host(host: &HostAppraised, out: &mut dyn Write) -> io::Result<()> {
    if let Some(ak) = &host.ak {
        let asked = if host.ak_not_asked { ", taken as it stands there" } else { "" };
        writeln!(out, "  attestation key {ak}{asked}")?;
    }
    if host.nonce_not_asked {
        writeln!(out, "  nonce taken as it stands there")?;
    }
    let (all, pending) = (host.entries_appraised, host.entries_pending);
    writeln!(out, "  {all} entries of its measurement list, {pending} not under the quote")?;
    for HostCheck { check, fault, found, hint, .. } in &host.failed {
        writeln!(out, "  {}    {check:<17}  {found}", red("FAILED"))?;
        writeln!(out, "            {:<17}  fault: {fault}", "")?;
        writeln!(out, "            {:<17}  hint: {hint}", "")?;
    }
    if host.failed_more > 0 {
        writeln!(out, "  and {} more", host.failed_more)?;
    }
    Ok(())
}

/// What every kind of evidence says of itself.
#[derive(Deserialize)]
struct Named {
    schema: String,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let Args { file, policy, now, nonce, ak } = args;
    let name = file.display().to_string();
    let text = read(&file)?;
    let named: Named =
        serde_json::from_slice(&text).context(format!("{name} is no evidence")).hint(format!(
            "evidence is JSON whose schema is {} or {}",
            function::EVIDENCE_SCHEMA,
            HOST
        ))?;
    let now_unix_s = match now {
        Some(now) => now,
        None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
    };
    let report = match named.schema.as_str() {
        function::EVIDENCE_SCHEMA => {
            let evidence = FunctionEvidence::from_json(&text)
                .context(format!("{name} is no evidence of a function"))
                .hint("send it as the function made it")?;
            let policy = match policy {
                Some(policy) => function_policy(&policy)?,
                None => FunctionPolicy::default(),
            };
            let expected =
                Expected { nonce: nonce.as_ref().map(|nonce| &nonce.0[..]), ..Expected::default() };
            let anchors = Anchors::vendors();
            let verdict = function::appraise(&evidence, &expected, &policy, &anchors, now_unix_s);
            let accepted = verdict.accepted;
            Appraised { file: name, accepted, now_unix_s, function: Some(verdict), host: None }
        }
        HOST => {
            let evidence = HostEvidence::from_json(&text)
                .context(format!("{name} is no evidence of a host"))
                .hint("send it as the host's agent made it")?;
            let reference = match policy {
                Some(policy) => host_reference(&policy)?,
                None => HostReference::of_policies(PolicySet::unite(Vec::new())?),
            };
            let (accepted, host) = of_evidence(&evidence, &reference, nonce, ak, now_unix_s);
            Appraised { file: name, accepted, now_unix_s, function: None, host: Some(host) }
        }
        other => {
            let other: String = other.chars().take(64).flat_map(char::escape_debug).collect();
            let failure = Failure::new(format!("{name} has the schema `{other}`"));
            let known = format!("{} and {HOST} can be appraised", function::EVIDENCE_SCHEMA);
            return Err(failure.hint(known));
        }
    };
    context.emit(&report)?;
    Ok(if report.accepted { Outcome::Done } else { Outcome::VerdictNo })
}

const HOST: &str = host::evidence::SCHEMA;

/// A host's measurement list may be long.
const MOST_BYTES: u64 = 64 << 20;
const _: () = assert!(MOST_BYTES > EVIDENCE_BYTES as u64);

fn of_evidence(
    evidence: &HostEvidence,
    reference: &HostReference,
    nonce: Option<Hex>,
    ak: Option<TpmName>,
    now_unix_s: u64,
) -> (bool, HostAppraised) {
    let own = Public::parse(&evidence.ak_public.0).ok().map(|ak| ak.name());
    let quoted = Quote::parse(&evidence.quote.0).map(|quote| quote.extra_data).unwrap_or_default();
    let (ak_not_asked, nonce_not_asked) = (ak.is_none(), nonce.is_none());
    let now_unix_ms = now_unix_s.saturating_mul(1_000);
    let nonce = Base64(nonce.map_or(quoted, |nonce| nonce.0));
    let challenge = Challenge { nonce, issued_unix_ms: now_unix_ms };
    let verdict = ak.or_else(|| own.clone()).map(|enrolled| {
        let round =
            Round { enrolled: &enrolled, challenge: &challenge, received_unix_ms: now_unix_ms };
        host::appraise(evidence, &round, reference, &HostState::default()).verdict
    });
    let failed = match &verdict {
        Some(verdict) => verdict.failed.iter().map(HostCheck::of).collect(),
        None => vec![HostCheck {
            check: host::Check::AkRestricted.name(),
            fault: "agent",
            found: "the attestation key cannot be read".to_owned(),
            hint: "send TPMT_PUBLIC of the key, as its TPM returns it".to_owned(),
            entry: None,
        }],
    };
    let host = HostAppraised {
        ak: own.map(|name| name.to_string()),
        ak_not_asked,
        nonce_not_asked,
        entries_appraised: verdict.as_ref().map_or(0, |verdict| verdict.entries_appraised),
        entries_pending: verdict.as_ref().map_or(0, |verdict| verdict.entries_pending),
        failed,
        failed_more: verdict.as_ref().map_or(0, |verdict| verdict.failed_more),
    };
    (verdict.is_some_and(|verdict| verdict.trusted), host)
}

impl HostCheck {
    fn of(failed: &host::FailedCheck) -> HostCheck {
        HostCheck {
            check: failed.check.name(),
            fault: match failed.fault {
                host::Fault::Host => "host",
                host::Fault::Agent => "agent",
                host::Fault::Reference => "reference",
            },
            found: failed.detail.clone(),
            hint: failed.hint.clone(),
            entry: failed.entry,
        }
    }
}

fn function_policy(file: &Path) -> Result<FunctionPolicy, Failure> {
    let name = file.display().to_string();
    let text = String::from_utf8(read(file)?).context(format!("{name} is no text"))?;
    FunctionPolicy::from_yaml(&text, &name)
        .map_err(|diagnostics| Failure::new(format!("{name} is no function policy\n{diagnostics}")))
}

/// Reference values, or a runtime policy of Keylime as it is.
fn host_reference(file: &Path) -> Result<HostReference, Failure> {
    let what = || {
        format!("{} holds neither reference values of hosts nor a runtime policy", file.display())
    };
    let text = read(file)?;
    if serde_json::from_slice::<Named>(&text).is_ok() {
        let file: HostReferenceFile = serde_json::from_slice(&text).context(what())?;
        return HostReference::from_file(file).context(what());
    }
    let policy = RuntimePolicy::from_json(&text).context(what())?;
    let policy = ScopedPolicy::everywhere("policy", Arc::new(policy));
    Ok(HostReference::of_policies(PolicySet::unite(vec![policy]).context(what())?))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(MOST_BYTES + 1).read_to_end(&mut bytes))
    };
    read.context(format!("{} cannot be read", file.display()))?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(Failure::new(format!("{} has more than {MOST_BYTES} bytes", file.display()))),
        false => Ok(bytes),
    }
}

fn moment(text: &str) -> Result<u64, String> {
    let named = OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp);
    let named = named.and_then(|seconds| u64::try_from(seconds).ok());
    let moment = named.or_else(|| text.parse().ok());
    moment.ok_or_else(|| "write a time such as 2026-11-22T08:00:00Z, or seconds since 1970".into())
}

fn hex(text: &str) -> Result<Hex, String> {
    Hex::try_from(text.to_owned()).map_err(|error| error.to_string())
}

fn name(text: &str) -> Result<TpmName, String> {
    TpmName::try_from(hex(text)?).map_err(|error| error.to_string())
}
