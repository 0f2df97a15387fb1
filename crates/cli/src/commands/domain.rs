//! `ringmail domain check|show|diff|test|schema`: a domain file read, judged and laid out, without bringing anything up.

mod ask;
mod diff;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ringmail_model::check::{self, Loaded};
use ringmail_model::pathset::{Issue, PathSet};
use ringmail_model::show::{self, Shown};
use ringmail_model::{Diagnostics, PathVersion, Severity, limits};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;

/// Check and show domain files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say everything that is wrong with a domain file, with line, column and mend
    ///
    /// Exit code 0 if the domain can be used, even with warnings; 1 if not.
    Check {
        /// The domain file; - for standard input
        file: PathBuf,
    },
    /// Show what a domain file comes to: elements, labels, paths, segments, inner MTU, rules
    Show {
        /// The domain file; - for standard input
        file: PathBuf,
    },
    /// Say what differs between two domain files, by meaning
    ///
    /// Layout, comments and the order of named parts do not count; the order of rules does.
    Diff(diff::Args),
    /// Say what the rules make of a request, and why, without sending anything
    ///
    /// Exit code 0 if it may go, 3 if it is refused.
    Test(ask::Args),
    /// Write the JSON Schema of the domain file, for editors
    Schema,
}

/// What is wrong with a domain file.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Checked {
    /// The file as it was named.
    file: String,
    /// Whether the domain can be used.
    usable: bool,
    /// How many of the diagnostics are errors.
    errors: usize,
    /// How many of the diagnostics are warnings.
    warnings: usize,
    /// All that is wrong, in the order of the file.
    diagnostics: Diagnostics,
}

impl Report for Checked {
    const NAME: &'static str = "domain-check";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if !self.diagnostics.is_empty() {
            writeln!(out, "{}", self.diagnostics)?;
        }
        if self.usable {
            let but = match self.warnings {
                0 => String::new(),
                1 => ", with 1 warning".to_owned(),
                n => format!(", with {n} warnings"),
            };
            writeln!(out, "{}: the domain can be used{but}", self.file)?;
        }
        Ok(())
    }
}

/// What a domain file comes to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DomainShown {
    #[serde(flatten)]
    shown: Shown,
    #[serde(skip)]
    text: String,
}

impl Report for DomainShown {
    const NAME: &'static str = "domain";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.text.as_bytes())
    }
}

/// The JSON Schema of the domain file.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DomainSchema {
    /// The schema itself.
    json_schema: serde_json::Value,
    #[serde(skip)]
    text: String,
}

impl Report for DomainSchema {
    const NAME: &'static str = "domain-schema";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.text.as_bytes())
    }
}

pub(crate) use ask::Tested;
pub(crate) use diff::Differs;

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    match args.verb {
        Verb::Check { file } => check_file(&file, context),
        Verb::Show { file } => show_file(&file, context),
        Verb::Diff(args) => diff::run(args, context),
        Verb::Test(args) => ask::run(args, context),
        Verb::Schema => {
            let text = ringmail_model::domain::schema();
            context.emit(&DomainSchema { json_schema: serde_json::from_str(&text)?, text })?;
            Ok(Outcome::Done)
        }
    }
}

fn check_file(file: &Path, context: &mut Context) -> Result<Outcome, Failure> {
    let text = read(file)?;
    let name = file.display().to_string();
    let (usable, diagnostics) = match check::load(&text, &name) {
        Ok(Loaded { warnings, .. }) => (true, warnings),
        Err(diagnostics) => (false, diagnostics),
    };
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    let warnings = diagnostics.iter().count() - errors;
    context.emit(&Checked { file: name.clone(), usable, errors, warnings, diagnostics })?;
    if usable { Ok(Outcome::Done) } else { Err(unusable(&name, errors)) }
}

fn show_file(file: &Path, context: &mut Context) -> Result<Outcome, Failure> {
    let text = read(file)?;
    let Loaded { domain, warnings } = load(&text, file)?;
    warn(&warnings);
    let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: u64::MAX };
    let set = PathSet::compile(&domain, issue).context("the domain has no path set")?;
    let shown = show::shown(&domain, &set);
    context.emit(&DomainShown { shown, text: show::text(&domain, &set) })?;
    Ok(Outcome::Done)
}

/// The domain of a text if it can be used; what is wrong goes to standard error.
pub(super) fn load(text: &str, file: &Path) -> Result<Loaded, Failure> {
    let name = file.display().to_string();
    check::load(text, &name).map_err(|diagnostics| {
        warn(&diagnostics);
        unusable(&name, diagnostics.iter().filter(|d| d.severity == Severity::Error).count())
    })
}

fn warn(diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        // If standard error is gone too, the exit code still tells.
        drop(writeln!(io::stderr().lock(), "{diagnostics}"));
    }
}

fn unusable(name: &str, errors: usize) -> Failure {
    let count = if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
    Failure::new(format!("{name} has {count}"))
}

/// The text of a file, or of standard input for `-`; no more than a domain file may have.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    let most = limits::DOMAIN_FILE_BYTES as u64 + 1;
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(most).read_to_string(&mut text))
    };
    read.context(format!("{} cannot be read", file.display()))
        .hint("name a domain file, such as examples/campus.yaml")?;
    Ok(text)
}
