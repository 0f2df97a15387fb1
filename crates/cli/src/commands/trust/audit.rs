//! `ringmail trust audit`: the whole log, checked entry by entry and against what was seen before.

use std::io::{self, Write};

use ringmail_trust::manager::ClientError;
use ringmail_trust::manager::api::{AuditAnswer, BundleAnswer};
use ringmail_trust_core::manager::audit::{Entry, Walk};
use ringmail_trust_core::manager::head::{Head, SignedHead};
use ringmail_trust_core::manager::merkle;
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::reach::Reach;
use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;

/// Show the manager's log, and whether it is whole
///
/// Every entry is fetched; the chain from the first to the last, the root of the tree over them and the signature under the
/// head are checked here, and that the log continues the head that was seen last (`log-head` beside the identity's key),
/// which is then replaced. Exits with 3 where the log is not whole, or not the one that was seen.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show so many of the last entries
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,

    /// Show only entries about host/NAME or function/NAME
    #[arg(long, value_name = "WHOM")]
    about: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

/// The log, and what came of checking it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Audited {
    /// Whether it is whole, signed, and the one that was seen before.
    whole: bool,
    /// What is wrong with it, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    wrong: Option<String>,
    /// Entries that were checked.
    entries: u64,
    /// The size of the log when it was looked at last, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_before: Option<u64>,
    /// The root of the tree over all entries, 64 hex digits.
    root: String,
    /// The last entries.
    shown: Vec<Shown>,
}

/// An entry.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    /// Its index.
    index: u64,
    /// When it was made (RFC 3339).
    at: String,
    /// What it is: `opened`, `policy-set`, `enrolled`, `stands`, `issued`, `revoked`, `said` or `took-over`.
    kind: String,
    /// It, for people.
    text: String,
}

impl Report for Audited {
    const NAME: &'static str = "trust-audit";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Shown { index, at, text, .. } in &self.shown {
            writeln!(out, "{index:6}  {at}  {text}")?;
        }
        match &self.wrong {
            None => writeln!(out, "{} entries, whole; root {}", self.entries, self.root),
            Some(why) => writeln!(out, "NOT WHOLE: {why}"),
        }
    }
}

/// The log as it was fetched.
struct Log {
    head: SignedHead,
    path_key: [u8; 32],
    entries: Vec<Vec<u8>>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let file = args.reach.head_file();
    let kept = match std::fs::read(&file) {
        Ok(bytes) => {
            Some(SignedHead::from_bytes(&bytes).ok_or_else(|| {
                Failure::new(format!("{} holds no head of a log", file.display()))
            })?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(Failure::from(error).context(format!("{} cannot be read", file.display())));
        }
    };
    let log = args.reach.with(fetch)?;
    let (tree, checked) = check(&log, kept.as_ref().map(|kept| &kept.head));
    let about = args.about.map(|about| about.replacen('/', " ", 1));
    let shows = |entry: &Entry| match &about {
        None => true,
        Some(about) => entry.act.subject().is_some_and(|found| found.to_string() == *about),
    };
    let mut shown: Vec<Shown> = log
        .entries
        .iter()
        .filter_map(|bytes| Entry::decode(bytes))
        .filter(shows)
        .map(|entry| Shown::of(&entry))
        .collect();
    shown.drain(..shown.len().saturating_sub(args.last));
    let root = merkle::root(&tree, tree.size()).unwrap_or_default();
    let wrong = checked.err();
    if wrong.is_none() {
        std::fs::write(&file, log.head.to_bytes())
            .context(format!("{} cannot be written", file.display()))?;
    }
    let whole = wrong.is_none();
    context.emit(&Audited {
        whole,
        wrong,
        entries: tree.size(),
        seen_before: kept.map(|kept| kept.head.size),
        root: root.iter().map(|byte| format!("{byte:02x}")).collect(),
        shown,
    })?;
    Ok(if whole { Outcome::Done } else { Outcome::VerdictNo })
}

async fn fetch(client: &mut ringmail_trust::manager::Client) -> Result<Log, ClientError> {
    let bundle: BundleAnswer = client.get("/v1/bundle").await?;
    let unread = |what: &str| ClientError::Answer(what.to_owned());
    let path_key = bundle.path_key.0.try_into().map_err(|_| unread("the path key"))?;
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let mut head: Option<SignedHead> = None;
    loop {
        let path = format!("/v1/log/entries?first={}&count=1000", entries.len());
        let answer: AuditAnswer = client.get(&path).await?;
        // The first head is the one to be reached: the log may grow faster than it is read.
        if head.is_none() {
            head = SignedHead::from_bytes(&answer.head.0);
        }
        let goal = head.as_ref().ok_or_else(|| unread("the head"))?.head.size;
        let missing = usize::try_from(goal).unwrap_or(usize::MAX).saturating_sub(entries.len());
        let before = entries.len();
        entries.extend(answer.entries.into_iter().map(|entry| entry.0).take(missing));
        if entries.len() as u64 >= goal || entries.len() == before {
            break;
        }
    }
    let head = head.ok_or_else(|| unread("the head"))?;
    Ok(Log { head, path_key, entries })
}

/// Whether a log is whole, signed, and continues what was seen.
fn check(log: &Log, kept: Option<&Head>) -> (merkle::Kept, Result<(), String>) {
    let (mut tree, mut walk) = (merkle::Kept::default(), Walk::START);
    let mut chain = Ok(());
    for entry in &log.entries {
        chain = chain.and_then(|()| walk.step(entry).map(drop).map_err(|error| error.to_string()));
        tree.push(merkle::leaf(entry));
    }
    let head = &log.head.head;
    let checked = chain.and_then(|()| {
        if !log.head.is_signed_by(&log.path_key) {
            return Err("the head is not signed by the domain's path-signing key".to_owned());
        }
        if walk.next != head.size || walk.last != head.last {
            return Err(format!("the head has {} entries, and {} are there", head.size, walk.next));
        }
        if merkle::root(&tree, head.size) != Some(head.root) {
            return Err("the head has another root than the entries".to_owned());
        }
        let Some(kept) = kept else { return Ok(()) };
        let proof = merkle::consistency(&tree, kept.size, head.size).unwrap_or_default();
        kept.continued_by(head, &proof).map_err(|rollback| rollback.to_string())
    });
    (tree, checked)
}

impl Shown {
    fn of(entry: &Entry) -> Shown {
        let at = i128::from(entry.at_unix_ms) * 1_000_000;
        let at = OffsetDateTime::from_unix_timestamp_nanos(at).ok();
        Shown {
            index: entry.index,
            at: at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default(),
            kind: entry.act.name().to_owned(),
            text: entry.act.to_string(),
        }
    }
}
