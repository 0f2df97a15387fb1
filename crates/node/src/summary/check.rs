//! Checks summaries with nothing but the domain's root: who signed what, whether something is missing between files, and
//! whether what the ends of paths say is what the others say (`ringmail_model::summary::audit`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ringmail_model::TrustDomain;
use ringmail_model::summary::{Audit, Hex, PathAudit, Signed, Summary, SummaryFile, audit};
use rustls_pki_types::CertificateDer;
use schemars::JsonSchema;
use serde::Serialize;

use super::book;
use super::seal::Seal;

/// What is to be said of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileReport {
    /// The file.
    pub file: String,
    /// Who signed it, as a SPIFFE id; empty where nobody did whom the root vouches for.
    pub writer: String,
    /// Its number.
    pub number: u64,
    /// The time that it is about, in milliseconds since 1970.
    pub from_ms: u64,
    /// Its end.
    pub to_ms: u64,
    /// Statements of elements whose signatures hold.
    pub statements: u64,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// What is to be said of summaries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Checked {
    /// In the order in which they were written.
    pub files: Vec<FileReport>,
    /// By name.
    pub paths: Vec<PathAudit>,
    /// What is wrong with what elements say.
    pub problems: Vec<String>,
    /// Whether nothing speaks against what the ends of paths say.
    pub holds: bool,
}

/// Checks these files; those that were finished before `since_ms` do not count. They are those of one domain, whose
/// `roots` these are.
///
/// # Errors
/// A root is none.
pub fn check(
    files: &[PathBuf],
    roots: &[CertificateDer<'_>],
    since_ms: u64,
) -> Result<Checked, rustls::Error> {
    let refused = |_| rustls::Error::General("a root is no certificate that signs".to_owned());
    let anchors = roots.iter().map(webpki::anchor_from_trusted_cert);
    let anchors = anchors.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let mut read: Vec<(FileReport, Summary, Hex<32>)> = Vec::new();
    let mut spoilt = Vec::new();
    for path in files {
        let file = path.display().to_string();
        match book::read(path) {
            Ok((file_read, hash)) if file_read.summary.to_ms >= since_ms => {
                let (report, summary) = signatures(file, file_read, &anchors);
                read.push((report, summary, hash));
            }
            Ok(_) => {}
            Err(error) => {
                let problems = vec![causes(&error)];
                spoilt.push(FileReport { file, problems, ..FileReport::default() });
            }
        }
    }
    read.sort_by_key(|(report, ..)| (report.writer.clone(), report.number));
    let mut before: BTreeMap<String, (u64, Hex<32>)> = BTreeMap::new();
    let domain = read.first().map(|(_, summary, _)| summary.domain.clone());
    for (report, summary, hash) in &mut read {
        if let Some((number, last)) = before.insert(report.writer.clone(), (summary.number, *hash))
        {
            if summary.number == number {
                report.problems.push(format!("there are two of number {number}"));
            } else if summary.number != number + 1 {
                let missing =
                    format!("what was written between {number} and {} is missing", summary.number);
                report.problems.push(missing);
            } else if summary.previous != last {
                let problem =
                    "the file before it is not the one that was before it when it was written";
                report.problems.push(problem.to_owned());
            }
        }
        if domain.as_ref() != Some(&summary.domain) {
            report.problems.push(format!("it is of {}, another domain", summary.domain));
        }
    }
    let Audit { paths, problems } = audit(read.iter().map(|(_, summary, _)| summary));
    let files: Vec<FileReport> =
        read.iter().map(|(report, ..)| report.clone()).chain(spoilt).collect();
    let sound = files.iter().all(|file| file.problems.is_empty());
    let audit = Audit { paths, problems };
    let holds = sound && audit.holds();
    let Audit { paths, problems } = audit;
    Ok(Checked { files, paths, problems, holds })
}

/// Looks at the signatures of a file; only what is signed by whom it says stays in the summary.
fn signatures(
    name: String,
    file: SummaryFile,
    roots: &[rustls_pki_types::TrustAnchor<'_>],
) -> (FileReport, Summary) {
    let SummaryFile { mut summary, chain, signature, .. } = file;
    let mut report = FileReport {
        file: name,
        number: summary.number,
        from_ms: summary.from_ms,
        to_ms: summary.to_ms,
        ..FileReport::default()
    };
    let domain: Option<TrustDomain> = summary.domain.parse().ok();
    let id_of = |element: &str| domain.as_ref().map(|domain| domain.element_id(element));
    let seal = Seal { chain, signature };
    match seal.signer(&summary.signed_bytes(), roots, summary.to_ms) {
        Ok(signer) => {
            let control = domain.as_ref().is_some_and(|domain| domain.control_id() == signer);
            let own = |signed: &Signed| id_of(&signed.statement.element).as_ref() == Some(&signer);
            if !control && !summary.statements.iter().all(own) {
                report.problems.push(format!("{signer} signs it, and may not for others"));
            }
            report.writer = signer;
        }
        Err(error) => report.problems.push(format!("as a whole: {error}")),
    }
    for silent in &summary.silent {
        let (element, reason) = (&silent.element, &silent.reason);
        report.problems.push(format!("{element} did not say what it passed: {reason}"));
    }
    let mut problems = Vec::new();
    summary.statements.retain(|Signed { statement, chain, signature }| {
        let (element, number) = (&statement.element, statement.number);
        let seal = Seal { chain: chain.clone(), signature: signature.clone() };
        let signer = seal.signer(&statement.signed_bytes(), roots, statement.at_ms);
        let problem = match signer {
            Ok(signer) if Some(&signer) != id_of(element).as_ref() => {
                format!("{signer} signs it")
            }
            Ok(_) if statement.domain != summary.domain => {
                format!("it is of {}, another domain", statement.domain)
            }
            Ok(_) => return true,
            Err(error) => error.to_string(),
        };
        problems.push(format!("statement {number} of {element}: {problem}"));
        false
    });
    report.problems.extend(problems);
    report.statements = summary.statements.len() as u64;
    (report, summary)
}

fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The summaries that are meant: files as they are, and those in directories.
///
/// # Errors
/// One cannot be read, with its name.
pub fn gather(places: &[PathBuf]) -> Result<Vec<PathBuf>, (PathBuf, std::io::Error)> {
    let mut all = Vec::new();
    for place in places {
        match place.is_dir() {
            true => all.extend(book::files(place).map_err(|error| (place.clone(), error))?),
            false => all.push(place.clone()),
        }
    }
    Ok(all)
}

/// Where a directory of an authority, or of an element, has them unless the domain file says otherwise.
pub fn usual_place(state: &Path) -> PathBuf {
    state.join("summaries")
}
