//! `ringmail prove --summary`: what elements signed, checked with nothing but the domain's root.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ringmail_model::summary::{ElementAudit, FILE_SCHEMA, PathAudit, PathVerdict, SummaryFile};
use ringmail_node::summary::{Checked, FileReport, check, gather, usual_place};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::{Report, ReportSchema};

/// Where things are.
#[derive(Debug)]
pub(super) struct Places {
    /// Files and directories of summaries; those of the directory below, if there are none.
    pub(super) files: Vec<PathBuf>,
    /// The domain's root certificates in PEM.
    pub(super) roots: PathBuf,
    /// Where an authority or an element has its things.
    pub(super) state: PathBuf,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Summaries {
    #[serde(flatten)]
    checked: Checked,
}

impl Report for Summaries {
    const NAME: &'static str = "prove-summary";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Checked { files, paths, problems, holds } = &self.checked;
        let (first, last) =
            (files.iter().map(|f| f.from_ms).min(), files.iter().map(|f| f.to_ms).max());
        if let (Some(first), Some(last)) = (first, last) {
            let statements: u64 = files.iter().map(|file| file.statements).sum();
            let (first, last) = (moment(first), moment(last));
            writeln!(out, "{} files, {statements} statements, {first} to {last}", files.len())?;
        }
        for path in paths {
            of_path(path, out)?;
        }
        for FileReport { file, problems, .. } in
            files.iter().filter(|file| !file.problems.is_empty())
        {
            writeln!(out, "\n{file}:")?;
            problems.iter().try_for_each(|problem| writeln!(out, "  {problem}"))?;
        }
        if !problems.is_empty() {
            writeln!(out)?;
            problems.iter().try_for_each(|problem| writeln!(out, "{problem}"))?;
        }
        let verdict = match holds {
            true => "nothing speaks against what the ends of paths say",
            false => "this does not hold",
        };
        writeln!(out, "\n{verdict}")
    }
}

fn of_path(path: &PathAudit, out: &mut dyn Write) -> io::Result<()> {
    let PathAudit { path, end, verdict, claimed, proved, failed, elements, contradictions, .. } =
        path;
    let verdict = match verdict {
        PathVerdict::Idle => "no packets",
        PathVerdict::Proved => "proved",
        PathVerdict::Open => "nothing can be compared yet",
        PathVerdict::Failed => "packets failed",
        PathVerdict::Silent => "incomplete",
        PathVerdict::Contradicted => "CONTRADICTED",
    };
    writeln!(out, "\n{path}, which ends at {end}: {verdict}")?;
    if *claimed > 0 || *failed > 0 {
        writeln!(
            out,
            "  {end} says {claimed} proved, {failed} failed; {proved} that every element says"
        )?;
    }
    for element in elements.iter().filter(|_| *claimed > 0) {
        let ElementAudit {
            element, passed, agrees, within, unsettled, contradicted, silent, ..
        } = element;
        if *silent {
            writeln!(out, "  {element} says nothing")?;
            continue;
        }
        write!(out, "  {element} passed {passed}: {agrees} the same")?;
        for (packets, how) in [
            (within, "where more passed than arrived"),
            (unsettled, "not said yet"),
            (contradicted, "contradicted"),
        ] {
            if *packets > 0 {
                write!(out, ", {packets} {how}")?;
            }
        }
        writeln!(out)?;
    }
    contradictions.iter().try_for_each(|contradiction| writeln!(out, "  {contradiction}"))
}

fn moment(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok();
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Checks; the verdict is no where anything is wrong.
pub(super) fn run(
    places: Places,
    path: Option<&str>,
    since_ms: u64,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    let Places { files, roots, state } = places;
    let roots = read_roots(&roots)?;
    let wanted = if files.is_empty() { vec![usual_place(&state)] } else { files };
    let files = gather(&wanted).map_err(|(place, error)| {
        let failure = Failure::from(error).context(format!("{} cannot be read", place.display()));
        failure.hint("name the files, or the directory in which they are")
    })?;
    if files.is_empty() {
        let places: Vec<_> = wanted.iter().map(|place| place.display().to_string()).collect();
        let failure = Failure::new(format!("no summaries are in {}", places.join(", ")));
        return Err(failure.hint(
            "the first is written `proofs.summary_every_s` after the start, another when the domain ends",
        ));
    }
    let mut checked = check(&files, &roots, since_ms)?;
    if let Some(path) = path {
        checked.paths.retain(|audited| audited.path == path);
        if checked.paths.is_empty() {
            return Err(Failure::new(format!("no summary speaks of a path `{path}`")));
        }
    }
    let holds = checked.holds;
    context.emit(&Summaries { checked })?;
    Ok(if holds { Outcome::Done } else { Outcome::VerdictNo })
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let place = || format!("the root certificates in {} cannot be used", path.display());
    let hint =
        "name the file with --roots: `ringmail ca` has it, and so has an element's state directory";
    let text = fs::read(path).map_err(|error| Failure::from(error).context(place()).hint(hint))?;
    let roots = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let roots = roots.map_err(|error| Failure::from(error).context(place()).hint(hint))?;
    match roots.is_empty() {
        true => Err(Failure::new("no certificate is in it").context(place()).hint(hint)),
        false => Ok(roots),
    }
}

/// The schema of the files themselves.
pub(crate) fn file_schema() -> ReportSchema {
    let schema = || -> Schema {
        let mut schema = SchemaGenerator::default().into_root_schema_for::<SummaryFile>();
        schema.insert("$id".into(), FILE_SCHEMA.into());
        schema.insert("title".into(), FILE_SCHEMA.into());
        schema
    };
    ReportSchema { id: FILE_SCHEMA.to_owned(), schema }
}
